//! What other toolchains make: tools in Python are built, a component that somebody else built is fetched, and a verifier of
//! tokens is set up.
//!
//! Both come from packages that `requirements.txt` pins by their digests, installed into an environment of their own below
//! the guests' build folder. Nothing is asked of Python, or of a package index, when the components are up to date.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::guests::{documented, write_if_changed};
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// The folder of the tools in Python, in the guests' workspace: a folder for each, with the module and `wit/` in it.
const TOOLS: &str = "tools-python";

/// The component that somebody else built, and where it lies among Python's packages.
const FETCHED: (&str, &str) = ("python-sandbox", "python_guest/resources/python-sandbox.wasm");

/// Files by their path in a folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Where things lie for this step, as one would type it in the project's folder.
struct Places {
    /// The tools in Python.
    tools: PathBuf,
    /// The pinned packages.
    requirements: PathBuf,
    /// Those of the verifier of tokens.
    verifier: PathBuf,
    /// The project's interfaces.
    wit: PathBuf,
    /// What this step keeps for itself.
    own: PathBuf,
    /// Where all components go.
    components: PathBuf,
}

/// Makes and fetches what is missing or out of date, and puts it beside the other guests.
pub(crate) fn build(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    steps.step("guests: of other toolchains", || {
        let (_, target) = workspace.guests()?;
        let tools = workspace.relative(&workspace.guests_folder().join(TOOLS));
        let places = Places {
            requirements: tools.join("requirements.txt"),
            verifier: PathBuf::from("tests/identity/requirements.txt"),
            tools,
            wit: PathBuf::from("wit"),
            own: workspace.relative(&target.with_file_name("foreign")),
            components: target.join("components"),
        };
        for tool in tools_in(&places.tools)? {
            places.tool(&tool)?;
        }
        places.fetch()?;
        places.environment("verifier", &places.verifier).map(drop)
    })
}

/// The names of all components that this step puts beside those of the guests' workspace.
pub(crate) fn names(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let mut names = tools_in(&workspace.guests_folder().join(TOOLS))?;
    names.push(FETCHED.0.to_owned());
    Ok(names)
}

/// The tools in Python: the folders that have interfaces of their own.
fn tools_in(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut tools = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::file("read", folder))? {
        let path = entry.map_err(Failure::file("read", folder))?.path();
        if path.join("wit").is_dir() {
            tools.extend(path.file_name().and_then(OsStr::to_str).map(str::to_owned));
        }
    }
    tools.sort();
    Ok(tools)
}

impl Places {
    /// Builds a tool in Python, unless its component is up to date.
    fn tool(&self, name: &str) -> Result<(), Failure> {
        let folder = self.tools.join(name);
        let sources = files(&folder)?;
        let inputs = fingerprint([&sources, &files(&self.wit)?, &pinned(&self.requirements)?]);
        self.unless_current(name, &inputs, || {
            let environment = self.environment("environment", &self.requirements)?;
            // A copy, because Python leaves compiled modules beside its sources, and they would end up in the component.
            let copy = self.own.join(name);
            replace(&copy, &sources)?;
            let wasm = self.own.join(format!("{name}.wasm"));
            let mut compiler = Command::new(environment.join("bin/componentize-py"));
            compiler.arg("-d").arg(&self.wit).arg("-d").arg(copy.join("wit"));
            compiler.args(["-w", &format!("ambit-examples:{name}/{name}-tool")]);
            compiler.arg("componentize").arg("-p").arg(&copy).arg("-o").arg(&wasm).arg(name);
            steps::run(&mut compiler)?;
            let component = fs::read(&wasm).map_err(Failure::file("read", &wasm))?;
            documented(&component, &folder)
        })
    }

    /// Takes the component that somebody else built out of its package, as it is.
    fn fetch(&self) -> Result<(), Failure> {
        let (name, file) = FETCHED;
        self.unless_current(name, &fingerprint([&pinned(&self.requirements)?]), || {
            let mut python = Command::new(self.environment("environment", &self.requirements)?.join("bin/python"));
            let output =
                steps::capture(python.args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]), 0)?;
            let path = Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).join(file);
            fs::read(&path).map_err(Failure::file("read", path))
        })
    }

    /// Makes a component, unless it was made from the same inputs before.
    fn unless_current(
        &self,
        name: &str,
        inputs: &[u8],
        make: impl FnOnce() -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        let component = self.components.join(format!("{name}.wasm"));
        let stamp = self.own.join(format!("{name}.inputs"));
        if component.exists() && fs::read(&stamp).is_ok_and(|before| before == inputs) {
            eprintln!("    {name} is up to date");
            return Ok(());
        }
        write_if_changed(&component, &make()?)?;
        write_if_changed(&stamp, inputs).map(drop)
    }

    /// The folder of a Python environment that has the pinned packages and no others.
    fn environment(&self, name: &str, requirements: &Path) -> Result<PathBuf, Failure> {
        let folder = self.own.join(name);
        let missing = |source| Failure::NoPython { source: Box::new(source) };
        let version = steps::capture(Command::new("python3").arg("--version"), 0).map_err(missing)?;
        // An environment holds its own path and its Python's version.
        let own =
            Files::from([(std::path::absolute(&folder).map_err(Failure::file("find", &folder))?, version.stdout)]);
        let inputs = fingerprint([&pinned(requirements)?, &own]);
        let stamp = folder.join("inputs");
        if fs::read(&stamp).is_ok_and(|before| before == inputs) {
            return Ok(folder);
        }
        steps::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).map_err(missing)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "-r"]).arg(requirements);
        let failed = |source| Failure::Packages { requirements: requirements.to_owned(), source: Box::new(source) };
        steps::run(&mut pip).map_err(failed)?;
        write_if_changed(&stamp, &inputs)?;
        Ok(folder)
    }
}

fn pinned(requirements: &Path) -> Result<Files, Failure> {
    let text = fs::read(requirements).map_err(Failure::file("read", requirements))?;
    Ok(Files::from([(PathBuf::from("requirements.txt"), text)]))
}

/// Every file below a folder, but for what Python compiled.
fn files(folder: &Path) -> Result<Files, Failure> {
    let mut found = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(Failure::file("read", &next))? {
            let path = entry.map_err(Failure::file("read", &next))?.path();
            if path.is_dir() {
                if path.file_name() != Some(OsStr::new("__pycache__")) {
                    folders.push(path);
                }
                continue;
            }
            let content = fs::read(&path).map_err(Failure::file("read", &path))?;
            found.insert(path.strip_prefix(folder).unwrap_or(&path).to_path_buf(), content);
        }
    }
    Ok(found)
}

/// Makes a folder hold these files and no others.
fn replace(folder: &Path, files: &Files) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Failure::file("delete", folder))?;
    }
    for (path, content) in files {
        write_if_changed(&folder.join(path), content)?;
    }
    Ok(())
}

/// What tells inputs from others: all paths and contents, one after another, with their lengths.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a Files>) -> Vec<u8> {
    let mut whole = Vec::new();
    for (path, content) in parts.into_iter().flatten() {
        whole.extend(format!("{} {}\n", content.len(), path.display()).into_bytes());
        whole.extend_from_slice(content);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        let places = Places {
            tools: folder.join("tools"),
            requirements: folder.join("tools/requirements.txt"),
            verifier: folder.join("verifier.txt"),
            wit: folder.join("wit"),
            own: folder.join("own"),
            components: folder.join("components"),
        };
        for (file, content) in [("tools/requirements.txt", "one==1"), ("tools/clock/wit/clock.wit", "package a:b;")] {
            write_if_changed(&folder.join(file), content.as_bytes()).unwrap();
        }
        places
    }

    #[test]
    fn a_component_is_made_again_only_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let made = |inputs: &[u8]| {
            let mut times = 0;
            let component = || {
                times += 1;
                Ok(b"component".to_vec())
            };
            places.unless_current("clock", inputs, component).unwrap();
            times == 1
        };
        assert!(made(b"one"));
        assert!(!made(b"one"));
        assert!(made(b"two"));
        fs::remove_file(folder.path().join("components/clock.wasm")).unwrap();
        assert!(made(b"two"));
    }

    #[test]
    fn what_failed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        places.unless_current("clock", b"one", || Err(Failure::NotCargo)).unwrap_err();
        let mut tried = false;
        let make = || {
            tried = true;
            Ok(Vec::new())
        };
        places.unless_current("clock", b"one", make).unwrap();
        assert!(tried);
    }

    #[test]
    fn inputs_are_all_files_but_those_that_python_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        assert_eq!(tools_in(&places.tools).unwrap(), ["clock"]);
        let tool = places.tools.join("clock");
        let before = fingerprint([&files(&tool).unwrap()]);
        write_if_changed(&tool.join("__pycache__/clock.pyc"), b"compiled").unwrap();
        assert_eq!(fingerprint([&files(&tool).unwrap()]), before);
        write_if_changed(&tool.join("clock.py"), b"import time").unwrap();
        assert_ne!(fingerprint([&files(&tool).unwrap()]), before);
    }

    #[test]
    fn a_copy_holds_nothing_of_before() {
        let folder = tempfile::tempdir().unwrap();
        write_if_changed(&folder.path().join("copy/old.py"), b"old").unwrap();
        let sources = Files::from([(PathBuf::from("wit/new.wit"), b"new".to_vec())]);
        replace(&folder.path().join("copy"), &sources).unwrap();
        assert_eq!(files(&folder.path().join("copy")).unwrap(), sources);
    }
}
