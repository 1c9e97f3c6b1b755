//! What a grant manifest is read as, and what its operator sees when something is wrong with it.

use std::time::Duration;

use super::*;
use crate::manifest::tests::{Access, Mount, VOCABULARY, render};

const MANIFEST: &str = r#"# Who may do what.
bundle = "support-desk"

[limits]
fuel = 5_000_000_000 # about five seconds
memory = "64MiB"
wall-time = "90s"

[agent]
tools = ["orders"]

[tools.orders] # reads the orders
filesystem = [
    { host = "data/orders", guest = "/orders", access = "read" },
    { host = "out", guest = "/out", access = "write", quota = "1MiB", most-files = 10 },
]
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, Path::new("policies/support-desk/grants.toml"), VOCABULARY)
}

/// A bundle `support-desk` with the tools `orders` and `billing`.
fn bundle() -> Bundle {
    let place = tempfile::tempdir().unwrap();
    let folder = crate::bundle::open_folder(place.path()).unwrap();
    for name in ["agent", "orders", "billing"] {
        folder
            .write(name, [b"\0asm\x0d\0\x01\0", name.as_bytes()].concat())
            .unwrap();
    }
    let manifest = "name = \"support-desk\"\nversion = \"1.0.0\"\nagent.component = \"agent\"\n\
        tools.orders.component = \"orders\"\ntools.billing.component = \"billing\"\n";
    folder.write("bundle.toml", manifest).unwrap();
    Bundle::open(&folder, place.path(), VOCABULARY).unwrap()
}

/// What the operator sees when one piece of the manifest is another.
fn shown(piece: &str, other: &str) -> String {
    assert!(MANIFEST.contains(piece));
    let manifest = parse(&MANIFEST.replacen(piece, other, 1)).and_then(|manifest| {
        manifest.check(&bundle())?;
        manifest.check_pins(&bundle())
    });
    render(&manifest.expect_err("the manifest is wrong"))
}

#[test]
fn reads_a_manifest() {
    let manifest = parse(MANIFEST).unwrap();
    assert_eq!(manifest.bundle.get_ref().as_str(), "support-desk");
    assert_eq!(manifest.base, Path::new("policies/support-desk"));
    assert_eq!(manifest.digest, Digest::of(MANIFEST.as_bytes()));
    let expected = Limits {
        fuel: 5_000_000_000,
        memory: 64 << 20,
        wall_time: Duration::from_secs(90),
        ..Limits::default()
    };
    assert_eq!(manifest.limits, expected);
    let orders = manifest
        .component(&ComponentName::Tool("orders".parse().unwrap()))
        .unwrap();
    assert_eq!(&MANIFEST[orders.span.clone()], "orders");
    let mounts: &Vec<Mount> = orders.sections.get("filesystem").unwrap();
    assert_eq!(mounts[0].host, "policies/support-desk/data/orders");
    assert_eq!((mounts[1].guest.as_str(), &mounts[1].access), ("/out", &Access::Write));
    assert_eq!(
        (mounts[1].quota.unwrap().bytes(), mounts[1].most_files),
        (1 << 20, Some(10))
    );
    assert!(mounts[1].labels.is_empty());
    assert_eq!(
        orders
            .sections
            .keys()
            .map(|(key, span)| (key, &MANIFEST[span]))
            .collect::<Vec<_>>(),
        [("filesystem", "filesystem")]
    );
    assert_eq!(
        manifest.agent.sections.span("tools").map(|span| &MANIFEST[span]),
        Some("tools")
    );
    assert!(manifest.agent.sections.get::<Vec<Mount>>("filesystem").is_none());
    assert!(
        manifest
            .component(&ComponentName::Tool("billing".parse().unwrap()))
            .is_none()
    );
    manifest.check(&bundle()).unwrap();
    manifest.check_pins(&bundle()).unwrap();
}

#[test]
fn a_manifest_that_says_nothing_grants_nothing() {
    let manifest = parse("bundle = \"support-desk\"").unwrap();
    assert_eq!(manifest.limits, Limits::default());
    assert_eq!(manifest.agent.sections.keys().count(), 0);
    assert!(manifest.tools.is_empty());
}

#[test]
fn a_manifest_is_read_from_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = crate::bundle::open_folder(place.path()).unwrap();
    let open = || {
        Manifest::open(
            &folder,
            Path::new(GRANT_FILE),
            Path::new("policies/support-desk"),
            VOCABULARY,
        )
    };
    insta::assert_snapshot!(render(&open().unwrap_err()), @"");
    folder.write(GRANT_FILE, MANIFEST).unwrap();
    assert_eq!(open().unwrap().digest, Digest::of(MANIFEST.as_bytes()));
}

#[test]
fn an_unknown_key_is_shown() {
    insta::assert_snapshot!(shown("filesystem = [", "filesytem = ["), @"");
    insta::assert_snapshot!(shown("[limits]", "[limit]"), @"");
    insta::assert_snapshot!(shown("wall-time", "wall_time"), @"");
    insta::assert_snapshot!(shown("quota =", "qouta ="), @"");
}

#[test]
fn an_unknown_tool_is_shown() {
    insta::assert_snapshot!(shown("[tools.orders]", "[tools.order]"), @"");
    insta::assert_snapshot!(shown("[\"orders\"]", "[\"orders\", \"biling\"]"), @"");
    insta::assert_snapshot!(shown("[tools.orders]", "[tools.Orders]"), @"");
}

#[test]
fn another_bundle_is_shown() {
    insta::assert_snapshot!(shown("\"support-desk\"", "\"researcher\""), @"");
    insta::assert_snapshot!(shown("bundle = \"support-desk\"\n", ""), @"");
}

#[test]
fn a_bad_size_is_shown() {
    insta::assert_snapshot!(shown("\"64MiB\"", "\"64MB of RAM\""), @"");
    insta::assert_snapshot!(shown("\"64MiB\"", "\"8GiB\""), @"");
    insta::assert_snapshot!(shown("\"1MiB\"", "-1"), @"");
}

#[test]
fn a_path_that_escapes_is_shown() {
    insta::assert_snapshot!(shown("\"/orders\"", "\"/orders/../../etc\""), @"");
}

#[test]
fn limits_have_ranges() {
    let limit = |line: &str| parse(&format!("bundle = \"a\"\n[limits]\n{line}")).map(|manifest| manifest.limits);
    for line in [
        "fuel = 0",
        "memory = 65535",
        "memory = \"65537MiB\"",
        "wall-time = \"0s\"",
        "wall-time = \"25h\"",
        "tool-depth = 65",
        "output = \"2GiB\"",
        "log = \"2GiB\"",
        "host-call = \"1KiB\"",
        "handles = 15",
        "instances = 0",
        "instances = 10_001",
    ] {
        assert!(
            limit(line).unwrap_err().to_string().ends_with("outside of its range"),
            "{line}"
        );
    }
    for line in [
        "fuel = 1",
        "memory = \"64KiB\"",
        "memory = \"4GiB\"",
        "wall-time = \"1ms\"",
        "wall-time = \"24h\"",
        "tool-calls = 0",
        "effects = 0",
    ] {
        assert!(limit(line).is_ok(), "{line}");
    }
    insta::assert_snapshot!(shown("5_000_000_000", "0"), @"");
}

#[test]
fn a_text_that_is_not_toml_is_shown() {
    insta::assert_snapshot!(shown("[agent]", "[agent"), @"");
    insta::assert_snapshot!(shown("memory = \"64MiB\"", "fuel = 1"), @"");
    insta::assert_snapshot!(shown("[\"orders\"]", "\"orders\""), @"");
}

#[test]
fn a_pin_that_does_not_fit_is_shown() {
    let digest = Digest::of(b"another component");
    insta::assert_snapshot!(shown("# reads the orders", &format!("\ndigest = \"{digest}\"")), @"");
    insta::assert_snapshot!(shown("# reads the orders", "\ndigest = \"sha256:abc\""), @"");
}

fn pins(names: &[&str]) -> BTreeMap<ComponentName, Digest> {
    let name = |name: &str| {
        if name == "agent" {
            ComponentName::Agent
        } else {
            ComponentName::Tool(name.parse().unwrap())
        }
    };
    names
        .iter()
        .map(|written| (name(written), bundle().component(&name(written)).unwrap().digest))
        .collect()
}

/// Pins, and sees that the pins are those of the bundle and that doing it again changes nothing.
fn pinned(text: &str) -> String {
    let pins = pins(&["agent", "orders", "billing"]);
    let pinned = parse(text).unwrap().pin(&pins).unwrap();
    let again = parse(&pinned).unwrap();
    again.check(&bundle()).unwrap();
    again.check_pins(&bundle()).unwrap();
    for (name, digest) in &pins {
        assert_eq!(
            again.component(name).unwrap().digest.as_ref().unwrap().get_ref(),
            digest
        );
    }
    assert_eq!(again.pin(&pins).unwrap(), pinned);
    pinned
}

#[test]
fn pinning_keeps_the_layout() {
    insta::assert_snapshot!(pinned(MANIFEST), @"");
}

#[test]
fn pinning_adds_sections() {
    insta::assert_snapshot!(pinned("bundle = \"support-desk\""), @"");
    insta::assert_snapshot!(pinned("bundle = \"support-desk\"\nagent = { tools = [] }\ntools = { orders = {} }\n"), @"");
    let old = format!(
        "bundle = \"support-desk\"\n[agent]\ndigest = \"{}\" # reviewed\ntools = []\n",
        Digest::of(b"old")
    );
    insta::assert_snapshot!(pinned(&old), @"");
}

#[test]
fn pinning_keeps_line_ends() {
    let pinned = pinned(&MANIFEST.replace('\n', "\r\n"));
    assert!(pinned.starts_with("# Who may do what.\r\nbundle = \"support-desk\"\r\n"));
}
