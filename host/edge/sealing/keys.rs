//! Keys that wrap data keys, and where they come from.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{KEY, open, pkcs11, random, seal};
use crate::config::Home;
use crate::settings::secret::KeySetting;

/// The file in the home folder.
const FILE: &str = "key";
/// What a data key is wrapped for.
const PURPOSE: &str = "data-key";

/// Why a key could not be used. It says nothing of the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

/// Wraps data keys.
pub(crate) trait Wrapping: Send + Sync {
    /// What it is called where a data key says what wrapped it.
    fn name(&self) -> String;
    /// Wraps a key.
    fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, KeyError>;
    /// Unwraps it.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError>;
    /// Nothing is wrapped by it any more: takes it away, if it is ambit's own.
    fn retire(&self) -> Result<(), KeyError> {
        Ok(())
    }
}

/// What a setting names.
pub(super) fn provider(home: &Arc<Home>, setting: &KeySetting) -> Box<dyn Wrapping> {
    match setting {
        KeySetting::File => Box::new(HomeFile(Arc::clone(home))),
        KeySetting::Systemd(name) => Box::new(Credential(name.clone())),
        KeySetting::Pkcs11(setting) => Box::new(pkcs11::Token::new(setting.clone(), home.path())),
    }
}

fn read_key(dir: &Dir, name: &str, shown: &std::path::Path, strict: bool) -> Result<Zeroizing<[u8; KEY]>, KeyError> {
    let failed = |why: String| KeyError(format!("the key `{}` {why}", shown.display()));
    let options = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .to_owned();
    let mut file = dir.open_with(name, &options).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let metadata = file.metadata().map_err(|error| failed(format!("cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(failed("is no regular file".to_owned()));
    }
    if strict && metadata.mode() & 0o077 != 0 {
        return Err(failed(format!("can be read by others: `chmod 600 {}`", shown.display())));
    }
    let mut bytes = Zeroizing::new([0; KEY]);
    let fits = metadata.len() == KEY as u64 && file.read_exact(&mut *bytes).is_ok();
    if fits { Ok(bytes) } else { Err(failed(format!("has {} bytes, and a key has {KEY}", metadata.len()))) }
}

/// `--home`/key: made when it is first needed, readable by its owner alone.
struct HomeFile(Arc<Home>);

impl HomeFile {
    fn key(&self, make: bool) -> Result<Zeroizing<[u8; KEY]>, KeyError> {
        let (dir, path) = (self.0.dir(), self.0.path().join(FILE));
        if make && !dir.exists(FILE) {
            let mut key = Zeroizing::new([0; KEY]);
            random(&mut *key)?;
            self.make(&*key)
                .map_err(|error| KeyError(format!("the key `{}` cannot be made: {error}", path.display())))?;
        }
        read_key(dir, FILE, &path, true)
    }

    /// The whole key appears under its name at once; one that another process made meanwhile stays.
    fn make(&self, key: &[u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        let draft = format!("{FILE}.{}", ulid::Ulid::generate());
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
        let mut file = self.0.dir().open_with(&draft, &options)?;
        file.write_all(key)?;
        file.sync_all()?;
        let made = match self.0.dir().hard_link(&draft, self.0.dir(), FILE) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        self.0.dir().remove_file(&draft)?;
        // Else a power failure could leave what it wraps, and not the key.
        self.0.dir().open(".")?.sync_all()?;
        made
    }
}

impl Wrapping for HomeFile {
    fn name(&self) -> String {
        "file".to_owned()
    }

    fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(seal(&*self.key(true)?, PURPOSE, key))
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let path = self.0.path().join(FILE);
        open(&*self.key(false)?, PURPOSE, wrapped)
            .ok_or_else(|| KeyError(format!("`{}` is not the key that the secrets are sealed under", path.display())))
    }

    fn retire(&self) -> Result<(), KeyError> {
        let dir = self.0.dir();
        let gone = dir.open_with(FILE, OpenOptions::new().write(true)).and_then(|mut file| {
            use std::io::Write as _;
            file.write_all(&[0; KEY])?;
            file.sync_all()?;
            dir.remove_file(FILE)
        });
        match gone {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = self.0.path().join(FILE);
                Err(KeyError(format!(
                    "everything is sealed anew, but the old key `{}` is still there: {error}",
                    path.display()
                )))
            }
            _ => Ok(()),
        }
    }
}

/// A credential that systemd hands to the service (`LoadCredentialEncrypted=` of `systemd.exec(5)`).
struct Credential(String);

impl Credential {
    fn key(&self) -> Result<Zeroizing<[u8; KEY]>, KeyError> {
        #[expect(clippy::disallowed_methods, reason = "where systemd says that its credentials are")]
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).ok_or_else(|| {
            KeyError(format!(
                "systemd gave no credentials: write `LoadCredentialEncrypted={0}:FILE` into the unit that runs ambit",
                self.0
            ))
        })?;
        let path = folder.join(&self.0);
        #[expect(clippy::disallowed_methods, reason = "the folder that systemd made for this service")]
        let dir = Dir::open_ambient_dir(&folder, ambient_authority())
            .map_err(|error| KeyError(format!("the folder `{}` cannot be opened: {error}", folder.display())))?;
        read_key(&dir, &self.0, &path, false)
    }
}

impl Wrapping for Credential {
    fn name(&self) -> String {
        format!("systemd {}", self.0)
    }

    fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(seal(&*self.key()?, PURPOSE, key))
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let other =
            || KeyError(format!("the credential `{}` is not the key that the secrets are sealed under", self.0));
        open(&*self.key()?, PURPOSE, wrapped).ok_or_else(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::fs::{Permissions, PermissionsExt as _};

    #[test]
    fn a_key_file_is_the_owners_alone_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let home = Arc::new(Home::open(Some(folder.path())).unwrap());
        let file = HomeFile(Arc::clone(&home));
        assert!(
            file.unwrap(b"x").unwrap_err().to_string().contains("cannot be read"),
            "none is made to open what is sealed"
        );
        let wrapped = file.wrap(b"data key").unwrap();
        assert_eq!(&**file.unwrap(&wrapped).unwrap(), b"data key");
        let dir = home.dir();
        assert_eq!(dir.metadata(FILE).unwrap().mode() & 0o777, 0o600);
        assert_eq!(dir.entries().unwrap().count(), 1, "no draft is left");
        dir.set_permissions(FILE, Permissions::from_mode(0o640)).unwrap();
        assert!(file.unwrap(&wrapped).unwrap_err().to_string().contains("can be read by others"));
        dir.set_permissions(FILE, Permissions::from_mode(0o600)).unwrap();
        dir.write(FILE, [1; 31]).unwrap();
        assert!(file.unwrap(&wrapped).unwrap_err().to_string().contains("has 31 bytes"));
        dir.write(FILE, [1; 32]).unwrap();
        assert!(file.unwrap(&wrapped).unwrap_err().to_string().contains("is not the key"));
        dir.remove_file(FILE).unwrap();
        dir.symlink("elsewhere", FILE).unwrap();
        assert!(file.unwrap(&wrapped).is_err());
    }
}
