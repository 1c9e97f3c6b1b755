//! The shape of the house, as far as text can hold it: who may make what, who may know whom, and the six places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ambit::capability::REGISTRY;

/// All sources of the host: (path below `host`, text without comments).
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("host");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (name, code.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned())
    };
    found.iter().map(read).collect()
}

/// Whether a file holds tests alone.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    ["tests", "laws", "world"].contains(&name.as_ref()) || name.ends_with("_tests")
}

/// The module of a file: `capability/state.rs` is of `capability`.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn only_the_gate_makes_permits_and_only_the_runtime_makes_stores() {
    for (file, code) in sources() {
        let makes_permits = code.contains("Permit {") || code.contains("Permit::<") || code.contains("Permit::new");
        assert!(!makes_permits || file == "gate.rs", "{file} makes a permit");
        let makes_stores = code.contains("Store::new(") || code.contains("Store::try_new(");
        // The benchmark compares with stores of wasmtime's alone, which no task runs in.
        let may_make_stores = ["runtime.rs", "cli/bench/bare.rs"].contains(&file.as_str());
        assert!(!makes_stores || may_make_stores, "{file} makes a store");
    }
}

#[test]
fn every_module_uses_only_what_stands_below_it() {
    // From the bottom to the top. `edge` implements the ports of capabilities, and may know them for that.
    let layers: &[&[&str]] = &[
        &["address", "aside", "config", "label", "lib", "secret"],
        &["manifest"],
        &["bundle"],
        &["grant", "task", "tool"],
        &["audit", "budget", "identity", "leak", "recorder"],
        &["policy"],
        &["approval", "people"],
        &["settings"],
        &["gate"],
        &["engine"],
        &["capability"],
        &["edge"],
        &["runtime"],
        &["front"],
        &["cli"],
        &["main"],
    ];
    let height = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    for (file, code) in sources() {
        let own = height(module(&file)).unwrap_or_else(|| panic!("{file} stands in no layer"));
        for used in code.split("crate::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(below) = height(&name) else { continue };
            let fits = below < own || name == module(&file);
            assert!(fits, "{file} uses `{name}`, which does not stand below it");
        }
    }
}

#[test]
fn every_capability_stands_in_its_six_places() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let wit = wit(root);
    let schema = ambit::capability::terms(None).schema().text;
    let read = cedar_policy::Schema::from_cedarschema_str(&schema);
    assert!(read.is_ok(), "the terms of the capabilities are no schema: {:?}", read.err());
    for row in REGISTRY {
        let key = row.key();
        let file = root.join("host/capability").join(format!("{key}.rs"));
        assert!(file.exists(), "{key} has no file {}", file.display());
        assert!(readme.contains(&format!("| `{key}` |")), "{key} has no row in the README");
        assert!(!row.actions().is_empty() || key == "clock", "{key} has no actions");
        for action in row.actions().iter().map(|action| action.name) {
            assert!(action.starts_with(&format!("{key}.")), "{action} is not called after {key}");
            assert!(schema.contains(&format!("action \"{action}\"")), "{action} is not in the schema");
            assert!(super::gate::covered_actions().contains(&action), "tests/gate.rs does not refuse {action}");
        }
        for interface in row.interfaces() {
            assert!(wit.contains(*interface), "{interface} of {key} is not in wit/");
        }
    }
}

/// The interfaces that `wit/` defines: `wasi:io/streams`.
fn wit(root: &Path) -> BTreeSet<String> {
    let mut interfaces = BTreeSet::new();
    let mut folders = vec![root.join("wit")];
    while let Some(folder) = folders.pop() {
        let mut package = String::new();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let line = |prefix: &str| {
                text.lines().filter_map(|l| l.trim().strip_prefix(prefix).map(str::to_owned)).collect::<Vec<_>>()
            };
            let here = line("package ").first().map(|p| p.split(['@', ';']).next().unwrap().to_owned());
            let found: Vec<String> =
                line("interface ").iter().map(|l| l.split([' ', '{']).next().unwrap().to_owned()).collect();
            match here {
                // A folder of packages, one in each file.
                Some(here) if folder.ends_with("deps") => {
                    interfaces.extend(found.iter().map(|name| format!("{here}/{name}")));
                }
                Some(here) => {
                    package = here;
                    names.extend(found);
                }
                None => names.extend(found),
            }
        }
        interfaces.extend(names.iter().map(|name| format!("{package}/{name}")));
    }
    interfaces
}

#[test]
fn the_version_of_the_engine_that_is_shown_is_the_one_that_is_linked() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let version = lock.split("name = \"wasmtime\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(ambit::VERSION.contains(&format!("(wasmtime {version})")), "{} is not {version}", ambit::VERSION);
}

#[test]
fn the_default_sender_of_wasi_http_is_not_compiled_in() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("wasmtime-wasi-http")).unwrap();
    assert!(line.contains("default-features = false") && line.contains("[\"p2\"]"), "{line}");
}
