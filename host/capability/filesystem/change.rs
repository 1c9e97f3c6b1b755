//! What a guest changes. Every function here takes the permit of exactly that change, and makes it in one step with the
//! account of the mount's meter: what was checked against the quota is what happens.

use std::io::{self, IoSlice};
use std::sync::{Arc, PoisonError};

use cap_std::fs::{Dir, File, FileExt as _, Metadata};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, utimensat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use serde::{Serialize, Serializer};

use super::Write;
use super::descriptor::{Descriptor, Mounted, OpenFile, Opening, Place};
use super::failure::Failed;
use super::path::check_target;
use super::quota::{Amount, Inode};
use super::types::{ErrorCode, NewTimestamp};
use crate::gate::{Exempt, Permit};

/// Opens a file for writing, or makes or empties one.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    /// Where.
    #[serde(skip)]
    pub(super) place: Place,
    /// How.
    pub(super) opening: Opening,
}

/// Makes a symbolic link.
#[derive(Debug, Serialize)]
pub(super) struct Symlink {
    /// Where.
    #[serde(skip)]
    pub(super) place: Place,
    /// What it holds.
    pub(super) target: String,
}

/// Makes a file longer or shorter.
#[derive(Debug, Serialize)]
pub(super) struct Resize {
    /// The file.
    #[serde(skip)]
    pub(super) file: Arc<OpenFile>,
    /// Its new length, in bytes.
    pub(super) size: u64,
}

/// Sets the times of a file or folder.
#[derive(Debug, Serialize)]
pub(super) struct Stamp<T> {
    /// Of what.
    #[serde(skip)]
    pub(super) target: T,
    /// Whether a link in the last place is followed.
    pub(super) follow: bool,
    /// Access and modification.
    #[serde(serialize_with = "told")]
    pub(super) times: Timestamps,
}

/// Times as people are shown them: seconds since the Unix epoch, `now` or `unchanged`.
fn told<S: Serializer>(times: &Timestamps, serializer: S) -> Result<S::Ok, S::Error> {
    let word = |time: &Timespec| match time.tv_nsec {
        UTIME_NOW => "now".to_owned(),
        UTIME_OMIT => "unchanged".to_owned(),
        nanoseconds => format!("{}.{nanoseconds:09}", time.tv_sec),
    };
    serializer.collect_map([("accessed", word(&times.last_access)), ("modified", word(&times.last_modification))])
}

/// Opens for writing.
///
/// # Errors
/// When there is no room for a new file, or the file system refuses.
pub(super) fn open(permit: Permit<Write<Open>>) -> Result<Descriptor, Failed> {
    let Open { place, opening } = permit.redeem().target;
    let path = place.guest_path()?;
    let writing = place.folder.mount.writing()?;
    let mut account = writing.meter.lock();
    // Linux empties what it opens before anyone can look at it; here that happens after, and is counted.
    let existing = Opening { create: false, exclusive: false, truncate: false, ..opening };
    let found = if opening.create && opening.exclusive { None } else { Some(place.open_raw(existing)) };
    let file = match found {
        Some(Err(Failed::Code(ErrorCode::NoEntry))) | None if opening.create => {
            if place.path.is_folder() {
                return Err(Failed::Code(ErrorCode::IsDirectory));
            }
            account.room(writing.quota, Amount::file(0))?;
            let file = place.open_raw(Opening { truncate: false, ..opening })?;
            account.add(Amount::file(0));
            file
        }
        Some(found) => found?,
        None => return Err(Failed::Code(ErrorCode::Invalid)),
    };
    let metadata = place.look(&file)?;
    if opening.truncate && metadata.is_file() {
        file.set_len(0)?;
        account.resize(metadata.len(), 0);
    }
    Ok(place.admit(file, &metadata, path, opening, Some(&mut account)))
}

/// Makes a folder.
///
/// # Errors
/// When there is no room for it, or the file system refuses.
pub(super) fn create_directory(permit: Permit<Write<Place>>) -> Result<(), Failed> {
    let place = permit.redeem().target;
    make(&place, 0, |parent, name| Ok(parent.create_dir(name)?))
}

/// Makes a symbolic link that leads downwards.
///
/// # Errors
/// When it would not, there is no room for it, or the file system refuses.
pub(super) fn symlink(permit: Permit<Write<Symlink>>) -> Result<(), Failed> {
    let Symlink { place, target } = permit.redeem().target;
    check_target(&target)?;
    if place.path.is_folder() && place.path.split().is_some() {
        return Err(Failed::Code(ErrorCode::NotDirectory));
    }
    make(&place, target.len() as u64, |parent, name| Ok(parent.symlink(&target, name)?))
}

/// Makes a name that was not there, for something of that length.
fn make(place: &Place, length: u64, act: impl FnOnce(&Dir, &str) -> Result<(), Failed>) -> Result<(), Failed> {
    let writing = place.folder.mount.writing()?;
    place.named(ErrorCode::Exist, |parent, name| {
        let mut account = writing.meter.lock();
        account.room(writing.quota, Amount::file(length))?;
        act(parent, name)?;
        account.add(Amount::file(length));
        Ok(())
    })
}

/// Gives a file another name in the same mount.
///
/// # Errors
/// When there is no room for it, or the file system refuses.
pub(super) fn link(from: Permit<Write<Place>>, to: Permit<Write<Place>>) -> Result<(), Failed> {
    let (from, to) = (from.redeem().target, to.redeem().target);
    let writing = to.folder.mount.writing()?;
    from.named(ErrorCode::NotPermitted, |old_parent, old| {
        to.named(ErrorCode::Exist, |new_parent, new| {
            let mut account = writing.meter.lock();
            movable(old_parent, old, from.path.is_folder() || to.path.is_folder())?;
            account.room(writing.quota, Amount::file(0))?;
            old_parent.hard_link(old, new_parent, new)?;
            account.add(Amount::file(0));
            Ok(())
        })
    })
}

/// Moves a file or folder in the same mount. What had the new name is gone.
///
/// # Errors
/// When the file system refuses.
pub(super) fn rename(from: Permit<Write<Place>>, to: Permit<Write<Place>>) -> Result<(), Failed> {
    let (from, to) = (from.redeem().target, to.redeem().target);
    let writing = to.folder.mount.writing()?;
    from.named(ErrorCode::Busy, |old_parent, old| {
        to.named(ErrorCode::Busy, |new_parent, new| {
            let mut account = writing.meter.lock();
            let moved = movable(old_parent, old, from.path.is_folder() || to.path.is_folder())?;
            let replaced = match new_parent.symlink_metadata(new) {
                Ok(metadata) if Inode::of(&metadata) == Inode::of(&moved) => Amount::default(),
                Ok(metadata) => account.behind_name(&metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Amount::default(),
                Err(error) => return Err(error.into()),
            };
            old_parent.rename(old, new_parent, new)?;
            account.remove(replaced);
            Ok(())
        })
    })
}

/// Looks at what is to have another name. A link that leads upwards stays where it is: elsewhere it could lead out.
fn movable(parent: &Dir, name: &str, has_to_be_folder: bool) -> Result<Metadata, Failed> {
    let metadata = parent.symlink_metadata(name)?;
    if has_to_be_folder && !metadata.is_dir() {
        return Err(Failed::Code(ErrorCode::NotDirectory));
    }
    if metadata.is_symlink() {
        let target = parent.read_link_contents(name)?;
        target.to_str().map_or(Err(Failed::Code(ErrorCode::IllegalByteSequence)), check_target)?;
    }
    Ok(metadata)
}

/// Removes a file or link.
///
/// # Errors
/// When the file system refuses.
pub(super) fn unlink_file(permit: Permit<Write<Place>>) -> Result<(), Failed> {
    let place = permit.redeem().target;
    remove(&place, ErrorCode::IsDirectory, |parent, name| {
        if place.path.is_folder() { Err(Failed::Code(ErrorCode::IsDirectory)) } else { Ok(parent.remove_file(name)?) }
    })
}

/// Removes an empty folder.
///
/// # Errors
/// When the file system refuses.
pub(super) fn remove_directory(permit: Permit<Write<Place>>) -> Result<(), Failed> {
    let place = permit.redeem().target;
    remove(&place, ErrorCode::Busy, |parent, name| Ok(parent.remove_dir(name)?))
}

fn remove(place: &Place, itself: ErrorCode, act: impl FnOnce(&Dir, &str) -> Result<(), Failed>) -> Result<(), Failed> {
    let writing = place.folder.mount.writing()?;
    place.named(itself, |parent, name| {
        let mut account = writing.meter.lock();
        let metadata = parent.symlink_metadata(name)?;
        if place.path.is_folder() && !metadata.is_dir() {
            return Err(Failed::Code(ErrorCode::NotDirectory));
        }
        let gone = account.behind_name(&metadata);
        act(parent, name)?;
        account.remove(gone);
        Ok(())
    })
}

/// Makes a file longer or shorter.
///
/// # Errors
/// When there is no room for it, or the file system refuses.
pub(super) fn set_size(permit: Permit<Write<Resize>>) -> Result<(), Failed> {
    let Resize { file, size } = permit.redeem().target;
    let writing = file.mount.writing()?;
    let mut account = writing.meter.lock();
    let before = file.file.metadata()?.len();
    account.room(writing.quota, Amount::bytes(size.saturating_sub(before)))?;
    file.file.set_len(size)?;
    account.resize(before, size);
    Ok(())
}

/// Sets the times of what the guest holds.
///
/// # Errors
/// When the file system refuses.
pub(super) fn set_times(permit: Permit<Write<Stamp<Descriptor>>>) -> Result<(), Failed> {
    let Stamp { target, times, .. } = permit.redeem().target;
    match &target {
        Descriptor::File(file) => futimens(&file.file, &times)?,
        Descriptor::Folder(folder) => futimens(folder.dir(), &times)?,
    }
    Ok(())
}

/// Sets the times of what stands at a path.
///
/// # Errors
/// When the file system refuses.
pub(super) fn set_times_at(permit: Permit<Write<Stamp<Place>>>) -> Result<(), Failed> {
    let Stamp { target: place, follow, times } = permit.redeem().target;
    // Looks whether it is there, and is a folder if it has to be one.
    let metadata = place.metadata(false)?;
    if place.path.split().is_none() {
        futimens(place.folder.dir(), &times)?;
        return Ok(());
    }
    if follow && metadata.is_symlink() {
        let file: File = place.open_raw(Opening { read: true, follow: true, ..Opening::default() })?;
        place.look(&file)?;
        futimens(&file, &times)?;
        return Ok(());
    }
    place.named(ErrorCode::Busy, |parent, name| Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Times as system calls take them.
///
/// # Errors
/// When one of them cannot be told to the system.
pub(super) fn timestamps(accessed: &NewTimestamp, modified: &NewTimestamp) -> Result<Timestamps, Failed> {
    let spec = |time: &NewTimestamp| match time {
        NewTimestamp::NoChange => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
        NewTimestamp::Now => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        NewTimestamp::Timestamp(time) if time.nanoseconds < 1_000_000_000 => {
            let tv_sec = i64::try_from(time.seconds).map_err(|_| Failed::Code(ErrorCode::Overflow))?;
            Ok(Timespec { tv_sec, tv_nsec: i64::from(time.nanoseconds) })
        }
        NewTimestamp::Timestamp(_) => Err(Failed::Code(ErrorCode::Invalid)),
    };
    Ok(Timestamps { last_access: spec(accessed)?, last_modification: spec(modified)? })
}

/// Where bytes are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// From this offset on, in bytes.
    Offset(u64),
    /// At the end, wherever that is.
    End,
}

impl OpenFile {
    /// Writes, and says how many bytes. The gate let this happen when the file was opened; the quota is asked each time.
    ///
    /// # Errors
    /// When there is no room for all of the bytes, the file was not opened for writing, or the disk fails.
    pub(super) fn write(&self, bytes: &[u8], at: At) -> Result<usize, Failed> {
        let writing = self.mount.writing()?;
        let mut account = writing.meter.lock();
        let before = self.file.metadata()?.len();
        let end = match at {
            At::Offset(offset) => offset.checked_add(bytes.len() as u64),
            At::End => before.checked_add(bytes.len() as u64),
        };
        let end = end.ok_or(Failed::Code(ErrorCode::FileTooLarge))?;
        let Mounted { gate, actor, .. } = self.mount.as_ref();
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        let exempt = if self.mount.source.ground.may_show() { Exempt::Shown(actor) } else { Exempt::Nobody };
        gate.judged(exempt, trail.found(&gate.leaks, bytes, end)).map_err(Failed::Lent)?;
        if !bytes.is_empty() {
            account.room(writing.quota, Amount::bytes(end.saturating_sub(before)))?;
        }
        let written = match at {
            At::Offset(offset) => self.file.write_at(bytes, offset),
            At::End => self.append(bytes, before),
        };
        account.resize(before, self.file.metadata()?.len());
        let written = written?;
        let unwritten = (bytes.len() - written) as u64;
        trail.follow(&gate.leaks, &bytes[..written], end - unwritten);
        Ok(written)
    }

    /// Appends in one step where the file system can, so that two processes do not write over each other.
    fn append(&self, bytes: &[u8], end: u64) -> io::Result<usize> {
        match pwritev2(&self.file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Err(Errno::NOTSUP | Errno::NOSYS) => self.file.write_at(bytes, end),
            written => Ok(written?),
        }
    }
}
