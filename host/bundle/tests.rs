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
    render(
        &folder(&MANIFEST.replacen(line, other, 1))
            .open()
            .expect_err("the manifest is wrong"),
    )
}

#[test]
fn reads_a_bundle() {
    let bundle = folder(MANIFEST).open().unwrap();
    assert_eq!(bundle.name.as_str(), "researcher");
    assert_eq!(bundle.version, "0.1.0");
    assert_eq!(bundle.description, "answers questions");
    assert_eq!(bundle.agent.name, ComponentName::Agent);
    assert_eq!(*bundle.agent.wasm, *component("agent"));
    assert_eq!(
        bundle.tools.keys().map(Name::as_str).collect::<Vec<_>>(),
        ["quote", "search"]
    );
    let search = &bundle.tools["search"];
    assert_eq!(search.name.to_string(), "search");
    assert_eq!(search.path, Path::new("search.wasm"));
    assert_eq!(&MANIFEST[search.span.clone()], "\"search.wasm\"");
    assert_eq!(search.digest, Digest::of(&component("search")));
    let request: &FilesystemRequest = search.requests.get("filesystem").unwrap();
    assert_eq!(
        (request.mounts[0].as_str(), request.reason.as_str()),
        ("/documents", "it reads them")
    );
    let request: &ToolsRequest = bundle.agent.requests.get("tools").unwrap();
    assert_eq!(request.reason, "it asks them");
    assert!(bundle.agent.requests.get::<FilesystemRequest>("tools").is_none());
    assert_eq!(bundle.components().count(), 3);
    assert!(
        bundle
            .components()
            .all(|component| bundle.component(&component.name).unwrap().digest == component.digest)
    );
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
    insta::assert_snapshot!(render(&folder.open().unwrap_err()), @"");
    let missing = open_folder(Path::new("no/such/bundle")).unwrap_err();
    insta::assert_snapshot!(render(&missing), @"");
}

#[test]
fn a_missing_component_is_shown() {
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"serach.wasm\""), @"");
}

#[test]
fn a_path_that_escapes_is_shown() {
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"../outside.wasm\""), @"");
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"/etc/passwd\""), @"");
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"planted.wasm\""), @"");
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
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"core.wasm\""), @"");
    insta::assert_snapshot!(shown("\"search.wasm\"", "\"page.html\""), @"");
    assert!(shown("\"search.wasm\"", "\"empty.wasm\"").contains("this is not a WebAssembly component"));
    assert!(shown("\"search.wasm\"", "\"parts\"").contains("this is not a regular file"));
}

#[test]
fn an_unknown_key_is_shown() {
    insta::assert_snapshot!(shown("description", "descripton"), @"");
    insta::assert_snapshot!(shown("filesystem =", "filesytem ="), @"");
    insta::assert_snapshot!(shown("mounts =", "mount ="), @"");
}

#[test]
fn a_missing_key_is_shown() {
    insta::assert_snapshot!(shown("component = \"search.wasm\"\n", ""), @"");
    insta::assert_snapshot!(shown("name = \"researcher\"\n", ""), @"");
    insta::assert_snapshot!(shown(", reason = \"it reads them\"", ""), @"");
}

#[test]
fn a_wrong_value_is_shown() {
    insta::assert_snapshot!(shown("\"researcher\"", "\"My Bundle\""), @"");
    insta::assert_snapshot!(shown("\"0.1.0\"", "\"1.0\""), @"");
    insta::assert_snapshot!(shown("[tools.quote]", "[tools.agent]"), @"");
    insta::assert_snapshot!(shown("\"search\", \"quote\"", "\"serch\", \"quote\""), @"");
    insta::assert_snapshot!(shown("description = \"answers questions\"", "agent = 5\n[other]"), @"");
}

#[test]
fn a_version_is_semantic() {
    for version in ["0.1.0", "1.0.0-beta.2", "1.2.3+build.5", "10.20.30-a-b.1+x-y"] {
        assert!(is_version(version), "{version}");
    }
    for version in [
        "",
        "1",
        "1.0",
        "1.0.0.0",
        "01.0.0",
        "v1.0.0",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-a..b",
        "1.0.0 ",
        "1.0.0-ä",
    ] {
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
