//! Where things lie: the project's folder, the guests' workspace in it, and what cargo builds for both.
//!
//! Cargo is asked for the build folders. When `CARGO_TARGET_DIR` is set, both workspaces would share one; the guests
//! then get a folder of their own inside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::failure::Failure;

/// The folder of the guests' workspace, in the project's.
pub(crate) const GUESTS: &str = "guest-examples";

/// The target that guests are compiled for.
pub(crate) const WASM: &str = "wasm32-wasip2";

/// Where things lie. All paths are absolute.
pub(crate) struct Workspace {
    /// The project's folder.
    pub(crate) root: PathBuf,
    /// Where cargo builds ambit.
    pub(crate) target: PathBuf,
    /// Where cargo builds guests when that is not for it to say.
    guests_target: Option<PathBuf>,
}

/// A crate of the guests' workspace that becomes a component.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The package's name: bundles call its component this, and `.wasm`.
    pub(crate) name: String,
    /// The folder of its sources.
    pub(crate) folder: PathBuf,
    /// What cargo calls its component.
    pub(crate) artifact: String,
}

/// What is read of `cargo metadata --format-version 1`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Workspace {
    /// Finds the project from what cargo tells the programs that it runs, and makes its folder the current one.
    pub(crate) fn discover() -> Result<Workspace, Failure> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").ok_or(Failure::NotCargo)?;
        let root = Path::new(&own).parent().ok_or(Failure::NotCargo)?.to_path_buf();
        std::env::set_current_dir(&root).map_err(Failure::file("enter", &root))?;
        let mut workspace = Workspace { target: root.join("target"), root, guests_target: None };
        workspace.target = metadata(&mut workspace.cargo())?.target_directory;
        if std::env::var_os("CARGO_TARGET_DIR").is_some() {
            workspace.guests_target = Some(workspace.target.join("guests"));
        }
        Ok(workspace)
    }

    /// Cargo in the project's folder.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(&self.root);
        command
    }

    /// Cargo in the guests' workspace.
    pub(crate) fn guest_cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(self.guests_folder());
        if let Some(target) = &self.guests_target {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }

    /// A path as one would type it in the project's folder.
    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// The folder of the guests' workspace.
    pub(crate) fn guests_folder(&self) -> PathBuf {
        self.root.join(GUESTS)
    }

    /// The guests, and the folder where cargo puts what it builds for [`WASM`].
    pub(crate) fn guests(&self) -> Result<(Vec<Guest>, PathBuf), Failure> {
        let metadata = metadata(&mut self.guest_cargo())?;
        let guests = metadata.packages.iter().filter_map(guest).collect();
        Ok((guests, metadata.target_directory.join(WASM)))
    }
}

/// The component that a package becomes, if it does.
fn guest(package: &Package) -> Option<Guest> {
    let is = |target: &Target, kind: &str| target.kind.iter().any(|name| name == kind);
    let library = package.targets.iter().find(|target| is(target, "cdylib"));
    let artifact = match library {
        Some(target) => format!("{}.wasm", target.name.replace('-', "_")),
        None => format!("{}.wasm", package.targets.iter().find(|target| is(target, "bin"))?.name),
    };
    Some(Guest { name: package.name.clone(), folder: package.manifest_path.parent()?.to_path_buf(), artifact })
}

fn metadata(cargo: &mut Command) -> Result<Metadata, Failure> {
    let command = cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().map_err(|source| Failure::Start { program: "cargo".to_owned(), source })?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::Ended { command: crate::steps::shown(command), status: output.status });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|source| Failure::Json { command: crate::steps::shown(command), source })
}
