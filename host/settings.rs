//! The host's own configuration: `config.toml` in the home folder.

pub mod audit;
pub mod secret;
pub mod telemetry;

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use crate::config::Home;
use crate::identity;
use crate::manifest::{Fields, ManifestError, Source};
use crate::people::People;
use crate::policy::point::Setting;
use crate::secret::SecretName;

use self::audit::AuditSetting;
use self::secret::{SecretSetting, SourceSetting, StoreSetting};
use self::telemetry::TelemetrySetting;

/// The file in the home folder.
pub use crate::people::CONFIG_FILE;

/// What the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `[people.NAME]`: who may answer.
    pub people: People,
    /// `[decision-point]`: who else decides.
    pub point: Option<Setting>,
    /// `[secret-store]`: what secrets are sealed under.
    pub store: StoreSetting,
    /// `[secrets.NAME]`: where values come from that the home does not hold.
    pub secrets: BTreeMap<SecretName, SourceSetting>,
    /// `[identity]`: as whom tasks present themselves.
    pub identity: identity::Setting,
    /// `[audit]`: how often checkpoints of the log are made, and for which log.
    pub audit: AuditSetting,
    /// `[telemetry]`: where what tasks did is sent to.
    pub telemetry: Option<TelemetrySetting>,
}

impl Settings {
    /// Reads a home's configuration. Where there is none, nobody is known and nobody else decides.
    ///
    /// # Errors
    /// When it holds what nothing reads, or something cannot be read.
    pub fn open(home: &Home) -> Result<Self, ManifestError> {
        if !home.dir().exists(CONFIG_FILE) {
            return Ok(Self::default());
        }
        let source = Source::read(home.dir(), Path::new(CONFIG_FILE), &home.path().join(CONFIG_FILE))?;
        let mut settings = Self::of(&source)?;
        if let Some(ca) = settings.point.as_mut().and_then(|point| point.ca.as_mut()) {
            *ca = home.path().join(&*ca);
        }
        if let Some(ca) = settings.telemetry.as_mut().and_then(|telemetry| telemetry.ca.as_mut()) {
            *ca = home.path().join(&*ca);
        }
        settings.secrets.values_mut().for_each(|source| source.locate(home.path()));
        Ok(settings)
    }

    fn of(source: &Source) -> Result<Self, ManifestError> {
        let known = ["people", "decision-point", "secret-store", "secrets", "identity", "audit", "telemetry"];
        let mut fields = Fields::of_document(source, &known)?;
        let people = fields.take("people").map(|(_, table)| People::of(source, table)).transpose()?;
        let point = fields.read("decision-point")?.map(toml::Spanned::into_inner);
        let store = fields.read("secret-store")?.map(toml::Spanned::into_inner).unwrap_or_default();
        let secrets = fields.read::<BTreeMap<SecretName, SecretSetting>>("secrets")?.map(toml::Spanned::into_inner);
        let secrets = secrets.unwrap_or_default().into_iter().map(|(name, setting)| (name, setting.source)).collect();
        let identity = fields.read("identity")?.map(toml::Spanned::into_inner).unwrap_or_default();
        let audit = fields.read("audit")?.map(toml::Spanned::into_inner).unwrap_or_default();
        let telemetry = fields.read("telemetry")?.map(toml::Spanned::into_inner);
        Ok(Self { people: people.unwrap_or_default(), point, store, secrets, identity, audit, telemetry })
    }
}

/// Whether an address is on this machine, whatever a resolver says.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::secret::KeySetting;
    use super::*;

    fn settings(text: &str) -> Result<Settings, ManifestError> {
        Settings::of(&Source::new(CONFIG_FILE, text))
    }

    #[test]
    fn a_decision_point_is_read_strictly() {
        let read = settings("[decision-point]\nurl = \"http://localhost:8181/access/v1/evaluation\"\n").unwrap();
        let point = read.point.unwrap();
        assert_eq!(
            (point.url.as_str(), point.timeout.duration().as_millis()),
            ("http://localhost:8181/access/v1/evaluation", 1000)
        );
        for odd in [
            "url = \"localhost:8181\"",
            "url = \"ftp://localhost/\"",
            "url = \"https://user@localhost/\"",
            "url = \"https://localhost/#x\"",
            "url = \"https://localhost/\"\ntimeout = \"soon\"",
            "url = \"https://localhost/\"\ntimeout = \"0s\"",
            "url = \"https://localhost/\"\naddresses = []",
            "url = \"https://localhost/\"\nmode = \"open\"",
            "timeout = \"1s\"",
        ] {
            assert!(settings(&format!("[decision-point]\n{odd}\n")).is_err(), "{odd}");
        }
    }

    #[test]
    fn sources_of_secrets_are_read_strictly() {
        let read = settings(
            "[secret-store]\nkey = { systemd = \"ambit-key\" }\nbefore = \"file\"\n
             [secrets.billing]\nsource = { environment = \"BILLING\" }\n
             [secrets.signing]\nsource = { file = \"signing\" }\n
             [secrets.api]\nsource = { vault = { address = \"https://vault.example.net\", path = \"a/b\", field = \"token\", auth = { token-file = \"t\" } } }",
        );
        let read = read.unwrap();
        assert_eq!(
            (read.store.key, read.store.before),
            (KeySetting::Systemd("ambit-key".to_owned()), Some(KeySetting::File))
        );
        assert_eq!(read.secrets.len(), 3);
        for odd in [
            "[secret-store]\nkey = \"none\"",
            "[secret-store]\nkeys = \"file\"",
            "[secrets.a]",
            "[secrets.A]\nsource = { file = \"x\" }",
            "[secrets.a]\nsource = { file = \"x\", environment = \"Y\" }",
            "[secrets.a]\nsource = { vault = { address = \"https://v\", path = \"a\", field = \"f\", kv = 3, auth = { token-file = \"t\" } } }",
            "[secrets.a]\nsource = { vault = { address = \"https://v\", path = \"a\", field = \"f\" } }",
        ] {
            assert!(settings(odd).is_err(), "{odd}");
        }
        let vault = |more: &str| {
            let own = "field = \"f\", auth = { token-file = \"t\" }";
            settings(&format!("[secrets.a]\nsource = {{ vault = {{ {own}, {more} }} }}"))
        };
        assert!(vault("address = \"https://v:8200\", path = \"a/b\", timeout = \"2s\"").is_ok());
        for odd in ["v:8200", "ftp://v", "https://me:word@v", "https://v/vault", "https://v/?a", "https://v/#a"] {
            let error = vault(&format!("address = \"{odd}\", path = \"a\"")).unwrap_err();
            assert!(!format!("{error}").contains("word"), "{error}");
        }
        for odd in [
            "path = \"\"",
            "path = \"/a\"",
            "path = \"a/../b\"",
            "path = \"a\", mount = \"a//b\"",
            "path = \"a\", timeout = \"0s\"",
        ] {
            assert!(vault(&format!("address = \"https://v\", {odd}")).is_err(), "{odd}");
        }
    }

    #[test]
    fn checkpoints_are_configured_strictly() {
        let read = settings("[audit]\nrecords = 10\norigin = \"audit.example.net/host-1\"\n").unwrap().audit;
        assert_eq!((read.records.get(), read.time.duration().as_secs()), (10, 60));
        assert_eq!(read.origin.unwrap().as_str(), "audit.example.net/host-1");
        assert_eq!(settings("").unwrap().audit.records.get(), 1000);
        for odd in
            ["records = 0", "time = \"0s\"", "time = \"soon\"", "origin = \"a b\"", "origin = \"a+b\"", "every = 1"]
        {
            assert!(settings(&format!("[audit]\n{odd}\n")).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_exchange_is_read_strictly() {
        let exchange = |more: &str| settings(&format!("[secrets.a.source.exchange]\n{more}\n"));
        let https = |more: &str| exchange(&format!("endpoint = \"https://sts.example.net/token\"\n{more}"));
        let all =
            "audience = \"b\"\nresource = \"https://b.example.net/?a\"\nscope = \"c d\"\nsubject-audience = \"e\"\n
            requested-token-type = \"f\"\nclient = { id = \"g\", secret = \"h\" }\naddresses = [\"10.0.0.7/32\"]\n
            ca = \"i.pem\"\ntimeout = \"5s\"";
        assert!(https(all).is_ok() && https("").is_ok());
        for odd in [
            "audience = \"\"",
            "scope = \" \"",
            "subject-audience = \"\"",
            "requested-token-type = \"\"",
            "resource = \"billing\"",
            "resource = \"https://b.example.net/#a\"",
            "client = { id = \"\", secret = \"h\" }",
            "client = { id = \"g\" }",
            "client = { id = \"g\", secret = \"H\" }",
            "addresses = []",
            "timeout = \"0s\"",
            "redirects = true",
        ] {
            assert!(https(odd).is_err(), "{odd}");
        }
        for here in
            ["http://localhost:1/t", "http://127.0.0.1:1/t", "http://[::1]:1/t\"\naddresses = [\"::1\"]\nscope = \"a"]
        {
            assert!(exchange(&format!("endpoint = \"{here}\"")).is_ok(), "{here}");
        }
        for odd in [
            "http://localhost/t\"\naddresses = [\"10.0.0.7\"]\nscope = \"a",
            "https://sts.example.net/a b",
            "https://sts.example.net/token\\n",
            "https://sts.example.net/\\u001b[2J",
        ] {
            assert!(exchange(&format!("endpoint = \"{odd}\"")).is_err(), "{odd}");
        }
        assert!(exchange("audience = \"b\"").is_err());
    }

    #[test]
    fn telemetry_is_read_strictly_and_leaves_this_machine_over_tls_alone() {
        assert!(settings("").unwrap().telemetry.is_none());
        let telemetry = |text: &str| settings(&format!("[telemetry]\n{text}\n"));
        let read = telemetry("endpoint = \"https://otel.example.net/v1/traces\"").unwrap().telemetry.unwrap();
        assert_eq!(
            (read.endpoint.url().as_str(), read.timeout.duration().as_secs()),
            ("https://otel.example.net/v1/traces", 5)
        );
        for here in
            ["http://localhost:4318/v1/traces", "http://127.0.0.1:4318/v1/traces", "http://[::1]:4318/v1/traces"]
        {
            assert!(telemetry(&format!("endpoint = \"{here}\"\ntimeout = \"200ms\"")).is_ok(), "{here}");
        }
        for odd in [
            "endpoint = \"http://otel.example.net/v1/traces\"",
            "endpoint = \"http://10.0.0.7/v1/traces\"",
            "endpoint = \"http://localhost.example.net/\"",
            "endpoint = \"localhost:4318\"",
            "endpoint = \"grpc://localhost:4317\"",
            "endpoint = \"https://localhost/#x\"",
            "endpoint = \"https://localhost/\"\ntimeout = \"0s\"",
            "endpoint = \"https://localhost/\"\nheaders = { authorization = \"Bearer x\" }",
            "timeout = \"5s\"",
            "",
        ] {
            assert!(telemetry(odd).is_err(), "{odd}");
        }
        let error = telemetry("endpoint = \"https://me:word@localhost/\"").unwrap_err();
        assert!(!format!("{error}").contains("word"), "{error}");
    }

    #[test]
    fn what_nothing_reads_is_a_mistake() {
        for text in ["[poeple]", "people = 1", "[decision]"] {
            assert!(settings(text).is_err(), "{text}");
        }
        assert!(settings("").is_ok());
    }
}
