//! Which tasks run: each is held by the process that runs it, with a lock that ends with the process.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::workspace::enter;
use crate::config::Home;

/// Where the locks lie in the home.
const ALL: &str = "running";

/// The tasks of a home that run.
#[derive(Debug)]
pub struct Running(Arc<Dir>);

/// A task is run by this process, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    all: Dir,
    task: String,
    _locked: cap_std::fs::File,
}

impl Running {
    /// Those of a home.
    ///
    /// # Errors
    /// When there is no place for the locks.
    pub fn open(home: &Home) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match home.dir().create_dir_with(ALL, &builder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        Ok(Self(Arc::new(enter(home.dir(), ALL.as_ref())?)))
    }

    /// Takes hold of a task. None when a process holds it, perhaps this one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take(&self, task: &str) -> io::Result<Option<Hold>> {
        let all = self.0.try_clone()?;
        let mut options = OpenOptions::new();
        options.create(true).write(true).mode(0o600);
        let locked = all.open_with(task, &options)?;
        match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            taken => {
                taken?;
                Ok(Some(Hold { all, task: task.to_owned(), _locked: locked }))
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever takes what is left behind looks at how its task stands.
        let _ = self.all.remove_file(&self.task);
    }
}
