//! Signed notes: a text with signature lines below it, as `c2sp.org/signed-note` has them, by Ed25519 keys.
//!
//! They are read strictly: what is read is byte for byte what writing it again gives, or it is refused.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The signature type of Ed25519.
const TYPE: u8 = 1;
/// What a signature line begins with.
const DASH: &str = "\u{2014} ";
/// The bytes of a note, at most.
const LONGEST: usize = 64 << 10;
/// The bytes of a key's name, at most.
const LONGEST_NAME: usize = 255;

/// Why something is no signed note, or no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has another form.
    #[error("it is no signed note: {0}")]
    Form(&'static str),
    /// It is no verifier key.
    #[error("it is no key as `ambit audit key` prints it: {0}")]
    Key(&'static str),
    /// It is no name for a key.
    #[error("`{0}` cannot name a log: write it without spaces and `+`, as `audit.example.net/host-1`")]
    Name(String),
    /// Nobody signed it whose key is known.
    #[error("it is not signed by the key `{0}`")]
    Unsigned(String),
    /// A signature is wrong.
    #[error("its signature by the key `{0}` is wrong: it was changed, or forged")]
    Forged(String),
}

/// The name of a key, which is that of the log as well: `audit.example.net/host-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyName(String);

impl KeyName {
    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = NoteError;

    fn try_from(text: String) -> Result<Self, NoteError> {
        text.parse()
    }
}

impl FromStr for KeyName {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let odd = |character: char| character.is_whitespace() || character.is_control() || character == '+';
        if text.is_empty() || text.len() > LONGEST_NAME || text.contains(odd) {
            return Err(NoteError::Name(text.escape_debug().take(LONGEST_NAME).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a signature is verified with. As a text: `name+id in hex+base64(0x01 ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    public: [u8; 32],
}

impl VerifierKey {
    /// A key with its name.
    pub fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self { name, public }
    }

    /// Its name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new_with_prefix(self.name.as_str()).chain_update([b'\n', TYPE]).chain_update(self.public);
        let hash: [u8; 32] = hash.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = STANDARD.encode([&[TYPE], self.public.as_slice()].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it has not three parts with `+` between them"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("its last part is no base64"))?;
        let Some((&TYPE, public)) = bytes.split_first() else {
            return Err(NoteError::Key("it is no Ed25519 key (type 1)"));
        };
        let public = public.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = Self { name: name.parse()?, public };
        if key.to_string() == text { Ok(key) } else { Err(NoteError::Key("its id is not that of its name and key")) }
    }
}

/// What signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl SigningKey {
    /// The key of a seed (RFC 8032, section 5.1.5: the private key).
    pub fn of(name: KeyName, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { pair, verifier: VerifierKey::new(name, public) })
    }

    /// Its public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// A note with that text, which ends with a line break.
    pub fn sign(&self, text: String) -> Note {
        let signature = [self.verifier.id().as_slice(), self.pair.sign(text.as_bytes()).as_ref()].concat();
        let signatures = vec![Signature { name: self.verifier.name.clone(), bytes: signature }];
        Note { text, signatures }
    }
}

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: KeyName,
    /// The key's id, and what the key made.
    bytes: Vec<u8>,
}

/// A text with signatures below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// What is signed, with its last line break.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key signed it. Signatures by other keys are passed over.
    ///
    /// # Errors
    /// When there is no signature of this key, or a wrong one.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let id = key.id();
        let mut signed = Err(NoteError::Unsigned(key.to_string()));
        for signature in &self.signatures {
            let Some((found, bytes)) = signature.bytes.split_first_chunk() else { continue };
            if signature.name != key.name || *found != id {
                continue;
            }
            let verified = UnparsedPublicKey::new(&ED25519, key.public).verify(self.text.as_bytes(), bytes);
            verified.map_err(|_| NoteError::Forged(key.to_string()))?;
            signed = Ok(());
        }
        signed
    }

    /// Reads notes that stand one after another.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn all(text: &str) -> Result<Vec<Self>, NoteError> {
        let mut notes = Vec::new();
        let mut note = String::new();
        let mut signed = false;
        for line in text.split_inclusive('\n') {
            let is_signature = line.starts_with(DASH);
            if signed && !is_signature {
                notes.push(std::mem::take(&mut note).parse()?);
            }
            // A line of the text may look like one: signatures follow an empty line.
            signed = is_signature && (signed || note.ends_with("\n\n"));
            note.push_str(line);
        }
        notes.push(note.parse()?);
        Ok(notes)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|Signature { name, bytes }| writeln!(f, "{DASH}{name} {}", STANDARD.encode(bytes)))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        if text.len() > LONGEST {
            return Err(NoteError::Form("it is too long"));
        }
        if text.contains(|character: char| character < ' ' && character != '\n') {
            return Err(NoteError::Form("it holds control characters"));
        }
        let parts = text.rfind("\n\n").map(|end| text.split_at(end + 1));
        let (signed, below) = parts.ok_or(NoteError::Form("no signatures stand below it"))?;
        let read = |line: &str| -> Option<Signature> {
            let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = STANDARD.decode(bytes).ok().filter(|bytes| bytes.len() > 4)?;
            Some(Signature { name: name.parse().ok()?, bytes })
        };
        let signatures: Option<Vec<_>> = below.lines().skip(1).map(read).collect();
        let signatures = signatures.filter(|signatures| !signatures.is_empty());
        let signatures = signatures.ok_or(NoteError::Form("a signature line cannot be read"))?;
        let note = Self { text: signed.to_owned(), signatures };
        if note.to_string() == text { Ok(note) } else { Err(NoteError::Form("it is not written as it should be")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the specification.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn signing(name: &str, seed: u8) -> SigningKey {
        SigningKey::of(name.parse().unwrap(), &[seed; 32]).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let key: VerifierKey = KEY.parse().unwrap();
        let note: Note = NOTE.parse().unwrap();
        assert_eq!((key.to_string().as_str(), note.to_string().as_str()), (KEY, NOTE));
        note.verify(&key).unwrap();
        let other = signing("example.com/foo", 1);
        assert_eq!(note.verify(other.verifier()), Err(NoteError::Unsigned(other.verifier().to_string())));
    }

    #[test]
    fn others_may_sign_below() {
        let (own, other) = (signing("a", 1), signing("b", 2));
        let mut note = own.sign("text\n".to_owned());
        note.signatures.extend(other.sign("text\n".to_owned()).signatures);
        let note: Note = note.to_string().parse().unwrap();
        note.verify(own.verifier()).unwrap();
        note.verify(other.verifier()).unwrap();
        note.signatures.iter().for_each(|signature| assert_eq!(signature.bytes.len(), 68));
        let twice = format!("{note}{NOTE}{note}");
        assert_eq!(Note::all(&twice).unwrap(), [note.clone(), NOTE.parse().unwrap(), note]);
    }

    #[test]
    fn what_is_written_otherwise_is_refused() {
        for odd in [
            String::new(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            NOTE.trim_end().to_owned(),
            NOTE.replace('\n', "\r\n"),
            NOTE.replace("\n\n", "\n"),
            NOTE.replace("— ", "- "),
            NOTE.replace("aQM=", "aQN="),
            NOTE.replace("aQM=", "aQM"),
            NOTE.replace("example message", "example\tmessage"),
            NOTE.replace(" Uw2Q", "  Uw2Q"),
            format!("{NOTE}\n"),
            format!("{NOTE}more"),
            "a".repeat(LONGEST + 1),
        ] {
            assert!(odd.parse::<Note>().is_err(), "{odd}");
            assert!(Note::all(&odd).is_err(), "{odd}");
        }
        for odd in
            ["", "a", "a+b", "a+00000000+AQ==", &KEY.replace("530d", "530D"), &KEY.replace("foo", "fop"), &KEY[..60]]
        {
            assert!(odd.parse::<VerifierKey>().is_err(), "{odd}");
        }
        for odd in ["", "a b", "a+b", "a\nb", "a\u{a0}b", &"a".repeat(300)] {
            assert!(odd.parse::<KeyName>().is_err(), "{odd}");
        }
    }

    proptest! {
        /// Every changed byte of a note is found.
        #[test]
        fn a_changed_note_is_found(at: prop::sample::Index, byte: u8) {
            let key = signing("audit.example.net/one", 3);
            let note = key.sign("audit.example.net/one\n3\nAAAA\n".to_owned()).to_string();
            let mut bytes = note.clone().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Note>().ok());
            prop_assert!(read.is_none_or(|note| note.verify(key.verifier()).is_err()));
        }
    }
}
