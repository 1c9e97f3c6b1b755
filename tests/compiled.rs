//! What was compiled is native code, so it is loaded only as it was written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::support::Scene;

fn scene() -> Scene {
    Scene::probing("[agent]\ntools = [\"prober\"]")
}

/// Runs the agent, with what its home itself compiled.
fn call(scene: &Scene) {
    let input = json!({ "calls": [{ "tool": "prober.random", "arguments": { "length": 4 } }] }).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command.current_dir(scene.path("")).env_clear().env("AMBIT_HOME", "home");
    let answer = command.args(["run", "bundle", "--policy", "policy", "--input", &input]).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
}

/// The files of a home's cache with that ending, by name.
fn files(scene: &Scene, ending: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(scene.path("home/compiled")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == ending));
    files.sort();
    files
}

/// Puts other bytes into a file of the cache, with the mode that such a file has. The old file is another one: others may
/// have it as well.
fn replace(file: &PathBuf, bytes: &[u8]) {
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn a_compiled_component_that_was_changed_is_compiled_anew() {
    let scene = scene();
    call(&scene);
    let written: Vec<(PathBuf, Vec<u8>)> =
        files(&scene, "cwasm").into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    assert_eq!(written.len(), 2);
    let [(agent, agent_bytes), (tool, tool_bytes)] = written.as_slice() else { panic!() };
    let mut flipped = agent_bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let with_more = [agent_bytes.as_slice(), b"x"].concat();
    // A bit, bytes at the end, a cut, nothing, and the code of another component.
    for bad in [&flipped, &with_more, &agent_bytes[..agent_bytes.len() - 1].to_vec(), &Vec::new(), tool_bytes] {
        replace(agent, bad);
        call(&scene);
        assert_eq!(&std::fs::read(agent).unwrap(), agent_bytes, "it was written anew");
    }
    // Both files of another component do not make it that one: the code is over the name as well.
    let codes = files(&scene, "code");
    let code_of = |file: &PathBuf| PathBuf::from(format!("{}.code", file.display()));
    assert_eq!(codes, [code_of(agent), code_of(tool)]);
    let code = std::fs::read(&codes[0]).unwrap();
    replace(agent, tool_bytes);
    replace(&codes[0], &std::fs::read(&codes[1]).unwrap());
    call(&scene);
    assert_eq!((&std::fs::read(agent).unwrap(), std::fs::read(&codes[0]).unwrap()), (agent_bytes, code));
}

#[test]
fn what_another_home_compiled_or_anybody_could_write_is_not_loaded() {
    let (scene, before) = (scene(), |file: &PathBuf| std::fs::metadata(file).unwrap().modified().unwrap());
    call(&scene);
    let file = &files(&scene, "cwasm")[0];
    let bytes = std::fs::read(file).unwrap();
    for spoil in [
        &(|| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap()) as &dyn Fn(),
        &|| {
            // A link to bytes that are right.
            let elsewhere = scene.path("elsewhere.cwasm");
            std::fs::write(&elsewhere, &bytes).unwrap();
            std::fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink(&elsewhere, file).unwrap();
        },
        // Another key.
        &|| std::fs::write(scene.path("home/compiled.key"), [9; 32]).unwrap(),
    ] {
        replace(file, &bytes);
        let written = before(file);
        spoil();
        call(&scene);
        let metadata = std::fs::symlink_metadata(file).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o400, "{metadata:?}");
        assert!(metadata.modified().unwrap() > written, "it was written anew");
    }
}
