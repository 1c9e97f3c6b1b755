//! Copies out of a task's folder what is kept of it: regular files, and nothing else.
//!
//! | there | here |
//! | --- | --- |
//! | a file | a file of its own, mode 0644 |
//! | a folder | a folder, mode 0755, if a file in it is copied |
//! | a link, a pipe, a socket, a device | left behind |
//! | a second name of a file | left behind: a thousand names would be a thousand copies |
//! | `.git`, and what makes a folder a repository without it | left behind: whoever runs Git there would run what its settings name |
//! | what holds a credential that the task was lent | left behind |
//! | a name that is not UTF-8 or cannot be shown, and what lies too deep | left behind |
//!
//! Every name is opened in the folder that it was found in, and no link is ever followed, on either side. The destination is
//! opened before the task runs: no guest can put another in its place.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, File, FileType, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
};
use rustix::fs::OFlags;
use serde::Serialize;

use super::workspace::enter;
use crate::capability::filesystem::Inode;
use crate::leak::Leaks;
use crate::tool::text::is_invisible;

/// How many folders lie one in another, at most. Each is held open on both sides.
const DEEPEST: usize = 128;
/// How much of a file is looked at at once, in bytes.
const PIECE: usize = 64 << 10;
/// Why what holds a credential is left behind.
const LENT: &str = "it holds what the task was lent";
/// Why pipes, sockets and devices are left behind.
const NOT_A_FILE: &str = "it is neither a file nor a folder";

/// A folder that files are copied to.
#[derive(Debug)]
pub struct Destination {
    folder: Dir,
    path: PathBuf,
}

/// Why nothing can be copied to a folder.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Something is in it.
    #[error("the folder `{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It cannot be made or opened.
    #[error("the folder `{}` cannot be used: {source}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Destination {
    /// Opens a folder that is empty, or makes it in one that is there.
    ///
    /// # Errors
    /// When something is in it, or it cannot be made or opened.
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the operator names this folder on the command line"
    )]
    pub fn open(path: &Path) -> Result<Self, KeepError> {
        let unusable = |source| KeepError::Unusable { path: path.to_owned(), source };
        match std::fs::DirBuilder::new().create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(unusable)?,
        }
        let place = Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(unusable)?;
        let folder = Dir::from_std_file(place.open(".").map_err(unusable)?.into_std());
        let destination = Self { folder, path: path.to_owned() };
        if destination.is_empty().map_err(unusable)? {
            Ok(destination)
        } else {
            Err(KeepError::NotEmpty(path.to_owned()))
        }
    }

    /// What the operator called it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.folder.entries()?.next().transpose()?.is_none())
    }
}

/// What was copied.
#[derive(Debug, Default, Serialize)]
pub struct Copied {
    /// How many files.
    pub files: u64,
    /// How many bytes are in them.
    pub bytes: u64,
    /// What was left behind.
    pub left: Vec<Left>,
}

/// Something that was left behind.
#[derive(Debug, Serialize)]
pub struct Left {
    /// Its path in the workspace. A guest made it up: it is escaped.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

/// A folder that is being copied.
struct Level {
    from: Dir,
    /// Its copy; made when the first file is copied to it.
    to: Option<Dir>,
    name: String,
    /// Whether Git would take it for a repository.
    is_repository: bool,
    /// What is still to be looked at.
    entries: std::vec::IntoIter<(OsString, FileType)>,
}

/// What makes a folder a repository (gitrepository-layout(5)), and what of it says what Git runs there.
const REPOSITORY: [&str; 3] = ["HEAD", "objects", "refs"];
const OBEYED: [&str; 4] = ["HEAD", "config", "config.worktree", "hooks"];

impl Level {
    fn of(from: Dir, to: Option<Dir>, name: String) -> io::Result<Self> {
        let mut entries = Vec::new();
        for entry in from.entries()? {
            let entry = entry?;
            entries.push((entry.file_name(), entry.file_type()?));
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let is_there = |part: &str| entries.iter().any(|(name, _)| name.eq_ignore_ascii_case(part));
        let is_repository = REPOSITORY.iter().all(|part| is_there(part));
        Ok(Self { from, to, name, is_repository, entries: entries.into_iter() })
    }
}

/// The copying of one folder.
struct Copying {
    /// From the workspace itself to the folder that is looked at.
    levels: Vec<Level>,
    /// Files with several names, of which one was copied.
    seen: HashSet<Inode>,
    /// What the task was lent, which goes nowhere.
    leaks: Arc<Leaks>,
    copied: Copied,
}

/// Copies the regular files of a folder.
///
/// # Errors
/// When the disk fails, or something has come into the destination meanwhile.
pub(super) fn copy(folder: &Dir, to: &Destination, leaks: &Arc<Leaks>) -> io::Result<Copied> {
    if !to.is_empty()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something was put into the folder meanwhile"));
    }
    let root = Level::of(folder.try_clone()?, Some(to.folder.try_clone()?), String::new())?;
    let (seen, leaks, copied) = (HashSet::new(), Arc::clone(leaks), Copied::default());
    let mut copying = Copying { levels: vec![root], seen, leaks, copied };
    while let Some(level) = copying.levels.last_mut() {
        match level.entries.next() {
            None => drop(copying.levels.pop()),
            Some((name, kind)) => copying.take(&name, kind)?,
        }
    }
    Ok(copying.copied)
}

impl Copying {
    fn take(&mut self, name: &OsStr, kind: FileType) -> io::Result<()> {
        let Some(shown) = name.to_str() else {
            self.leave(&name.to_string_lossy(), "its name is not UTF-8");
            return Ok(());
        };
        if shown.chars().any(|character| character.is_control() || is_invisible(character)) {
            self.leave(shown, "its name cannot be shown");
        } else if shown.eq_ignore_ascii_case(".git") || self.is_obeyed(shown) {
            self.leave(shown, "Git would obey what is in it");
        } else if !self.leaks.find(shown.as_bytes()).is_empty() {
            self.leave(shown, LENT);
        } else if kind.is_dir() {
            self.descend(shown)?;
        } else if kind.is_symlink() {
            self.leave(shown, "it is a link");
        } else if kind.is_file() {
            self.copy_file(shown)?;
        } else {
            self.leave(shown, NOT_A_FILE);
        }
        Ok(())
    }

    /// Whether it is a part of a repository that says what Git runs.
    fn is_obeyed(&self, name: &str) -> bool {
        let is_repository = self.levels.last().is_some_and(|level| level.is_repository);
        is_repository && OBEYED.iter().any(|part| name.eq_ignore_ascii_case(part))
    }

    /// Whether a file holds what the task was lent: from before it was, or written in pieces.
    fn holds_loans(&self, file: &mut File) -> io::Result<bool> {
        if self.leaks.is_empty() {
            return Ok(false);
        }
        let (mut flow, mut piece) = (self.leaks.flow(), vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read if !flow.pass(&piece[..read]).1.is_empty() => return Ok(true),
                _ => {}
            }
        }
        file.rewind()?;
        Ok(false)
    }

    fn descend(&mut self, name: &str) -> io::Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        if self.levels.len() >= DEEPEST {
            self.leave(name, "it lies too deep");
            return Ok(());
        }
        let from = enter(&level.from, name.as_ref())?;
        self.levels.push(Level::of(from, None, name.to_owned())?);
        Ok(())
    }

    fn copy_file(&mut self, name: &str) -> io::Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut from = level.from.open_with(name, options.read(true).custom_flags(flags.bits().cast_signed()))?;
        let metadata = from.metadata()?;
        if !metadata.is_file() {
            self.leave(name, NOT_A_FILE);
            return Ok(());
        }
        if metadata.nlink() > 1 && !self.seen.insert(Inode::of(&metadata)) {
            self.leave(name, "it is another name of a file that was copied");
            return Ok(());
        }
        if self.holds_loans(&mut from)? {
            self.leave(name, LENT);
        } else {
            let mut to = self.make(name)?;
            self.copied.bytes += io::copy(&mut from, &mut to)?;
            self.copied.files += 1;
        }
        Ok(())
    }

    /// Makes the copy of a file, and of the folders that it lies in.
    fn make(&mut self, name: &str) -> io::Result<File> {
        let mut parent: Option<Dir> = None;
        for level in &mut self.levels {
            let made = match (level.to.take(), &parent) {
                (None, Some(parent)) => {
                    let mut builder = DirBuilder::new();
                    parent.create_dir_with(&level.name, builder.mode(0o755))?;
                    enter(parent, level.name.as_ref())?
                }
                (Some(made), _) => made,
                (None, None) => return Err(io::Error::other("there is nowhere to copy to")),
            };
            parent = Some(made.try_clone()?);
            level.to = Some(made);
        }
        let Some(parent) = parent else { return Err(io::Error::other("there is nowhere to copy to")) };
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        parent.open_with(name, options.write(true).create_new(true).mode(0o644).custom_flags(flags))
    }

    fn leave(&mut self, name: &str, why: &'static str) {
        let folders = self.levels.iter().skip(1).map(|level| level.name.as_str());
        let path = folders.chain([name]).collect::<Vec<_>>().join("/");
        let path = crate::audit::escaped(&self.leaks.covered(path));
        self.copied.left.push(Left { path, why });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    struct Two {
        _folder: tempfile::TempDir,
        from: Dir,
        to: PathBuf,
        leaks: Arc<Leaks>,
    }

    fn two() -> Two {
        let folder = tempfile::tempdir().unwrap();
        let outer = crate::capability::filesystem::world::ambient(folder.path());
        outer.write("secret", "SECRET").unwrap();
        outer.create_dir("from").unwrap();
        let from = enter(&outer, "from".as_ref()).unwrap();
        let to = folder.path().join("to");
        Two { _folder: folder, from, to, leaks: Arc::default() }
    }

    fn copy_all(two: &Two) -> (Copied, Dir) {
        let destination = Destination::open(&two.to).unwrap();
        let copied = copy(&two.from, &destination, &two.leaks).unwrap();
        (copied, destination.folder)
    }

    fn left(copied: &Copied) -> Vec<(&str, &str)> {
        copied.left.iter().map(|left| (left.path.as_str(), left.why)).collect()
    }

    #[test]
    fn files_are_copied_and_nothing_else() {
        let two = two();
        two.from.create_dir_all("a/b/none").unwrap();
        two.from.write("a/b/file", "text").unwrap();
        two.from.write("top", "more").unwrap();
        two.from.create_dir("a/.Git").unwrap();
        two.from.write("a/.Git/config", "").unwrap();
        two.from.symlink_contents("../secret", "to-secret").unwrap();
        two.from.symlink_contents("/etc", "a/etc").unwrap();
        two.from.hard_link("top", &two.from, "a/zweite").unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&two.from, "pipe", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (copied, to) = copy_all(&two);
        assert_eq!((copied.files, copied.bytes), (2, 8));
        let expected = [
            ("a/.Git", "Git would obey what is in it"),
            ("a/etc", "it is a link"),
            ("pipe", "it is neither a file nor a folder"),
            ("to-secret", "it is a link"),
            ("top", "it is another name of a file that was copied"),
        ];
        assert_eq!(left(&copied), expected);
        assert_eq!(to.read_to_string("a/b/file").unwrap(), "text");
        assert_eq!(to.read_to_string("a/zweite").unwrap(), "more");
        assert!(!to.exists("a/b/none") && !to.exists("top") && to.symlink_metadata("to-secret").is_err());
    }

    #[test]
    fn a_repository_without_a_working_tree_is_made_harmless() {
        let two = two();
        for folder in ["", "deep/er/"] {
            two.from.create_dir_all(format!("{folder}objects")).unwrap();
            two.from.create_dir_all(format!("{folder}refs")).unwrap();
            for file in ["head", "config", "objects/a", "refs/a", "read.me"] {
                two.from.write(format!("{folder}{file}"), "").unwrap();
            }
        }
        two.from.create_dir("plain").unwrap();
        two.from.write("plain/config", "").unwrap();
        let (copied, to) = copy_all(&two);
        let obeyed =
            ["config", "deep/er/config", "deep/er/head", "head"].map(|path| (path, "Git would obey what is in it"));
        assert_eq!(left(&copied), obeyed);
        assert!(to.exists("plain/config") && to.exists("deep/er/read.me") && to.exists("objects/a"));
    }

    #[test]
    fn what_the_task_was_lent_is_left_wherever_it_stands() {
        let two = two();
        let value = b"a value that was lent".to_vec();
        two.leaks.watch("token", &crate::secret::Secret::new(zeroize::Zeroizing::new(value)).unwrap()).unwrap();
        let filler = "x".repeat(PIECE - 5);
        two.from.write("a", format!("{filler}a value that was lent")).unwrap();
        two.from.write("b", format!("{filler}a value that was kept")).unwrap();
        two.from.write("a value that was lent", "").unwrap();
        two.from.create_dir("A VALUE that was lent").unwrap();
        two.from.write("A VALUE that was lent/file", "").unwrap();
        let (copied, to) = copy_all(&two);
        assert_eq!(left(&copied), [("*********************", LENT), ("a", LENT), ("*********************", LENT)]);
        assert_eq!(to.read_to_string("b").unwrap().len(), filler.len() + 21);
    }

    #[test]
    fn modes_are_plain() {
        let two = two();
        two.from.create_dir("folder").unwrap();
        two.from.write("folder/tool", "").unwrap();
        let file = two.from.open("folder/tool").unwrap();
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o6755)).unwrap();
        let (_, to) = copy_all(&two);
        assert_eq!(to.metadata("folder/tool").unwrap().mode() & !0o644 & 0o7777, 0);
        assert_eq!(to.metadata("folder").unwrap().mode() & !0o755 & 0o7777, 0);
    }

    #[test]
    fn names_that_cannot_be_shown_and_what_lies_too_deep_are_left() {
        let two = two();
        two.from.write(OsString::from_vec(vec![b'a', 0xff]), "").unwrap();
        two.from.write("b\u{1b}[2J", "").unwrap();
        two.from.write("c\u{202e}txt.exe", "").unwrap();
        let mut deep = two.from.try_clone().unwrap();
        for _ in 0..DEEPEST + 10 {
            deep.create_dir("d").unwrap();
            deep = deep.open_dir("d").unwrap();
        }
        deep.write("file", "").unwrap();
        let (copied, to) = copy_all(&two);
        assert_eq!((copied.files, copied.left.len()), (0, 4));
        assert!(copied.left.iter().all(|left| !left.path.contains(['\u{1b}', '\u{202e}'])));
        assert_eq!(copied.left[3].why, "it lies too deep");
        assert!(to.entries().unwrap().next().is_none(), "folders without files are not made");
    }

    #[test]
    fn the_destination_is_empty_when_it_is_opened_and_when_it_is_used() {
        let two = two();
        two.from.write("file", "").unwrap();
        let destination = Destination::open(&two.to).unwrap();
        assert!(Destination::open(&two.to).is_ok(), "an empty folder that is there");
        destination.folder.write("other", "").unwrap();
        assert!(copy(&two.from, &destination, &two.leaks).is_err());
        assert!(matches!(Destination::open(&two.to), Err(KeepError::NotEmpty(_))));
        assert!(matches!(Destination::open(&two.to.join("a/b")), Err(KeepError::Unusable { .. })));
        assert!(matches!(Destination::open(&two.to.join("other")), Err(KeepError::Unusable { .. })));
    }
}
