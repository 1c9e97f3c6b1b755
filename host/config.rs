//! What ambit takes from the machine that it runs on for itself: the home folder, the time, entropy, open files.
//!
//! Ambient powers that serve no guest are named here, so that the lints of `clippy.toml` can ban them everywhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::fs::Dir;

pub use std::time::Instant as StdInstant;

/// A monotonic instant. The one type of its kind, so that a reader of the clock is found by its name.
#[derive(Clone, Copy, Debug)]
pub struct Instant(StdInstant);

impl Instant {
    /// Now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn now() -> Self {
        Self(StdInstant::now())
    }

    /// Time since this instant.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The time of day, since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
pub fn wall_clock() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// The folder that relative paths are relative to; nothing where there is none.
#[expect(clippy::disallowed_methods, reason = "the one place that asks where the process is")]
pub fn working_folder() -> &'static std::sync::Arc<std::path::Path> {
    static FOLDER: std::sync::OnceLock<std::sync::Arc<std::path::Path>> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| std::env::current_dir().unwrap_or_default().into())
}

/// A path without `.` and without `..`, as it is written: links are not looked at.
pub fn plain(path: &std::path::Path) -> std::path::PathBuf {
    use std::path::Component::{CurDir, ParentDir};
    path.components().fold(std::path::PathBuf::new(), |mut plain, part| {
        match part {
            CurDir => {}
            ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
        plain
    })
}

/// The time since the machine was started, the time that it slept included: nobody can set it back, and all processes
/// of the machine read the same.
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// Which start of the machine [`since_boot`] counts from; empty when the machine does not say.
#[expect(clippy::disallowed_methods, reason = "the one place that reads what the kernel says of its start")]
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether the kernel may move this process's memory to a disk: there is swap, and its control group does not forbid it.
/// What cannot be read is taken for yes.
#[expect(clippy::disallowed_methods, reason = "the one place that reads what the kernel says of memory")]
pub fn can_swap() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    // The first line names the columns.
    let has_swap = read("/proc/swaps").is_none_or(|swaps| swaps.lines().count() > 1);
    let group = read("/proc/self/cgroup");
    let group = group.as_deref().and_then(|groups| groups.lines().find_map(|line| line.strip_prefix("0::")));
    let most = group.and_then(|group| read(&format!("/sys/fs/cgroup{group}/memory.swap.max")));
    has_swap && most.is_none_or(|most| most.trim() != "0")
}

/// The operating system's user as whom ambit runs.
pub fn user_id() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Why ambit could not get what it needs from the machine.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// Neither `--home` nor a home folder of the user.
    #[error("no folder to keep records in: this user has no home folder")]
    #[diagnostic(help("name one with `--home DIR` or the variable AMBIT_HOME"))]
    NoHome,
    /// The home folder could not be made or opened.
    #[error("cannot open the home folder `{path}`")]
    #[diagnostic(help("name another with `--home DIR`, or make this one writable"))]
    Home {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The operating system gives no entropy.
    #[error("the operating system gave no random numbers")]
    Entropy(#[source] getrandom::Error),
}

/// The folder in which ambit keeps everything: records, state, compiled components.
#[derive(Debug)]
pub struct Home {
    dir: Dir,
    path: PathBuf,
}

impl Home {
    /// Opens the home folder, and makes it when it is not there: `chosen`, else the platform's data folder for ambit.
    /// It is readable by its owner alone.
    ///
    /// # Errors
    /// When there is no such folder and it cannot be made, or the user has no home.
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the home folder is where ambient authority begins"
    )]
    pub fn open(chosen: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match chosen {
            Some(path) => path.to_owned(),
            None => directories::ProjectDirs::from("", "", "ambit")
                .map(|dirs| dirs.data_dir().to_owned())
                .ok_or(ConfigError::NoHome)?,
        };
        let error = |source| ConfigError::Home { path: path.clone(), source };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(&path).map_err(error)?;
        let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority()).map_err(error)?;
        let path = path.canonicalize().map_err(error)?;
        Ok(Self { dir, path })
    }

    /// The folder itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its absolute path, for the database, which opens its files by name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A path as the operating system resolves it, if something is there.
#[expect(clippy::disallowed_methods, reason = "the one place that resolves paths of the host")]
pub fn canonical(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Fresh random bytes of the operating system, for what outlives a task.
///
/// # Errors
/// When the operating system has none to give.
pub fn entropy() -> Result<[u8; 32], ConfigError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(ConfigError::Entropy)?;
    Ok(bytes)
}

/// Random bytes that nobody can foresee, for one task: of a generator (`ChaCha`, seeded and seeded again by the operating
/// system), because asking the kernel costs as much as a thirtieth of a task.
///
/// # Panics
/// When the operating system has no entropy to give.
pub fn unforeseen() -> [u8; 32] {
    rand::random()
}

/// Lets this process open as many files as the machine allows it: every folder that a guest holds is an open file.
///
/// What cannot be raised stays as it is, and shows as an error to the guest that needed more.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Raising the soft limit up to the hard one needs no privilege; if it fails all the same, the old one holds.
    let _ = setrlimit(Resource::Nofile, raised);
}
