//! What a guest reaches: its mounts, and nothing beside them. Each refusal is looked for on the disk and in the audit log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::component::Resource as Handle;
use wasmtime_wasi::p2::StreamError;

use super::types::{
    DescriptorType, ErrorCode, HostDescriptor as _, HostDirectoryEntryStream as _, NewTimestamp, OpenFlags,
};
use super::world::{
    Answer, CREATE, FOLLOW, OUTSIDE, PERMIT, READ, SECRET, UNGRANTED, WRITE, World, again, answer, block_on, none,
    plain, quota,
};
use super::{Amount, Granted};
use crate::gate::Actor;
use crate::grant::Limits;
use crate::policy::point::{Answer as Asked, Point, Verdict};

#[test]
fn a_mount_is_read() {
    let world = World::new();
    let dir = world.mounted();
    dir.create_dir_all("sub/deep").unwrap();
    for name in ["sub/b", "sub/B", "sub/a", "sub/ä"] {
        dir.write(name, name).unwrap();
    }
    dir.symlink("deep/../a", "sub/inside").unwrap();
    let mut store = world.reader();
    let sub = store.open("./sub/", FOLLOW, OpenFlags::DIRECTORY, READ).unwrap();
    let listing = answer(store.scope().read_directory(again(&sub))).unwrap();
    let mut names = Vec::new();
    while let Some(entry) = answer(store.scope().read_directory_entry(Handle::new_borrow(listing.rep()))).unwrap() {
        names.push((entry.name, entry.type_));
    }
    let sorted: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(sorted, ["B", "a", "b", "deep", "inside", "ä"]);
    assert_eq!(names[3].1, DescriptorType::Directory);
    assert_eq!(names[4].1, DescriptorType::SymbolicLink);
    assert_eq!(store.mounts.listed.load(Ordering::Relaxed), 6);
    store.scope().table.delete(listing).unwrap();
    assert_eq!(store.mounts.listed.load(Ordering::Relaxed), 0);

    let file = store.open("sub/deep/../b", none(), plain(), READ).unwrap();
    assert_eq!(store.read(&file), "sub/b");
    assert_eq!(answer(store.scope().read(again(&file), 10, 5)).unwrap(), (Vec::new(), true));
    let stream = answer(store.scope().read_via_stream(again(&file), 4)).unwrap();
    let stream = store.table.get_mut(&stream).unwrap();
    assert_eq!(&stream.read(100).unwrap()[..], b"b");
    assert!(matches!(stream.read(100), Err(StreamError::Closed)));

    let linked = store.open("sub/inside", FOLLOW, plain(), READ).unwrap();
    assert_eq!(store.read(&linked), "sub/a");
    assert_eq!(store.open("sub/inside", none(), plain(), READ).unwrap_err(), ErrorCode::Loop);
    let (one, other) = (store.open("sub/a", none(), plain(), READ).unwrap(), again(&linked));
    assert!(store.scope().is_same_object(again(&one), other).unwrap());
    assert_eq!(store.open("sub/a/", FOLLOW, plain(), READ).unwrap_err(), ErrorCode::NotDirectory);
    assert_eq!(store.open("sub/none", FOLLOW, plain(), READ).unwrap_err(), ErrorCode::NoEntry);
    assert_eq!(store.kind("sub/a/.", FOLLOW).unwrap_err(), ErrorCode::NotDirectory);
    assert!(store.refusals().is_empty(), "reading is no effect");
}

#[test]
fn no_path_leads_out() {
    let world = World::new();
    world.mounted().create_dir("sub").unwrap();
    let mut store = world.writer(1000, 10);
    for path in ["", "/", "/etc/passwd", "..", "../outside/secret", "sub/../../outside/secret", "sub/../..", "./../m"] {
        assert_eq!(store.open(path, FOLLOW, plain(), READ).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.create(path).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.kind(path, FOLLOW).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.make_folder(path).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.unlink(path).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.rename("sub", path).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
        assert_eq!(store.link(path, "stolen").unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
    }
    assert_eq!(store.open("a\0", none(), plain(), READ).unwrap_err(), ErrorCode::Invalid);
    store.assert_refused(OUTSIDE);
    assert_eq!(store.open(&"a/".repeat(2500), none(), plain(), READ).unwrap_err(), ErrorCode::NameTooLong);
    store.assert_refused(OUTSIDE);
    let sub = store.open("sub", none(), plain(), READ).unwrap();
    let up = block_on(store.scope().stat_at(sub, FOLLOW, "..".to_owned()));
    assert_eq!(answer(up).unwrap_err(), ErrorCode::Access, "not even to the mount's own folder");
    assert_eq!(world.dir.read_to_string("outside/secret").unwrap(), SECRET);
    assert!(!world.mounted().exists("stolen"));
}

#[test]
fn no_planted_link_leads_out() {
    let world = World::new();
    let dir = world.mounted();
    let absolute = world.root.path().join("outside");
    for (name, target) in [
        ("folder", "../outside"),
        ("file", "../outside/secret"),
        ("up", ".."),
        ("chain", "folder"),
        ("absolute", absolute.to_str().unwrap()),
        ("etc", "/etc"),
        ("self", "self"),
    ] {
        dir.symlink_contents(target, name).unwrap();
    }
    let mut store = world.writer(1000, 20);
    let paths = ["folder", "file", "up", "chain", "absolute", "etc"].map(str::to_owned).into_iter();
    let through = ["folder/secret", "up/outside/secret", "chain/secret", "absolute/secret", "etc/passwd"];
    let mut secrets: Vec<String> = through.map(str::to_owned).to_vec();
    secrets.extend(paths.flat_map(|path| ["", "/", "/.", "//"].map(|suffix| format!("{path}{suffix}"))));
    for path in &secrets {
        for (open, flags) in
            [(plain(), READ), (OpenFlags::DIRECTORY, READ), (CREATE, WRITE), (OpenFlags::TRUNCATE, WRITE)]
        {
            let refused = store.open(path, FOLLOW, open, flags).unwrap_err();
            assert_eq!(refused, ErrorCode::Access, "{path} {open:?}");
            store.assert_refused(OUTSIDE);
            assert!(store.open(path, none(), open, flags).is_err(), "{path} {open:?}");
            store.refusals();
        }
        assert!(store.kind(path, FOLLOW).is_err(), "{path}");
        assert!(store.set_times(path, FOLLOW).is_err(), "{path}");
        assert!(store.make_folder(&format!("{path}/new")).is_err(), "{path}");
        assert!(store.unlink(&format!("{path}/secret")).is_err(), "{path}");
        assert!(store.rename(&format!("{path}/secret"), "stolen").is_err(), "{path}");
        assert!(store.link(&format!("{path}/secret"), "stolen").is_err(), "{path}");
        // A link that leads upwards cannot be moved or linked either; `chain` leads to one, and may go where it likes.
        if path != "chain" {
            assert!(store.rename(path, "stolen").is_err(), "{path}");
            assert!(store.link(path, "stolen").is_err(), "{path}");
        }
        store.refusals();
    }
    assert_eq!(store.open("self", FOLLOW, plain(), READ).unwrap_err(), ErrorCode::Loop);
    assert_eq!(store.read_link("absolute").unwrap_err(), ErrorCode::Access);
    assert_eq!(store.kind("etc", none()).unwrap(), DescriptorType::SymbolicLink);
    assert_eq!(store.unlink("etc"), Ok(()), "the link itself is the guest's");
    assert_eq!(world.dir.read_to_string("outside/secret").unwrap(), SECRET);
    assert_eq!(world.dir.read_dir("outside").unwrap().count(), 1);
    assert!(!dir.exists("stolen"));
}

#[test]
fn links_are_made_downwards_only() {
    let world = World::new();
    let mut store = world.writer(1000, 20);
    for target in ["..", "../outside/secret", "a/../../b", "/etc/passwd", ""] {
        assert_eq!(store.symlink(target, "link").unwrap_err(), ErrorCode::Access, "{target}");
        store.assert_refused(OUTSIDE);
    }
    store.make_folder("a").unwrap();
    let file = store.create("a/b").unwrap();
    store.write(&file, b"text", 0).unwrap();
    store.symlink("a/b", "link").unwrap();
    let linked = store.open("link", FOLLOW, plain(), READ).unwrap();
    assert_eq!(store.read(&linked), "text");
    assert_eq!(store.read_link("link").unwrap(), "a/b");
    assert_eq!(store.used(), Amount { bytes: 4 + 3, files: 3 });
    store.symlink("new", "dangling").unwrap();
    store.create("dangling").unwrap();
    assert_eq!(store.kind("new", none()).unwrap(), DescriptorType::RegularFile);
    assert_eq!(store.used(), Amount { bytes: 4 + 3 + 3, files: 5 });
}

#[test]
fn a_mount_that_is_read_stays_as_it_is() {
    let world = World::new();
    let dir = world.mounted();
    dir.write("file", "text").unwrap();
    dir.create_dir("folder").unwrap();
    let mut store = world.reader();
    let file = store.open("file", FOLLOW, plain(), READ).unwrap();
    let refused: Vec<Answer<()>> = vec![
        store.open("file", FOLLOW, plain(), WRITE).map(drop),
        store.open("file", FOLLOW, OpenFlags::TRUNCATE, READ).map(drop),
        store.open("new", FOLLOW, CREATE, READ).map(drop),
        store.open("new", FOLLOW, CREATE | OpenFlags::EXCLUSIVE, READ).map(drop),
        store.open("file", FOLLOW, OpenFlags::EXCLUSIVE, READ).map(drop),
        store.make_folder("new"),
        store.unlink("file"),
        store.remove_folder("folder"),
        store.rename("file", "new"),
        store.link("file", "new"),
        store.symlink("file", "new"),
        store.set_times("file", FOLLOW),
        store.set_size(&file, 0),
        store.write(&file, b"x", 0).map(drop),
        answer(block_on(store.scope().write_via_stream(again(&file), 0))).map(drop),
        answer(block_on(store.scope().append_via_stream(again(&file)))).map(drop),
        answer(block_on(store.scope().set_times(again(&file), NewTimestamp::Now, NewTimestamp::Now))),
    ];
    let count = refused.len();
    assert_eq!(refused, vec![Err(ErrorCode::Access); count]);
    assert_eq!(store.refusals(), vec![UNGRANTED; count]);
    assert_eq!(dir.read_to_string("file").unwrap(), "text");
    assert_eq!(dir.entries().unwrap().count(), 2);
    assert_eq!(answer(store.scope().sync(again(&file))), Ok(()));
}

#[test]
fn nothing_crosses_from_mount_to_mount() {
    let world = World::new();
    world.dir.create_dir("n").unwrap();
    let mounts = vec![world.granted("m", "/m", quota(100, 10)), world.granted("n", "/n", quota(100, 10))];
    let mut store = world.store_of(mounts, Limits::default(), PERMIT);
    store.create("a").unwrap();
    let (m, n) = (store.root_of(0), store.root_of(1));
    let moved = block_on(store.scope().rename_at(again(&m), "a".to_owned(), again(&n), "a".to_owned()));
    assert_eq!(answer(moved).unwrap_err(), ErrorCode::CrossDevice);
    let linked = block_on(store.scope().link_at(again(&m), none(), "a".to_owned(), again(&n), "a".to_owned()));
    assert_eq!(answer(linked).unwrap_err(), ErrorCode::CrossDevice);
    assert!(!world.dir.exists("n/a"));
}

#[test]
fn special_files_are_refused_without_waiting() {
    let world = World::new();
    let dir = world.mounted();
    rustix::fs::mknodat(&dir, "pipe", rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    rustix::fs::mknodat(&dir, "socket", rustix::fs::FileType::Socket, 0o600.into(), 0).unwrap();
    dir.symlink("pipe", "link").unwrap();
    let mut store = world.writer(100, 10);
    for path in ["pipe", "socket", "link"] {
        for flags in [READ, WRITE, READ | WRITE] {
            assert_eq!(store.open(path, FOLLOW, plain(), flags).unwrap_err(), ErrorCode::Access, "{path}");
            store.assert_refused(OUTSIDE);
        }
    }
    assert_eq!(store.set_times("link", FOLLOW).unwrap_err(), ErrorCode::Access);
    assert_eq!(store.kind("pipe", none()).unwrap(), DescriptorType::Fifo);
}

#[test]
fn processes_are_no_files() {
    let world = World::new();
    let none = crate::label::Labels::default();
    let guest = "/host".parse().unwrap();
    let root = Granted {
        ground: super::grant::Ground::Folder,
        host: "/".into(),
        guest,
        quota: None,
        labels: none.clone(),
        accepts: none,
    };
    let mut store = world.store_of(vec![root], Limits::default(), PERMIT);
    for path in ["proc/self/mem", "proc/self/environ", "proc/version", "proc"] {
        assert_eq!(store.open(path, FOLLOW, plain(), READ).unwrap_err(), ErrorCode::Access, "{path}");
        store.assert_refused(OUTSIDE);
    }
    assert_eq!(store.open("dev/null", FOLLOW, plain(), READ).unwrap_err(), ErrorCode::Access);
    store.assert_refused(OUTSIDE);
}

/// Somebody swaps a folder and a link that leads out, again and again, while a guest opens what lies behind.
#[test]
fn a_race_with_a_link_is_never_won() {
    let world = World::new();
    let dir = world.mounted();
    dir.create_dir("real").unwrap();
    dir.write("real/secret", "mine").unwrap();
    dir.symlink_contents("../outside", "link").unwrap();
    let limits = Limits { effects: u64::MAX, ..Limits::default() };
    let mut store = world.store_of(vec![world.granted("m", "/m", None)], limits, PERMIT);
    let over = AtomicBool::new(false);
    let mut read = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (from, to) in [("real", "place"), ("place", "real"), ("link", "place"), ("place", "link")] {
                    dir.rename(from, &dir, to).unwrap();
                }
            }
        });
        for _ in 0..20_000 {
            if let Ok(file) = store.open("place/secret", FOLLOW, plain(), READ) {
                assert_eq!(store.read(&file), "mine");
                store.drop(file);
                read += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(read > 0, "the folder was there now and then");
    assert_eq!(world.dir.read_to_string("outside/secret").unwrap(), SECRET);
}

/// A decision point that allows everything; while it is asked, the task touches confidential data.
#[derive(Default)]
struct Meanwhile(OnceLock<Arc<Actor>>);

impl Point for Meanwhile {
    fn place(&self) -> String {
        String::new()
    }

    fn evaluate(&self, _id: String, _asked: serde_json::Value) -> Asked {
        if let Some(actor) = self.0.get() {
            actor.labels.gain(&["confidential".parse().unwrap()].into_iter().collect());
        }
        Box::pin(std::future::ready(Ok(Verdict { allowed: true, reason: None })))
    }
}

#[test]
fn what_the_task_touches_while_it_is_decided_counts() {
    let point = Arc::new(Meanwhile::default());
    let mut world = World::new();
    world.point = Some(Arc::clone(&point) as _);
    let mut store = world.writer(1_000, 10);
    store.create("before").unwrap();
    point.0.set(Arc::clone(&store.actor)).unwrap();
    // The folder takes nothing that is confidential.
    assert_eq!(store.create("after").unwrap_err(), ErrorCode::Access);
    assert!(!world.mounted().exists("after"));
    store.assert_refused("filesystem.write denied");
}
