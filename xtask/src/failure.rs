//! Why a command of this tool stopped.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why a command of this tool stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("this tool is started by cargo: run `cargo xtask`")]
    NotCargo,
    #[error("cannot start `{program}`")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` ended with {status}")]
    Ended { command: String, status: ExitStatus },
    #[error("`{command}` should have ended with exit code {expected}, and ended with {status}")]
    Unexpected { command: String, expected: i32, status: ExitStatus },
    #[error("cannot {verb} `{path}`")]
    File {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` did not print the JSON that it should")]
    Json {
        command: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{path}` is not valid TOML")]
    Toml {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{bundle}` names the component `{component}`, and no crate in guest-examples/ builds it")]
    NoSuchComponent { bundle: PathBuf, component: String },
    #[error("the interfaces in `{path}` cannot be read")]
    Wit {
        path: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error(
        "guests in Python need `python3`, 3.9 or newer, with its module `venv`: on Debian, `apt-get install python3-venv`"
    )]
    NoPython {
        #[source]
        source: Box<Failure>,
    },
    #[error("what `{requirements}` pins cannot be installed from the package index that pip is set up to use")]
    Packages {
        requirements: PathBuf,
        #[source]
        source: Box<Failure>,
    },
    #[error("`{path}` must not exist: it breaks cargo where the toolchain server is out of reach")]
    ToolchainFile { path: PathBuf },
    #[error("there is no test called `{test}`")]
    NoSuchTest { test: String },
    #[error(transparent)]
    Service(#[from] xtask::services::Error),
    #[error("cannot wait for Ctrl-C")]
    Signal(#[source] io::Error),
    #[error("the demo did not go as it must: {0}")]
    Demo(&'static str),
}

impl Failure {
    /// For `map_err`: a file operation on `path` that failed.
    pub(crate) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Failure {
        let path = path.into();
        move |source| Failure::File { verb, path, source }
    }
    /// The interfaces in `path` that could not be read. Takes what `wit-parser` fails with.
    pub(crate) fn wit(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Wit { path: path.to_path_buf(), source: source.into() }
    }
}
