//! What a prowling tool tries.

use std::ffi::OsString;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::{env, fs, io};

use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use crate::bindings::wasi::keyvalue::store;

/// Something that was tried.
pub(crate) struct Attempt {
    /// What kind of thing it is: `file`, `environment`, `parent`, `link`, `state`, `network` or `write`.
    pub(crate) kind: &'static str,
    /// What was tried.
    pub(crate) what: String,
    /// What it got, if there was anything, or how it was refused.
    pub(crate) result: Result<Option<String>, String>,
}

impl Attempt {
    fn new<E: ToString>(kind: &'static str, what: String, result: Result<String, E>) -> Attempt {
        Attempt { kind, what, result: result.map(Some).map_err(|error| error.to_string()) }
    }
}

/// The links that a test plants in the folder: one to a file, one to a folder, both outside.
const LINK_TO_FILE: &str = "link-to-secret";
const LINK_TO_FOLDER: &str = "link-to-parent";

/// Tries everything, in a fixed order.
pub(crate) fn all() -> Vec<Attempt> {
    let mut attempts = Vec::new();
    files(&mut attempts);
    environment(&mut attempts);
    for (folder, path) in get_directories() {
        parents(&folder, path.trim_end_matches('/'), &mut attempts);
        links(&folder, path.trim_end_matches('/'), &mut attempts);
        writes(path.trim_end_matches('/'), &mut attempts);
    }
    states(&mut attempts);
    network(&mut attempts);
    attempts
}

fn files(attempts: &mut Vec<Attempt>) {
    for path in ["/etc/passwd", "/proc/self/environ", "/tmp/../etc/passwd"] {
        let read = fs::read(path).map(|content| shown(&content));
        attempts.push(Attempt::new("file", format!("read {path}"), read));
    }
    for path in ["/", "/tmp", "/home"] {
        let names = fs::read_dir(path).map(|entries| format!("{} names", entries.flatten().count()));
        attempts.push(Attempt::new("file", format!("list {path}"), names));
    }
}

fn environment(attempts: &mut Vec<Attempt>) {
    let variable = |(name, value): (OsString, OsString)| format!("{}={}", name.display(), value.display());
    attempts.push(some("environment variables", &env::vars_os().map(variable).collect::<Vec<_>>()));
    let arguments: Vec<String> = env::args_os().map(|argument| argument.display().to_string()).collect();
    attempts.push(some("command line", &arguments));
}

/// An empty list is what a tool gets that was granted nothing.
fn some(what: &str, found: &[String]) -> Attempt {
    let got = (!found.is_empty()).then(|| found.join(" "));
    Attempt { kind: "environment", what: what.to_owned(), result: Ok(got) }
}

/// Paths that lead out of a folder: given to `std`, which cleans them up, and to the host as they are.
fn parents(folder: &Descriptor, root: &str, attempts: &mut Vec<Attempt>) {
    for path in ["../../etc/passwd", "../../../../../../etc/passwd"] {
        let path = format!("{root}/{path}");
        attempts.push(Attempt::new("parent", format!("read {path}"), fs::read(&path).map(|content| shown(&content))));
    }
    for path in ["..", "../", "../.", "./..", "a/../..", "../../../../../../etc/passwd", "/etc/passwd", "/", ""] {
        attempts.push(Attempt::new("parent", format!("open `{path}` in {root}"), open(folder, path)));
    }
}

fn links(folder: &Descriptor, root: &str, attempts: &mut Vec<Attempt>) {
    for link in [LINK_TO_FILE, LINK_TO_FOLDER] {
        for behind in ["", "/", "/.", "/..", "/etc/passwd", "/grants.toml"] {
            let path = format!("{link}{behind}");
            attempts.push(Attempt::new("link", format!("open {root}/{path}"), open(folder, &path)));
        }
    }
}

/// Opens with the link followed, for a file and for a folder; the better of both is the result. To be led back to where it
/// started gets it nothing.
fn open(folder: &Descriptor, path: &str) -> Result<String, String> {
    let open = |flags| folder.open_at(PathFlags::SYMLINK_FOLLOW, path, flags, DescriptorFlags::READ);
    let opened = open(OpenFlags::empty()).or_else(|error| open(OpenFlags::DIRECTORY).map_err(|_| error));
    let opened = opened.map_err(code)?;
    if opened.is_same_object(folder) {
        return Err("it leads back to the granted folder".to_owned());
    }
    match opened.get_type() {
        Ok(DescriptorType::Directory) => Ok(format!("a folder of {} names", names(&opened))),
        _ => opened.read(4096, 0).map(|(content, _)| shown(&content)).map_err(code),
    }
}

fn names(folder: &Descriptor) -> usize {
    let Ok(entries) = folder.read_directory() else { return 0 };
    std::iter::from_fn(|| entries.read_directory_entry().ok().flatten()).count()
}

fn writes(root: &str, attempts: &mut Vec<Attempt>) {
    let mut attempt = |what: String, result: io::Result<()>| {
        attempts.push(Attempt::new("write", what, result.map(|()| "it was done".to_owned())));
    };
    let file = format!("{root}/prowl-was-here");
    attempt(format!("write {file}"), fs::write(&file, "x"));
    let folder = format!("{root}/prowl-folder");
    attempt(format!("make {folder}"), fs::create_dir(&folder));
    let link = format!("{root}/{LINK_TO_FILE}");
    attempt(format!("remove {link}"), fs::remove_file(&link));
}

/// State of others, in namespaces that they might use, and what they might have left in this tool's own.
fn states(attempts: &mut Vec<Attempt>) {
    for name in ["payroll", "researcher", "other", "secrets", "../payroll", "default/../payroll", "*"] {
        let keys = store::open(name).and_then(|bucket| bucket.list_keys(None)).map_err(refusal);
        let keys = keys.map(|found| format!("{} keys: {}", found.keys.len(), found.keys.join(" ")));
        attempts.push(Attempt::new("state", format!("open state `{name}`"), keys));
    }
    for key in ["salaries", "payroll/salaries", "../payroll/salaries"] {
        let result = store::open("default").and_then(|bucket| bucket.get(key)).map_err(refusal);
        let result = result.map(|value| value.map(|value| shown(&value)));
        attempts.push(Attempt { kind: "state", what: format!("read `{key}` in its own state"), result });
    }
}

fn refusal(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no-such-store".to_owned(),
        store::Error::AccessDenied => "access-denied".to_owned(),
        store::Error::Other(why) => why,
    }
}

fn network(attempts: &mut Vec<Attempt>) {
    for address in ["127.0.0.1:80", "169.254.169.254:80"] {
        let connected = TcpStream::connect(address).map(|_| "a connection".to_owned());
        attempts.push(Attempt::new("network", format!("connect to {address}"), connected));
    }
    let found = "example.com:443".to_socket_addrs().map(|addresses| format!("{} addresses", addresses.count()));
    attempts.push(Attempt::new("network", "look up example.com".to_owned(), found));
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", "127.0.0.1:53"));
    let sent = sent.map(|sent| format!("{sent} bytes out"));
    attempts.push(Attempt::new("network", "send a datagram to 127.0.0.1:53".to_owned(), sent));
}

/// The beginning of what was read.
fn shown(content: &[u8]) -> String {
    const SHOWN: usize = 40;
    let head = String::from_utf8_lossy(&content[..content.len().min(SHOWN)]);
    format!("{} bytes: {}", content.len(), head.escape_debug())
}

/// The word of WASI for an error.
fn code(error: ErrorCode) -> String {
    error.name().to_owned()
}
