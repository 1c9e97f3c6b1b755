//! A key that never leaves a token (PKCS #11 2.40): the token wraps and unwraps data keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ring::aead::NONCE_LEN;
use zeroize::Zeroizing;

use super::keys::{KeyError, Wrapping};
use super::{KEY, random};
use crate::edge::secrets::file::File;
use crate::settings::secret::{PinSetting, Pkcs11Setting};

/// The length of a tag, in bits.
const TAG: u64 = 128;
/// What a data key is wrapped for.
const PURPOSE: &[u8] = b"data-key";

/// The modules of this process. One is initialised once, and whoever logs in or out does so for all of a token's sessions:
/// whoever works with one holds all.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// A key in a token.
pub(super) struct Token {
    setting: Pkcs11Setting,
    home: PathBuf,
    /// Why the token did not take the PIN. It is not tried again: a token locks itself after a few wrong ones.
    refused: OnceLock<String>,
}

fn failed(what: &str) -> impl Fn(Error) -> KeyError + '_ {
    move |error| KeyError(format!("{what}: {error}"))
}

impl Token {
    pub(super) fn new(setting: Pkcs11Setting, home: &Path) -> Self {
        Self { setting, home: home.to_owned(), refused: OnceLock::new() }
    }

    /// Works with the key, in a session that is closed afterwards.
    fn with<T>(&self, work: impl FnOnce(&Session, ObjectHandle) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.session(self.module(&mut modules)?)?;
        self.login(&session)?;
        let result = self.key(&session).and_then(|handle| work(&session, handle));
        // The session is closed in any case, and that logs out.
        let _ = session.logout();
        result
    }

    fn module<'a>(&self, modules: &'a mut MutexGuard<'_, BTreeMap<PathBuf, Pkcs11>>) -> Result<&'a Pkcs11, KeyError> {
        // With a slash in it, no variable says where the loader looks for it.
        let path = self.home.join(&self.setting.module);
        if !modules.contains_key(&path) {
            let shown = format!("the PKCS #11 module `{}` cannot be loaded", path.display());
            let module = Pkcs11::new(&path).map_err(failed(&shown))?;
            match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                // It is there by another name.
                Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                Err(error) => return Err(failed(&shown)(error)),
            }
            modules.insert(path.clone(), module);
        }
        modules.get(&path).ok_or_else(|| KeyError("the PKCS #11 module is gone".to_owned()))
    }

    /// A session with the token of that label.
    fn session(&self, module: &Pkcs11) -> Result<Session, KeyError> {
        let token = &self.setting.token;
        let slots = module.get_slots_with_initialized_token().map_err(failed("the PKCS #11 module has no slots"))?;
        let labelled = slots.into_iter().filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
        let named: Vec<_> = labelled.filter(|(_, info)| info.label() == token).collect();
        let [(slot, _)] = &named[..] else {
            let path = self.setting.module.display();
            return Err(KeyError(format!(
                "the PKCS #11 module `{path}` shows {} tokens called `{token}`, not one: look at `token` and at the module's \
                 own configuration",
                named.len()
            )));
        };
        module.open_ro_session(*slot).map_err(failed("the PKCS #11 token opens no session"))
    }

    fn login(&self, session: &Session) -> Result<(), KeyError> {
        if let Some(refused) = self.refused.get() {
            return Err(KeyError(refused.clone()));
        }
        match session.login(UserType::User, Some(&self.pin()?)) {
            Ok(()) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked | RvError::PinExpired, _)) => {
                let why = format!("the PKCS #11 token `{}` does not take the PIN that `pin` names", self.setting.token);
                Err(KeyError(self.refused.get_or_init(|| why).clone()))
            }
            Err(error) => Err(failed("the PKCS #11 token lets nobody log in")(error)),
        }
    }

    /// The key of that label, which is of the kind that is needed.
    fn key(&self, session: &Session) -> Result<ObjectHandle, KeyError> {
        let Pkcs11Setting { token, key, .. } = &self.setting;
        let searched = failed("the PKCS #11 token cannot be searched");
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(key.clone().into_bytes())];
        let found = session.find_objects(&wanted).map_err(&searched)?;
        let [handle] = found[..] else {
            let count = found.len();
            return Err(KeyError(format!(
                "the PKCS #11 token `{token}` has {count} secret keys called `{key}`, not one"
            )));
        };
        let kinds = [AttributeType::KeyType, AttributeType::ValueLen, AttributeType::Encrypt, AttributeType::Decrypt];
        let mut fitting = 0;
        for attribute in session.get_attributes(handle, &kinds).map_err(&searched)? {
            fitting += usize::from(match attribute {
                Attribute::KeyType(kind) => kind == KeyType::AES,
                Attribute::ValueLen(length) => *length == KEY as u64,
                Attribute::Encrypt(may) | Attribute::Decrypt(may) => may,
                _ => false,
            });
        }
        if fitting == kinds.len() {
            return Ok(handle);
        }
        let why = "is no AES key of 256 bits that may encrypt and decrypt";
        Err(KeyError(format!("the key `{key}` of the PKCS #11 token `{token}` {why}")))
    }

    fn pin(&self) -> Result<AuthPin, KeyError> {
        let pin = match &self.setting.pin {
            PinSetting::File(path) => {
                let path = self.home.join(path);
                let unusable = |why: String| KeyError(format!("the PIN `{}` cannot be used: {why}", path.display()));
                let (bytes, _) = File(path.clone()).value().map_err(unusable)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
                Zeroizing::new(text.to_owned())
            }
            PinSetting::Environment(name) => {
                #[expect(clippy::disallowed_methods, reason = "the variable that the configuration names")]
                let pin = std::env::var(name);
                let unset = |_| KeyError(format!("the PIN is not there: the variable `{name}` is not set"));
                Zeroizing::new(pin.map_err(unset)?)
            }
        };
        Ok(AuthPin::new(pin.trim_end_matches(['\r', '\n']).into()))
    }
}

impl Wrapping for Token {
    fn name(&self) -> String {
        format!("pkcs11 {}/{}", self.setting.token, self.setting.key)
    }

    fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let mut used = nonce;
        self.with(|session, handle| {
            let parameters = GcmParams::new(&mut used, PURPOSE, TAG.into()).map_err(failed("AES-GCM"))?;
            let sealed = session.encrypt(&Mechanism::AesGcm(parameters), handle, key);
            let sealed = sealed.map_err(failed("the PKCS #11 token does not encrypt with AES-GCM"))?;
            Ok([nonce.as_slice(), &sealed].concat())
        })
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let damaged = || KeyError("the data key is damaged".to_owned());
        let other = |or: &str| {
            let Pkcs11Setting { token, key, .. } = &self.setting;
            let why = "is not the key that the secrets are sealed under";
            KeyError(format!("the key `{key}` of the PKCS #11 token `{token}` {why}{or}"))
        };
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let mut nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| damaged())?;
        self.with(|session, handle| {
            let parameters = GcmParams::new(&mut nonce, PURPOSE, TAG.into()).map_err(failed("AES-GCM"))?;
            let opened = session.decrypt(&Mechanism::AesGcm(parameters), handle, sealed);
            match opened {
                Ok(key) => Ok(Zeroizing::new(key)),
                Err(Error::Pkcs11(RvError::EncryptedDataInvalid, _)) => Err(other("")),
                // What SoftHSM says of a wrong tag.
                Err(Error::Pkcs11(RvError::GeneralError, _)) => Err(other(", or the token failed")),
                Err(error) => Err(failed("the PKCS #11 token does not decrypt with AES-GCM")(error)),
            }
        })
    }
}
