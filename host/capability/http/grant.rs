//! What manifests say of requests: the operator's rules, the author's wish, and what is left of both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credential::{Credential, Lease, Ticket, What};
use super::pattern::{HostName, Method, PathPattern, Subdomain};
use super::target::{Scheme, Target};
use super::traffic::Allowance;
use crate::address::Reach;
use crate::capability::{Compared, Standing};
use crate::identity::Subject;
use crate::label::Labels;
use crate::manifest::{ByteSize, HumanDuration, reject};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// How much one request may carry, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// The longest body of a request, in bytes.
    pub request: u64,
    /// The longest body of a response, in bytes, decoded.
    pub response: u64,
    /// From the decision to the last byte of the response, in milliseconds.
    pub milliseconds: u64,
}

impl Bounds {
    /// From the decision to the last byte of the response.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

/// One entry of `http = [{ … }]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", rename = "rule")]
struct Written {
    #[serde(default)]
    scheme: Scheme,
    host: HostName,
    #[serde(default)]
    subdomains: Vec<Subdomain>,
    port: Option<u16>,
    methods: Vec<Method>,
    paths: Vec<PathPattern>,
    addresses: Option<Reach>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    accepts: Labels,
    #[serde(default = "default_request")]
    request: ByteSize,
    #[serde(default = "default_response")]
    response: ByteSize,
    #[serde(default = "default_time")]
    time: HumanDuration,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    redirects: u8,
    ca: Option<PathBuf>,
    #[serde(default)]
    budget: Allowance,
    credential: Option<Credential>,
}

fn default_request() -> ByteSize {
    ByteSize::new(1 << 20)
}

fn default_response() -> ByteSize {
    ByteSize::new(8 << 20)
}

fn default_time() -> HumanDuration {
    HumanDuration::from_millis(30_000)
}

/// The bounds of a rule that says nothing of them.
pub(super) fn default_bounds() -> Bounds {
    let milliseconds = u64::try_from(default_time().duration().as_millis()).unwrap_or(u64::MAX);
    Bounds { request: default_request().bytes(), response: default_response().bytes(), milliseconds }
}

/// The most hops that a rule may let the host follow.
const MOST_REDIRECTS: u8 = 20;

/// Requests that are allowed: to these hosts, with these methods, for these paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) scheme: Scheme,
    pub(super) hosts: Vec<String>,
    pub(super) port: u16,
    pub(super) methods: BTreeSet<Method>,
    pub(super) paths: Vec<PathPattern>,
    /// Where connections may go.
    pub(super) reach: Reach,
    /// What whoever gets a response carries from then on.
    pub(super) labels: Labels,
    /// What may be carried by whoever asks.
    pub(super) accepts: Labels,
    pub(super) bounds: Bounds,
    /// Whether bodies of requests flow while they are written, and are not known when it is decided.
    pub(super) stream: bool,
    /// How many redirects are followed for the guest.
    pub(super) redirects: u8,
    /// The roots that its certificate has to lead to, in PEM, instead of the usual ones.
    pub(super) ca: Option<PathBuf>,
    pub(super) budget: Allowance,
    /// What the host attaches to them.
    pub(super) credential: Option<Credential>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let Written { scheme, host: HostName(host), subdomains, methods, paths, ca, .. } = written;
        if methods.is_empty() {
            return Err(reject("no method is listed", "list them, as `methods = [\"GET\"]`"));
        }
        if paths.is_empty() {
            return Err(reject("no path is listed", "list them, as `paths = [\"/docs/**\"]`; `/**` is every path"));
        }
        if written.port == Some(0) {
            return Err(reject("no port is called 0", "leave `port` out to mean that of the scheme"));
        }
        if ca.is_some() && scheme == Scheme::Http {
            return Err(reject(
                "there are no certificates without TLS",
                "leave `ca` out, or write `scheme = \"https\"`",
            ));
        }
        if written.redirects > MOST_REDIRECTS {
            let help = format!("write at most {MOST_REDIRECTS}");
            return Err(reject("so many redirects lead nowhere", &help));
        }
        if written.stream && written.redirects > 0 {
            let help = "leave out `stream` or `redirects`: a body that has flowed cannot be sent again";
            return Err(reject("requests that stream cannot be redirected", help));
        }
        let address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
        if address && !subdomains.is_empty() {
            return Err(reject("an address has no subdomains", "leave `subdomains` out"));
        }
        // A host that is an address names the address.
        let own =
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok().map(|own| Reach::Blocks(vec![own.into()]));
        let below = subdomains.iter().map(|Subdomain(part)| format!("{part}.{host}"));
        let hosts: Vec<String> = std::iter::once(host.clone()).chain(below).collect();
        let reach = written.addresses.or(own).unwrap_or(Reach::Public);
        if written.credential.is_some() && scheme == Scheme::Http && !reach.stays_here() {
            return Err(reject(
                "a credential is readable on the way without TLS",
                "write `scheme = \"https\"`; or, for a service on this machine, `addresses = [\"127.0.0.1/32\", \"::1/128\"]`",
            ));
        }
        let time = written.time.duration();
        if time.is_zero() {
            return Err(D::Error::custom("no request takes no time"));
        }
        Ok(Self {
            scheme,
            hosts,
            port: written.port.unwrap_or(scheme.port()),
            methods: methods.into_iter().collect(),
            paths,
            reach,
            labels: written.labels,
            accepts: written.accepts,
            bounds: Bounds {
                request: written.request.bytes(),
                response: written.response.bytes(),
                milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            },
            stream: written.stream,
            redirects: written.redirects,
            ca,
            budget: written.budget,
            credential: written.credential,
        })
    }
}

impl Rule {
    /// Whether it lists a request.
    pub fn lists(&self, method: &str, target: &Target) -> bool {
        self.scheme == target.scheme
            && self.port == target.port
            && self.hosts.contains(&target.host)
            && self.methods.iter().any(|own| own.0 == method)
            && self.paths.iter().any(|pattern| pattern.matches(&target.path))
    }

    /// What may be carried by whoever asks: what the host is labelled with itself among it.
    pub fn accepted(&self) -> Labels {
        self.accepts.clone().and(&self.labels)
    }

    /// The lease of its credential for a host of its own, if it is a secret.
    pub(super) fn lease(&self, host: &str, subject: Option<Subject>) -> Option<Lease> {
        let credential = self.credential.clone()?;
        let What::Secret(secret) = credential.what.clone() else { return None };
        let seconds = credential.lease.duration().as_secs();
        Some(Lease { secret, place: self.place(host), host: host.to_owned(), seconds, credential, subject })
    }

    /// The token for a host of its own, if its credential is one.
    pub(super) fn ticket(&self, host: &str, subject: Option<Subject>) -> Option<Ticket> {
        let credential = self.credential.clone()?;
        let What::Token(audience) = credential.what.clone() else { return None };
        let seconds = credential.lease.duration().as_secs();
        Some(Ticket { audience, place: self.place(host), host: host.to_owned(), seconds, credential, subject })
    }

    fn place(&self, host: &str) -> String {
        let port = if self.port == self.scheme.port() { String::new() } else { format!(":{}", self.port) };
        format!("{}://{host}{port}", self.scheme.as_str())
    }

    /// What of it no rule of another grant needs, in which every path stands for itself: methods and paths at hosts.
    fn beyond(&self, needed: &Grant) -> Vec<String> {
        let of_host = |host: &String| {
            let at = self.place(host);
            let alike = needed.rules.iter().filter(|rule| rule.hosts.contains(host) && rule.place(host) == at);
            alike.collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        for host in &self.hosts {
            let used: Vec<&Rule> = of_host(host);
            let listed = |rule: &&Rule, method: Option<&Method>, pattern: Option<&PathPattern>| {
                let methods =
                    rule.methods.intersection(&self.methods).any(|own| method.is_none_or(|method| own == method));
                let here = |path: &PathPattern| {
                    let path = path.literal();
                    pattern.map_or_else(|| self.paths.iter().any(|own| own.matches(&path)), |own| own.matches(&path))
                };
                methods && rule.paths.iter().any(here)
            };
            let place = self.place(host);
            if !used.iter().any(|rule| listed(rule, None, None)) {
                lines.push(format!("requests to {place}"));
                continue;
            }
            let methods =
                self.methods.iter().filter(|method| !used.iter().any(|rule| listed(rule, Some(method), None)));
            lines.extend(methods.map(|method| format!("{} to {place}", method.0)));
            let paths = self.paths.iter().filter(|path| !used.iter().any(|rule| listed(rule, None, Some(path))));
            lines.extend(paths.map(|path| format!("{place}{path}")));
        }
        lines
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.methods.iter().flat_map(|method| self.hosts.iter().map(move |host| (method, host))).map(
            |(method, host)| {
                let credential = self.credential.as_ref().map(|own| format!(" with {own}")).unwrap_or_default();
                let paths: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
                format!("{} {}{}{credential}", method.0, self.place(host), paths.join(" "))
            },
        )
    }
}

/// The rules of a component: a request is allowed by the first that lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub(super) rules: Vec<Rule>,
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = Vec::<Rule>::deserialize(deserializer)?;
        if rules.is_empty() {
            return Err(D::Error::custom("no request is listed: leave `http` out to allow none"));
        }
        Ok(Self { rules })
    }
}

impl Grant {
    /// The leases that its rules could ask for.
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.rules.iter().flat_map(|rule| rule.hosts.iter().filter_map(|host| rule.lease(host, None)))
    }

    /// The tokens that its rules could ask for.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.rules.iter().flat_map(|rule| rule.hosts.iter().filter_map(|host| rule.ticket(host, None)))
    }

    /// Whether a rule attaches a credential to requests to that place.
    pub(super) fn attaches(&self, credential: &Credential, place: &str) -> bool {
        let at = |rule: &Rule| rule.hosts.iter().any(|host| rule.place(host) == place);
        self.rules.iter().any(|rule| rule.credential.as_ref() == Some(credential) && at(rule))
    }

    /// What of it another grant does not need, in which every path stands for itself.
    pub(super) fn beyond(&self, needed: Option<&Self>) -> Vec<String> {
        let none = Self::default();
        self.rules.iter().flat_map(|rule| rule.beyond(needed.unwrap_or(&none))).collect()
    }

    /// The first rule that lists a request.
    pub fn rule(&self, method: &str, target: &Target) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.lists(method, target))
    }

    /// Makes relative paths absolute: they are relative to `base`.
    pub(super) fn locate(&mut self, base: &Path) {
        for ca in self.rules.iter_mut().filter_map(|rule| rule.ca.as_mut()) {
            *ca = base.join(&*ca);
        }
    }

    /// What it gives, one line for each method and host.
    pub(super) fn lines(&self) -> Vec<String> {
        self.rules.iter().flat_map(Rule::lines).collect()
    }

    /// The part of it that was asked for.
    pub(super) fn narrow(&self, request: &Request) -> Option<Self> {
        let rules = self.rules.iter().filter_map(|rule| {
            let methods: BTreeSet<_> =
                rule.methods.iter().filter(|method| request.methods.contains(method)).cloned().collect();
            let hosts: Vec<_> = rule.hosts.iter().filter(|host| request.asks_for(host)).cloned().collect();
            (!methods.is_empty() && !hosts.is_empty()).then(|| Rule { hosts, methods, ..rule.clone() })
        });
        let rules: Vec<_> = rules.collect();
        (!rules.is_empty()).then_some(Self { rules })
    }
}

/// `http = { methods = ["GET"], hosts = ["docs.example.net"], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    methods: Vec<Method>,
    /// The hosts that it knows; without them it is for the operator to say.
    #[serde(default)]
    hosts: Vec<HostName>,
    /// Why it asks.
    #[serde(default)]
    pub(super) reason: String,
}

impl Request {
    fn asks_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|own| own.0 == host)
    }

    /// What it asks for, in words.
    pub(super) fn lines(&self) -> Vec<String> {
        let hosts: Vec<_> = self.hosts.iter().map(Some).chain(self.hosts.is_empty().then_some(None)).collect();
        self.methods.iter().flat_map(|method| hosts.iter().map(move |host| wish(method, *host))).collect()
    }
}

/// What is asked for beside what is given: one line for each method and host of either.
pub(super) fn compared(grant: Option<&Grant>, request: Option<&Request>) -> Vec<Compared> {
    let rules = grant.map(|grant| grant.rules.as_slice()).unwrap_or_default();
    let left = grant.zip(request).and_then(|(grant, request)| grant.narrow(request)).unwrap_or_default();
    let left = left.lines();
    let unused = rules.iter().flat_map(Rule::lines).filter(|line| !left.contains(line));
    let missing = request.into_iter().flat_map(|request| {
        let hosts: Vec<_> = request.hosts.iter().map(Some).chain(request.hosts.is_empty().then_some(None)).collect();
        let wishes =
            request.methods.iter().flat_map(move |method| hosts.clone().into_iter().map(move |host| (method, host)));
        let is_met = |method: &Method, host: Option<&HostName>| {
            let of_host = |rule: &Rule| host.is_none_or(|host| rule.hosts.contains(&host.0));
            rules.iter().any(|rule| rule.methods.contains(method) && of_host(rule))
        };
        wishes.filter(move |(method, host)| !is_met(method, *host)).map(|(method, host)| wish(method, host))
    });
    let granted = left.iter().cloned().map(|line| (line, Standing::Granted));
    let missing = missing.map(|line| (line, Standing::Refused));
    granted.chain(missing).chain(unused.map(|line| (line, Standing::Unused))).collect()
}

fn wish(method: &Method, host: Option<&HostName>) -> String {
    format!("{} {}", method.0, host.map_or("some host", |host| &host.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Grant, String> {
        let document = toml::from_str::<toml::Table>(&format!("http = [{text}]")).map_err(|error| error.to_string())?;
        document["http"].clone().try_into().map_err(|error: toml::de::Error| error.to_string())
    }

    fn rule(more: &str) -> Result<Grant, String> {
        let more = if more.contains("host =") { more.to_owned() } else { format!("host = \"a.example\", {more}") };
        let more = if more.contains("paths =") { more } else { format!("{more}, paths = [\"/**\"]") };
        read(&format!("{{ methods = [\"GET\"], {more} }}"))
    }

    fn lists(grant: &Grant, method: &str, url: &str) -> bool {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap());
        grant.rule(method, &Target::read(scheme, authority, path).unwrap()).is_some()
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, path, expected) in [
            ("/v1/refunds", "/v1/refunds", true),
            ("/v1/refunds", "/v1/refunds/", false),
            ("/v1/refunds", "/v1/Refunds", false),
            ("/v1/*", "/v1/a", true),
            ("/v1/*", "/v1/", false),
            ("/v1/*", "/v1/a/b", false),
            ("/v1/*/x", "/v1/a/x", true),
            ("/v1/**", "/v1/", true),
            ("/v1/**", "/v1/a/b", true),
            ("/v1/**", "/v1", false),
            ("/v1/**", "/v10/a", false),
            ("/**", "/", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a b/é", "/a%20b/%C3%A9", true),
            ("/%61", "/a", true),
        ] {
            let grant = rule(&format!("paths = [\"{pattern}\"]")).unwrap();
            assert_eq!(lists(&grant, "GET", &format!("https://a.example{path}")), expected, "{pattern} and {path}");
        }
        for odd in ["", "v1", "/a*", "/**/b", "/a//b", "/a/../b", "/a?b", "/a#b", "/%2f", "/a;b"] {
            assert!(rule(&format!("paths = [\"{odd}\"]")).is_err(), "{odd}");
        }
    }

    #[test]
    fn hosts_are_exact_and_in_their_usual_notation() {
        let grant = rule("host = \"a.example\", subdomains = [\"eu\", \"b.us\"], port = 8443").unwrap();
        for (host, expected) in [
            ("a.example", true),
            ("eu.a.example", true),
            ("b.us.a.example", true),
            ("us.a.example", false),
            ("x.eu.a.example", false),
        ] {
            assert_eq!(lists(&grant, "GET", &format!("https://{host}:8443/")), expected, "{host}");
            assert!(!lists(&grant, "GET", &format!("https://{host}/")), "{host}");
        }
        assert!(!lists(&grant, "POST", "https://a.example:8443/") && !lists(&grant, "GET", "http://a.example:8443/"));
        assert!(lists(&rule("host = \"::1\"").unwrap(), "GET", "https://[::1]/"));
        for odd in [
            "",
            "*.example",
            "a.example.",
            "127.1",
            "1",
            "0x7f",
            "http://a.example",
            "a.example:80",
            "a example",
            "ex\u{e4}mple.com",
            "::ffff:127.0.0.1",
            "[::1",
            "a..b%",
            "A.Example.",
        ] {
            assert!(rule(&format!("host = \"{odd}\"")).is_err(), "{odd}");
        }
        for odd in ["", "*", "a..b", ".a", "A", "a/b"] {
            assert!(rule(&format!("subdomains = [\"{odd}\"]")).is_err(), "{odd}");
        }
        assert!(rule("host = \"10.0.0.1\", subdomains = [\"a\"]").is_err());
    }

    #[test]
    fn a_host_that_is_an_address_names_it_and_others_reach_the_public() {
        let reach = |more: &str| rule(more).unwrap().rules[0].reach.to_string();
        assert_eq!(reach("host = \"a.example\""), "public");
        assert_eq!(reach("host = \"10.0.0.1\""), "10.0.0.1/32");
        assert_eq!(reach("host = \"::1\""), "::1/128");
        assert_eq!(reach("host = \"10.0.0.1\", addresses = [\"10.0.0.2\"]"), "10.0.0.2/32");
    }

    #[test]
    fn rules_that_contradict_themselves_are_mistakes() {
        for odd in [
            "methods = []",
            "paths = []",
            "port = 0",
            "port = 65536",
            "stream = true, redirects = 1",
            "redirects = 21",
            "scheme = \"http\", ca = \"ca.pem\"",
            "time = \"0s\"",
            "addresses = []",
            "budget = { request = 1 }",
            "pathes = []",
            "scheme = \"ftp\"",
            "scheme = \"http\", credential = \"token-1\"",
            "credential = \"Token 1\"",
            "credential = { secret = \"a\", token = \"b\" }",
            "credential = { secret = \"a\", user = \"u\", header = \"x-key\" }",
            "credential = { secret = \"a\", lease = \"2h\" }",
            "credential = { header = \"x-key\" }",
        ] {
            let host = if odd.contains("methods") {
                "host = \"a.example\", paths = [\"/\"]"
            } else {
                "methods = [\"GET\"], host = \"a.example\", paths = [\"/\"]"
            };
            let host = if odd.starts_with("paths") { "methods = [\"GET\"], host = \"a.example\"" } else { host };
            assert!(read(&format!("{{ {host}, {odd} }}")).is_err(), "{odd}");
        }
        for method in ["CONNECT", "TRACE", "get", "", "GET "] {
            assert!(
                read(&format!("{{ methods = [\"{method}\"], host = \"a.example\", paths = [\"/\"] }}")).is_err(),
                "{method}"
            );
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_there() {
        let grant = read(
            "{ host = \"a.example\", subdomains = [\"eu\"], methods = [\"GET\", \"POST\"], paths = [\"/**\"] }, \
             { host = \"b.example\", methods = [\"GET\"], paths = [\"/**\"] }",
        )
        .unwrap();
        let request = |text: &str| toml::from_str::<Request>(text).unwrap();
        let left = |asked: &str| grant.narrow(&request(asked)).map(|grant| grant.lines()).unwrap_or_default();
        assert_eq!(left("methods = [\"GET\"]").len(), 3);
        assert_eq!(left("methods = [\"POST\"]\nhosts = [\"eu.a.example\"]"), ["POST https://eu.a.example/**"]);
        assert!(left("methods = [\"DELETE\"]").is_empty());
        let all = compared(Some(&grant), Some(&request("methods = [\"POST\", \"PUT\"]\nhosts = [\"a.example\"]")));
        let of = |standing| {
            all.iter().filter(|(_, own)| *own == standing).map(|(line, _)| line.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(Standing::Granted), ["POST https://a.example/**"]);
        assert_eq!(of(Standing::Refused), ["PUT a.example"]);
        assert_eq!(of(Standing::Unused).len(), 4);
    }
}
