//! A secret in a file that something else keeps: a mounted secret, a credential of systemd.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Asked, Found, Reading, SecretError, Source};
use crate::secret::{LONGEST, Secret, SecretName};

/// The path.
pub(in crate::edge) struct File(pub(in crate::edge) PathBuf);

impl File {
    #[expect(clippy::disallowed_types, reason = "the file that the configuration names")]
    fn open(&self) -> Result<(std::fs::File, String), String> {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(&self.0);
        let file = file.map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is no regular file".to_owned());
        }
        if metadata.mode() & 0o007 != 0 {
            return Err("it can be read or changed by everybody: take that away with `chmod o-rwx`".to_owned());
        }
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Ok((file, format!("{}.{}.{seconds}.{nanoseconds}", metadata.ino(), metadata.len())))
    }

    /// What stands there without the line's end, and which version of it that is.
    pub(in crate::edge) fn value(&self) -> Result<(Zeroizing<Vec<u8>>, String), String> {
        let (file, version) = self.open()?;
        let mut value = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        // A longer one is refused for its length.
        file.take(LONGEST as u64 + 2).read_to_end(&mut value).map_err(|error| error.to_string())?;
        if value.ends_with(b"\n") {
            value.pop();
        }
        Ok((value, version))
    }

    fn unavailable(&self, name: &SecretName, why: String) -> SecretError {
        SecretError::Unavailable { name: name.clone(), place: self.place(), why }
    }
}

impl Source for File {
    fn place(&self) -> String {
        format!("the file `{}`", self.0.display())
    }

    fn read(&self, name: &SecretName, _asked: Asked) -> Reading {
        let found = self.value().map_err(|why| self.unavailable(name, why)).and_then(|(value, version)| {
            let value = Secret::new(value).map_err(|why| SecretError::Unfit { name: name.clone(), why })?;
            Ok(Found { value, version: Some(version), lasts: None, beside: None })
        });
        Box::pin(async { found })
    }

    fn version(&self, name: &SecretName) -> Result<Option<String>, SecretError> {
        self.open().map(|(_, version)| Some(version)).map_err(|why| self.unavailable(name, why))
    }
}
