//! A key that never leaves a token (PKCS #11 2.40): the token wraps and unwraps data keys.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ring::aead::NONCE_LEN;
use zeroize::Zeroizing;

use super::keys::{KeyError, Wrapping};
use super::random;
use crate::settings::secret::{PinSetting, Pkcs11Setting};

/// The length of a tag, in bits.
const TAG: u64 = 128;
/// What a data key is wrapped for.
const PURPOSE: &[u8] = b"data-key";

/// A key in a token.
pub(super) struct Token {
    setting: Pkcs11Setting,
    /// The file of the PIN, if it stands in one.
    pin: Option<PathBuf>,
    /// The module, once it is loaded: it can be initialised once in a process.
    module: Mutex<Option<Pkcs11>>,
}

fn failed(what: &str) -> impl Fn(cryptoki::error::Error) -> KeyError + '_ {
    move |error| KeyError(format!("{what}: {error}"))
}

impl Token {
    pub(super) fn new(setting: Pkcs11Setting, home: &Path) -> Self {
        let pin = if let PinSetting::File(file) = &setting.pin { Some(home.join(file)) } else { None };
        Self { setting, pin, module: Mutex::default() }
    }

    /// Works with the key, in a session that is closed afterwards.
    fn with<T>(&self, work: impl FnOnce(&Session, ObjectHandle) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let Pkcs11Setting { module, token, key, .. } = &self.setting;
        let module = self.module(module)?;
        let slots = module.get_slots_with_token().map_err(failed("the PKCS #11 module has no slots"))?;
        let is_named =
            |slot: &cryptoki::slot::Slot| module.get_token_info(*slot).is_ok_and(|info| info.label() == token);
        let slot = slots.into_iter().find(is_named);
        let slot = slot.ok_or_else(|| KeyError(format!("no PKCS #11 token is called `{token}`")))?;
        let session = module.open_ro_session(slot).map_err(failed("the PKCS #11 token opens no session"))?;
        match session.login(UserType::User, Some(&self.pin()?)) {
            Ok(()) => {}
            Err(error) => return Err(failed("the PKCS #11 token does not take the PIN")(error)),
        }
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(key.clone().into_bytes())];
        let found = session.find_objects(&wanted).map_err(failed("the PKCS #11 token cannot be searched"))?;
        let [handle] = found[..] else {
            return Err(KeyError(format!(
                "the PKCS #11 token `{token}` has {} secret keys called `{key}`, not one",
                found.len()
            )));
        };
        let result = work(&session, handle);
        // The session is closed in any case, and that logs out.
        let _ = session.logout();
        result
    }

    fn module(&self, path: &Path) -> Result<Pkcs11, KeyError> {
        let mut loaded = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = &*loaded {
            return Ok(module.clone());
        }
        let shown = format!("the PKCS #11 module `{}` cannot be loaded", path.display());
        let module = Pkcs11::new(path).map_err(failed(&shown))?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed(&shown))?;
        *loaded = Some(module.clone());
        Ok(module)
    }

    #[expect(clippy::disallowed_methods, reason = "the operator's own file or variable, which the configuration names")]
    fn pin(&self) -> Result<AuthPin, KeyError> {
        let pin = match (&self.pin, &self.setting.pin) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|error| KeyError(format!("the PIN `{}` cannot be read: {error}", path.display())))?,
            (None, PinSetting::Environment(name)) => std::env::var(name)
                .map_err(|_| KeyError(format!("the PIN is not there: the variable `{name}` is not set")))?,
            (None, PinSetting::File(_)) => return Err(KeyError("the PIN is not there".to_owned())),
        };
        let pin = Zeroizing::new(pin);
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
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let mut nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| damaged())?;
        self.with(|session, handle| {
            let parameters = GcmParams::new(&mut nonce, PURPOSE, TAG.into()).map_err(failed("AES-GCM"))?;
            let opened = session.decrypt(&Mechanism::AesGcm(parameters), handle, sealed);
            opened.map(Zeroizing::new).map_err(failed("the PKCS #11 token does not open the data key"))
        })
    }
}
