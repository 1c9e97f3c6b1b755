//! `wasi:filesystem/types` and `wasi:filesystem/preopens` for guests.
//!
//! A function here looks its handles up, brings paths into their form, and asks the gate where something can change; what
//! is then done stands in [`super::descriptor`] and [`super::change`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use wasmtime::component::Resource as Handle;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::answers::{Recorded as _, change, told, told_of_folders};
use super::change::{self, At, Open, Resize, Stamp, Symlink};
use super::descriptor::{Folder, Mounted, OpenFile, Opening, Place, READ, kind, stat};
use super::streams::{Reader, UNDECIDED, Writer};
use super::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, MetadataHashValue,
    NewTimestamp, OpenFlags, PathFlags,
};
use super::{Descriptor, Failed, Filesystem, Grant, Ground, Mount, Write, preopens, types};
use crate::capability::Scope;
use crate::gate::{Code, Guard, Permit};

/// The most entries of folders that one store reads at a time: they are sorted, so the host has to hold them.
const MOST_ENTRIES: usize = 1 << 18;

/// The entries of a folder, sorted by name.
#[derive(Debug)]
pub struct Listing {
    entries: std::vec::IntoIter<DirectoryEntry>,
    count: usize,
    listed: Arc<AtomicUsize>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.listed.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl Listing {
    /// What is in a folder, by name.
    fn entries(folder: &Folder) -> Result<Vec<DirectoryEntry>, Failed> {
        let mut entries = Vec::new();
        for entry in folder.dir().entries()? {
            let entry = entry?;
            // A name that is not Unicode has no form in the interface, and so could not be opened either.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entries.len() >= MOST_ENTRIES {
                return Err(Failed::Code(ErrorCode::InsufficientMemory));
            }
            entries.push(DirectoryEntry { type_: kind(entry.file_type()?), name });
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// They, held for the guest, if it does not hold too many.
    fn of(entries: Vec<DirectoryEntry>, listed: &Arc<AtomicUsize>) -> Result<Self, Failed> {
        let count = entries.len();
        let before = listed.fetch_add(count, Ordering::Relaxed);
        let listing = Self { entries: entries.into_iter(), count, listed: Arc::clone(listed) };
        if before + count > MOST_ENTRIES { Err(Failed::Code(ErrorCode::InsufficientMemory)) } else { Ok(listing) }
    }
}

impl<T> Write<T> {
    fn new(operation: &'static str, mount: &Mounted, path: String, target: T) -> Self {
        Self { source: mount.source.clone(), operation, path, target }
    }
}

impl Write<Place> {
    fn at(operation: &'static str, place: &Place) -> Result<Self, Failed> {
        Ok(Self::new(operation, &place.folder.mount, place.guest_path()?, place.clone()))
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.path)
    }
}

/// What has two paths needs a permit for each.
type ActBoth = fn(Permit<Write<Place>>, Permit<Write<Place>>) -> Result<(), Failed>;

/// Asks the gate for both ends, and does it.
async fn change_both(
    guard: Guard<'_, Grant>,
    mount: &Mounted,
    [from, to]: [Write<Place>; 2],
    act: ActBoth,
) -> Result<(), Failed> {
    let act = async move |from| {
        let act = async move |to| {
            mount.mark();
            act(from, to)
        };
        let change = async {
            match mount.source.ground {
                Ground::Workspace => guard.renew(to, act).await,
                Ground::Folder => guard.answer(to, act).await,
            }
        };
        change.await.map_err(Failed::settled)
    };
    match mount.source.ground {
        Ground::Workspace => guard.renew(from, act).await,
        Ground::Folder => guard.answer(from, act).await,
    }
}

/// Opens what is only read, unless it was opened before.
fn opened_for_reading(
    guard: Guard<'_, Grant>,
    place: &Place,
    path: &str,
    opening: Opening,
) -> Result<Descriptor, Failed> {
    let mount = &place.folder.mount;
    let mut opened = None;
    let kind = told_of_folders(guard, mount, "filesystem.open-at", &(path, opening), || {
        let descriptor = place.open(opening)?;
        let kind = descriptor.told();
        opened = Some(descriptor);
        Ok(kind)
    })?;
    match opened {
        Some(opened) => Ok(opened),
        None => Descriptor::again(kind, mount, path),
    }
}

/// Records it when the guest reached out of its mount.
async fn recorded<R>(guard: Guard<'_, Grant>, mount: &Mounted, result: Result<R, Failed>) -> Result<R, Failed> {
    match result {
        Err(Failed::Outside(code, why)) => {
            let denied = guard.refuse(Code::NotGranted, &Mount(mount.source.clone()), &why).await;
            Err(match Failed::from(denied) {
                trap @ Failed::Trap(_) => trap,
                _ => Failed::Code(code),
            })
        }
        result => result,
    }
}

impl Scope<'_, Filesystem> {
    /// What a handle stands for, while the task has time: a guest that only reads would never come to the timer.
    fn held(&self, descriptor: &Handle<Descriptor>) -> Result<&Descriptor, Failed> {
        self.guard.in_time()?;
        let held = self.table.get(descriptor)?;
        held.mount().touch();
        Ok(held)
    }

    /// Asks the gate under the grant that covers a mount, whichever capability that is of.
    fn guard_of<'g>(&self, mount: &'g Mounted) -> Guard<'g, Grant>
    where
        Self: 'g,
    {
        self.guard.under(&mount.grant)
    }

    fn folder(&self, descriptor: &Handle<Descriptor>) -> Result<Folder, Failed> {
        Ok(self.held(descriptor)?.folder()?.clone())
    }

    /// The file of a descriptor that is written to. A file of a mount that is only read is refused by the gate.
    async fn written(
        &mut self,
        descriptor: &Handle<Descriptor>,
        operation: &'static str,
    ) -> Result<Arc<OpenFile>, Failed> {
        let file = Arc::clone(self.held(descriptor)?.file(ErrorCode::BadDescriptor)?);
        let guard = self.guard_of(&file.mount);
        if file.mount.writing.is_none() {
            let write = Write::new(operation, &file.mount, file.path.clone(), ());
            return Err(guard.refuse(Code::NotGranted, &write, "the mount is only read").await.into());
        }
        if file.writable && !file.is_decided() {
            let write = Write::new(operation, &file.mount, file.path.clone(), ());
            return Err(guard.refuse(Code::Denied, &write, UNDECIDED).await.into());
        }
        if file.writable { Ok(file) } else { Err(Failed::Code(ErrorCode::BadDescriptor)) }
    }

    /// Changes what a path names.
    async fn change_at(
        &mut self,
        operation: &'static str,
        descriptor: &Handle<Descriptor>,
        path: &str,
        act: fn(Permit<Write<Place>>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let folder = self.folder(descriptor)?;
        let guard = self.guard_of(&folder.mount);
        let done = match folder.place(path).and_then(|place| Write::at(operation, &place)) {
            Ok(write) => change(guard, &folder.mount, write, act).await,
            Err(failed) => Err(failed),
        };
        recorded(guard, &folder.mount, done).await
    }

    /// Changes what two paths of one mount name.
    async fn change_both_at(
        &mut self,
        operations: [&'static str; 2],
        descriptors: [&Handle<Descriptor>; 2],
        paths: [&str; 2],
        act: ActBoth,
    ) -> Result<(), Failed> {
        let (old, new) = (self.folder(descriptors[0])?, self.folder(descriptors[1])?);
        let guard = self.guard_of(&old.mount);
        let write = |folder: &Folder, index: usize| Write::at(operations[index], &folder.place(paths[index])?);
        let done = match (write(&old, 0), write(&new, 1)) {
            (Ok(_), Ok(_)) if !Arc::ptr_eq(&old.mount, &new.mount) => Err(Failed::Code(ErrorCode::CrossDevice)),
            (Ok(from), Ok(to)) => change_both(guard, &old.mount, [from, to], act).await,
            (Err(failed), _) | (_, Err(failed)) => Err(failed),
        };
        recorded(guard, &old.mount, done).await
    }
}

/// How the flags of `open-at` are understood. Creating and emptying imply writing, as in Linux.
fn opening(path: PathFlags, open: OpenFlags, flags: DescriptorFlags) -> Result<Opening, Failed> {
    let sync = DescriptorFlags::FILE_INTEGRITY_SYNC
        | DescriptorFlags::DATA_INTEGRITY_SYNC
        | DescriptorFlags::REQUESTED_WRITE_SYNC;
    if flags.intersects(sync) {
        return Err(Failed::Code(ErrorCode::Unsupported));
    }
    let making = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
    let folder = open.contains(OpenFlags::DIRECTORY);
    if folder && open.intersects(making) {
        return Err(Failed::Code(ErrorCode::Invalid));
    }
    let write = flags.contains(DescriptorFlags::WRITE);
    Ok(Opening {
        read: flags.contains(DescriptorFlags::READ) || !write,
        write: write || open.intersects(making),
        create: open.contains(OpenFlags::CREATE),
        exclusive: open.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        folder,
        follow: path.contains(PathFlags::SYMLINK_FOLLOW),
    })
}

impl preopens::Host for Scope<'_, Filesystem> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle<Descriptor>, String)>> {
        let mut directories = Vec::new();
        for mount in self.host.preopens.all() {
            let folder = Folder::of(&mount);
            let path = folder.path.clone();
            directories.push((self.table.push(Descriptor::Folder(folder))?, path));
        }
        Ok(directories)
    }
}

impl types::Host for Scope<'_, Filesystem> {
    fn convert_error_code(&mut self, failed: Failed) -> wasmtime::Result<ErrorCode> {
        failed.into_code()
    }

    fn filesystem_error_code(&mut self, error: Handle<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(super::streams::code(self.table.get(&error)?))
    }
}

impl types::HostDirectoryEntryStream for Scope<'_, Filesystem> {
    fn read_directory_entry(&mut self, listing: Handle<Listing>) -> Result<Option<DirectoryEntry>, Failed> {
        Ok(self.table.get_mut(&listing)?.entries.next())
    }

    fn drop(&mut self, listing: Handle<Listing>) -> wasmtime::Result<()> {
        self.table.delete(listing)?;
        Ok(())
    }
}

impl types::HostDescriptor for Scope<'_, Filesystem> {
    fn read_via_stream(
        &mut self,
        descriptor: Handle<Descriptor>,
        offset: u64,
    ) -> Result<Handle<DynInputStream>, Failed> {
        let file = Arc::clone(self.held(&descriptor)?.file(ErrorCode::IsDirectory)?);
        if !file.readable {
            return Err(Failed::Code(ErrorCode::BadDescriptor));
        }
        let stream: DynInputStream = Box::new(Reader::new(file, offset, &self.guard));
        Ok(self.table.push(stream)?)
    }

    async fn write_via_stream(
        &mut self,
        descriptor: Handle<Descriptor>,
        offset: u64,
    ) -> Result<Handle<DynOutputStream>, Failed> {
        let file = self.written(&descriptor, "write").await?;
        let stream: DynOutputStream = Box::new(Writer::new(file, At::Offset(offset), &self.guard));
        Ok(self.table.push(stream)?)
    }

    async fn append_via_stream(&mut self, descriptor: Handle<Descriptor>) -> Result<Handle<DynOutputStream>, Failed> {
        let file = self.written(&descriptor, "write").await?;
        let stream: DynOutputStream = Box::new(Writer::new(file, At::End, &self.guard));
        Ok(self.table.push(stream)?)
    }

    /// Advice is taken, and not passed on: it could only serve to trouble others.
    fn advise(&mut self, descriptor: Handle<Descriptor>, _: u64, _: u64, _: Advice) -> Result<(), Failed> {
        self.held(&descriptor)?.file(ErrorCode::BadDescriptor)?;
        Ok(())
    }

    fn sync_data(&mut self, descriptor: Handle<Descriptor>) -> Result<(), Failed> {
        let held = self.held(&descriptor)?;
        told_of_folders(self.guard_of(held.mount()), held.mount(), "filesystem.sync-data", &(), || Ok(held.sync(true)?))
    }

    fn sync(&mut self, descriptor: Handle<Descriptor>) -> Result<(), Failed> {
        let held = self.held(&descriptor)?;
        told_of_folders(self.guard_of(held.mount()), held.mount(), "filesystem.sync", &(), || Ok(held.sync(false)?))
    }

    fn get_flags(&mut self, descriptor: Handle<Descriptor>) -> Result<DescriptorFlags, Failed> {
        let flag = |set: bool, flag: DescriptorFlags| if set { flag } else { DescriptorFlags::empty() };
        Ok(match self.held(&descriptor)? {
            Descriptor::File(file) => {
                flag(file.readable, DescriptorFlags::READ) | flag(file.writable, DescriptorFlags::WRITE)
            }
            Descriptor::Folder(folder) => {
                DescriptorFlags::READ | flag(folder.mount.writing.is_some(), DescriptorFlags::MUTATE_DIRECTORY)
            }
        })
    }

    fn get_type(&mut self, descriptor: Handle<Descriptor>) -> Result<DescriptorType, Failed> {
        Ok(match self.held(&descriptor)? {
            Descriptor::File(_) => DescriptorType::RegularFile,
            Descriptor::Folder(_) => DescriptorType::Directory,
        })
    }

    async fn set_size(&mut self, descriptor: Handle<Descriptor>, size: u64) -> Result<(), Failed> {
        let file = self.written(&descriptor, "set-size").await?;
        let (mount, path) = (Arc::clone(&file.mount), file.path.clone());
        let write = Write::new("set-size", &mount, path, Resize { file, size });
        change(self.guard_of(&mount), &mount, write, change::set_size).await
    }

    async fn set_times(
        &mut self,
        descriptor: Handle<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Result<(), Failed> {
        let target = self.held(&descriptor)?.clone();
        let (mount, path) = (Arc::clone(target.mount()), target.path().to_owned());
        let times = change::timestamps(&accessed, &modified)?;
        let write = Write::new("set-times", &mount, path, Stamp { target, follow: false, times });
        change(self.guard_of(&mount), &mount, write, change::set_times).await
    }

    fn read(&mut self, descriptor: Handle<Descriptor>, length: u64, offset: u64) -> Result<(Vec<u8>, bool), Failed> {
        let file = self.held(&descriptor)?.file(ErrorCode::IsDirectory)?;
        let arguments = (&file.path, offset, length);
        let guard = self.guard_of(&file.mount);
        let bytes =
            told_of_folders(guard, &file.mount, "filesystem.read", &arguments, || Ok(file.read(offset, length)?))?;
        let end = bytes.is_empty() && length > 0;
        Ok((bytes, end))
    }

    async fn write(&mut self, descriptor: Handle<Descriptor>, bytes: Vec<u8>, offset: u64) -> Result<u64, Failed> {
        let file = self.written(&descriptor, "write").await?;
        let (piece, guard) = (&bytes[..bytes.len().min(READ)], self.guard_of(&file.mount));
        let arguments = (&file.path, offset, crate::bundle::Digest::of(piece).to_string());
        let write = || file.write(piece, At::Offset(offset));
        let failed = match told_of_folders(guard, &file.mount, "filesystem.put", &arguments, write) {
            Ok(written) => return Ok(written as u64),
            Err(failed) => failed,
        };
        let Some((code, why)) = failed.refusal() else { return Err(failed) };
        let write = Write::new("write", &file.mount, file.path.clone(), ());
        Err(match Failed::from(self.guard_of(&file.mount).refuse(code, &write, why).await) {
            trap @ Failed::Trap(_) => trap,
            _ => failed.settled(),
        })
    }

    fn read_directory(&mut self, descriptor: Handle<Descriptor>) -> Result<Handle<Listing>, Failed> {
        let folder = self.folder(&descriptor)?;
        let (guard, listed) = (self.guard_of(&folder.mount), &self.host.listed);
        let list = || Listing::entries(&folder);
        let entries = told_of_folders(guard, &folder.mount, "filesystem.list", &folder.path, list)?;
        let listing = Listing::of(entries, listed)?;
        Ok(self.table.push(listing)?)
    }

    async fn create_directory_at(&mut self, descriptor: Handle<Descriptor>, path: String) -> Result<(), Failed> {
        self.change_at("create-directory", &descriptor, &path, change::create_directory).await
    }

    fn stat(&mut self, descriptor: Handle<Descriptor>) -> Result<DescriptorStat, Failed> {
        let held = self.held(&descriptor)?;
        told(self.guard_of(held.mount()), "filesystem.stat", &held.path(), || Ok(stat(&held.metadata()?)))
    }

    async fn stat_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> Result<DescriptorStat, Failed> {
        let folder = self.folder(&descriptor)?;
        let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
        let find = || Ok(stat(&folder.place(&path)?.metadata(follow)?));
        let guard = self.guard_of(&folder.mount);
        let found = told(guard, "filesystem.stat-at", &(&folder.path, &path, follow), find);
        recorded(guard, &folder.mount, found).await
    }

    async fn set_times_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Result<(), Failed> {
        let folder = self.folder(&descriptor)?;
        let guard = self.guard_of(&folder.mount);
        let times = change::timestamps(&accessed, &modified)?;
        let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
        let done = match folder.place(&path).and_then(|place| Ok((place.guest_path()?, place))) {
            Ok((path, target)) => {
                let write = Write::new("set-times", &folder.mount, path, Stamp { target, follow, times });
                change(guard, &folder.mount, write, change::set_times_at).await
            }
            Err(failed) => Err(failed),
        };
        recorded(guard, &folder.mount, done).await
    }

    async fn link_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        flags: PathFlags,
        path: String,
        new_descriptor: Handle<Descriptor>,
        new_path: String,
    ) -> Result<(), Failed> {
        if flags.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(Failed::Code(ErrorCode::Invalid));
        }
        let (descriptors, paths) = ([&descriptor, &new_descriptor], [path.as_str(), new_path.as_str()]);
        self.change_both_at(["link-from", "link-to"], descriptors, paths, change::link).await
    }

    async fn open_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Handle<Descriptor>, Failed> {
        let folder = self.folder(&descriptor)?;
        let guard = self.guard_of(&folder.mount);
        let opening = opening(path_flags, open_flags, flags)?;
        let opened = match folder.place(&path).and_then(|place| Ok((place.guest_path()?, place))) {
            Ok((path, place)) if opening.changes() => {
                let write = Write::new("open", &folder.mount, path, Open { place, opening });
                change(guard, &folder.mount, write, change::open).await
            }
            Ok((path, place)) => opened_for_reading(guard, &place, &path, opening),
            Err(failed) => Err(failed),
        };
        let opened = recorded(guard, &folder.mount, opened).await?;
        Ok(self.table.push(opened)?)
    }

    async fn readlink_at(&mut self, descriptor: Handle<Descriptor>, path: String) -> Result<String, Failed> {
        let folder = self.folder(&descriptor)?;
        let guard = self.guard_of(&folder.mount);
        let read = || folder.place(&path)?.read_link();
        let target = told_of_folders(guard, &folder.mount, "filesystem.readlink-at", &(&folder.path, &path), read);
        recorded(guard, &folder.mount, target).await
    }

    async fn remove_directory_at(&mut self, descriptor: Handle<Descriptor>, path: String) -> Result<(), Failed> {
        self.change_at("remove-directory", &descriptor, &path, change::remove_directory).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        path: String,
        new_descriptor: Handle<Descriptor>,
        new_path: String,
    ) -> Result<(), Failed> {
        let (descriptors, paths) = ([&descriptor, &new_descriptor], [path.as_str(), new_path.as_str()]);
        self.change_both_at(["rename-from", "rename-to"], descriptors, paths, change::rename).await
    }

    async fn symlink_at(&mut self, descriptor: Handle<Descriptor>, target: String, path: String) -> Result<(), Failed> {
        let folder = self.folder(&descriptor)?;
        let guard = self.guard_of(&folder.mount);
        let done = match folder.place(&path).and_then(|place| Ok((place.guest_path()?, place))) {
            Ok((path, place)) => {
                let write = Write::new("symlink", &folder.mount, path, Symlink { place, target });
                change(guard, &folder.mount, write, change::symlink).await
            }
            Err(failed) => Err(failed),
        };
        recorded(guard, &folder.mount, done).await
    }

    async fn unlink_file_at(&mut self, descriptor: Handle<Descriptor>, path: String) -> Result<(), Failed> {
        self.change_at("unlink-file", &descriptor, &path, change::unlink_file).await
    }

    fn is_same_object(&mut self, one: Handle<Descriptor>, other: Handle<Descriptor>) -> wasmtime::Result<bool> {
        let metadata = |held: &Descriptor| {
            held.mount().touch();
            held.metadata()
        };
        let (one, other) = (self.table.get(&one)?, self.table.get(&other)?);
        let guard = self.guard_of(one.mount());
        let compare = || Ok(super::quota::Inode::of(&metadata(one)?) == super::quota::Inode::of(&metadata(other)?));
        let same = told(guard, "filesystem.is-same-object", &(one.path(), other.path()), compare);
        same.map_err(|failed| match failed {
            Failed::Trap(error) => error,
            _ => wasmtime::Error::msg("a file that is held cannot be looked at"),
        })
    }

    fn metadata_hash(&mut self, descriptor: Handle<Descriptor>) -> Result<MetadataHashValue, Failed> {
        let held = self.held(&descriptor)?;
        told(self.guard_of(held.mount()), "filesystem.metadata-hash", &held.path(), || Ok(held.hash()?))
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Handle<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> Result<MetadataHashValue, Failed> {
        let folder = self.folder(&descriptor)?;
        let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
        let guard = self.guard_of(&folder.mount);
        let look = || folder.place(&path)?.hash(follow);
        let hash = told(guard, "filesystem.metadata-hash-at", &(&folder.path, &path, follow), look);
        recorded(guard, &folder.mount, hash).await
    }

    fn drop(&mut self, descriptor: Handle<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(descriptor)?;
        Ok(())
    }
}
