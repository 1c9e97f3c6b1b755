//! What secrets are sealed under: a file of the home's, a credential of systemd's, a key in a token. One changes from one to
//! another, and without the key there is nothing to be read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde_json::json;

use super::support::{Answer, Scene};
use super::wire::Wire;

const VALUE: &str = "sk-Sealed/41-under";
const SYSTEMD: &str = "{ systemd = \"ambit-key\" }";

/// A home with a secret, and a tool whose requests bear it.
struct Sealed {
    scene: Scene,
    host: Wire,
    variables: Vec<(&'static str, String)>,
}

impl Sealed {
    fn new(variables: Vec<(&'static str, String)>) -> Self {
        let host = Wire::greeting();
        let rule = format!(
            "{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"GET\"], paths = [\"/**\"], credential = \"billing\" }}",
            host.port
        );
        let grant = format!("[agent]\ntools = [\"caller\"]\n[tools.caller]\nhttp = [{rule}]\n");
        Self { scene: Scene::with_tools(&[("caller", "probe-http")], &grant), host, variables }
    }

    /// Names a key, and the one before it.
    fn key(&self, key: &str, before: Option<&str>) -> &Self {
        let before = before.map(|before| format!("before = {before}\n")).unwrap_or_default();
        self.scene.write("home/config.toml", format!("[secret-store]\nkey = {key}\n{before}").as_bytes());
        self
    }

    fn private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.scene.write(name, bytes);
        let path = self.scene.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn ambit(&self, arguments: &[&str]) -> Answer {
        self.ambit_reading(arguments, "")
    }

    fn ambit_reading(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = self.scene.command(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        Answer::of(child.wait_with_output().unwrap())
    }

    fn set(&self) -> Answer {
        self.ambit_reading(&["secret", "set", "billing"], VALUE)
    }

    fn is_set(&self) -> &Self {
        let answer = self.set();
        assert_eq!(answer.code, 0, "{answer:?}");
        self
    }

    /// Whether the agent's request bears the value.
    fn uses(&self) -> bool {
        let before = self.host.arrived().len();
        let ask = json!({ "authority": format!("127.0.0.1:{}", self.host.port), "path": "/" });
        let input = json!({ "calls": [{ "tool": "caller.send", "arguments": { "ask": ask } }] }).to_string();
        let report = self.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]).json();
        let arrived = self.host.arrived();
        let bears =
            arrived[before..].iter().any(|request| request.header("authorization") == [format!("Bearer {VALUE}")]);
        assert_eq!(
            (arrived.len() - before, report["output"][0]["ok"].is_null()),
            (usize::from(bears), !bears),
            "{report}"
        );
        bears
    }

    fn rotates(&self) -> &Self {
        let answer = self.ambit(&["secret", "rotate"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (0, "1 sealed anew\n"), "{answer:?}");
        self
    }

    /// What wraps the data keys, and that neither the value nor any of these keys lies in the database.
    fn wrapped_by(&self, provider: &str, keys: &[&[u8]]) {
        let database = rusqlite::Connection::open(self.scene.path("home/ambit.db")).unwrap();
        let mut select = database.prepare("SELECT provider FROM data_key").unwrap();
        let providers: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(providers, [provider]);
        for file in ["home/ambit.db", "home/ambit.db-wal"] {
            let bytes = std::fs::read(self.scene.path(file)).unwrap_or_default();
            for hidden in [&[VALUE.as_bytes()], keys].concat() {
                assert!(
                    !bytes.windows(hidden.len()).any(|window| window == hidden),
                    "{file} holds what is sealed, or a key"
                );
            }
        }
    }

    /// Nothing can be set, used or rotated, and why is said; names can still be listed, and no log holds the value.
    fn is_shut(&self, why: &str) {
        for (action, answer) in [("rotate", self.ambit(&["secret", "rotate"])), ("set", self.set())] {
            assert!(answer.code == 70 || answer.code == 2, "{action}: {answer:?}");
            let said = in_one_line(&answer.stderr);
            assert!(said.contains(why), "{action}, {why}: {said}");
        }
        assert!(!self.uses(), "{why}");
        let records = self.scene.records_of("outcome", "secrets.lease");
        assert!(
            records.last().unwrap()["detail"].as_str().unwrap().replace("\\\"", "\"").contains(why),
            "{why}: {records:?}"
        );
        assert!(self.ambit(&["secret", "list"]).stdout.starts_with("billing"), "{why}");
    }

    /// Changes from the file of the home to this key, and back.
    fn changes(&self, key: &str, provider: &str, keys: &[&[u8]]) {
        self.key("\"file\"", None).is_set();
        let file = std::fs::read(self.scene.path("home/key")).unwrap();
        self.wrapped_by("file", &[&file]);
        // One is not taken for the other, and both are said.
        let named = format!(
            "sealed under a key of `file`, and the configuration names `{provider}`: write the former into `before`"
        );
        self.key(key, None).is_shut(&named);
        assert!(self.key(key, Some("\"file\"")).uses(), "both open while one changes to the other");
        self.rotates().wrapped_by(provider, keys);
        assert!(!self.scene.path("home/key").exists(), "nothing needs it any more");
        assert!(self.key(key, None).uses());
        self.rotates().is_set();
        let listed = self.ambit(&["secret", "list"]);
        assert!(listed.stdout.starts_with("billing ") && listed.stdout.contains("version 2"), "{listed:?}");
        // And back.
        assert!(self.key("\"file\"", Some(key)).uses());
        self.rotates().wrapped_by("file", keys);
        assert!(self.key("\"file\"", None).uses());
        let file = std::fs::read(self.scene.path("home/key")).unwrap();
        self.private("home/key", &[9; 32]);
        self.is_shut("is not the key that the secrets are sealed under");
        std::fs::remove_file(self.scene.path("home/key")).unwrap();
        self.is_shut("cannot be read");
        self.private("home/key", &file);
        assert!(self.uses(), "a key that was kept elsewhere opens it again");
        self.key(key, Some("\"file\"")).rotates().key(key, None);
        assert!(self.uses());
        self.wrapped_by(provider, keys);
    }
}

/// An error as it reads when it is not broken into lines.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ")
}

/// A folder as systemd makes it for a service: the file is its own, and nobody writes there.
fn credentials(folder: &Path, key: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join("ambit-key");
    // It may be there already, unwritable as it is.
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
}

/// A home whose secret is sealed under a credential of systemd, all that changes with it, and where it fails.
fn sealed_by_systemd(key: &[u8]) {
    let mut sealed = Sealed::new(Vec::new());
    let folder = sealed.scene.path("run/credentials/ambit.service");
    credentials(&folder, key);
    sealed.variables = vec![("CREDENTIALS_DIRECTORY", folder.to_str().unwrap().to_owned())];
    sealed.changes(SYSTEMD, "systemd ambit-key", &[key]);
    for (other, why) in [
        (&[7_u8; 32][..], "the credential `ambit-key` is not the key that the secrets are sealed under"),
        (&key[..31], "has 31 bytes, and a key has 32"),
        (&[key, key].concat(), "has 64 bytes, and a key has 32"),
    ] {
        credentials(&folder, other);
        sealed.is_shut(why);
    }
    std::fs::remove_file(folder.join("ambit-key")).unwrap();
    sealed.is_shut("cannot be read");
    sealed.variables.clear();
    sealed.is_shut("write `LoadCredentialEncrypted=ambit-key:FILE` into the unit that runs ambit");
}

#[test]
fn a_credential_of_systemd_seals() {
    let key: Vec<u8> = (100..132).collect();
    sealed_by_systemd(&key);
}

#[test]
#[ignore = "needs `systemd-creds`: `cargo xtask test --real`"]
fn a_credential_that_systemd_encrypted_seals() {
    let program = std::env::var("AMBIT_SYSTEMD_CREDS").expect("AMBIT_SYSTEMD_CREDS names the program `systemd-creds`");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // The secret that stands for the machine's is the test's own, and no privilege is needed.
    let creds = |verb: &str, from: &str, to: &str| {
        let mut command = Command::new(&program);
        command.env("SYSTEMD_CREDENTIAL_SECRET", path("machine")).arg("--name=ambit-key").arg(verb);
        if verb == "encrypt" {
            command.arg("--with-key=host");
        }
        let answer = Answer::of(command.arg(path(from)).arg(path(to)).output().unwrap());
        assert_eq!(answer.code, 0, "{answer:?}");
    };
    let key: Vec<u8> = (0..32).map(|byte| byte ^ 0xa5).collect();
    std::fs::write(path("key"), &key).unwrap();
    creds("encrypt", "key", "sealed");
    assert!(path("machine").exists(), "the machine's own secret was not used");
    let sealed = std::fs::read_to_string(path("sealed")).unwrap();
    assert!(!sealed.is_empty() && !sealed.as_bytes().windows(32).any(|bytes| bytes == key));
    creds("decrypt", "sealed", "handed");
    let handed = std::fs::read(path("handed")).unwrap();
    assert_eq!(handed, key);
    sealed_by_systemd(&handed);
}

const PIN: &str = "1234-of-user";

/// A token of `SoftHSM`'s with keys of several kinds in it.
fn token(module: &Path, label: &str) -> Session {
    let module = Pkcs11::new(module).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let free = |module: &Pkcs11| {
        let slots = module.get_slots_with_token().unwrap();
        slots.into_iter().find(|slot| !module.get_token_info(*slot).unwrap().token_initialized()).unwrap()
    };
    let officer = AuthPin::new("5678-of-officer".into());
    let make = |label: &str| {
        let slot = free(&module);
        module.init_token(slot, &officer, label).unwrap();
        let session = module.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&officer)).unwrap();
        session.init_pin(&AuthPin::new(PIN.into())).unwrap();
        session.logout().unwrap();
        session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
        session
    };
    // Another one beside it, with a key of the same label.
    let other = make(&format!("{label}-other"));
    generate(&other, "ambit-kek", &Mechanism::AesKeyGen, 32, true);
    drop(other);
    let session = make(label);
    generate(&session, "ambit-kek", &Mechanism::AesKeyGen, 32, true);
    generate(&session, "second-kek", &Mechanism::AesKeyGen, 32, true);
    generate(&session, "short", &Mechanism::AesKeyGen, 16, true);
    generate(&session, "generic", &Mechanism::GenericSecretKeyGen, 32, true);
    generate(&session, "idle", &Mechanism::AesKeyGen, 32, false);
    generate(&session, "twice", &Mechanism::AesKeyGen, 32, true);
    generate(&session, "twice", &Mechanism::AesKeyGen, 32, true);
    session
}

fn generate(session: &Session, label: &str, mechanism: &Mechanism<'_>, bytes: u64, works: bool) {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::ValueLen(bytes.into()),
        Attribute::Encrypt(works),
        Attribute::Decrypt(works),
    ];
    session.generate_key(mechanism, &template).unwrap();
}

#[test]
#[ignore = "needs SoftHSM: `cargo xtask test --real`"]
fn a_key_in_a_token_seals() {
    let module = PathBuf::from(std::env::var("AMBIT_SOFTHSM").expect("AMBIT_SOFTHSM names the module of SoftHSM"));
    let configuration = std::env::var("SOFTHSM2_CONF").expect("SOFTHSM2_CONF names its configuration");
    let label = format!("ambit-{}", std::process::id());
    let session = token(&module, &label);
    let mut sealed = Sealed::new(vec![("SOFTHSM2_CONF", configuration), ("AMBIT_TEST_PIN", PIN.to_owned())]);
    sealed.private("home/pin", format!("{PIN}\n").as_bytes());
    let with = |module: &Path, token: &str, key: &str, pin: &str| {
        let module = module.display();
        format!("{{ pkcs11 = {{ module = \"{module}\", token = \"{token}\", key = \"{key}\", pin = {pin} }} }}")
    };
    let filed = "{ file = \"pin\" }";
    let key = |name: &str| with(&module, &label, name, filed);
    let provider = format!("pkcs11 {label}/ambit-kek");
    sealed.changes(&key("ambit-kek"), &provider, &[PIN.as_bytes()]);
    sealed.key(&with(&module, &label, "ambit-kek", "{ environment = \"AMBIT_TEST_PIN\" }"), None);
    assert!(sealed.uses());
    // From one key of a token to another, and to a credential of systemd.
    sealed
        .key(&key("second-kek"), Some(&key("ambit-kek")))
        .rotates()
        .wrapped_by(&format!("pkcs11 {label}/second-kek"), &[]);
    assert!(sealed.key(&key("second-kek"), None).uses());
    let folder = sealed.scene.path("credentials");
    credentials(&folder, &[3; 32]);
    sealed.variables.push(("CREDENTIALS_DIRECTORY", folder.to_str().unwrap().to_owned()));
    sealed.key(SYSTEMD, Some(&key("second-kek"))).rotates().wrapped_by("systemd ambit-key", &[&[3; 32]]);
    sealed.key(&key("ambit-kek"), Some(SYSTEMD)).rotates().wrapped_by(&provider, &[&[3; 32]]);
    // What is not as it should be. The provider's name stays, so that it is the token that says no.
    let shut = |key: &str, why: &str| sealed.key(key, None).is_shut(why);
    shut(&with(&module, &label, "ambit-kek", "{ environment = \"UNSET\" }"), "the variable `UNSET` is not set");
    shut(&with(&module, &label, "ambit-kek", "{ file = \"no-pin\" }"), "no-pin` cannot be used");
    shut(
        &with(Path::new("/not/there.so"), &label, "ambit-kek", filed),
        "the PKCS #11 module `/not/there.so` cannot be loaded",
    );
    sealed.private("home/wrong", b"0000-of-nobody\n");
    shut(&with(&module, &label, "ambit-kek", "{ file = \"wrong\" }"), "does not take the PIN that `pin` names");
    std::fs::set_permissions(sealed.scene.path("home/pin"), std::fs::Permissions::from_mode(0o644)).unwrap();
    shut(&key("ambit-kek"), "it can be read or changed by everybody");
    std::fs::set_permissions(sealed.scene.path("home/pin"), std::fs::Permissions::from_mode(0o600)).unwrap();
    // These are first used to seal, in a home of their own: nothing is set.
    let fresh = Sealed::new(sealed.variables.clone());
    fresh.private("home/pin", PIN.as_bytes());
    for (setting, why) in [
        (with(&module, "nobody", "ambit-kek", filed), "shows 0 tokens called `nobody`, not one"),
        (key("nothing"), "has 0 secret keys called `nothing`, not one"),
        (key("twice"), "has 2 secret keys called `twice`, not one"),
        (key("short"), "the key `short` of the PKCS #11 token"),
        (key("generic"), "is no AES key of 256 bits that may encrypt and decrypt"),
        (key("idle"), "is no AES key of 256 bits that may encrypt and decrypt"),
    ] {
        let answer = fresh.key(&setting, None).set();
        let said = in_one_line(&answer.stderr);
        assert!(answer.code != 0 && said.contains(why), "{why}: {answer:?}");
        assert!(fresh.ambit(&["secret", "list"]).stdout.is_empty());
    }
    // The key was replaced by one of the same name; then it is gone.
    assert!(sealed.key(&key("ambit-kek"), None).uses());
    let wanted = [Attribute::Label(b"ambit-kek".to_vec())];
    let remove =
        || session.find_objects(&wanted).unwrap().into_iter().for_each(|found| session.destroy_object(found).unwrap());
    remove();
    generate(&session, "ambit-kek", &Mechanism::AesKeyGen, 32, true);
    sealed.is_shut("is not the key that the secrets are sealed under");
    remove();
    sealed.is_shut("has 0 secret keys called `ambit-kek`, not one");
}
