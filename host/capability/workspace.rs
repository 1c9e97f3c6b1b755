//! `workspace`: a folder of the task's own, empty at its start and gone at its end.
//!
//! The guest sees it as it sees a writable mount of `filesystem`, by the same interface and the same code: this capability
//! adds a mount to the store's, with a grant and actions of its own. All stores of a task that are granted a workspace see the
//! same folder, each under its own guest path, and one meter counts what is in it; each grant's quota bounds how much that may
//! be when its component writes. It is made when it is mounted first.
//!
//! The folder lies inside of the task, and passes labels on: whoever changes something in it leaves its labels there, and
//! whoever mounts it, or looks at anything in it, carries them from then on.

use serde::Deserialize;
use wasmtime::component::Linker;

use super::filesystem::{self, BESIDE, Filesystem, Granted, Ground, Preopens, Quota, mount_all};
use super::{Again, Capability, OpenError, Setting, Target, TaskState};
use crate::gate::Guard;
use crate::label::Labels;
use crate::manifest::{GuestPath, Sections};
use crate::policy::judged::Judged;
use crate::policy::schema::Action;

/// See the module.
pub struct Workspace;

/// `workspace = { guest = "/workspace", quota = { bytes = "64MiB", files = 10_000 }, accepts = ["confidential"] }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename = "workspace")]
struct Written {
    guest: GuestPath,
    #[serde(default)]
    quota: Quota,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    accepts: Labels,
}

/// What the operator allows: a grant of mounts, with one mount in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Grant(filesystem::Grant);

impl From<Written> for Grant {
    fn from(written: Written) -> Self {
        let Written { guest, quota, labels, accepts } = written;
        let (ground, host) = (Ground::Workspace, std::path::PathBuf::new());
        Self(filesystem::Grant { mounts: vec![Granted { ground, host, guest, quota: Some(quota), labels, accepts }] })
    }
}

impl Grant {
    /// What the guest calls it.
    fn guests(&self) -> impl Iterator<Item = &GuestPath> {
        self.0.mounts.iter().map(|mount| &mount.guest)
    }
}

/// `workspace = { guest = "/workspace", reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What the guest calls it.
    guest: GuestPath,
    /// Why it asks.
    #[serde(default)]
    reason: String,
}

/// What a store holds of its own: nothing, for the mount is among those of `filesystem`.
#[derive(Debug)]
pub struct Opened;

fn line(guest: &GuestPath) -> String {
    format!("work in {guest}")
}

impl Capability for Workspace {
    const NAME: &'static str = "workspace";
    const SUMMARY: &'static str = "a folder of the task's own, thrown away at its end";
    /// Its resource is a `Mount`, as of `filesystem`.
    const ENTITIES: &'static str = "";
    const ACTIONS: &'static [Action] = &[
        Action { name: "workspace.mount", resource: "Mount", context: "" },
        Action { name: "workspace.write", resource: "Mount", context: "operation: String, path: String" },
    ];
    /// Those of `filesystem`, which links them in every store, with power or without.
    const INTERFACES: &'static [&'static str] = &[];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn conflict(grant: &Grant, grants: &Sections) -> Option<(String, &'static str)> {
        let mounts = &grants.get::<filesystem::Grant>(Filesystem::NAME)?.mounts;
        let meets = grant.guests().find_map(|guest| mounts.iter().find_map(|mount| mount.meets(guest)));
        meets.map(|message| (message, BESIDE))
    }

    fn given(grant: &Grant) -> Vec<String> {
        grant.guests().map(line).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        vec![line(&request.guest)]
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        grant.guests().any(|guest| *guest == request.guest).then(|| grant.clone())
    }

    fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
        filesystem::find(&grant.0, action, resource)
    }

    fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
        filesystem::again(&grant.0, judged)
    }

    async fn open(guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        if let Some(Grant(grant)) = guard.grant() {
            let folders = setting.ports.workspace.as_ref();
            let mounted = mount_all(guard.under(grant), folders, setting.gate, setting.actor).await?;
            setting.store.of::<Preopens>().add(mounted);
        }
        Ok(Opened)
    }

    fn link(_linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        Ok(())
    }
}
