//! Compiled components, in a folder of the home. What lies there is native code, so it is loaded only if it is what this
//! home wrote: a code over each file's name and bytes (HMAC-SHA-256, FIPS 198-1), under a key that the home keeps beside
//! the folder, is checked each time. A file that was changed is never loaded: it is compiled anew.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use cap_std::fs::{Dir, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _, PermissionsExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::Home;

/// The folder in the home.
const FOLDER: &str = "compiled";
/// The key beside it.
const KEY: &str = "compiled.key";
/// The bytes of a code.
const CODE: usize = 32;

/// The folder of compiled components.
pub(super) struct Cache {
    dir: Dir,
    key: [u8; 32],
}

/// A file whose bytes are what was written, open.
pub(super) struct Kept(File);

impl Kept {
    /// A path that leads to this very file, whatever its name leads to by now.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

impl Cache {
    /// Opens the folder, and makes it with its key when it is not there.
    pub(super) fn open(home: &Home) -> std::io::Result<Self> {
        let mut builder = cap_std::fs::DirBuilder::new();
        cap_std::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        home.dir().create_dir_with(FOLDER, &builder)?;
        Ok(Self { key: key(home.dir())?, dir: home.dir().open_dir(FOLDER)? })
    }

    /// The file of that name, if it is there and is what was written; none if it is not there or was changed.
    pub(super) fn find(&self, name: &str) -> std::io::Result<Option<Kept>> {
        let (Some(mut file), Some(mut code)) = (self.ours(name)?, self.ours(&code_of(name))?) else { return Ok(None) };
        let mut written = [0; CODE];
        let mut authentic = code.read_exact(&mut written).is_ok();
        let mut mac = self.mac(name, file.metadata()?.len());
        // Small: each page of it that is new costs more than a call of the kernel.
        let mut chunk = vec![0; 1 << 14];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => mac.update(&chunk[..read]),
            }
        }
        authentic &= mac.verify_slice(&written).is_ok();
        Ok(authentic.then_some(Kept(file)))
    }

    /// Writes a file under its final name, whole or not at all.
    pub(super) fn keep(&self, name: &str, compiled: &[u8]) -> std::io::Result<()> {
        let mut mac = self.mac(name, compiled.len() as u64);
        mac.update(compiled);
        write(&self.dir, &code_of(name), &mac.finalize().into_bytes(), 0o400)?;
        write(&self.dir, name, compiled, 0o400)
    }

    /// The code of a file, before its bytes.
    fn mac(&self, name: &str, length: u64) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "INVARIANT: HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        mac.update(b"ambit.compiled.v1");
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(&length.to_be_bytes());
        mac
    }

    /// A file as `keep` leaves it: this user's, and writable by nobody.
    fn ours(&self, name: &str) -> std::io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = match self.dir.open_with(name, options.read(true)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // A link is none of ours, wherever it leads.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        let user = rustix::process::geteuid().as_raw();
        let ours = metadata.is_file() && metadata.uid() == user && metadata.permissions().mode() & 0o777 == 0o400;
        Ok(ours.then_some(file))
    }
}

fn code_of(name: &str) -> String {
    format!("{name}.code")
}

/// Writes a file beside its final name, and moves it there.
fn write(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let part = format!("{name}.{}", ulid::Ulid::generate());
    let mut options = OpenOptions::new();
    let mut file = dir.open_with(&part, options.write(true).create_new(true).mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    dir.rename(&part, dir, name)
}

/// The key of the home, made when it is not there. Of two processes that make one, the second wins; what the first has
/// written by then is compiled anew.
fn key(home: &Dir) -> std::io::Result<[u8; 32]> {
    if !home.exists(KEY) {
        write(home, KEY, &crate::config::entropy().map_err(std::io::Error::other)?, 0o600)?;
    }
    let mut key = [0; 32];
    home.open(KEY)?.read_exact(&mut key)?;
    Ok(key)
}
