//! Builds the guests, and puts their components where bundles and tests look for them.
//!
//! A linked component has lost the comments of its WIT, and they are what an agent reads about a tool. So they are added
//! here, in the custom section `package-docs` (`wit_parser::PackageMetadata`), as `wit-docs-inject` does as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{PackageMetadata, Resolve};

use crate::failure::Failure;
use crate::foreign;
use crate::steps::{self, Steps};
use crate::workspace::{Guest, WASM, Workspace};

/// Builds every guest for a target that works, and returns the folder where their documented components lie, as `<package>.wasm`.
pub(crate) fn build(steps: &mut Steps, workspace: &Workspace) -> Result<PathBuf, Failure> {
    steps.step("guests", || {
        let (guests, target) = workspace.guests()?;
        let mut cargo = workspace.guest_cargo();
        steps::run(cargo.args(["build", "--workspace", "--release", "--locked", "--target", WASM]))?;
        let components = target.join("components");
        let documented = document(&guests, &foreign::names(workspace)?, &target.join("release"), &components)?;
        fill_bundles(&workspace.guests_folder().join("bundles"), &documented)?;
        Ok(components)
    })
}

/// Writes each guest's documented component to `components`, and deletes what no guest builds any more, nor is `foreign`.
fn document(
    guests: &[Guest],
    foreign: &[String],
    release: &Path,
    components: &Path,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut documented_guests = BTreeMap::new();
    for guest in guests {
        let artifact = release.join(&guest.artifact);
        let wasm = fs::read(&artifact).map_err(Failure::file("read", artifact))?;
        let name = format!("{}.wasm", guest.name);
        let component = documented(&wasm, &guest.folder)?;
        write_if_changed(&components.join(&name), &component)?;
        documented_guests.insert(name, component);
    }
    for entry in fs::read_dir(components).map_err(Failure::file("read", components))? {
        let path = entry.map_err(Failure::file("read", components))?.path();
        let known = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            documented_guests.contains_key(name) || foreign.iter().any(|other| *name == format!("{other}.wasm"))
        });
        if !known {
            fs::remove_file(&path).map_err(Failure::file("delete", &path))?;
        }
    }
    Ok(documented_guests)
}

/// Copies the components that each bundle names into its folder.
fn fill_bundles(bundles: &Path, components: &BTreeMap<String, Vec<u8>>) -> Result<(), Failure> {
    for entry in fs::read_dir(bundles).map_err(Failure::file("read", bundles))? {
        let folder = entry.map_err(Failure::file("read", bundles))?.path();
        let manifest = folder.join("bundle.toml");
        if !manifest.exists() {
            continue;
        }
        for name in named_components(&manifest)? {
            let component = components
                .get(&name)
                .ok_or_else(|| Failure::NoSuchComponent { bundle: manifest.clone(), component: name.clone() })?;
            if write_if_changed(&folder.join(&name), component)? {
                eprintln!("    {}", folder.join(&name).strip_prefix(bundles).unwrap_or(&folder).display());
            }
        }
    }
    Ok(())
}

/// The components that a bundle's manifest names: `agent.component` and `tools.*.component`.
fn named_components(manifest: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(manifest).map_err(Failure::file("read", manifest))?;
    let table: toml::Table =
        text.parse().map_err(|source| Failure::Toml { path: manifest.to_path_buf(), source: Box::new(source) })?;
    let tools = table.get("tools").and_then(toml::Value::as_table);
    let sections = table.get("agent").into_iter().chain(tools.into_iter().flat_map(toml::Table::values));
    let component = |section: &toml::Value| Some(section.get("component")?.as_str()?.to_owned());
    Ok(sections.filter_map(component).collect())
}

/// Adds the documentation of the crate's own WIT package to its component. A crate without one stays as it is.
///
/// The package may lean on its own `wit/deps`, or, without such a folder, on the project's `wit/`.
pub(crate) fn documented(wasm: &[u8], crate_dir: &Path) -> Result<Vec<u8>, Failure> {
    let own = crate_dir.join("wit");
    if !own.is_dir() {
        return Ok(wasm.to_vec());
    }
    let mut resolve = Resolve::default();
    if !own.join("deps").exists() {
        let shared = crate_dir.join("../../../wit");
        resolve.push_dir(&shared).map_err(|error| Failure::wit(&shared, error))?;
    }
    let (package, _) = resolve.push_dir(&own).map_err(|error| Failure::wit(&own, error))?;
    let metadata = PackageMetadata::extract(&resolve, package);
    let section = metadata.encode().map_err(|error| Failure::wit(&own, error))?;
    Ok(with_custom_section(wasm, PackageMetadata::SECTION_NAME, &section))
}

/// Appends a custom section (WebAssembly Core Specification, section 5.5.3; components share the encoding).
fn with_custom_section(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    let mut whole = wasm.to_vec();
    whole.push(0);
    whole.extend(leb128(content.len()));
    whole.extend(content);
    whole
}

/// An unsigned number in LEB128 (WebAssembly Core Specification, section 5.2.2).
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Writes a file, with the folders that it needs, unless it has this content already. Says whether it wrote.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool, Failure> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Failure::file("create", folder))?;
    }
    fs::write(path, content).map_err(Failure::file("write", path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn numbers_are_encoded_as_the_specification_says() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [0x7f]);
        assert_eq!(leb128(128), [0x80, 0x01]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn documentation_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("project/guests/tools/clock/wit");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(folder.path().join("project/wit")).unwrap();
        fs::write(
            folder.path().join("project/wit/shared.wit"),
            "package shared:types@1.0.0; interface text { type line = string; }",
        )
        .unwrap();
        let long = "It is long. ".repeat(40);
        let world = format!(
            "package tools:clock; world clock {{ use shared:types/text@1.0.0.{{line}};\n/// Tells the time. {long}\nexport now: func() -> line; }}"
        );
        fs::write(own.join("world.wit"), world).unwrap();

        let component = documented(EMPTY_COMPONENT, own.parent().unwrap()).unwrap();

        let name = PackageMetadata::SECTION_NAME.as_bytes();
        let at = component.windows(name.len()).position(|window| window == name).unwrap();
        let section = &component[at + name.len()..];
        PackageMetadata::decode(section).unwrap();
        assert!(String::from_utf8_lossy(section).contains("Tells the time."));
    }

    #[test]
    fn a_component_with_one_more_section_is_still_one() {
        let component = with_custom_section(EMPTY_COMPONENT, "name-of-it", &[7; 300]);
        let decoded = wit_parser::decoding::decode(&component).unwrap();
        assert!(matches!(decoded, wit_parser::decoding::DecodedWasm::Component(..)));
    }

    #[test]
    fn a_crate_without_interfaces_of_its_own_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(documented(EMPTY_COMPONENT, folder.path()).unwrap(), EMPTY_COMPONENT);
    }

    #[test]
    fn a_bundle_gets_what_it_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("clockwork");
        fs::create_dir_all(&bundle).unwrap();
        let manifest =
            "name = 'clockwork'\n[agent]\ncomponent = 'agent.wasm'\n[tools.clock]\ncomponent = 'clock.wasm'\n";
        fs::write(bundle.join("bundle.toml"), manifest).unwrap();
        let component = |name: &str| (format!("{name}.wasm"), name.as_bytes().to_vec());
        let all = BTreeMap::from(["agent", "clock", "other"].map(component));

        fill_bundles(folder.path(), &all).unwrap();
        assert_eq!(fs::read(bundle.join("clock.wasm")).unwrap(), b"clock");
        assert!(!bundle.join("other.wasm").exists());

        let missing = BTreeMap::from([component("agent")]);
        let failure = fill_bundles(folder.path(), &missing).unwrap_err();
        assert!(matches!(failure, Failure::NoSuchComponent { component, .. } if component == "clock.wasm"));
    }

    #[test]
    fn a_file_that_has_its_content_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        assert!(write_if_changed(&path, b"one").unwrap());
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert!(write_if_changed(&path, b"two").unwrap());
    }
}
