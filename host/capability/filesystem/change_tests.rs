//! What a guest changes, what counts it, and who is asked. Each refusal is looked for on the disk and in the audit log.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{StreamError, StreamResult};

use super::types::{ErrorCode, HostDescriptor as _, OpenFlags};
use super::world::{CREATE, FOLLOW, FULL, PERMIT, READ, WRITE, World, again, answer, block_on, none, quota};
use super::{Amount, Failed, Filesystem, Meter, OpenError};
use crate::capability::Scope;
use crate::grant::Limits;

#[test]
fn a_mount_is_written() {
    let world = World::new();
    let dir = world.mounted();
    let mut store = world.writer(1000, 10);
    let file = store.create("file").unwrap();
    assert_eq!(store.write(&file, b"text", 2), Ok(4));
    let stream = answer(block_on(store.scope().append_via_stream(again(&file)))).unwrap();
    let stream = store.table.get_mut(&stream).unwrap();
    block_on(stream.blocking_write_and_flush("more".into())).unwrap();
    assert_eq!(dir.read("file").unwrap(), b"\0\0textmore");
    assert_eq!(store.used(), Amount { bytes: 10, files: 1 });
    let root = store.root();
    for data_only in [true, false] {
        let sync = |scope: &mut Scope<'_, Filesystem>, descriptor| {
            if data_only { scope.sync_data(descriptor) } else { scope.sync(descriptor) }
        };
        assert_eq!(answer(sync(&mut store.scope(), again(&file))), Ok(()));
        assert_eq!(answer(sync(&mut store.scope(), again(&root))), Ok(()));
    }
    assert_eq!(store.open("file", FOLLOW, CREATE | OpenFlags::EXCLUSIVE, WRITE).unwrap_err(), ErrorCode::Exist);
    store.set_size(&file, 4).unwrap();
    assert_eq!(store.used(), Amount { bytes: 4, files: 1 });
    store.open("file", FOLLOW, OpenFlags::TRUNCATE, WRITE).unwrap();
    assert_eq!(store.used(), Amount { bytes: 0, files: 1 });
    store.make_folder("folder/").unwrap();
    store.rename("file", "folder/moved").unwrap();
    store.set_times("folder/moved", none()).unwrap();
    store.set_times("folder/moved", FOLLOW).unwrap();
    store.set_times(".", FOLLOW).unwrap();
    assert_eq!(store.remove_folder("folder").unwrap_err(), ErrorCode::NotEmpty);
    assert_eq!(store.unlink("folder/moved/").unwrap_err(), ErrorCode::NotDirectory);
    assert_eq!(store.unlink("folder").unwrap_err(), ErrorCode::IsDirectory);
    store.unlink("folder/moved").unwrap();
    store.remove_folder("folder/").unwrap();
    store.table = ResourceTable::new();
    assert_eq!(store.used(), Amount::default());
    assert_eq!(dir.entries().unwrap().count(), 0);
    assert!(store.refusals().is_empty());
}

#[test]
fn a_stream_that_is_open_ends_when_the_task_gains_a_label() {
    let world = World::new();
    let dir = world.mounted();
    let mut store = world.writer(1000, 10);
    let file = store.create("file").unwrap();
    let stream = answer(block_on(store.scope().append_via_stream(again(&file)))).unwrap();
    let stream = store.table.get_mut(&stream).unwrap();
    block_on(stream.blocking_write_and_flush("before".into())).unwrap();
    store.actor.labels.gain(&["confidential".parse().unwrap()].into_iter().collect());
    let refused: StreamResult<()> = block_on(stream.blocking_write_and_flush("after".into()));
    assert!(matches!(refused, Err(StreamError::LastOperationFailed(_))), "{refused:?}");
    assert!(matches!(stream.write("after".into()), Err(StreamError::Closed)));
    assert_eq!(store.refusals(), ["filesystem.write denied"]);
    // Neither by another stream, nor by another open: the mount does not accept the label.
    let again = answer(block_on(store.scope().append_via_stream(again(&file))));
    assert_eq!(again.map(drop), Err(ErrorCode::Access));
    assert_eq!(store.write(&file, b"after", 0), Err(ErrorCode::Access));
    assert_eq!(store.open("file", FOLLOW, OpenFlags::empty(), WRITE).unwrap_err(), ErrorCode::Access);
    assert_eq!(store.refusals(), ["filesystem.write denied"; 3]);
    assert_eq!(dir.read("file").unwrap(), b"before");
}

#[test]
fn what_is_written_and_renamed_is_counted() {
    let world = World::new();
    let mut store = world.writer(100, 4);
    for (name, length) in [("a", 10), ("b", 20)] {
        let file = store.create(name).unwrap();
        store.write(&file, &vec![1; length], 0).unwrap();
        store.drop(file);
    }
    store.link("a", "c").unwrap();
    assert_eq!(store.used(), Amount { bytes: 30, files: 3 });
    store.rename("a", "c").unwrap();
    assert_eq!(store.used(), Amount { bytes: 30, files: 3 }, "two names of one file: nothing happens");
    store.unlink("a").unwrap();
    assert_eq!(store.used(), Amount { bytes: 30, files: 2 });
    store.rename("c", "b").unwrap();
    assert_eq!(store.used(), Amount { bytes: 10, files: 1 }, "what was replaced is gone");
    let measured = Meter::measure(&world.mounted()).unwrap().used();
    assert_eq!(store.used(), measured);
}

#[test]
fn a_quota_of_bytes_is_kept() {
    let world = World::new();
    world.mounted().write("old", [0; 40]).unwrap();
    let mut store = world.writer(100, 10);
    let file = store.create("new").unwrap();
    assert_eq!(store.write(&file, &[1; 60], 0), Ok(60));
    store.refusals();
    assert_eq!(store.write(&file, &[1; 1], 60).unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert_eq!(store.write(&file, &[1; 60], 0), Ok(60), "what does not grow is no question of the quota");
    assert_eq!(store.write(&file, b"x", 1 << 40).unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert_eq!(store.write(&file, b"xy", u64::MAX).unwrap_err(), ErrorCode::FileTooLarge);
    assert_eq!(store.set_size(&file, 1 << 40).unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    for append in [true, false] {
        let mut scope = store.scope();
        let stream = if append {
            block_on(scope.append_via_stream(again(&file)))
        } else {
            block_on(scope.write_via_stream(again(&file), 60))
        };
        let handle = answer(stream).unwrap();
        let stream = store.table.get_mut(&handle).unwrap();
        let written: StreamResult<()> = block_on(stream.blocking_write_and_flush(vec![1; 10].into()));
        let Err(StreamError::LastOperationFailed(error)) = written else { panic!("{written:?}") };
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
        let error = store.table.push(error).unwrap();
        let code = super::types::Host::filesystem_error_code(&mut store.scope(), error).unwrap();
        assert_eq!(code, Some(ErrorCode::Quota));
        store.assert_refused(FULL);
    }
    assert_eq!(world.mounted().metadata("new").unwrap().len(), 60);
    store.unlink("old").unwrap();
    assert_eq!(store.write(&file, &[1; 40], 60), Ok(40));
}

#[test]
fn a_quota_of_files_is_kept() {
    let world = World::new();
    let mut store = world.writer(1000, 3);
    store.create("a").unwrap();
    store.make_folder("b").unwrap();
    store.symlink("a", "c").unwrap();
    store.refusals();
    assert_eq!(store.create("d").unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert_eq!(store.make_folder("d").unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert_eq!(store.symlink("a", "d").unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert_eq!(store.link("a", "d").unwrap_err(), ErrorCode::Quota);
    store.assert_refused(FULL);
    assert!(store.create("a").is_ok(), "it is there already");
    assert_eq!(world.mounted().entries().unwrap().count(), 3);
}

#[test]
fn removed_files_count_while_they_are_open() {
    let world = World::new();
    let mut store = world.writer(100, 10);
    let file = store.create("a").unwrap();
    store.write(&file, &[1; 100], 0).unwrap();
    store.unlink("a").unwrap();
    let other = store.create("b").unwrap();
    assert_eq!(store.write(&other, b"x", 0).unwrap_err(), ErrorCode::Quota);
    store.drop(file);
    assert_eq!(store.write(&other, b"x", 0), Ok(1));
    assert_eq!(store.used(), Amount { bytes: 1, files: 1 });
}

#[test]
fn a_rule_sees_both_paths_of_a_move() {
    let world = World::new();
    let dir = world.mounted();
    dir.write("kept", "kept").unwrap();
    let rules = r#"
        permit (principal, action, resource);
        forbid (principal, action == Ambit::Action::"filesystem.write", resource) when {
            context.path == "/m/kept" && context.operation != "set-times"
        };
    "#;
    let mut store = world.store_of(vec![world.granted("m", "/m", quota(100, 10))], Limits::default(), rules);
    store.create("other").unwrap();
    store.make_folder("sub").unwrap();
    store.refusals();
    for attempt in [
        store.rename("other", "kept"),
        store.rename("kept", "other"),
        store.link("kept", "new"),
        store.unlink("kept"),
        store.unlink("./sub/../kept"),
        store.open("kept", FOLLOW, OpenFlags::TRUNCATE, READ).map(drop),
    ] {
        assert_eq!(attempt.unwrap_err(), ErrorCode::Access);
    }
    assert_eq!(store.refusals(), vec!["filesystem.write denied"; 6]);
    assert_eq!(store.set_times("kept", none()), Ok(()));
    assert_eq!(dir.read_to_string("kept").unwrap(), "kept");
    assert!(!dir.exists("new"));
}

#[test]
fn a_mount_can_be_forbidden() {
    let world = World::new();
    let rules = r#"
        permit (principal, action, resource);
        forbid (principal, action == Ambit::Action::"filesystem.mount", resource) when { resource.access == "write" };
    "#;
    let (gate, log) = world.gate(Limits::default(), rules);
    let mounted = world.mount_one(&gate, world.granted("m", "/m", quota(1, 1)));
    assert!(matches!(mounted, Err(OpenError::Denied(_))));
    assert_eq!(log.refusals(), ["filesystem.mount denied"]);
    assert!(world.mount_one(&gate, world.granted("m", "/m", None)).is_ok());
}

#[test]
fn a_spent_budget_ends_the_task() {
    let world = World::new();
    let limits = Limits { effects: 3, ..Limits::default() };
    let mut store = world.store_of(vec![world.granted("m", "/m", quota(100, 10))], limits, PERMIT);
    store.create("a").unwrap();
    store.create("b").unwrap();
    let root = store.root();
    let failed = block_on(store.scope().create_directory_at(root, "c".to_owned())).unwrap_err();
    let Failed::Trap(trap) = failed else { panic!("{failed:?}") };
    assert!(trap.downcast_ref::<crate::gate::Denied>().is_some());
    assert!(!world.mounted().exists("c"));
}

#[test]
fn the_record_and_the_question_hold_the_times_that_are_set() {
    use super::change::{Stamp, timestamps};
    use super::types::{Datetime, NewTimestamp};
    let at = Datetime { seconds: 7, nanoseconds: 5 };
    let times = timestamps(&NewTimestamp::Timestamp(at), &NewTimestamp::Now).unwrap();
    let told = serde_json::to_value(Stamp { target: (), follow: false, times }).unwrap();
    assert_eq!(told["times"], serde_json::json!({ "accessed": "7.000000005", "modified": "now" }));
}
