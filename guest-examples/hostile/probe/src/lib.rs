//! For tests: attempts on what a component without `state` can reach.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe/probe-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bindings::exports::ambit_examples::probe::probe::Guest;
use bindings::wasi::filesystem::preopens::get_directories;
use bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};

struct Probe;

type Tried<T> = Result<T, String>;

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Tried<T> {
    result.map_err(|error| error.to_string())
}

fn code<T>(result: Result<T, ErrorCode>) -> Tried<T> {
    result.map_err(|code| code.name().to_owned())
}

fn first() -> Tried<Descriptor> {
    get_directories().into_iter().next().map(|(folder, _)| folder).ok_or_else(|| "no folder".to_owned())
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u32) -> u32 {
    let here = std::hint::black_box([depth; 64]);
    deeper(std::hint::black_box(depth + 1)).wrapping_add(here[7])
}

impl Guest for Probe {
    fn read(path: String) -> Tried<String> {
        told(fs::read_to_string(path))
    }
    fn write(path: String, text: String) -> Tried<()> {
        told(fs::write(path, text))
    }
    fn append(path: String, text: String) -> Tried<()> {
        told(
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
        )
    }
    fn write_at(path: String, offset: u64, text: String) -> Tried<()> {
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        told(open().and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(text.as_bytes())
        }))
    }
    fn write_read_only(path: String) -> Tried<()> {
        let file = code(first()?.open_at(PathFlags::empty(), &path, OpenFlags::empty(), DescriptorFlags::READ))?;
        code(file.write(b"written", 0).map(drop))
    }
    fn resize(path: String, size: u64) -> Tried<()> {
        told(OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(size)))
    }
    fn make_folder(path: String) -> Tried<()> {
        told(fs::create_dir(path))
    }
    fn remove(path: String) -> Tried<()> {
        told(fs::remove_file(path))
    }
    fn remove_folder(path: String) -> Tried<()> {
        told(fs::remove_dir(path))
    }
    fn rename(old: String, new: String) -> Tried<()> {
        told(fs::rename(old, new))
    }
    fn hard_link(old: String, new: String) -> Tried<()> {
        told(fs::hard_link(old, new))
    }
    fn entries(path: String) -> Tried<Vec<String>> {
        let names =
            told(fs::read_dir(path))?.map(|entry| told(entry).map(|e| e.file_name().to_string_lossy().into_owned()));
        names.collect()
    }
    fn fill(folder: String, count: u32) -> String {
        for number in 0..count {
            if let Err(error) = fs::write(format!("{folder}/{number}"), "") {
                return format!("{number} files, then {error}");
            }
        }
        format!("all {count} files")
    }
    fn dig(folder: String, depth: u32) -> String {
        let mut path = folder;
        for number in 0..depth {
            path.push_str("/d");
            if let Err(error) = fs::create_dir(&path) {
                return format!("{number} folders, then {error}");
            }
        }
        format!("all {depth} folders")
    }
    fn open_raw(path: String, follow: bool, folder: bool) -> Tried<String> {
        let flags = if follow { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() };
        let open = if folder { OpenFlags::DIRECTORY } else { OpenFlags::empty() };
        let opened = code(first()?.open_at(flags, &path, open, DescriptorFlags::READ))?;
        if folder {
            return code(opened.read_directory()).map(|_| "a folder".to_owned());
        }
        let (bytes, _) = code(opened.read(4096, 0))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    fn symlink_raw(target: String, path: String) -> Tried<()> {
        code(first()?.symlink_at(&target, &path))
    }
    fn rename_raw(old: String, new: String) -> Tried<()> {
        let folder = first()?;
        code(folder.rename_at(&old, &folder, &new))
    }
    fn touch_raw(path: String) -> Tried<()> {
        code(first()?.set_times_at(PathFlags::empty(), &path, NewTimestamp::Now, NewTimestamp::Now))
    }
    fn folders() -> Vec<String> {
        get_directories().into_iter().map(|(_, path)| path).collect()
    }
    fn variables() -> Vec<(String, String)> {
        std::env::vars().collect()
    }
    fn arguments() -> Vec<String> {
        std::env::args().collect()
    }
    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
    fn wait(milliseconds: u64) -> u64 {
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(milliseconds));
        u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    fn random(length: u32) -> Vec<u8> {
        use std::hash::{BuildHasher as _, RandomState};
        (0..length).map(|_| RandomState::new().hash_one(0).to_le_bytes()[0]).collect()
    }
    fn print(text: String) {
        println!("{text}");
        eprintln!("{text}");
    }
    fn remember() -> String {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let kept = fs::read_to_string("/tmp/count").ok();
        let written = fs::write("/tmp/count", calls.to_string()).is_ok();
        format!("call {calls}, file {kept:?}, written {written}")
    }
    fn allocate(bytes: u32) -> u32 {
        let taken = vec![1_u8; bytes as usize];
        taken.iter().map(|byte| u32::from(*byte)).sum()
    }
    fn spin() {
        loop {
            std::hint::black_box(0);
        }
    }
    fn recurse() -> u32 {
        deeper(0)
    }
    #[expect(clippy::panic, reason = "that is what the function is for")]
    fn fall(text: String) {
        panic!("{text}");
    }
    fn leave(code: u8) {
        std::process::exit(code.into());
    }
    fn connect(address: String) -> Tried<()> {
        told(TcpStream::connect(address).map(drop))
    }
    fn send(address: String) -> Tried<()> {
        told(UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address)).map(drop))
    }
    fn look_up(name: String) -> Tried<()> {
        told((name.as_str(), 80).to_socket_addrs().map(drop))
    }
}
