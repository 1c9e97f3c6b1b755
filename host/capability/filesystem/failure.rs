//! Why a call of `wasi:filesystem` gave no result, and the code that the guest is told.

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use wasmtime::component::ResourceTableError;

use super::types::ErrorCode;
use crate::gate::{Code, Denied, Failure, Outcome};

/// Why a call gave no result.
#[derive(Debug, Serialize, Deserialize)]
pub enum Failed {
    /// The file system says so.
    Code(ErrorCode),
    /// The guest reached for what no mount gives it: a path that leads out, or something that is neither file nor folder.
    /// The guest gets the code; why is for the record.
    Outside(ErrorCode, Cow<'static, str>),
    /// The mount's quota has no room for it.
    Quota,
    /// It holds what the task was lent; why is for the record.
    Lent(String),
    /// The store ends: the task's budget is spent, or the guest broke the rules of its handles.
    #[serde(skip)]
    Trap(wasmtime::Error),
}

impl Failed {
    /// The same, after its effect was settled: an effect around it has failed, and was not refused once more.
    #[must_use]
    pub fn settled(self) -> Self {
        match self {
            Self::Quota => Self::Code(ErrorCode::Quota),
            Self::Lent(_) => Self::Code(ErrorCode::Access),
            other => other,
        }
    }

    /// How it is recorded that bytes were not written, where that is a refusal.
    pub(super) fn refusal(&self) -> Option<(Code, &str)> {
        match self {
            Self::Quota => Some((Code::Quota, "the mount's quota is spent")),
            Self::Lent(why) => Some((Code::Denied, why)),
            _ => None,
        }
    }

    /// What the guest is told.
    ///
    /// # Errors
    /// When it is told nothing, since its store ends.
    pub fn into_code(self) -> wasmtime::Result<ErrorCode> {
        match self {
            Self::Code(code) | Self::Outside(code, _) => Ok(code),
            Self::Quota => Ok(ErrorCode::Quota),
            Self::Lent(_) => Ok(ErrorCode::Access),
            Self::Trap(error) => Err(error),
        }
    }
}

impl Failure for Failed {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Quota => Outcome::Quota,
            Self::Lent(_) => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

impl From<Denied> for Failed {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(_) => Self::Code(ErrorCode::Access),
            ended => Self::Trap(wasmtime::Error::new(ended)),
        }
    }
}

impl From<ErrorCode> for Failed {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for Failed {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            // cap-std makes this error itself, where a link or the kernel's resolution leads out.
            return Self::Outside(ErrorCode::Access, Cow::Borrowed("a link leads out of the folder"));
        }
        match Errno::from_io_error(&error) {
            // A socket, or a pipe that nobody reads.
            Some(Errno::NXIO | Errno::NODEV) => Self::Outside(ErrorCode::Access, NOT_A_FILE.into()),
            _ => Self::Code(code(&error)),
        }
    }
}

/// Why pipes, devices and sockets are refused.
pub(super) const NOT_A_FILE: &str = "it is neither a regular file nor a folder";

/// The code of an error of the operating system.
pub(super) fn code(error: &io::Error) -> ErrorCode {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS) => ErrorCode::Access,
        Some(Errno::AGAIN) => ErrorCode::WouldBlock,
        Some(Errno::ALREADY) => ErrorCode::Already,
        Some(Errno::BADF) => ErrorCode::BadDescriptor,
        Some(Errno::BUSY) => ErrorCode::Busy,
        Some(Errno::DQUOT) => ErrorCode::Quota,
        Some(Errno::EXIST) => ErrorCode::Exist,
        Some(Errno::FBIG) => ErrorCode::FileTooLarge,
        Some(Errno::ILSEQ) => ErrorCode::IllegalByteSequence,
        Some(Errno::INPROGRESS) => ErrorCode::InProgress,
        Some(Errno::INTR) => ErrorCode::Interrupted,
        Some(Errno::INVAL) => ErrorCode::Invalid,
        Some(Errno::ISDIR) => ErrorCode::IsDirectory,
        Some(Errno::LOOP) => ErrorCode::Loop,
        Some(Errno::MLINK) => ErrorCode::TooManyLinks,
        Some(Errno::NAMETOOLONG) => ErrorCode::NameTooLong,
        Some(Errno::NOENT) => ErrorCode::NoEntry,
        Some(Errno::NOMEM) => ErrorCode::InsufficientMemory,
        Some(Errno::NOSPC) => ErrorCode::InsufficientSpace,
        Some(Errno::NOTDIR) => ErrorCode::NotDirectory,
        Some(Errno::NOTEMPTY) => ErrorCode::NotEmpty,
        Some(Errno::NOTSUP) => ErrorCode::Unsupported,
        Some(Errno::OVERFLOW) => ErrorCode::Overflow,
        Some(Errno::PERM) => ErrorCode::NotPermitted,
        Some(Errno::PIPE) => ErrorCode::Pipe,
        Some(Errno::ROFS) => ErrorCode::ReadOnly,
        Some(Errno::SPIPE) => ErrorCode::InvalidSeek,
        Some(Errno::TXTBSY) => ErrorCode::TextFileBusy,
        Some(Errno::XDEV) => ErrorCode::CrossDevice,
        Some(_) => ErrorCode::Io,
        None => match error.kind() {
            io::ErrorKind::NotFound => ErrorCode::NoEntry,
            io::ErrorKind::PermissionDenied => ErrorCode::Access,
            io::ErrorKind::AlreadyExists => ErrorCode::Exist,
            io::ErrorKind::InvalidInput => ErrorCode::Invalid,
            _ => ErrorCode::Io,
        },
    }
}
