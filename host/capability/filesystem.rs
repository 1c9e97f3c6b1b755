//! `filesystem`: folders of the host that a component sees.
//!
//! The operator lists mounts; each is opened once for a store, which is an effect, `filesystem.mount`. Reading in it is
//! free. Every call that can change something is an effect, `filesystem.write`, and the bytes that then flow into an open
//! file are charged to the mount's quota. Not granted, a component sees no folders.
//!
//! | module | its part |
//! | --- | --- |
//! | `path` | what a guest may call a file |
//! | `descriptor` | what a guest holds, and reads |
//! | `change` | what it changes, with a permit |
//! | `answers` | what is recorded of that, and given again |
//! | `streams` | bytes that flow |
//! | `quota` | how much a mount holds |
//! | `failure` | what the guest is told |
//! | `interface` | the WIT interfaces on top |
//!
//! Paths are resolved by the kernel beneath the folder that the guest holds (`openat2`), so no link and no race leads
//! out. What a policy sees as `path` is what the guest called it: where links or hard links stand in a mount, a file has
//! several names, and a rule on names bounds names. The mount is the boundary.
//!
//! What leads out of a mount, and what is neither a file nor a folder, is answered with `access` and recorded as a refusal
//! of `filesystem.mount`: the guest reached for something that no mount gives it.

mod answers;
mod change;
mod descriptor;
mod failure;
mod grant;
mod interface;
mod path;
mod quota;
mod streams;

#[cfg(test)]
mod boundary_tests;
#[cfg(test)]
mod change_tests;
#[cfg(test)]
pub(crate) mod world;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;
use serde::Serialize;
use wasmtime::component::Linker;

use self::descriptor::Mounted;
use super::{Again, Capability, Lens, OpenError, Setting, Target, TaskState};
use crate::gate::{Actor, Durability, Effect, Gate, Guard, Permit};
use crate::label::{Carried, Labels};
use crate::manifest::GuestPath;
use crate::policy::judged::Judged;
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};

pub use self::descriptor::Descriptor;
pub use self::failure::Failed;
pub(crate) use self::grant::BESIDE;
pub use self::grant::{Access, Grant, Granted, Ground, Quota, Request};
pub use self::interface::Listing;
pub use self::quota::{Amount, Inode, Meter};

mod bindings {
    //! `wasi:filesystem` on our own descriptors. What can pass the gate is asynchronous.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package ambit:filesystem;
            world filesystem {
                import wasi:filesystem/types@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
            }
        ",
        imports: {
            "wasi:filesystem/types.[method]descriptor.write-via-stream": async | trappable,
            "wasi:filesystem/types.[method]descriptor.append-via-stream": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-size": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-times": async | trappable,
            "wasi:filesystem/types.[method]descriptor.write": async | trappable,
            "wasi:filesystem/types.[method]descriptor.create-directory-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.stat-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-times-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.link-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.open-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.readlink-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.remove-directory-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.rename-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.symlink-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.unlink-file-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.metadata-hash-at": async | trappable,
            default: trappable,
        },
        additional_derives: [serde::Serialize, serde::Deserialize],
        trappable_error_type: {
            "wasi:filesystem/types.error-code" => crate::capability::filesystem::Failed,
        },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:filesystem/types.descriptor": crate::capability::filesystem::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": crate::capability::filesystem::Listing,
        },
    });
}
#[cfg(test)]
pub(crate) use bindings::wasi::filesystem::types::DescriptorType;
use bindings::wasi::filesystem::{preopens, types};

/// See the module.
pub struct Filesystem;

/// Opens folders of the host.
pub trait Folders: Send + Sync {
    /// Opens the folder of a mount, and the meter of a writable one: the same for all stores that mount that folder.
    ///
    /// # Errors
    /// When it is not there, is no folder, cannot be read, or cannot be measured.
    fn open(&self, permit: Permit<Mount>) -> io::Result<Opened>;
}

/// A folder of the host, open.
#[derive(Debug)]
pub struct Opened {
    /// The folder. Its entries can be read.
    pub folder: Dir,
    /// What it holds, if it is to be written to.
    pub meter: Option<Arc<Meter>>,
    /// The labels of whoever writes to it, where those who read it are to carry them.
    pub gathered: Option<Arc<Carried>>,
}

/// A mount, as policies see it.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// What it stands on.
    pub ground: Ground,
    /// What the guest calls it.
    pub guest: GuestPath,
    /// The folder of the host; empty for a workspace.
    pub host: PathBuf,
    /// What may be done with it.
    pub access: Access,
}

impl Source {
    fn of(mount: &Granted) -> Self {
        Self { ground: mount.ground, guest: mount.guest.clone(), host: mount.host.clone(), access: mount.access() }
    }

    fn resource(&self) -> Resource {
        Resource::new("Mount", self.guest.as_str())
            .with("host", Attribute::String(self.host.to_string_lossy().into_owned()))
            .with("access", Attribute::String(self.access.as_str().to_owned()))
    }
}

/// A folder is mounted in a store.
#[derive(Clone, Debug, Serialize)]
pub struct Mount(pub Source);

impl Effect for Mount {
    type Grant = Grant;
    const ACTION: &'static str = "filesystem.mount";
    const DURABILITY: Durability = Durability::Inside;

    fn action(&self) -> &'static str {
        self.0.ground.mount_action()
    }

    fn resource(&self) -> Resource {
        self.0.resource()
    }

    fn asked(&self) -> Option<serde_json::Result<Vec<u8>>> {
        Some(serde_json::to_vec(&(&self.0.guest, self.0.access)))
    }

    fn covered(&self, grant: &Grant) -> bool {
        let Self(source) = self;
        let fits = |mount: &Granted| {
            mount.ground == source.ground && mount.host == source.host && mount.access() >= source.access
        };
        grant.mount(&source.guest).is_some_and(fits)
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.mount(&self.0.guest).map(|mount| mount.entry(Access::Read)).unwrap_or_default()
    }
}

/// A component changes something in a mount.
#[derive(Debug, Serialize)]
pub struct Write<T> {
    /// The mount.
    pub source: Source,
    /// What is done: the name of the function in WIT without `-at`, with `-from` and `-to` for its two paths.
    pub operation: &'static str,
    /// To what: the whole path, as the guest sees it.
    pub path: String,
    /// The rest of what is needed to do it.
    pub target: T,
}

impl<T: std::fmt::Debug + Serialize + Send + Sync> Effect for Write<T> {
    type Grant = Grant;
    const ACTION: &'static str = "filesystem.write";
    const DURABILITY: Durability = Durability::Outside;

    fn action(&self) -> &'static str {
        self.source.ground.write_action()
    }

    fn resource(&self) -> Resource {
        self.source.resource()
    }

    fn asked(&self) -> Option<serde_json::Result<Vec<u8>>> {
        Some(serde_json::to_vec(&(&self.source.guest, self.operation, &self.path, &self.target)))
    }

    fn lasts(&self) -> Option<&'static str> {
        (self.source.ground == Ground::Folder).then_some("it changed something in a folder that is not its own")
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        let operation = Attribute::String(self.operation.to_owned());
        vec![("operation", operation), ("path", Attribute::String(self.path.clone()))]
    }

    fn covered(&self, grant: &Grant) -> bool {
        let fits = |mount: &Granted| mount.ground == self.source.ground && mount.access() == Access::Write;
        grant.mount(&self.source.guest).is_some_and(fits)
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.mount(&self.source.guest).map(|mount| mount.entry(Access::Write)).unwrap_or_default()
    }

    fn may_show(&self) -> bool {
        self.source.ground.may_show()
    }

    fn accepts(&self, grant: &Grant) -> Option<Labels> {
        // Whoever reads from the mount later carries its labels: they may go there.
        Some(grant.mount(&self.source.guest).map(|mount| mount.accepts.and(&mount.labels)).unwrap_or_default())
    }
}

/// The folders that one store sees, whichever capability they are of: folders of the host, then the task's own.
#[derive(Debug, Default)]
pub struct Preopens(Mutex<Vec<Arc<Mounted>>>);

impl Preopens {
    /// Adds some behind those that are there.
    pub(crate) fn add(&self, mounted: Vec<Arc<Mounted>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(mounted);
    }

    /// Those that are there.
    fn all(&self) -> Vec<Arc<Mounted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a store holds: its mounts, in the order of the grants.
#[derive(Debug, Default)]
pub struct Mounts {
    preopens: Arc<Preopens>,
    /// Entries of folders that the guest is reading.
    listed: Arc<AtomicUsize>,
}

impl Capability for Filesystem {
    const NAME: &'static str = "filesystem";
    const SUMMARY: &'static str = "folders of the host, to read or to write";
    const ENTITIES: &'static str = "entity Mount { host: String, access: String };";
    const ACTIONS: &'static [Action] = &[
        Action { name: "filesystem.mount", resource: "Mount", context: "" },
        Action { name: "filesystem.write", resource: "Mount", context: "operation: String, path: String" },
    ];
    const INTERFACES: &'static [&'static str] = &["wasi:filesystem/types", "wasi:filesystem/preopens"];
    const POWERLESS: bool = true;
    type Grant = Grant;
    type Request = Request;
    type State = Mounts;

    fn locate(grant: &mut Grant, base: &std::path::Path) {
        grant.locate(base);
    }

    fn given(grant: &Grant) -> Vec<String> {
        grant.lines()
    }

    fn lasting(grant: &Grant) -> Vec<String> {
        let writable =
            grant.mounts.iter().filter(|mount| mount.ground == Ground::Folder && mount.access() == Access::Write);
        writable.map(|mount| mount.guest.to_string()).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        request.lines()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        grant.narrow(request)
    }

    fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
        find(grant, action, resource)
    }

    fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
        again(grant, judged)
    }

    fn powerless(setting: &Setting<'_>) -> Option<Mounts> {
        Some(Mounts { preopens: setting.store.of(), listed: Arc::default() })
    }

    async fn open(guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Mounts, OpenError> {
        let mounted = mount_all(guard, setting.ports.folders.as_ref(), setting.gate, setting.actor).await?;
        let preopens: Arc<Preopens> = setting.store.of();
        preopens.add(mounted);
        Ok(Mounts { preopens, listed: Arc::default() })
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        types::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        preopens::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

/// What one of the two actions on the mount of that name would act on.
pub(crate) fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
    let source = Source::of(grant.mount(&resource.parse().ok()?)?);
    if action == source.ground.mount_action() {
        return Target::of(&Mount(source), grant);
    }
    Target::of(&Write { source, operation: "", path: String::new(), target: () }, grant)
}

/// What one of the two actions that was judged before would act on: the same folder, under the same name, with the access
/// that the grant gives now.
pub(crate) fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
    let mount = grant.mount(&judged.resource.name.parse().ok()?)?;
    let host = judged.resource.attributes.iter().find_map(|(name, value)| match value {
        Attribute::String(host) if name == "host" => Some(PathBuf::from(host)),
        _ => None,
    });
    let host = host?;
    let there = |folder: &std::path::Path, host: &std::path::Path| crate::config::plain(&folder.join(host));
    let same = there(&judged.folder, &host) == there(crate::config::working_folder(), &mount.host);
    if mount.ground == Ground::Folder && !same {
        return None;
    }
    let resource = Source { host, ..Source::of(mount) }.resource();
    if judged.action == mount.ground.mount_action() {
        return Some(Target { resource, accepts: None }.into());
    }
    let writes = judged.action == mount.ground.write_action() && mount.access() == Access::Write;
    writes.then(|| Target { resource, accepts: Some(mount.accepts.and(&mount.labels)) }.into())
}

/// Mounts what a grant lists.
pub(crate) async fn mount_all(
    guard: Guard<'_, Grant>,
    folders: &dyn Folders,
    gate: &Arc<Gate>,
    actor: &Arc<Actor>,
) -> Result<Vec<Arc<Mounted>>, OpenError> {
    let grant = Arc::new(guard.grant().cloned().unwrap_or_default());
    let mut all = Vec::new();
    for granted in &grant.mounts {
        let source = Source::of(granted);
        let mounted = guard.renew(Mount(source.clone()), async |permit| {
            let unavailable = |error: io::Error| OpenError::Unavailable {
                what: match source.ground {
                    Ground::Folder => {
                        format!("the folder `{}` cannot be mounted at `{}`", source.host.display(), source.guest)
                    }
                    Ground::Workspace => format!("the workspace cannot be mounted at `{}`", source.guest),
                },
                source: Box::new(error),
            };
            let opened = folders.open(permit).map_err(unavailable)?;
            let mounted = Mounted::new(source.clone(), opened, (&grant, granted.quota), gate, actor);
            guard.gain(&granted.labels);
            let mounted = mounted.map_err(unavailable)?;
            mounted.touch();
            Ok::<_, OpenError>(mounted)
        });
        all.push(Arc::new(mounted.await?));
    }
    Ok(all)
}
