//! Opens the folders that are mounted: the one place where a path of the host becomes a folder of a guest.
//!
//! A writable folder has one meter for all stores that mount it, found by device and inode. It is measured when the first
//! of them opens it, and forgotten with the last.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cap_std::fs::{Dir, MetadataExt as _};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use crate::capability::filesystem::{Access, Folders, Ground, Meter, Mount, Opened, Source};
use crate::gate::Permit;

/// The meters of folders that are mounted for writing, by device and inode.
type Meters = HashMap<(u64, u64), Weak<Meter>>;

/// The folders of this machine.
#[derive(Debug, Default)]
pub struct HostFolders {
    meters: Arc<Mutex<Meters>>,
    /// Folders that are never mounted, nor any folder that holds them or lies in them: the home.
    private: Arc<[PathBuf]>,
    /// Folders that are never mounted for writing: the policy's, the bundle's.
    fixed: Arc<[PathBuf]>,
}

impl Folders for HostFolders {
    fn open(&self, permit: Permit<Mount>) -> io::Result<Opened> {
        let Mount(source) = permit.redeem();
        self.check(&source)?;
        #[expect(clippy::disallowed_methods, reason = "a folder of the host is opened here, with the permit to do so")]
        let place = Dir::open_ambient_dir(&source.host, cap_std::ambient_authority())?;
        // What was opened names the folder and no more; its entries are read, and it is flushed, through another handle.
        let folder = Dir::from_std_file(place.open(".")?.into_std());
        if fstatfs(&folder)?.f_type == PROC_SUPER_MAGIC {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it holds parts of processes, and no files"));
        }
        let meter = (source.access == Access::Write).then(|| self.meter(&folder)).transpose()?;
        Ok(Opened { folder, meter, gathered: None })
    }
}

impl HostFolders {
    /// The folders of this machine, but for ambit's own home.
    pub fn outside_of(home: &Path) -> Self {
        Self { private: [home.to_owned()].into(), ..Self::default() }
    }

    /// These folders, where some cannot be mounted for writing.
    #[must_use]
    pub fn fixing(&self, folders: Arc<[PathBuf]>) -> Self {
        Self { meters: Arc::clone(&self.meters), private: Arc::clone(&self.private), fixed: folders }
    }

    /// No guest reaches the host's records, state and compiled code, and none changes what decides on it.
    fn check(&self, source: &Source) -> io::Result<()> {
        if source.ground != Ground::Folder {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no folder of the host"));
        }
        let Some(host) = crate::config::canonical(&source.host) else { return Ok(()) };
        let meets = |own: &PathBuf| own.starts_with(&host) || host.starts_with(own);
        let refuse = |what| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        if self.private.iter().any(meets) {
            return refuse("it meets the home folder of ambit, which no guest may reach");
        }
        let mut fixed = self.fixed.iter().filter_map(|folder| crate::config::canonical(folder));
        if source.access == Access::Write && fixed.any(|own| own.starts_with(&host)) {
            return refuse("it holds the policy or the bundle, which no guest may change");
        }
        Ok(())
    }

    fn meter(&self, folder: &Dir) -> io::Result<Arc<Meter>> {
        let metadata = folder.dir_metadata()?;
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = meters.entry((metadata.dev(), metadata.ino())).or_default();
        if let Some(meter) = known.upgrade() {
            return Ok(meter);
        }
        // Under the lock: a second store must not write to the folder while it is measured for the first.
        let meter = Arc::new(Meter::measure(folder)?);
        *known = Arc::downgrade(&meter);
        meters.retain(|_, meter| meter.strong_count() > 0);
        Ok(meter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::OpenError;
    use crate::capability::filesystem::Amount;
    use crate::capability::filesystem::world::{PERMIT, World, quota};
    use crate::grant::Limits;

    fn world() -> World {
        World::with(Box::new(HostFolders::default()))
    }

    #[test]
    fn stores_that_mount_one_folder_share_its_meter() {
        let world = world();
        world.dir.symlink("m", "same").unwrap();
        let mut one = world.writer(100, 10);
        let same = vec![world.granted("same", "/elsewhere", quota(100, 10))];
        let mut other = world.store_of(same, Limits::default(), PERMIT);
        let file = one.create("a").unwrap();
        one.write(&file, &[1; 90], 0).unwrap();
        let file = other.create("b").unwrap();
        assert!(other.write(&file, &[1; 11], 0).is_err());
        assert_eq!(other.write(&file, &[1; 10], 0), Ok(10));
        drop((one, other));
        assert_eq!(world.writer(100, 10).used(), Amount { bytes: 100, files: 2 }, "measured anew");
    }

    #[test]
    fn a_mount_that_is_not_there_is_unavailable() {
        let world = world();
        world.dir.write("file", "").unwrap();
        let (gate, _) = world.gate(Limits::default(), PERMIT);
        for host in ["none", "file", "/proc"] {
            let mounted = world.mount_one(&gate, world.granted(host, "/m", None));
            assert!(matches!(mounted, Err(OpenError::Unavailable { .. })), "{host}");
        }
    }
}
