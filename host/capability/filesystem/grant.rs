//! What manifests say of mounts: the operator's grant and the author's request, and what is left of both.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::manifest::{ByteSize, GuestPath, reject};

/// What a mount stands on, and so the capability that it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// A folder of the host: `filesystem`.
    #[default]
    Folder,
    /// The task's own folder: `workspace`.
    Workspace,
}

impl Ground {
    /// The action of mounting it.
    pub fn mount_action(self) -> &'static str {
        match self {
            Self::Folder => "filesystem.mount",
            Self::Workspace => "workspace.mount",
        }
    }

    /// Whether a store may write there what was revealed to it: not where other stores of the task read it.
    pub fn may_show(self) -> bool {
        self == Self::Folder
    }

    /// The action of changing something in it.
    pub fn write_action(self) -> &'static str {
        match self {
            Self::Folder => "filesystem.write",
            Self::Workspace => "workspace.write",
        }
    }
}

/// What may be done with a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Files and folders are read.
    #[default]
    Read,
    /// They are changed as well.
    Write,
}

impl Access {
    /// The word of manifests and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// How much a writable mount may hold, with what was in its folder before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// The lengths of all files together, holes included.
    pub bytes: ByteSize,
    /// Files, folders and links, the mount's own folder not among them.
    pub files: u64,
}

impl Default for Quota {
    /// 64 MiB in 10 000 files.
    fn default() -> Self {
        Self { bytes: ByteSize::new(64 << 20), files: 10_000 }
    }
}

/// A folder of the host, as manifests write it: not empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct HostPath(PathBuf);

impl TryFrom<String> for HostPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text.contains('\0') { Err("this names no folder") } else { Ok(Self(text.into())) }
    }
}

/// `{ host = "data/orders", guest = "/orders", access = "write", quota = { bytes = "10MiB", files = 1000 }, labels = ["pii"] }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "mount")]
struct Written {
    host: HostPath,
    guest: GuestPath,
    #[serde(default)]
    access: Access,
    quota: Option<Quota>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    accepts: Labels,
}

/// A folder that a guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What it stands on.
    pub ground: Ground,
    /// The folder of the host; absolute, once the place of the manifest is known. Empty for a workspace.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: GuestPath,
    /// How much it may hold, if it is writable.
    pub quota: Option<Quota>,
    /// What whoever mounts it carries from then on.
    pub labels: Labels,
    /// What may be written to it, beside what it is labelled with itself.
    pub accepts: Labels,
}

/// What to do where guest paths meet.
pub(crate) const BESIDE: &str = "give each mount a guest path of its own, beside the others";

impl Granted {
    /// What may be done with it.
    pub fn access(&self) -> Access {
        if self.quota.is_some() { Access::Write } else { Access::Read }
    }

    /// It, as a manifest writes it, with no more access than that.
    pub(super) fn entry(&self, access: Access) -> serde_json::Value {
        let mut entry = serde_json::json!({ "guest": self.guest });
        if self.ground == Ground::Folder {
            entry["host"] = serde_json::json!(self.host.to_string_lossy());
            entry["access"] = serde_json::json!(access);
        }
        let writes = access == Access::Write || self.ground == Ground::Workspace;
        let quota = self.quota.filter(|quota| writes && *quota != Quota::default());
        let accepts = Some(&self.accepts).filter(|accepts| writes && !accepts.is_empty());
        let labels = Some(&self.labels).filter(|labels| !labels.is_empty());
        let told = [
            ("quota", quota.map(|quota| serde_json::json!(quota))),
            ("labels", labels.map(|labels| serde_json::json!(labels))),
            ("accepts", accepts.map(|accepts| serde_json::json!(accepts))),
        ];
        told.into_iter().filter_map(|(key, value)| Some((key, value?))).for_each(|(key, value)| entry[key] = value);
        if self.ground == Ground::Folder { serde_json::json!([entry]) } else { entry }
    }

    /// What is wrong where another mount goes by a name, if that does not lie beside this one's.
    pub(crate) fn meets(&self, guest: &GuestPath) -> Option<String> {
        if self.guest == *guest {
            return Some(format!("two mounts are called `{guest}`"));
        }
        let meets = self.guest.covers(guest) || guest.covers(&self.guest);
        meets.then(|| format!("the mounts `{}` and `{guest}` lie one in the other", self.guest))
    }

    fn check<E: serde::de::Error>(mount: Written, before: &[Self]) -> Result<Self, E> {
        let Written { host: HostPath(host), guest, access, quota, labels, accepts } = mount;
        if access == Access::Read && !accepts.is_empty() {
            let help = "write `access = \"write\"`, or leave `accepts` out";
            return Err(reject("a mount that is only read accepts nothing", help));
        }
        if access == Access::Read && quota.is_some() {
            let help = "write `access = \"write\"`, or leave the quota out";
            return Err(reject("a mount that is only read has no quota", help));
        }
        if let Some(message) = before.iter().find_map(|other| other.meets(&guest)) {
            return Err(reject(&message, BESIDE));
        }
        let quota = (access == Access::Write).then(|| quota.unwrap_or_default());
        Ok(Self { ground: Ground::Folder, host, guest, quota, labels, accepts })
    }
}

/// The mounts of a component, in the order of the manifest. Their guest paths lie beside each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub(crate) mounts: Vec<Granted>,
}

impl Grant {
    /// The mount of that name.
    pub fn mount(&self, guest: &GuestPath) -> Option<&Granted> {
        self.mounts.iter().find(|mount| mount.guest == *guest)
    }

    /// Makes relative host paths absolute: they are relative to `base`.
    pub(super) fn locate(&mut self, base: &Path) {
        for mount in &mut self.mounts {
            mount.host = base.join(&mount.host);
        }
    }

    /// What it gives, one line for each power.
    pub(super) fn lines(&self) -> Vec<String> {
        self.mounts.iter().flat_map(|mount| lines(mount.access(), &mount.guest)).collect()
    }

    /// The part of it that was asked for.
    pub(super) fn narrow(&self, request: &Request) -> Option<Self> {
        let narrowed = |mount: &Granted| {
            let asked = request.mounts.iter().filter(|asked| asked.guest == mount.guest);
            let access = asked.map(|asked| asked.access).max()?;
            let quota = mount.quota.filter(|_| access == Access::Write);
            Some(Granted { quota, ..mount.clone() })
        };
        let mounts: Vec<_> = self.mounts.iter().filter_map(narrowed).collect();
        (!mounts.is_empty()).then_some(Self { mounts })
    }
}

/// Whoever may write may read.
fn lines(access: Access, guest: &GuestPath) -> impl Iterator<Item = String> {
    let write = (access == Access::Write).then(|| format!("write {guest}"));
    std::iter::once(format!("read {guest}")).chain(write)
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Mounts)
    }
}

/// Reads the list of mounts.
struct Mounts;

impl<'de> Visitor<'de> for Mounts {
    type Value = Grant;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of mounts, as `[{ host = \"data\", guest = \"/data\" }]`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Grant, A::Error> {
        let mut mounts = Vec::new();
        while let Some(mount) = list.next_element_seed(Next { before: &mounts })? {
            mounts.push(mount);
        }
        Ok(Grant { mounts })
    }
}

/// Reads one mount and compares it with those before it, so that an error is shown at the mount and not at the list.
struct Next<'a> {
    before: &'a [Granted],
}

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = Granted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Granted, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Next<'_> {
    type Value = Granted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mount, as `{ host = \"data\", guest = \"/data\" }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Granted, A::Error> {
        Granted::check(Written::deserialize(MapAccessDeserializer::new(map))?, self.before)
    }
}

/// A mount that a bundle asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    guest: GuestPath,
    #[serde(default)]
    access: Access,
}

/// `{ mounts = [{ guest = "/orders", access = "read" }], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    mounts: Vec<Asked>,
    /// Why it asks.
    #[serde(default)]
    pub(super) reason: String,
}

impl Request {
    /// What it asks for, in the words of [`Grant::lines`].
    pub(super) fn lines(&self) -> Vec<String> {
        self.mounts.iter().flat_map(|asked| lines(asked.access, &asked.guest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize)]
    struct Document<T> {
        value: T,
    }

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
        toml::from_str::<Document<T>>(&format!("value = {text}")).map(|document| document.value)
    }

    /// The message, and the text that the error points at.
    fn refused(text: &str) -> (String, String) {
        let error = read::<Grant>(text).unwrap_err();
        let document = format!("value = {text}");
        let place = error.span().map(|span| document[span].to_owned()).unwrap_or_default();
        (error.message().lines().next().unwrap_or_default().to_owned(), place)
    }

    #[test]
    fn a_grant_is_read() {
        let grant: Grant = read(
            r#"[{ host = "data", guest = "/data" }, { host = "/srv/out", guest = "/out", access = "write", quota = { files = 5 } }]"#,
        )
        .unwrap();
        assert_eq!(grant.lines(), ["read /data", "read /out", "write /out"]);
        let quota = grant.mounts[1].quota.unwrap();
        assert_eq!((quota.files, quota.bytes), (5, ByteSize::new(64 << 20)));
        let mut located = grant;
        located.locate(Path::new("/policies/desk"));
        assert_eq!(located.mounts[0].host, Path::new("/policies/desk/data"));
        assert_eq!(located.mounts[1].host, Path::new("/srv/out"));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let second = r#"{ host = "b", guest = "/a/b" }"#;
        let (message, place) = refused(&format!(r#"[{{ host = "a", guest = "/a" }}, {second}]"#));
        assert_eq!(message, "the mounts `/a` and `/a/b` lie one in the other");
        assert_eq!(place, second);
        let (message, _) = refused(r#"[{ host = "a", guest = "/a" }, { host = "b", guest = "/a" }]"#);
        assert_eq!(message, "two mounts are called `/a`");
        let mount = r#"{ host = "a", guest = "/a", quota = { files = 1 } }"#;
        let (message, place) = refused(&format!("[{mount}]"));
        assert_eq!(message, "a mount that is only read has no quota");
        assert_eq!(place, mount);
        assert_eq!(refused(r#"[{ host = "", guest = "/a" }]"#), ("this names no folder".to_owned(), "\"\"".to_owned()));
        assert_eq!(refused(r#"[{ host = "a", guest = "a" }]"#).1, "\"a\"");
        assert_eq!(refused(r#"[{ host = "a", guest = "/a", mode = "w" }]"#).1, "mode");
        assert_eq!(refused(r#"[{ host = "a", guest = "/a", access = "all" }]"#).1, "\"all\"");
        assert!(read::<Grant>(r#"[{ host = "a", guest = "/ab" }, { host = "a", guest = "/a" }]"#).is_ok());
    }

    #[test]
    fn a_request_is_read() {
        let request: Request =
            read(r#"{ mounts = [{ guest = "/a" }, { guest = "/b", access = "write" }], reason = "x" }"#).unwrap();
        assert_eq!(request.lines(), ["read /a", "read /b", "write /b"]);
        assert!(read::<Request>(r#"{ mounts = [{ guest = "/a", host = "/" }] }"#).is_err());
    }

    fn guest() -> impl Strategy<Value = GuestPath> {
        "/[abc]".prop_map(|path| path.parse().unwrap())
    }

    fn access() -> impl Strategy<Value = Access> {
        any::<bool>().prop_map(|write| if write { Access::Write } else { Access::Read })
    }

    fn grant() -> impl Strategy<Value = Grant> {
        proptest::collection::btree_map(guest(), access(), 0..4).prop_map(|mounts| {
            let granted = |(guest, access)| Granted {
                ground: Ground::Folder,
                host: PathBuf::from("/srv"),
                guest,
                quota: (access == Access::Write).then(Quota::default),
                labels: Labels::default(),
                accepts: Labels::default(),
            };
            Grant { mounts: mounts.into_iter().map(granted).collect() }
        })
    }

    fn request() -> impl Strategy<Value = Request> {
        proptest::collection::vec((guest(), access()), 0..4).prop_map(|mounts| Request {
            mounts: mounts.into_iter().map(|(guest, access)| Asked { guest, access }).collect(),
            reason: String::new(),
        })
    }

    proptest! {
        /// What is left is part of what was granted and part of what was asked for, and all that is in both is left.
        #[test]
        fn narrowing_never_widens(grant in grant(), request in request()) {
            let left = grant.narrow(&request).map(|left| left.lines()).unwrap_or_default();
            let (given, asked) = (grant.lines(), request.lines());
            let both: Vec<_> = given.into_iter().filter(|line| asked.contains(line)).collect();
            prop_assert_eq!(left, both);
        }
    }
}
