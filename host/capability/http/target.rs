//! Where a request goes: one reading of what a guest wrote, which is what is compared, decided on and sent.
//!
//! The WHATWG URL parser reads it once. What it had to repair is refused rather than repaired: user information, numbers
//! in odd notations for addresses, trailing dots, backslashes, tabs. Of a path the segments are percent-decoded and encoded
//! again, so that each has one spelling; a path in which a server could see another one (an encoded `/` or `\`, an empty
//! segment, `;`, a dot segment, something that is encoded twice) is refused.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize, Serializer};
use url::{Host, Url};

/// The longest path with its query, in bytes.
const LONGEST: usize = 8 * 1024;

/// What is encoded in a segment of a path: all but what RFC 3986 lets stand for itself (`pchar`), without `;`.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    #[default]
    Https,
}

impl Scheme {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that it has where none is written.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why what was written is no place to send a request to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Neither `http` nor `https`.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// The part with the host.
    #[error("the authority is not just a host and a port: {0}")]
    Authority(&'static str),
    /// The path or the query.
    #[error("the path is not one that every server reads alike: {0}")]
    Path(&'static str),
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// To whom: a domain in lower case, or an address; an IPv6 address stands in brackets.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// For what, in its one spelling.
    pub path: String,
    /// What stands after the `?`.
    pub query: Option<String>,
}

impl Target {
    /// Reads what a guest wrote.
    ///
    /// # Errors
    /// When it is not what it seems.
    pub fn read(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, BadTarget> {
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(BadTarget::Scheme),
        };
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if authority.contains('@') {
            return Err(BadTarget::Authority("it names a user"));
        }
        if authority.is_empty() || authority.ends_with(':') || !authority.bytes().all(host) {
            return Err(BadTarget::Authority("it has characters that no host has"));
        }
        if path_and_query.len() > LONGEST {
            return Err(BadTarget::Path("it is too long"));
        }
        if path_and_query.bytes().any(|byte| !byte.is_ascii_graphic() || b"\\#".contains(&byte)) {
            return Err(BadTarget::Path("it has characters that have to be encoded"));
        }
        let rest =
            if path_and_query.starts_with('/') { path_and_query.to_owned() } else { format!("/{path_and_query}") };
        let written = rest.split('?').next().unwrap_or_default().to_owned();
        let url = Url::parse(&format!("{}://{authority}{rest}", scheme.as_str()));
        let url = url.map_err(|_| BadTarget::Authority("it is no host and port"))?;
        let target = Self::of(scheme, &url)?;
        let without_port = strip_port(authority);
        if !without_port.eq_ignore_ascii_case(&target.host) {
            return Err(BadTarget::Authority("the host is in an odd notation"));
        }
        if has_dots(&written) {
            return Err(BadTarget::Path("it climbs"));
        }
        Ok(target)
    }

    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// When what it leads to is no place to send a request to.
    pub fn redirected(&self, location: &str) -> Result<Self, BadTarget> {
        let here = Url::parse(&self.to_string()).map_err(|_| BadTarget::Scheme)?;
        let url = here.join(location).map_err(|_| BadTarget::Authority("the location is no URL"))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(BadTarget::Scheme),
        };
        Self::of(scheme, &url)
    }

    fn of(scheme: Scheme, url: &Url) -> Result<Self, BadTarget> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget::Authority("it names a user"));
        }
        let host = match url.host() {
            Some(Host::Domain(domain)) if domain.ends_with('.') => {
                return Err(BadTarget::Authority("the host ends with a dot"));
            }
            Some(host) => host.to_string(),
            None => return Err(BadTarget::Authority("it names no host")),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let port = port.ok_or(BadTarget::Authority("no port has that number"))?;
        let path = spelled(url.path()).map_err(BadTarget::Path)?;
        Ok(Self { scheme, host, port, path, query: url.query().map(ToOwned::to_owned) })
    }

    /// What the `Host` header says: the port only where it is not that of the scheme.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The path with its query, as the request line has it.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path_and_query())
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn strip_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
        _ => authority,
    }
}

/// Whether a path has segments that mean a place above, in any spelling.
fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

/// A path in its one spelling.
///
/// # Errors
/// When a server could take it for another.
pub(super) fn spelled(path: &str) -> Result<String, &'static str> {
    let Some(below) = path.strip_prefix('/') else { return Err("it does not begin with `/`") };
    let last = below.split('/').count() - 1;
    let mut spelled = String::with_capacity(path.len());
    for (number, segment) in below.split('/').enumerate() {
        if segment.is_empty() && number != last {
            return Err("it has an empty segment");
        }
        let segment = percent_decode_str(segment).decode_utf8().map_err(|_| "it is not UTF-8")?;
        if segment == "." || segment == ".." {
            return Err("it climbs");
        }
        if segment.contains(['/', '\\']) {
            return Err("it has an encoded slash");
        }
        if segment.contains(';') {
            return Err("it has parameters (`;`)");
        }
        if segment.chars().any(char::is_control) {
            return Err("it has control characters");
        }
        if percent_decode_str(&segment).decode_utf8_lossy() != segment {
            return Err("it is encoded twice");
        }
        spelled.push('/');
        spelled.extend(utf8_percent_encode(&segment, SEGMENT));
    }
    Ok(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(url: &str) -> Result<String, BadTarget> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        Target::read(scheme, &rest[..end], &rest[end..]).map(|target| target.to_string())
    }

    #[test]
    fn a_target_has_one_spelling() {
        for (written, spelled) in [
            ("https://API.example.com", "https://api.example.com/"),
            ("https://api.example.com:443/a?b=c", "https://api.example.com/a?b=c"),
            ("http://api.example.com:443/", "http://api.example.com:443/"),
            ("http://[::1]:8080/a", "http://[::1]:8080/a"),
            ("https://a.example/%61%2Db/%c3%a9/", "https://a.example/a-b/%C3%A9/"),
            ("https://a.example/a%20b/(c)@x:y", "https://a.example/a%20b/(c)@x:y"),
            ("https://a.example/100%25", "https://a.example/100%25"),
            ("https://a.example?q=%2e%2e/'x'", "https://a.example/?q=%2e%2e/%27x%27"),
        ] {
            assert_eq!(read(written).as_deref(), Ok(spelled), "{written}");
        }
    }

    #[test]
    fn what_is_not_what_it_seems_is_refused() {
        for odd in [
            "https://api.granted.com@evil.com/",
            "https://user:pw@evil.com/",
            "https://@evil.com/",
            "https://evil.com#@api.granted.com",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[::ffff:7f00:0001]/",
            "https://localhost./",
            "https://a.example:0/",
            "https://a.example:99999/",
            "https://a.example:/",
            "https://a..example/",
            "https://exa%6dple.com/",
            "https://a.example\\@b.example/",
            "https:///",
            "https://ex\u{e4}mple.com/",
            "ftp://a.example/",
            "https://xn--a/",
            "https://a.example:4 43/",
            "https://[::1%25lo]/",
            "https://a.example:80:80/",
        ] {
            assert!(read(odd).is_err(), "{odd} is taken for {:?}", read(odd));
        }
        for path in [
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/./a",
            "/v1/..",
            "//admin",
            "/v1//admin",
            "/v1/%2fadmin",
            "/v1%2f..%2fadmin",
            "/v1/..;/admin",
            "/v1;x=y/admin",
            "/v1/%3bx",
            "/v1/%5c..%5cadmin",
            "/v1\\admin",
            "/v1/%252e%252e/admin",
            "/v1/%00",
            "/v1/%0d%0aHost:x",
            "/a#b",
            "/a b",
            "/a\tb",
            "/%ff",
        ] {
            let target = Target::read("https", "a.example", path);
            assert!(target.is_err(), "{path} is taken for {target:?}");
        }
    }

    #[test]
    fn redirects_lead_to_targets_like_any_other() {
        let here = Target::read("https", "a.example", "/docs/x?y").unwrap();
        let to = |location: &str| here.redirected(location).map(|target| target.to_string());
        assert_eq!(to("/other").as_deref(), Ok("https://a.example/other"));
        assert_eq!(to("more#part").as_deref(), Ok("https://a.example/docs/more"));
        assert_eq!(to("//b.example/").as_deref(), Ok("https://b.example/"));
        assert_eq!(to("http://169.254.169.254/latest").as_deref(), Ok("http://169.254.169.254/latest"));
        // What WHATWG repairs shows as what it is.
        assert_eq!(to("http://0x7f.1/").as_deref(), Ok("http://127.0.0.1/"));
        for odd in
            ["file:///etc/passwd", "https://u@b.example/", "https://b.example./", "/a%2fb", "/a//b", "javascript:x"]
        {
            assert!(to(odd).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_is_read_again_as_the_same(path in "[ -~]{0,24}", host in "[a-zA-Z0-9.:\\-\\[\\]]{1,12}") {
            if let Ok(target) = Target::read("https", &host, &format!("/{path}")) {
                let again = Target::read("https", &target.authority(), &target.path_and_query());
                prop_assert_eq!(again.as_ref(), Ok(&target));
                prop_assert!(!target.path.contains("//") && !has_dots(&target.path));
                prop_assert!(http::Uri::try_from(target.to_string()).is_ok());
            }
        }
    }
}
