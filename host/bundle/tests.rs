//! What a bundle is read as, and what its author sees when something is wrong with it.

use tempfile::TempDir;

use super::*;
use crate::manifest::tests::{FilesystemRequest, ToolsRequest, VOCABULARY, render};

const MANIFEST: &str = r#"name = "researcher"
version = "0.1.0"
description = "answers questions"

[agent]
component = "researcher.wasm"
requests.tools = { names = ["search", "quote"], reason = "it asks them" }

[tools.quote]
component = "parts/quote.wasm"

[tools.search]
component = "search.wasm"
[tools.search.requests]
filesystem = { mounts = ["/documents"], reason = "it reads them" }
"#;

/// A folder with a bundle in it; the components begin as components do.
struct Folder {
    _place: TempDir,
    dir: Dir,
}

fn folder(manifest: &str) -> Folder {
    let place = tempfile::tempdir().unwrap();
    let dir = open_folder(place.path()).unwrap();
    dir.write("outside.wasm", component("outside")).unwrap();
    dir.create_dir_all("bundle/parts").unwrap();
    let dir = dir.open_dir("bundle").unwrap();
    dir.write(BUNDLE_FILE, manifest).unwrap();
    dir.write("researcher.wasm", component("agent")).unwrap();
    dir.write("search.wasm", component("search")).unwrap();
    dir.write("parts/quote.wasm", component("quote")).unwrap();
    dir.write("core.wasm", MODULE_PREAMBLE).unwrap();
    dir.write("page.html", "<html>").unwrap();
    dir.write("empty.wasm", "").unwrap();
    dir.symlink("../outside.wasm", "planted.wasm").unwrap();
    Folder { _place: place, dir }
}

fn component(mark: &str) -> Vec<u8> {
    [COMPONENT_PREAMBLE, mark.as_bytes()].concat()
}

impl Folder {
    fn open(&self) -> Result<Bundle, ManifestError> {
        Bundle::open(&self.dir, Path::new("bundles/researcher"), VOCABULARY)
    }
}

/// What the author sees when one line of the manifest is another.
fn shown(line: &str, other: &str) -> String {
    assert!(MANIFEST.contains(line));
    render(&folder(&MANIFEST.replacen(line, other, 1)).open().expect_err("the manifest is wrong"))
}

#[test]
fn reads_a_bundle() {
    let bundle = folder(MANIFEST).open().unwrap();
    assert_eq!(bundle.name.as_str(), "researcher");
    assert_eq!(bundle.version, "0.1.0");
    assert_eq!(bundle.description, "answers questions");
    assert_eq!(bundle.agent.name, ComponentName::Agent);
    assert_eq!(*bundle.agent.wasm, *component("agent"));
    assert_eq!(bundle.tools.keys().map(Name::as_str).collect::<Vec<_>>(), ["quote", "search"]);
    let search = &bundle.tools["search"];
    assert_eq!(search.name.to_string(), "search");
    assert_eq!(search.path, Path::new("search.wasm"));
    assert_eq!(&MANIFEST[search.span.clone()], "\"search.wasm\"");
    assert_eq!(search.digest, Digest::of(&component("search")));
    let request: &FilesystemRequest = search.requests.get("filesystem").unwrap();
    assert_eq!((request.mounts[0].as_str(), request.reason.as_str()), ("/documents", "it reads them"));
    let request: &ToolsRequest = bundle.agent.requests.get("tools").unwrap();
    assert_eq!(request.reason, "it asks them");
    assert!(bundle.agent.requests.get::<FilesystemRequest>("tools").is_none());
    assert_eq!(bundle.components().count(), 3);
    assert!(bundle.components().all(|component| bundle.component(&component.name).unwrap().digest == component.digest));
}

#[test]
fn the_digest_covers_manifest_names_and_components() {
    let original = folder(MANIFEST).open().unwrap().digest;
    assert_eq!(folder(MANIFEST).open().unwrap().digest, original);
    let changed_text = folder(&format!("{MANIFEST}# \n")).open().unwrap().digest;
    let changed = folder(MANIFEST);
    changed.dir.write("search.wasm", component("Search")).unwrap();
    let changed_component = changed.open().unwrap().digest;
    assert_ne!(original, changed_text);
    assert_ne!(original, changed_component);
    assert_ne!(changed_text, changed_component);
}

#[test]
fn a_missing_bundle_is_named() {
    let folder = folder(MANIFEST);
    folder.dir.remove_file(BUNDLE_FILE).unwrap();
    insta::assert_snapshot!(render(&folder.open().unwrap_err()), @r#"
    x `bundles/researcher/bundle.toml`: there is no such file
    help: create it, or name another folder than `bundles/researcher`
    "#);
    let missing = open_folder(Path::new("no/such/bundle")).unwrap_err();
    insta::assert_snapshot!(render(&missing), @r#"
    x `no/such/bundle`: there is no such folder
    help: name the folder that holds the bundle, or its policies
    "#);
}

#[test]
fn a_missing_component_is_shown() {
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"serach.wasm\""), @r#"
     x component `serach.wasm`: there is no such file
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "serach.wasm"
       :             ^^^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: look at the path, or build what writes the file
    "#);
}

#[test]
fn a_path_that_escapes_is_shown() {
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"../outside.wasm\""), @r#"
     x component `../outside.wasm`: the path leads out of its folder
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "../outside.wasm"
       :             ^^^^^^^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: write a path inside of the bundle's folder, as `search.wasm` or `tools/search.wasm`
    "#);
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"/etc/passwd\""), @r#"
     x component `/etc/passwd`: the path leads out of its folder
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "/etc/passwd"
       :             ^^^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: write a path inside of the bundle's folder, as `search.wasm` or `tools/search.wasm`
    "#);
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"planted.wasm\""), @r#"
     x component `planted.wasm`: the path leads out of its folder
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "planted.wasm"
       :             ^^^^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: put the file itself into the folder: links that lead out of it are not followed
    "#);
    for path in [
        "",
        ".",
        "./search.wasm",
        "parts/../search.wasm",
        "parts//quote.wasm",
        "parts/",
        r"parts\\quote.wasm",
        r"C:\\a",
        r"a\u0000",
    ] {
        let shown = shown("\"search.wasm\"", &format!("\"{path}\""));
        assert!(shown.contains("the path leads out of its folder"), "{shown}");
    }
}

#[test]
fn a_file_that_is_no_component_is_shown() {
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"core.wasm\""), @r#"
     x component `core.wasm`: this is a core module, not a component
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "core.wasm"
       :             ^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: build it for `wasm32-wasip2`, or make a component of it with `wasm-tools component new`
    "#);
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"page.html\""), @r#"
     x component `page.html`: this is not a WebAssembly component
       ,-[bundles/researcher/bundle.toml:13:13]
    12 | [tools.search]
    13 | component = "page.html"
       :             ^^^^^^^^^^^
    14 | [tools.search.requests]
       `----
     help: a component is the binary file that a build for `wasm32-wasip2` writes
    "#);
    assert!(shown("\"search.wasm\"", "\"empty.wasm\"").contains("this is not a WebAssembly component"));
    assert!(shown("\"search.wasm\"", "\"parts\"").contains("this is not a regular file"));
}

#[test]
fn an_unknown_key_is_shown() {
    insta::assert_snapshot!(shown("description", "descripton"), @r#"
     x unknown key `descripton`
      ,-[bundles/researcher/bundle.toml:3:1]
    2 | version = "0.1.0"
    3 | descripton = "answers questions"
      : ^^^^^^^^^^
    4 | 
      `----
     help: did you mean `description`? known keys are `name`, `version`, `description`, `agent`,
           `tools`
    "#);
    insta::assert_snapshot!(shown("filesystem =", "filesytem ="), @r#"
     x unknown key `filesytem`
       ,-[bundles/researcher/bundle.toml:15:1]
    14 | [tools.search.requests]
    15 | filesytem = { mounts = ["/documents"], reason = "it reads them" }
       : ^^^^^^^^^
       `----
     help: did you mean `filesystem`? known keys are `filesystem`, `tools`
    "#);
    insta::assert_snapshot!(shown("mounts =", "mount ="), @r#"
     x unknown key `mount`
       ,-[bundles/researcher/bundle.toml:15:16]
    14 | [tools.search.requests]
    15 | filesystem = { mount = ["/documents"], reason = "it reads them" }
       :                ^^^^^
       `----
     help: did you mean `mounts`? known keys are `mounts`, `reason`
    "#);
}

#[test]
fn a_missing_key_is_shown() {
    insta::assert_snapshot!(shown("component = \"search.wasm\"\n", ""), @r#"
     x missing key `component`
       ,-[bundles/researcher/bundle.toml:12:1]
    11 | 
    12 | [tools.search]
       : ^^^^^^^^^^^^^^
    13 | [tools.search.requests]
       `----
     help: name the file, as `component = "….wasm"`
    "#);
    insta::assert_snapshot!(shown("name = \"researcher\"\n", ""), @r#"
     x missing key `name`
      ,-[bundles/researcher/bundle.toml:1:1]
    1 | version = "0.1.0"
      : ^
    2 | description = "answers questions"
      `----
     help: name the bundle, as `name = "researcher"`
    "#);
    insta::assert_snapshot!(shown(", reason = \"it reads them\"", ""), @r#"
     x missing key `reason`
       ,-[bundles/researcher/bundle.toml:15:14]
    14 | [tools.search.requests]
    15 | filesystem = { mounts = ["/documents"] }
       :              ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       `----
     help: add `reason = …`
    "#);
}

#[test]
fn a_wrong_value_is_shown() {
    insta::assert_snapshot!(shown("\"researcher\"", "\"My Bundle\""), @r#"
     x `My Bundle` is not a name
      ,-[bundles/researcher/bundle.toml:1:8]
    1 | name = "My Bundle"
      :        ^^^^^^^^^^^
    2 | version = "0.1.0"
      `----
     help: a name has small letters, digits and `-`, begins with a letter, and is at most 64 long
    "#);
    insta::assert_snapshot!(shown("\"0.1.0\"", "\"1.0\""), @r#"
     x `1.0` is not a version
      ,-[bundles/researcher/bundle.toml:2:11]
    1 | name = "researcher"
    2 | version = "1.0"
      :           ^^^^^
    3 | description = "answers questions"
      `----
     help: write it as `"0.1.0"` or `"1.0.0-beta.2"`
    "#);
    insta::assert_snapshot!(shown("[tools.quote]", "[tools.agent]"), @r#"
     x a tool cannot be called `agent`
       ,-[bundles/researcher/bundle.toml:9:8]
     8 | 
     9 | [tools.agent]
       :        ^^^^^
    10 | component = "parts/quote.wasm"
       `----
     help: give the tool another name
    "#);
    insta::assert_snapshot!(shown("\"search\", \"quote\"", "\"serch\", \"quote\""), @r#"
     x unknown tool `serch`
      ,-[bundles/researcher/bundle.toml:7:29]
    6 | component = "researcher.wasm"
    7 | requests.tools = { names = ["serch", "quote"], reason = "it asks them" }
      :                             ^^^^^^^
    8 | 
      `----
     help: did you mean `search`? the tools of `researcher` are `quote`, `search`
    "#);
    insta::assert_snapshot!(shown("description = \"answers questions\"", "agent = 5\n[other]"), @r#"
     x duplicate key `agent`
      ,-[bundles/researcher/bundle.toml:6:2]
    5 | 
    6 | [agent]
      :  ^^^^^
    7 | component = "researcher.wasm"
      `----
     help: write each key once
    "#);
}

#[test]
fn a_version_is_semantic() {
    for version in ["0.1.0", "1.0.0-beta.2", "1.2.3+build.5", "10.20.30-a-b.1+x-y"] {
        assert!(is_version(version), "{version}");
    }
    for version in
        ["", "1", "1.0", "1.0.0.0", "01.0.0", "v1.0.0", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0 ", "1.0.0-ä"]
    {
        assert!(!is_version(version), "{version}");
    }
}

#[test]
fn a_digest_has_one_form() {
    let digest = Digest::of(b"");
    let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest.to_string(), text);
    assert_eq!(text.parse(), Ok(digest));
    for wrong in [
        "",
        "sha256:",
        &text[..70],
        &text.to_uppercase(),
        &text.replace("e3", "E3"),
        &text.replace("e3", "g3"),
        &text[7..],
    ] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}
