//! Keys that sign: P-256, by *ring*.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use sha2::{Digest as _, Sha256};
use signature::{Error as Unsigned, Signer, Verifier};
use zeroize::Zeroizing;

/// A key that cannot be made, read, or signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct UnusableKey;

/// A key with its private half.
pub struct KeyPair {
    kid: String,
    /// In PKCS #8 (RFC 5958).
    private: Zeroizing<Vec<u8>>,
    point: (String, String),
}

impl KeyPair {
    /// A new key.
    ///
    /// # Errors
    /// When there is no entropy.
    pub fn generate() -> std::result::Result<Self, UnusableKey> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::read(Zeroizing::new(made.map_err(|_| UnusableKey)?.as_ref().to_vec()))
    }

    /// A key that was kept.
    ///
    /// # Errors
    /// When these bytes are none.
    pub fn read(private: Zeroizing<Vec<u8>>) -> std::result::Result<Self, UnusableKey> {
        let pair = pair(&private).map_err(|_| UnusableKey)?;
        // 4, x, y: uncompressed (SEC 1, section 2.3.3).
        let (x, y) = pair.public_key().as_ref().get(1..65).ok_or(UnusableKey)?.split_at(32);
        let point = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638, section 3.2: the members that the key needs, in their order.
        let thumb = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, point.0, point.1);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(thumb.as_bytes()));
        Ok(Self { kid, private, point })
    }

    /// Its name: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private half, to be kept.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// The public half: x and y, in base64url.
    pub fn point(&self) -> (&str, &str) {
        (&self.point.0, &self.point.1)
    }

    pub(super) fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ec_der(&self.private)
    }
}

fn pair(private: &[u8]) -> std::result::Result<EcdsaKeyPair, ring::error::KeyRejected> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private, &SystemRandom::new())
}

/// Lets `jsonwebtoken` sign and verify with *ring*.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            only(*algorithm)?;
            let pair = pair(key.as_bytes()).map_err(|_| Error::from(ErrorKind::InvalidEcdsaKey))?;
            Ok(Box::new(Es256Signer(pair)))
        },
        verifier_factory: |algorithm, key| {
            only(*algorithm)?;
            Ok(Box::new(Es256Verifier(point(key)?)))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    // The only one that there is: that it is installed already is as good.
    let _ = PROVIDER.install_default();
}

fn only(algorithm: Algorithm) -> Result<()> {
    if algorithm == Algorithm::ES256 { Ok(()) } else { Err(ErrorKind::InvalidAlgorithm.into()) }
}

fn point(key: &DecodingKey) -> Result<Vec<u8>> {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => Ok(bytes.clone()),
        DecodingKeyKind::RsaModulusExponent { .. } => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

struct Es256Signer(EcdsaKeyPair);

impl Signer<Vec<u8>> for Es256Signer {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Unsigned> {
        let signed = self.0.sign(&SystemRandom::new(), message).map_err(|_| Unsigned::new())?;
        Ok(signed.as_ref().to_vec())
    }
}

impl JwtSigner for Es256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

struct Es256Verifier(Vec<u8>);

impl Verifier<Vec<u8>> for Es256Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Unsigned> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0);
        key.verify(message, signature).map_err(|_| Unsigned::new())
    }
}

impl JwtVerifier for Es256Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}
