//! What a guest holds: open files and folders of a mount, and what is read from them.
//!
//! Nothing but regular files and folders is ever held. They are opened without waiting, so that a pipe in a mount cannot
//! stop the host, and are looked at before the guest gets them.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use cap_std::fs::{
    Dir, File, FileExt as _, FileType, FileTypeExt as _, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
};
use rustix::fs::{OFlags, PROC_SUPER_MAGIC, fstatfs};
use sha2::{Digest as _, Sha256};

use super::answers::Kind;
use super::failure::{Failed, NOT_A_FILE};
use super::path::Inside;
use super::quota::{Account, Inode, Meter};
use super::types::{Datetime, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue};
use super::{Grant, Opened, Quota, Source};
use crate::gate::{Actor, Gate};
use crate::label::{Carried, Labels};
use crate::leak::Trail;

/// The most bytes that one call reads. Reading costs a guest next to no fuel, so the host bounds its own work.
pub(super) const READ: usize = 64 << 10;

/// A mount, open in one store.
pub struct Mounted {
    /// What the gate is asked about.
    pub source: Source,
    /// How much may be written, and what counts it; none for a mount that is only read.
    pub writing: Option<Writing>,
    /// The folder of the host.
    pub folder: Dir,
    /// The task's gate, for what is refused while a stream flows.
    pub gate: Arc<Gate>,
    /// Who holds the store.
    pub actor: Arc<Actor>,
    /// What covers it.
    pub grant: Arc<Grant>,
    /// Labels of whoever wrote to it, where they are gathered.
    gathered: Option<Arc<Carried>>,
    device: u64,
}

/// The quota of a writable mount, and the meter of its folder.
#[derive(Clone, Debug)]
pub struct Writing {
    /// How much it may hold.
    pub quota: Quota,
    /// How much it holds.
    pub meter: Arc<Meter>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Mounted {
    /// A mount of an open folder, under the grant that lists it with this quota.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn new(
        source: Source,
        opened: Opened,
        (grant, quota): (&Arc<Grant>, Option<Quota>),
        gate: &Arc<Gate>,
        actor: &Arc<Actor>,
    ) -> io::Result<Self> {
        let Opened { folder, meter, gathered } = opened;
        let device = folder.dir_metadata()?.dev();
        let writing = quota.zip(meter).map(|(quota, meter)| Writing { quota, meter });
        let (gate, actor, grant) = (Arc::clone(gate), Arc::clone(actor), Arc::clone(grant));
        Ok(Self { source, writing, folder, gate, actor, grant, gathered, device })
    }

    /// Whoever holds the store carries what was written here by others of its task: what it is about to learn can be of them.
    pub fn touch(&self) {
        if let Some(gathered) = &self.gathered {
            self.actor.labels.gain(&gathered.now());
        }
    }

    /// Whoever holds the store is about to change something here: others of its task will carry what it carries.
    pub fn mark(&self) {
        if let Some(gathered) = &self.gathered {
            gathered.gain(&self.actor.labels.now());
        }
    }

    /// The quota and the meter.
    ///
    /// # Errors
    /// When the mount is only read.
    pub fn writing(&self) -> Result<&Writing, Failed> {
        self.writing.as_ref().ok_or(Failed::Code(ErrorCode::Access))
    }

    /// A name for a file that says nothing of the host, and is the same in every run on this folder.
    fn hash(&self, file: Inode) -> MetadataHashValue {
        let mut hash = Sha256::new_with_prefix(b"ambit.metadata-hash.v1");
        hash.update(file.device().to_be_bytes());
        hash.update(file.number().to_be_bytes());
        hash.update(self.source.guest.as_str());
        let digest = hash.finalize();
        let half =
            |range: std::ops::Range<usize>| digest[range].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        MetadataHashValue { lower: half(0..8), upper: half(8..16) }
    }
}

/// A folder that a guest holds.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The mount that it is of.
    pub mount: Arc<Mounted>,
    /// What the guest called it when it opened it.
    pub path: String,
    /// The folder itself; none for the mount's own.
    opened: Option<Arc<Dir>>,
}

/// A file that a guest holds.
#[derive(Debug)]
pub struct OpenFile {
    /// The mount that it is of.
    pub mount: Arc<Mounted>,
    /// What the guest called it when it opened it.
    pub path: String,
    /// Whether it was opened for reading.
    pub readable: bool,
    /// Whether it was opened for writing.
    pub writable: bool,
    /// What the task carried when that was decided.
    pub carried: Labels,
    /// The file itself.
    pub file: File,
    /// What was written to it last.
    pub(super) trail: Mutex<Trail>,
    inode: Inode,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(writing) = &self.mount.writing {
            let mut account = writing.meter.lock();
            account.release(self.inode, self.file.metadata().ok().as_ref());
        }
    }
}

/// What stands behind a guest's handle.
#[derive(Clone, Debug)]
pub enum Descriptor {
    /// A file.
    File(Arc<OpenFile>),
    /// A folder.
    Folder(Folder),
}

/// How a file or folder is opened.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of a system call")]
pub struct Opening {
    /// To read it.
    pub read: bool,
    /// To write to it.
    pub write: bool,
    /// Makes it, if it is not there.
    pub create: bool,
    /// Makes it, and fails if it is there. Only with `create`.
    pub exclusive: bool,
    /// Empties it.
    pub truncate: bool,
    /// It has to be a folder.
    pub folder: bool,
    /// Follows a link in the last place.
    pub follow: bool,
}

impl Opening {
    /// Whether anything can change by it, now or through what it opens.
    pub fn changes(self) -> bool {
        self.write || self.create || self.exclusive || self.truncate
    }
}

/// A path below a folder that a guest holds.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder.
    pub folder: Folder,
    /// The path.
    pub(super) path: Inside,
}

impl Folder {
    /// The folder of a mount.
    pub fn of(mount: &Arc<Mounted>) -> Self {
        Self { mount: Arc::clone(mount), path: mount.source.guest.to_string(), opened: None }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Dir {
        self.opened.as_deref().unwrap_or(&self.mount.folder)
    }

    /// A path below it.
    ///
    /// # Errors
    /// When the path breaks a rule.
    pub fn place(&self, path: &str) -> Result<Place, Failed> {
        Ok(Place { folder: self.clone(), path: Inside::parse(path)? })
    }
}

impl Place {
    /// What the guest calls it.
    ///
    /// # Errors
    /// When that is too long.
    pub fn guest_path(&self) -> Result<String, Failed> {
        self.path.below(&self.folder.path)
    }

    /// Opens what stands there, for reading.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is neither a regular file nor a folder.
    pub fn open(&self, opening: Opening) -> Result<Descriptor, Failed> {
        let opening = Opening { read: true, folder: opening.folder, follow: opening.follow, ..Opening::default() };
        let path = self.guest_path()?;
        // Held from the look at the file until it is counted as held: it could lose its last name between.
        let mut account = self.folder.mount.writing.as_ref().map(|writing| writing.meter.lock());
        let file = self.open_raw(opening)?;
        let metadata = self.look(&file)?;
        Ok(self.admit(file, &metadata, path, opening, account.as_deref_mut()))
    }

    /// The one place where a guest's path is opened: beneath its folder, without waiting.
    pub(super) fn open_raw(&self, opening: Opening) -> Result<File, Failed> {
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, !opening.follow);
        flags.set(OFlags::DIRECTORY, opening.folder || self.path.is_folder());
        let mut options = OpenOptions::new();
        options.read(opening.read).write(opening.write).create(opening.create).create_new(opening.exclusive);
        options.custom_flags(flags.bits().cast_signed());
        Ok(self.folder.dir().open_with(self.path.as_str(), &options)?)
    }

    /// Looks at what was opened, and lets nothing through but regular files and folders.
    pub(super) fn look(&self, file: &File) -> Result<Metadata, Failed> {
        let metadata = file.metadata()?;
        let special = !metadata.is_file() && !metadata.is_dir();
        // Files of /proc look regular; a process that is handed one is handed a part of some process.
        let foreign = metadata.dev() != self.folder.mount.device;
        if special || (foreign && fstatfs(file)?.f_type == PROC_SUPER_MAGIC) {
            return Err(Failed::Outside(ErrorCode::Access, NOT_A_FILE.into()));
        }
        Ok(metadata)
    }

    /// Makes a descriptor of what was opened and looked at.
    pub(super) fn admit(
        &self,
        file: File,
        metadata: &Metadata,
        path: String,
        opening: Opening,
        account: Option<&mut Account>,
    ) -> Descriptor {
        let mount = Arc::clone(&self.folder.mount);
        if metadata.is_dir() {
            let opened = Some(Arc::new(Dir::from_std_file(file.into_std())));
            return Descriptor::Folder(Folder { mount, path, opened });
        }
        let inode = Inode::of(metadata);
        if let Some(account) = account {
            account.hold(inode);
        }
        let Opening { read: readable, write: writable, .. } = opening;
        let carried = mount.actor.labels.now();
        let trail = Mutex::default();
        Descriptor::File(Arc::new(OpenFile { mount, path, readable, writable, carried, file, trail, inode }))
    }

    /// What the file system knows of it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn metadata(&self, follow: bool) -> Result<Metadata, Failed> {
        let dir = self.folder.dir();
        let metadata = match self.path.as_str() {
            "." => dir.dir_metadata()?,
            path if follow => dir.metadata(path)?,
            path => dir.symlink_metadata(path)?,
        };
        if self.path.is_folder() && !metadata.is_dir() {
            return Err(Failed::Code(ErrorCode::NotDirectory));
        }
        Ok(metadata)
    }

    /// Does something to a name: with the folder that it lies in, and the name there. `itself` is the answer where the
    /// path is the folder that the guest holds, which has no name here.
    pub(super) fn named<T>(
        &self,
        itself: ErrorCode,
        act: impl FnOnce(&Dir, &str) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        match self.path.split() {
            None => Err(Failed::Code(itself)),
            Some((None, name)) => act(self.folder.dir(), name),
            Some((Some(parent), name)) => act(&self.folder.dir().open_dir(parent)?, name),
        }
    }

    /// What a link holds.
    ///
    /// # Errors
    /// When it is no link, leads to the root, or is not UTF-8.
    pub fn read_link(&self) -> Result<String, Failed> {
        self.named(ErrorCode::Invalid, |parent, name| {
            if self.path.is_folder() {
                return Err(Failed::Code(ErrorCode::Invalid));
            }
            let target = parent.read_link(name)?.into_os_string();
            target.into_string().map_err(|_| Failed::Code(ErrorCode::IllegalByteSequence))
        })
    }
}

impl OpenFile {
    /// Whether writing to it was decided on for what the task carries now. If not, it has to be opened again, and decided
    /// on again.
    pub fn is_decided(&self) -> bool {
        self.mount.actor.labels.now() == self.carried
    }

    /// Reads at most [`READ`] bytes; none at the end of the file.
    ///
    /// # Errors
    /// When it was not opened for reading, or the disk fails.
    pub fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).unwrap_or(READ).min(READ);
        let mut bytes = vec![0; length];
        let read = loop {
            match self.file.read_at(&mut bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        bytes.truncate(read);
        Ok(bytes)
    }
}

impl Descriptor {
    /// What stands in the place of a descriptor that was had before. It holds no file: what is asked of it was answered.
    pub(super) fn recalled(kind: Kind, mount: &Arc<Mounted>, path: &str) -> Result<Self, Failed> {
        let (mount, path) = (Arc::clone(mount), path.to_owned());
        let folder = mount.folder.try_clone()?;
        Ok(match kind {
            Kind::Folder => Self::Folder(Folder { mount, path, opened: Some(Arc::new(folder)) }),
            Kind::File { readable, writable } => {
                let file = File::from_std(folder.into_std_file());
                let (carried, trail) = (mount.actor.labels.now(), Mutex::default());
                let inode = Inode::of(&file.metadata()?);
                Self::File(Arc::new(OpenFile { mount, path, readable, writable, carried, file, trail, inode }))
            }
        })
    }

    /// The mount that it is of.
    pub fn mount(&self) -> &Arc<Mounted> {
        match self {
            Self::File(file) => &file.mount,
            Self::Folder(folder) => &folder.mount,
        }
    }

    /// What the guest called it when it opened it.
    pub fn path(&self) -> &str {
        match self {
            Self::File(file) => &file.path,
            Self::Folder(folder) => &folder.path,
        }
    }

    /// The file.
    ///
    /// # Errors
    /// With `otherwise`, when it is a folder.
    pub fn file(&self, otherwise: ErrorCode) -> Result<&Arc<OpenFile>, Failed> {
        match self {
            Self::File(file) => Ok(file),
            Self::Folder(_) => Err(Failed::Code(otherwise)),
        }
    }

    /// The folder.
    ///
    /// # Errors
    /// When it is a file.
    pub fn folder(&self) -> Result<&Folder, Failed> {
        match self {
            Self::Folder(folder) => Ok(folder),
            Self::File(_) => Err(Failed::Code(ErrorCode::NotDirectory)),
        }
    }

    /// What the file system knows of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::File(file) => file.file.metadata(),
            Self::Folder(folder) => folder.dir().dir_metadata(),
        }
    }

    /// A name for it that is the same for the same file.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn hash(&self) -> io::Result<MetadataHashValue> {
        Ok(self.mount().hash(Inode::of(&self.metadata()?)))
    }

    /// Waits until the disk has what was written. What only reads has nothing to wait for.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self, data_only: bool) -> io::Result<()> {
        let sync = |file: &dyn AsFd| -> io::Result<()> {
            let file = file.as_fd();
            Ok(if data_only { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) }?)
        };
        match self {
            _ if self.mount().writing.is_none() => Ok(()),
            Self::File(file) => sync(&file.file),
            Self::Folder(folder) => sync(folder.dir()),
        }
    }
}

impl Place {
    /// [`Descriptor::hash`] of what stands there.
    ///
    /// # Errors
    /// When it is not there.
    pub fn hash(&self, follow: bool) -> Result<MetadataHashValue, Failed> {
        Ok(self.folder.mount.hash(Inode::of(&self.metadata(follow)?)))
    }
}

/// A kind of file, as guests know it.
pub(super) fn kind(file: FileType) -> DescriptorType {
    match file {
        _ if file.is_file() => DescriptorType::RegularFile,
        _ if file.is_dir() => DescriptorType::Directory,
        _ if file.is_symlink() => DescriptorType::SymbolicLink,
        _ if file.is_fifo() => DescriptorType::Fifo,
        _ if file.is_socket() => DescriptorType::Socket,
        _ if file.is_block_device() => DescriptorType::BlockDevice,
        _ if file.is_char_device() => DescriptorType::CharacterDevice,
        _ => DescriptorType::Unknown,
    }
}

/// What a guest is told of a file. Times before 1970 have no form in the interface.
pub(super) fn stat(metadata: &Metadata) -> DescriptorStat {
    let time = |seconds: i64, nanoseconds: i64| {
        Some(Datetime { seconds: u64::try_from(seconds).ok()?, nanoseconds: u32::try_from(nanoseconds).ok()? })
    };
    DescriptorStat {
        type_: kind(metadata.file_type()),
        link_count: metadata.nlink(),
        size: metadata.len(),
        data_access_timestamp: time(metadata.atime(), metadata.atime_nsec()),
        data_modification_timestamp: time(metadata.mtime(), metadata.mtime_nsec()),
        status_change_timestamp: time(metadata.ctime(), metadata.ctime_nsec()),
    }
}
