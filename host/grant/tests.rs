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
        folder.write(name, [b"\0asm\x0d\0\x01\0", name.as_bytes()].concat()).unwrap();
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
        bundle().components().try_for_each(|component| manifest.check_pin(component))
    });
    render(&manifest.expect_err("the manifest is wrong"))
}

#[test]
fn reads_a_manifest() {
    let manifest = parse(MANIFEST).unwrap();
    assert_eq!(manifest.bundle.get_ref().as_str(), "support-desk");
    assert_eq!(manifest.base, Path::new("policies/support-desk"));
    assert_eq!(manifest.digest, Digest::of(MANIFEST.as_bytes()));
    let expected =
        Limits { fuel: 5_000_000_000, memory: 64 << 20, wall_time: Duration::from_secs(90), ..Limits::default() };
    assert_eq!(manifest.limits, expected);
    let orders = manifest.component(&ComponentName::Tool("orders".parse().unwrap())).unwrap();
    assert_eq!(&MANIFEST[orders.span.clone()], "orders");
    let mounts: &Vec<Mount> = orders.sections.get("filesystem").unwrap();
    assert_eq!(mounts[0].host, "policies/support-desk/data/orders");
    assert_eq!((mounts[1].guest.as_str(), &mounts[1].access), ("/out", &Access::Write));
    assert_eq!((mounts[1].quota.unwrap().bytes(), mounts[1].most_files), (1 << 20, Some(10)));
    assert!(mounts[1].labels.is_empty());
    assert_eq!(
        orders.sections.keys().map(|(key, span)| (key, &MANIFEST[span])).collect::<Vec<_>>(),
        [("filesystem", "filesystem")]
    );
    assert_eq!(manifest.agent.sections.span("tools").map(|span| &MANIFEST[span]), Some("tools"));
    assert!(manifest.agent.sections.get::<Vec<Mount>>("filesystem").is_none());
    assert!(manifest.component(&ComponentName::Tool("billing".parse().unwrap())).is_none());
    manifest.check(&bundle()).unwrap();
    bundle().components().for_each(|component| manifest.check_pin(component).unwrap());
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
    let open = || Manifest::open(&folder, Path::new(GRANT_FILE), Path::new("policies/support-desk"), VOCABULARY);
    insta::assert_snapshot!(render(&open().unwrap_err()), @r#"
    x `policies/support-desk/grants.toml`: there is no such file
    help: create it, or name another folder than `policies/support-desk`
    "#);
    folder.write(GRANT_FILE, MANIFEST).unwrap();
    assert_eq!(open().unwrap().digest, Digest::of(MANIFEST.as_bytes()));
}

#[test]
fn an_unknown_key_is_shown() {
    insta::assert_snapshot!(shown("filesystem = [", "filesytem = ["), @r#"
     x unknown key `filesytem`
       ,-[policies/support-desk/grants.toml:13:1]
    12 | [tools.orders] # reads the orders
    13 | filesytem = [
       : ^^^^^^^^^
    14 |     { host = "data/orders", guest = "/orders", access = "read" },
       `----
     help: did you mean `filesystem`? known keys are `digest`, `labels`, `filesystem`, `tools`
    "#);
    insta::assert_snapshot!(shown("[limits]", "[limit]"), @r#"
     x unknown key `limit`
      ,-[policies/support-desk/grants.toml:4:2]
    3 | 
    4 | [limit]
      :  ^^^^^
    5 | fuel = 5_000_000_000 # about five seconds
      `----
     help: did you mean `limits`? known keys are `bundle`, `limits`, `output`, `agent`, `tools`
    "#);
    insta::assert_snapshot!(shown("wall-time", "wall_time"), @r#"
     x unknown key `wall_time`
      ,-[policies/support-desk/grants.toml:7:1]
    6 | memory = "64MiB"
    7 | wall_time = "90s"
      : ^^^^^^^^^
    8 | 
      `----
     help: did you mean `wall-time`? known keys are `fuel`, `memory`, `wall-time`, `tool-calls`,
           `tool-depth`, `effects`, `approvals`, `approvals-per-hour`, `output`, `log`, `host-call`,
           `handles`, `instances`, `journal`
    "#);
    insta::assert_snapshot!(shown("quota =", "qouta ="), @r#"
     x unknown key `qouta`
       ,-[policies/support-desk/grants.toml:15:55]
    14 |     { host = "data/orders", guest = "/orders", access = "read" },
    15 |     { host = "out", guest = "/out", access = "write", qouta = "1MiB", most-files = 10 },
       :                                                       ^^^^^
    16 | ]
       `----
     help: did you mean `quota`? known keys are `host`, `guest`, `access`, `quota`, `most-files`,
           `labels`
    "#);
}

#[test]
fn an_unknown_tool_is_shown() {
    insta::assert_snapshot!(shown("[tools.orders]", "[tools.order]"), @r#"
     x unknown tool `order`
       ,-[policies/support-desk/grants.toml:12:8]
    11 | 
    12 | [tools.order] # reads the orders
       :        ^^^^^
    13 | filesystem = [
       `----
     help: did you mean `orders`? the tools of `support-desk` are `billing`, `orders`
    "#);
    insta::assert_snapshot!(shown("[\"orders\"]", "[\"orders\", \"biling\"]"), @r#"
     x unknown tool `biling`
       ,-[policies/support-desk/grants.toml:10:20]
     9 | [agent]
    10 | tools = ["orders", "biling"]
       :                    ^^^^^^^^
    11 | 
       `----
     help: did you mean `billing`? the tools of `support-desk` are `billing`, `orders`
    "#);
    insta::assert_snapshot!(shown("[tools.orders]", "[tools.Orders]"), @r#"
     x `Orders` is not a name
       ,-[policies/support-desk/grants.toml:12:8]
    11 | 
    12 | [tools.Orders] # reads the orders
       :        ^^^^^^
    13 | filesystem = [
       `----
     help: a name has small letters, digits and `-`, begins with a letter, and is at most 64 long
    "#);
}

#[test]
fn another_bundle_is_shown() {
    insta::assert_snapshot!(shown("\"support-desk\"", "\"researcher\""), @r#"
     x this manifest is for `researcher`, and the bundle is `support-desk`
      ,-[policies/support-desk/grants.toml:2:10]
    1 | # Who may do what.
    2 | bundle = "researcher"
      :          ^^^^^^^^^^^^
    3 | 
      `----
     help: write `bundle = "support-desk"` if these grants are meant for it
    "#);
    insta::assert_snapshot!(shown("bundle = \"support-desk\"\n", ""), @r#"
     x missing key `bundle`
      ,-[policies/support-desk/grants.toml:1:1]
    1 | # Who may do what.
      : ^
    2 | 
      `----
     help: say which bundle this is for, as `bundle = "researcher"`
    "#);
}

#[test]
fn a_bad_size_is_shown() {
    insta::assert_snapshot!(shown("\"64MiB\"", "\"64MB of RAM\""), @r#"
     x `64MB of RAM` is not a size
      ,-[policies/support-desk/grants.toml:6:10]
    5 | fuel = 5_000_000_000 # about five seconds
    6 | memory = "64MB of RAM"
      :          ^^^^^^^^^^^^^
    7 | wall-time = "90s"
      `----
     help: write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    "#);
    insta::assert_snapshot!(shown("\"64MiB\"", "\"8GiB\""), @r#"
     x `memory` is too large: `8GiB`
      ,-[policies/support-desk/grants.toml:6:10]
    5 | fuel = 5_000_000_000 # about five seconds
    6 | memory = "8GiB"
      :          ^^^^^^
    7 | wall-time = "90s"
      `----
     help: write at most `4GiB`
    "#);
    insta::assert_snapshot!(shown("\"1MiB\"", "-1"), @r#"
     x `-1` is not a size
       ,-[policies/support-desk/grants.toml:15:63]
    14 |     { host = "data/orders", guest = "/orders", access = "read" },
    15 |     { host = "out", guest = "/out", access = "write", quota = -1, most-files = 10 },
       :                                                               ^^
    16 | ]
       `----
     help: write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    "#);
}

#[test]
fn a_path_that_escapes_is_shown() {
    insta::assert_snapshot!(shown("\"/orders\"", "\"/orders/../../etc\""), @r#"
     x `/orders/../../etc` is no path for a guest: it has `.` or `..`
       ,-[policies/support-desk/grants.toml:14:37]
    13 | filesystem = [
    14 |     { host = "data/orders", guest = "/orders/../../etc", access = "read" },
       :                                     ^^^^^^^^^^^^^^^^^^^
    15 |     { host = "out", guest = "/out", access = "write", quota = "1MiB", most-files = 10 },
       `----
     help: write an absolute path of the guest, as `"/documents"`
    "#);
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
        let error = limit(line).unwrap_err().to_string();
        assert!(error.contains(" is too small: ") || error.contains(" is too large: "), "{line}: {error}");
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
    insta::assert_snapshot!(shown("5_000_000_000", "0"), @r#"
     x `fuel` is too small: `0`
      ,-[policies/support-desk/grants.toml:5:8]
    4 | [limits]
    5 | fuel = 0 # about five seconds
      :        ^
    6 | memory = "64MiB"
      `----
     help: write at least `1`
    "#);
}

#[test]
fn a_text_that_is_not_toml_is_shown() {
    insta::assert_snapshot!(shown("[agent]", "[agent"), @r#"
     x unclosed table, expected `]`
       ,-[policies/support-desk/grants.toml:9:7]
     8 | 
     9 | [agent
       :       ^
    10 | tools = ["orders"]
       `----
    "#);
    insta::assert_snapshot!(shown("memory = \"64MiB\"", "fuel = 1"), @r#"
     x duplicate key `fuel`
      ,-[policies/support-desk/grants.toml:6:1]
    5 | fuel = 5_000_000_000 # about five seconds
    6 | fuel = 1
      : ^^^^
    7 | wall-time = "90s"
      `----
     help: write each key once
    "#);
    insta::assert_snapshot!(shown("[\"orders\"]", "\"orders\""), @r#"
     x expected an array, found the string `orders`
       ,-[policies/support-desk/grants.toml:10:9]
     9 | [agent]
    10 | tools = "orders"
       :         ^^^^^^^^
    11 | 
       `----
    "#);
}

#[test]
fn a_pin_that_does_not_fit_is_shown() {
    let digest = Digest::of(b"another component");
    insta::assert_snapshot!(shown("# reads the orders", &format!("\ndigest = \"{digest}\"")), @r#"
     x the component of `orders` is not the one that is pinned here
       ,-[policies/support-desk/grants.toml:13:10]
    12 | [tools.orders] 
    13 | digest = "sha256:a77052d6b3b1d061fe2f3e102167bcf7e3e7ca94b9c574cfe11a5ee08e250cca"
       :          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    14 | filesystem = [
       `----
     help: it is `sha256:6bce487dfe901009ec3056e60d7ab874a8b7990807cdf7a3384cc25669da3ca7`; look at
           what has changed, then pin it with `ambit check --pin`
    "#);
    insta::assert_snapshot!(shown("# reads the orders", "\ndigest = \"sha256:abc\""), @r#"
     x `sha256:abc` is not a digest
       ,-[policies/support-desk/grants.toml:13:10]
    12 | [tools.orders] 
    13 | digest = "sha256:abc"
       :          ^^^^^^^^^^^^
    14 | filesystem = [
       `----
     help: write `sha256:` and 64 hexadecimal digits, in small letters; `ambit check --pin` fills it
           in
    "#);
}

fn pins(names: &[&str]) -> BTreeMap<ComponentName, Digest> {
    let name = |name: &str| {
        if name == "agent" { ComponentName::Agent } else { ComponentName::Tool(name.parse().unwrap()) }
    };
    names.iter().map(|written| (name(written), bundle().component(&name(written)).unwrap().digest)).collect()
}

/// Pins, and sees that the pins are those of the bundle and that doing it again changes nothing.
fn pinned(text: &str) -> String {
    let pins = pins(&["agent", "orders", "billing"]);
    let pinned = parse(text).unwrap().pin(&pins).unwrap();
    let again = parse(&pinned).unwrap();
    again.check(&bundle()).unwrap();
    bundle().components().for_each(|component| again.check_pin(component).unwrap());
    for (name, digest) in &pins {
        assert_eq!(again.component(name).unwrap().digest.as_ref().unwrap().get_ref(), digest);
    }
    assert_eq!(again.pin(&pins).unwrap(), pinned);
    pinned
}

#[test]
fn pinning_keeps_the_layout() {
    insta::assert_snapshot!(pinned(MANIFEST), @r#"
    # Who may do what.
    bundle = "support-desk"

    [limits]
    fuel = 5_000_000_000 # about five seconds
    memory = "64MiB"
    wall-time = "90s"

    [agent]
    tools = ["orders"]
    digest = "sha256:c643124f217a81806e4ad589ec490fa47cf6f6375f59449c3dbc4a9651539ce0"

    [tools.orders] # reads the orders
    filesystem = [
        { host = "data/orders", guest = "/orders", access = "read" },
        { host = "out", guest = "/out", access = "write", quota = "1MiB", most-files = 10 },
    ]
    digest = "sha256:6bce487dfe901009ec3056e60d7ab874a8b7990807cdf7a3384cc25669da3ca7"

    [tools.billing]
    digest = "sha256:926c5327fbf3c7fd8f33d04d2019fff319ca2a01e9a4837e9bfd18968d7cc136"
    "#);
}

#[test]
fn pinning_adds_sections() {
    insta::assert_snapshot!(pinned("bundle = \"support-desk\""), @r#"
    bundle = "support-desk"

    [agent]
    digest = "sha256:c643124f217a81806e4ad589ec490fa47cf6f6375f59449c3dbc4a9651539ce0"

    [tools.billing]
    digest = "sha256:926c5327fbf3c7fd8f33d04d2019fff319ca2a01e9a4837e9bfd18968d7cc136"

    [tools.orders]
    digest = "sha256:6bce487dfe901009ec3056e60d7ab874a8b7990807cdf7a3384cc25669da3ca7"
    "#);
    insta::assert_snapshot!(pinned("bundle = \"support-desk\"\nagent = { tools = [] }\ntools = { orders = {} }\n"), @r#"
    bundle = "support-desk"
    agent = { tools = [], digest = "sha256:c643124f217a81806e4ad589ec490fa47cf6f6375f59449c3dbc4a9651539ce0" }
    tools = { orders = { digest = "sha256:6bce487dfe901009ec3056e60d7ab874a8b7990807cdf7a3384cc25669da3ca7" }, billing = { digest = "sha256:926c5327fbf3c7fd8f33d04d2019fff319ca2a01e9a4837e9bfd18968d7cc136" } }
    "#);
    let old =
        format!("bundle = \"support-desk\"\n[agent]\ndigest = \"{}\" # reviewed\ntools = []\n", Digest::of(b"old"));
    insta::assert_snapshot!(pinned(&old), @r#"
    bundle = "support-desk"
    [agent]
    digest = "sha256:c643124f217a81806e4ad589ec490fa47cf6f6375f59449c3dbc4a9651539ce0" # reviewed
    tools = []

    [tools.billing]
    digest = "sha256:926c5327fbf3c7fd8f33d04d2019fff319ca2a01e9a4837e9bfd18968d7cc136"

    [tools.orders]
    digest = "sha256:6bce487dfe901009ec3056e60d7ab874a8b7990807cdf7a3384cc25669da3ca7"
    "#);
}

#[test]
fn pinning_keeps_line_ends() {
    let pinned = pinned(&MANIFEST.replace('\n', "\r\n"));
    assert!(pinned.starts_with("# Who may do what.\r\nbundle = \"support-desk\"\r\n"));
}
