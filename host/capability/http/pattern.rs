//! What rules match: hosts, methods and paths.

use std::fmt;

use serde::Deserialize;
use url::Host;

use super::target;

/// A host, exactly: a domain in lower case, or an address; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostName(pub(super) String);

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown = text.escape_debug();
        if text.contains('*') {
            return Err(format!(
                "`{shown}` is a pattern, and hosts are matched exactly: list its parts in `subdomains`"
            ));
        }
        let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
        let written = if bare { format!("[{text}]") } else { text.clone() };
        let parsed =
            Host::parse(&written).map_err(|_| format!("`{shown}` is no host: write it as `docs.example.net`"))?;
        let host = parsed.to_string();
        if host.ends_with('.') || host != written.to_ascii_lowercase() {
            return Err(format!("`{shown}` is no host in its usual notation: write `{}`", host.trim_end_matches('.')));
        }
        Ok(Self(host))
    }
}

/// What stands before a host and a dot: `eu`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Subdomain(pub(super) String);

impl TryFrom<String> for Subdomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let is_part = !text.is_empty() && text.chars().all(fits) && text.split('.').all(|part| !part.is_empty());
        if is_part {
            Ok(Self(text))
        } else {
            Err(format!("`{}` is no part of a host: write it as `eu`", text.escape_debug()))
        }
    }
}

/// A method: `GET`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Method(pub(super) String);

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if matches!(text.as_str(), "CONNECT" | "TRACE") {
            return Err(format!("`{text}` is never sent for a guest"));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            return Ok(Self(text));
        }
        Err(format!("`{}` is no method: write it as `GET`", text.escape_debug()))
    }
}

/// `/v1/orders/*/refunds` or `/docs/**`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PathPattern {
    written: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// This one, as a path spells it.
    Exact(String),
    /// `*`: any one that is not empty.
    One,
    /// `**`, at the end: any number of them.
    Rest,
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let shown = written.escape_debug().to_string();
        if written.contains(['?', '#']) {
            return Err(format!(
                "the path `{shown}` has a query or a fragment: rules are about paths, policies about queries"
            ));
        }
        let below = written.strip_prefix('/').ok_or_else(|| format!("the path `{shown}` does not begin with `/`"))?;
        let last = below.split('/').count() - 1;
        let segments = below.split('/').enumerate().map(|(number, segment)| match segment {
            "*" => Ok(Segment::One),
            "**" if number == last => Ok(Segment::Rest),
            _ if segment.contains('*') => Err(format!(
                "in the path `{shown}`, `*` stands for a whole segment and `**` for all that follow, at the end"
            )),
            _ if segment.is_empty() && number == last => Ok(Segment::Exact(String::new())),
            _ => match target::spelled(&format!("/{segment}")) {
                Ok(spelled) if !segment.is_empty() => Ok(Segment::Exact(spelled[1..].to_owned())),
                Ok(_) => Err(format!("the path `{shown}` has an empty segment")),
                Err(why) => Err(format!("no request has the path `{shown}`: {why}")),
            },
        });
        let segments = segments.collect::<Result<_, _>>()?;
        Ok(Self { written, segments })
    }
}

impl PathPattern {
    /// The path that it is, where it stands for one alone.
    pub(super) fn literal(&self) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Exact(own) => format!("/{own}"),
            Segment::One | Segment::Rest => "/*".to_owned(),
        });
        segments.collect()
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut asked = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in &self.segments {
            let fits = match (segment, asked.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::Exact(own), Some(asked)) => own == asked,
                (Segment::One, Some(asked)) => !asked.is_empty(),
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        asked.next().is_none()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}
