//! The folders of tasks: made when they are mounted, gone with their tasks.
//!
//! They lie in the home, `workspaces/<task>`, readable by their owner alone. The process that made one keeps it locked
//! (`flock` on the folder itself), so that what is worked in can be told from what a process left that was killed: that is
//! removed when the home is opened next. Nothing that a guest made is followed or held while a folder is emptied: folders in
//! folders are moved up, so that neither their depth nor their paths matter.

use std::ffi::OsString;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::keep::{Copied, Destination, copy};
use crate::capability::filesystem::{Folders, Ground, Meter, Mount, Opened};
use crate::config::Home;
use crate::gate::Permit;
use crate::label::{Carried, Labels};
use crate::leak::Leaks;

/// Where they lie in the home.
const ALL: &str = "workspaces";

/// The folders of a home's tasks.
#[derive(Debug)]
pub struct Workspaces {
    home: Arc<Dir>,
}

/// The folder of one task. It is there from when it is mounted first until [`TaskFolder::remove`], or until this is dropped.
#[derive(Debug)]
pub struct TaskFolder {
    home: Arc<Dir>,
    task: Arc<str>,
    standing: Mutex<Standing>,
    /// The labels of whoever changed something in it.
    gathered: Arc<Carried>,
}

#[derive(Debug)]
enum Standing {
    /// Nobody has mounted it.
    Unmade,
    /// It is there.
    Made { folder: Dir, meter: Arc<Meter> },
    /// The task has ended.
    Gone,
}

impl Workspaces {
    /// Those of a home; what was left behind by processes that are no more is removed.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn open(home: &Home) -> io::Result<Self> {
        let workspaces = Self { home: Arc::new(home.dir().try_clone()?) };
        workspaces.sweep()?;
        Ok(workspaces)
    }

    /// The folder of a task, which nobody has mounted yet.
    pub fn of(&self, task: &Arc<str>) -> Arc<TaskFolder> {
        let (home, task, standing) = (Arc::clone(&self.home), Arc::clone(task), Mutex::new(Standing::Unmade));
        Arc::new(TaskFolder { home, task, standing, gathered: Arc::default() })
    }

    fn sweep(&self) -> io::Result<()> {
        let all = match enter(&self.home, ALL.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            all => all?,
        };
        for (name, folder) in abandoned(&all)? {
            empty(&folder)?;
            all.remove_dir(name)?;
        }
        Ok(())
    }
}

/// The folders that no process holds. From now on this one does, so that no other removes them as well.
fn abandoned(all: &Dir) -> io::Result<Vec<(OsString, Dir)>> {
    flock(all, FlockOperation::LockExclusive)?;
    let mut abandoned = Vec::new();
    for (name, is_folder) in entries(all)? {
        if !is_folder {
            all.remove_file(name)?;
            continue;
        }
        let folder = match enter(all, &name) {
            // Its task has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder?,
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            locked => {
                locked?;
                abandoned.push((name, folder));
            }
        }
    }
    flock(all, FlockOperation::Unlock)?;
    Ok(abandoned)
}

impl Folders for TaskFolder {
    fn open(&self, permit: Permit<Mount>) -> io::Result<Opened> {
        let Mount(source) = permit.redeem();
        if source.ground != Ground::Workspace {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no workspace"));
        }
        let (folder, meter) = self.folder()?;
        Ok(Opened { folder, meter: Some(meter), gathered: Some(Arc::clone(&self.gathered)) })
    }
}

impl TaskFolder {
    fn folder(&self) -> io::Result<(Dir, Arc<Meter>)> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*standing, Standing::Unmade) {
            *standing = Standing::Made { folder: make(&self.home, &self.task)?, meter: Arc::default() };
        }
        let Standing::Made { folder, meter } = &*standing else {
            return Err(io::Error::other("the task has ended"));
        };
        Ok((folder.try_clone()?, Arc::clone(meter)))
    }

    /// The labels of whoever changed something in it.
    pub fn labels(&self) -> Labels {
        self.gathered.now()
    }

    /// Copies its regular files; none when nobody has mounted it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn copy(&self, to: &Destination, leaks: &Arc<Leaks>) -> io::Result<Option<Copied>> {
        match &*self.standing.lock().unwrap_or_else(PoisonError::into_inner) {
            Standing::Made { folder, .. } => copy(folder, to, leaks).map(Some),
            Standing::Unmade | Standing::Gone => Ok(None),
        }
    }

    /// Removes it with all that is in it. It is not made again.
    ///
    /// # Errors
    /// When the disk fails. What is left is removed when the home is opened next.
    pub fn remove(&self) -> io::Result<()> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let Standing::Made { folder, .. } = std::mem::replace(&mut *standing, Standing::Gone) else { return Ok(()) };
        empty(&folder)?;
        enter(&self.home, ALL.as_ref())?.remove_dir(&*self.task)
    }
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        // Only where the task's end was not come to: nobody is left to be told.
        let _ = self.remove();
    }
}

/// An empty folder in place of any other: what it would hold is told by what was recorded.
#[derive(Debug)]
pub struct InPlace(pub Arc<TaskFolder>);

impl Folders for InPlace {
    fn open(&self, permit: Permit<Mount>) -> io::Result<Opened> {
        let Mount(_) = permit.redeem();
        Ok(Opened { folder: self.0.folder()?.0, meter: None, gathered: None })
    }
}

/// Makes the folder of a task, and locks it.
fn make(home: &Dir, task: &str) -> io::Result<Dir> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match home.create_dir_with(ALL, &builder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let all = enter(home, ALL.as_ref())?;
    // Nobody looks for what was left behind between the folder's making and its locking.
    flock(&all, FlockOperation::LockExclusive)?;
    all.create_dir_with(task, &builder)?;
    let folder = enter(&all, task.as_ref())?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

/// Opens a folder in a folder, and never what a link leads to. Its entries can be read.
pub(super) fn enter(parent: &Dir, name: &std::ffi::OsStr) -> io::Result<Dir> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
}

/// The names in a folder, and whether they are of folders.
fn entries(folder: &Dir) -> io::Result<Vec<(OsString, bool)>> {
    let named = |entry: io::Result<cap_std::fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), entry.file_type()?.is_dir()))
    };
    folder.entries()?.map(named).collect()
}

/// Removes all that is in a folder.
fn empty(root: &Dir) -> io::Result<()> {
    let mut names = (0_u64..).map(|number| number.to_string());
    loop {
        let mut folders = Vec::new();
        for (name, is_folder) in entries(root)? {
            if is_folder { folders.push(name) } else { root.remove_file(name)? }
        }
        if folders.is_empty() {
            return Ok(());
        }
        for name in folders {
            clear(&enter(root, &name)?, root, &mut names)?;
            root.remove_dir(name)?;
        }
    }
}

/// Removes what is in a folder; folders in it are moved up to `root`, under new names.
fn clear(folder: &Dir, root: &Dir, names: &mut impl Iterator<Item = String>) -> io::Result<()> {
    for (name, is_folder) in entries(folder)? {
        if !is_folder {
            folder.remove_file(name)?;
            continue;
        }
        for free in names.by_ref() {
            match folder.rename(&name, root, &free).map_err(|error| (Errno::from_io_error(&error), error)) {
                // The guest has something of that name. An empty folder would be replaced, which is as good.
                Err((Some(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR), _)) => {}
                Err((_, error)) => return Err(error),
                Ok(()) => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::filesystem::world::{FOLLOW, PERMIT, Store, World, quota};
    use crate::capability::filesystem::{DescriptorType, Granted};
    use crate::grant::Limits;

    fn home() -> (tempfile::TempDir, Workspaces) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&folder.path().join("home"))).unwrap();
        (folder, Workspaces::open(&home).unwrap())
    }

    fn left(workspaces: &Workspaces) -> Vec<OsString> {
        entries(&workspaces.home.open_dir(ALL).unwrap()).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_folder_is_emptied_whatever_is_in_it_and_nothing_is_followed() {
        let (_folder, workspaces) = home();
        workspaces.home.write("secret", "secret").unwrap();
        let root = make(&workspaces.home, "T").unwrap();
        root.symlink_contents("../../secret", "link").unwrap();
        root.symlink_contents("..", "up").unwrap();
        root.symlink_contents("/etc", "etc").unwrap();
        // Names that emptying would take, a folder among them that holds something, and one that holds nothing.
        root.create_dir_all("0/x/y").unwrap();
        root.create_dir("1").unwrap();
        root.write("2", "").unwrap();
        root.write("0/x/file", "").unwrap();
        root.symlink_contents("../../..", "0/x/up").unwrap();
        // Deeper than one path can say.
        let (mut deep, name) = (root.try_clone().unwrap(), "n".repeat(200));
        for _ in 0..60 {
            deep.create_dir(&name).unwrap();
            deep = deep.open_dir(&name).unwrap();
        }
        deep.write("leaf", "").unwrap();
        empty(&root).unwrap();
        assert!(entries(&root).unwrap().is_empty());
        assert_eq!(workspaces.home.read_to_string("secret").unwrap(), "secret");
    }

    #[test]
    fn what_nobody_holds_is_removed_and_what_somebody_holds_is_not() {
        let (folder, workspaces) = home();
        let held = make(&workspaces.home, "HELD").unwrap();
        held.write("file", "").unwrap();
        drop(make(&workspaces.home, "LEFT").unwrap());
        workspaces.home.create_dir_all("workspaces/LEFT/a/b").unwrap();
        let again = Home::open(Some(&folder.path().join("home"))).unwrap();
        let again = Workspaces::open(&again).unwrap();
        assert_eq!(left(&again), ["HELD"]);
        assert!(held.exists("file"));
        drop(held);
        again.sweep().unwrap();
        assert!(left(&again).is_empty());
    }

    #[test]
    fn a_link_in_the_place_of_a_task_is_removed_and_not_followed() {
        let (_folder, workspaces) = home();
        drop(make(&workspaces.home, "T").unwrap());
        workspaces.home.create_dir("kept").unwrap();
        workspaces.home.write("kept/file", "").unwrap();
        workspaces.home.symlink_contents("../kept", "workspaces/link").unwrap();
        workspaces.sweep().unwrap();
        assert!(left(&workspaces).is_empty());
        assert!(workspaces.home.exists("kept/file"));
    }

    #[test]
    fn the_folder_goes_when_its_task_is_dropped() {
        let (_folder, workspaces) = home();
        let task = workspaces.of(&"T".into());
        let folder = make(&task.home, "T").unwrap();
        folder.write("file", "").unwrap();
        *task.standing.lock().unwrap() = Standing::Made { folder, meter: Arc::default() };
        assert_eq!(left(&workspaces), ["T"]);
        drop(task);
        assert!(left(&workspaces).is_empty());
    }

    #[test]
    fn a_folder_is_its_owners_alone() {
        use cap_std::fs::MetadataExt as _;
        let (_folder, workspaces) = home();
        let folder = make(&workspaces.home, "T").unwrap();
        assert_eq!(folder.dir_metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(workspaces.home.metadata(ALL).unwrap().mode() & 0o777, 0o700);
    }

    /// Two stores of one task, each with the workspace under a name of its own.
    fn stores(world: &World, bytes: [u64; 2]) -> [Store; 2] {
        let accepts: Labels = std::iter::once("confidential".parse().unwrap()).collect();
        [("/w", bytes[0]), ("/other", bytes[1])].map(|(guest, bytes)| {
            let granted = world.granted("", guest, quota(bytes, 10));
            let mount = Granted { ground: Ground::Workspace, host: "".into(), accepts: accepts.clone(), ..granted };
            world.store_of(vec![mount], Limits::default(), PERMIT)
        })
    }

    fn world(workspaces: &Workspaces) -> (World, Arc<TaskFolder>) {
        let task = workspaces.of(&"T".into());
        (World::with(Box::new(Of(Arc::clone(&task)))), task)
    }

    struct Of(Arc<TaskFolder>);

    impl Folders for Of {
        fn open(&self, permit: Permit<Mount>) -> io::Result<Opened> {
            self.0.open(permit)
        }
    }

    #[test]
    fn stores_of_a_task_see_one_folder_under_one_meter_and_their_own_quotas() {
        let (_folder, workspaces) = home();
        let (world, _task) = world(&workspaces);
        let [mut one, mut other] = stores(&world, [100, 50]);
        let file = one.create("a").unwrap();
        one.write(&file, &[1; 45], 0).unwrap();
        assert_eq!(other.kind("a", FOLLOW), Ok(DescriptorType::RegularFile));
        let file = other.create("b").unwrap();
        assert!(other.write(&file, &[1; 6], 0).is_err(), "45 are there, and 50 may be");
        assert_eq!(other.refusals(), ["workspace.write quota"]);
        assert_eq!(other.write(&file, &[1; 5], 0), Ok(5));
        let file = one.create("c").unwrap();
        assert_eq!(one.write(&file, &[1; 50], 0), Ok(50));
        assert_eq!(one.used(), other.used());
    }

    #[test]
    fn what_one_store_leaves_labels_every_other_that_looks() {
        let (_folder, workspaces) = home();
        let (world, task) = world(&workspaces);
        let [mut one, mut other] = stores(&world, [100, 100]);
        let confidential: Labels = std::iter::once("confidential".parse().unwrap()).collect();
        let held = other.create("held").unwrap();
        one.create("plain").unwrap();
        assert_eq!(other.read(&held), "");
        assert!(other.actor.labels.now().is_empty());
        one.actor.labels.gain(&confidential);
        one.create("marked").unwrap();
        assert_eq!(task.labels(), confidential);
        // A look at a handle that it had is enough, and closes what it had open for writing.
        assert!(other.write(&held, b"x", 0).is_err());
        assert_eq!(other.actor.labels.now(), confidential);
        assert_eq!(other.refusals(), ["workspace.write denied"]);
        let [third, _] = stores(&world, [100, 100]);
        assert_eq!(third.actor.labels.now(), confidential, "carried from when it is mounted");
    }

    #[test]
    fn what_is_not_accepted_is_not_written() {
        let (_folder, workspaces) = home();
        let (world, task) = world(&workspaces);
        let [mut one, _] = stores(&world, [100, 100]);
        one.actor.labels.gain(&std::iter::once("pii".parse().unwrap()).collect());
        assert!(one.create("a").is_err());
        assert_eq!(one.refusals(), ["workspace.write denied"]);
        assert!(task.labels().is_empty());
    }

    #[test]
    fn a_folder_of_the_host_is_none_of_a_task_and_a_task_that_ended_has_none() {
        let (_folder, workspaces) = home();
        let (world, task) = world(&workspaces);
        let (gate, _) = world.gate(Limits::default(), PERMIT);
        let workspace = || Granted { ground: Ground::Workspace, ..world.granted("", "/w", quota(1, 1)) };
        assert!(world.mount_one(&gate, world.granted("m", "/m", quota(1, 1))).is_err());
        assert!(world.mount_one(&gate, workspace()).is_ok());
        task.remove().unwrap();
        assert!(world.mount_one(&gate, workspace()).is_err());
        assert!(left(&workspaces).is_empty());
    }
}
