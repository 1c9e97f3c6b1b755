//! The quota of a writable mount: how much its folder holds, measured once and then kept up to date.
//!
//! One [`Meter`] stands for one folder of the host, however many stores of the process mount it, and its lock is held
//! while something that counts is changed: what was checked is what happens. Lengths count, not blocks, so that a file
//! with a hole of a terabyte has a terabyte. Files, folders and links count as one each.
//!
//! A file whose last name is removed while a guest still holds it open goes on counting until it is closed: else a guest
//! could fill the disk with files that nobody can see. What other processes do in the folder meanwhile is not seen.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::{Dir, Metadata, MetadataExt as _};

use super::failure::Failed;
use super::grant::Quota;

/// The most files, folders and links that are counted when a folder is measured.
const MOST_FILES: u64 = 1_000_000;

/// The longest path that is opened at once, in bytes; a deeper folder is reached in steps.
const STEP: usize = 2048;

/// Names one file of the host, whatever its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// The file that the metadata is of.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }

    /// The device that the file is on.
    pub fn device(self) -> u64 {
        self.device
    }

    /// Its number there.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// Part of what a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Lengths of files.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

impl Amount {
    /// So many bytes, in files that are there already.
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes, files: 0 }
    }

    /// One file, folder or link of that length.
    pub fn file(bytes: u64) -> Self {
        Self { bytes, files: 1 }
    }
}

/// What one folder of the host holds.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Account>);

/// The meter's account, locked.
#[derive(Debug, Default)]
pub struct Account {
    used: Amount,
    /// How many descriptors hold a file.
    holders: HashMap<Inode, usize>,
}

impl Meter {
    /// Counts what is in a folder. Links are counted and not followed.
    ///
    /// # Errors
    /// When part of the folder cannot be read, or it holds more than a million files: a quota on what cannot be counted
    /// would be none.
    pub fn measure(folder: &Dir) -> io::Result<Self> {
        let mut used = Amount::default();
        let mut linked = HashSet::new();
        let mut folders = vec![PathBuf::from(".")];
        while let Some(path) = folders.pop() {
            for entry in reach(folder, &path)?.entries()? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                used.files += 1;
                if used.files > MOST_FILES {
                    return Err(io::Error::other("the folder holds more than a million files"));
                }
                if metadata.is_dir() {
                    folders.push(path.join(entry.file_name()));
                } else if metadata.nlink() < 2 || linked.insert(Inode::of(&metadata)) {
                    used.bytes = used.bytes.saturating_add(metadata.len());
                }
            }
        }
        Ok(Self(Mutex::new(Account { used, holders: HashMap::new() })))
    }

    /// What it holds now.
    pub fn used(&self) -> Amount {
        self.lock().used
    }

    /// Locks the account, for as long as one change takes.
    pub fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a folder however deep it lies: guests can move folders into each other until a path is too long for one call.
fn reach(folder: &Dir, path: &Path) -> io::Result<Dir> {
    let mut reached = folder.try_clone()?;
    let mut step = PathBuf::new();
    for name in path {
        if !step.as_os_str().is_empty() && step.as_os_str().len() + name.len() > STEP {
            reached = reached.open_dir(&step)?;
            step = PathBuf::new();
        }
        step.push(name);
    }
    reached.open_dir(&step)
}

impl Account {
    /// Is there room for as much more?
    ///
    /// # Errors
    /// When there is not.
    pub fn room(&self, quota: Quota, more: Amount) -> Result<(), Failed> {
        let fits = |used: u64, more: u64, most: u64| more == 0 || used.checked_add(more).is_some_and(|sum| sum <= most);
        let fits =
            fits(self.used.bytes, more.bytes, quota.bytes.bytes()) && fits(self.used.files, more.files, quota.files);
        if fits { Ok(()) } else { Err(Failed::Quota) }
    }

    /// It has come.
    pub fn add(&mut self, more: Amount) {
        self.used.bytes = self.used.bytes.saturating_add(more.bytes);
        self.used.files = self.used.files.saturating_add(more.files);
    }

    /// It is gone.
    pub fn remove(&mut self, less: Amount) {
        self.used.bytes = self.used.bytes.saturating_sub(less.bytes);
        self.used.files = self.used.files.saturating_sub(less.files);
    }

    /// A file's length has changed.
    pub fn resize(&mut self, from: u64, to: u64) {
        self.add(Amount::bytes(to.saturating_sub(from)));
        self.remove(Amount::bytes(from.saturating_sub(to)));
    }

    /// What goes with one name of a file, folder or link.
    pub fn behind_name(&self, metadata: &Metadata) -> Amount {
        if metadata.is_dir() || metadata.nlink() > 1 {
            Amount::file(0)
        } else if self.holders.contains_key(&Inode::of(metadata)) {
            Amount::default()
        } else {
            Amount::file(metadata.len())
        }
    }

    /// A guest opens a file.
    pub fn hold(&mut self, file: Inode) {
        *self.holders.entry(file).or_default() += 1;
    }

    /// A guest closes a file: what goes with it, when nobody else holds it and its last name is gone.
    pub fn release(&mut self, file: Inode, now: Option<&Metadata>) {
        let Some(holders) = self.holders.get_mut(&file) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&file);
            if let Some(metadata) = now.filter(|metadata| metadata.nlink() == 0) {
                self.remove(Amount::file(metadata.len()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ByteSize;

    fn folder() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test's own temporary folder")]
        let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_folder_is_measured_without_following_links() {
        let (_outer, outer) = folder();
        outer.create_dir_all("m/deep/deeper").unwrap();
        outer.write("secret", [0; 1000]).unwrap();
        let dir = outer.open_dir("m").unwrap();
        dir.write("deep/a", [0; 100]).unwrap();
        dir.hard_link("deep/a", &dir, "deep/deeper/b").unwrap();
        dir.symlink_contents("../secret", "link").unwrap();
        let used = Meter::measure(&dir).unwrap().used();
        assert_eq!(used, Amount { bytes: 100 + "../secret".len() as u64, files: 5 });
    }

    #[test]
    fn folders_that_lie_too_deep_for_one_path_are_measured() {
        let (_folder, dir) = folder();
        let name = "n".repeat(200);
        let mut deep = dir.try_clone().unwrap();
        for _ in 0..40 {
            deep.create_dir(&name).unwrap();
            deep = deep.open_dir(&name).unwrap();
        }
        deep.write("leaf", [0; 7]).unwrap();
        assert_eq!(Meter::measure(&dir).unwrap().used(), Amount { bytes: 7, files: 41 });
    }

    #[test]
    fn there_is_room_up_to_the_quota() {
        let quota = Quota { bytes: ByteSize::new(10), files: 2 };
        let mut account = Account::default();
        account.add(Amount { bytes: 8, files: 1 });
        assert!(account.room(quota, Amount::file(2)).is_ok());
        assert!(account.room(quota, Amount::file(3)).is_err());
        assert!(account.room(quota, Amount { bytes: 0, files: 2 }).is_err());
        assert!(account.room(quota, Amount::bytes(u64::MAX)).is_err());
        account.resize(8, 20);
        assert!(account.room(quota, Amount::file(0)).is_ok(), "a folder that is too full can still have empty files");
        account.resize(20, 0);
        assert_eq!(account.used, Amount { bytes: 0, files: 1 });
    }

    #[test]
    fn a_file_without_a_name_counts_while_it_is_held() {
        let (_folder, dir) = folder();
        dir.write("a", [0; 50]).unwrap();
        let file = dir.open("a").unwrap();
        let meter = Meter::measure(&dir).unwrap();
        let mut account = meter.lock();
        let metadata = file.metadata().unwrap();
        let inode = Inode::of(&metadata);
        account.hold(inode);
        account.hold(inode);
        let gone = account.behind_name(&metadata);
        dir.remove_file("a").unwrap();
        account.remove(gone);
        account.release(inode, file.metadata().ok().as_ref());
        assert_eq!(account.used, Amount::file(50));
        account.release(inode, file.metadata().ok().as_ref());
        assert_eq!(account.used, Amount::default());
    }
}
