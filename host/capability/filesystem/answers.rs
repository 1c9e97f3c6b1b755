//! What a mount answered, recorded and given again.
//!
//! A folder of the host may be another one when a task goes on, so all that it answered is recorded. The task's own folder
//! is made again, empty, and everything is done there once more; what a file system makes up by itself (times, numbers of
//! files) is recorded there as well.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::descriptor::{Descriptor, Mounted};
use super::{Failed, Grant, Ground, Write};
use crate::gate::{Guard, Permit};

/// What a descriptor is, for the one that is given again in its place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    File { readable: bool, writable: bool },
    Folder,
}

/// What a change comes to, as it is recorded.
pub(super) trait Recorded: Sized {
    type Told: Serialize + DeserializeOwned;
    fn told(&self) -> Self::Told;
    /// It, where it was had before.
    fn again(told: Self::Told, mount: &std::sync::Arc<Mounted>, path: &str) -> Result<Self, Failed>;
}

impl Recorded for () {
    type Told = ();

    fn told(&self) {}

    fn again((): (), _mount: &std::sync::Arc<Mounted>, _path: &str) -> Result<(), Failed> {
        Ok(())
    }
}

impl Recorded for Descriptor {
    type Told = Kind;

    fn told(&self) -> Kind {
        match self {
            Self::File(file) => Kind::File { readable: file.readable, writable: file.writable },
            Self::Folder(_) => Kind::Folder,
        }
    }

    fn again(told: Kind, mount: &std::sync::Arc<Mounted>, path: &str) -> Result<Self, Failed> {
        Self::recalled(told, mount, path)
    }
}

/// What a file or folder of a mount answers, unless it was answered before.
pub(super) fn told<T>(
    guard: Guard<'_, Grant>,
    what: &'static str,
    arguments: &impl Serialize,
    ask: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed>
where
    T: Serialize + DeserializeOwned,
{
    let arguments = serde_json::to_vec(arguments).unwrap_or_default();
    guard.recall(what, &arguments, ask)?
}

/// As [`told`], of what the task's own folder answers the same way again.
pub(super) fn told_of_folders<T>(
    guard: Guard<'_, Grant>,
    mount: &Mounted,
    what: &'static str,
    arguments: &impl Serialize,
    ask: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed>
where
    T: Serialize + DeserializeOwned,
{
    match mount.source.ground {
        Ground::Workspace => ask(),
        Ground::Folder => told(guard, what, arguments, ask),
    }
}

/// Asks the gate for a change, and makes it, unless it was made before: in the task's own folder it is made again.
pub(super) async fn change<T, R>(
    guard: Guard<'_, Grant>,
    mount: &std::sync::Arc<Mounted>,
    write: Write<T>,
    act: fn(Permit<Write<T>>) -> Result<R, Failed>,
) -> Result<R, Failed>
where
    T: std::fmt::Debug + Serialize + Send + Sync,
    R: Recorded,
{
    let path = write.path.clone();
    let execute = async |permit| {
        mount.mark();
        act(permit)
    };
    match mount.source.ground {
        Ground::Workspace => {
            guard.runs_again();
            guard.renew(write, execute).await
        }
        Ground::Folder => {
            let (told, again) = (R::told, |told| R::again(told, mount, &path));
            guard.answer_as(write, execute, told, again).await
        }
    }
}
