//! What is left of grants and requests.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::bundle::open_folder;
use crate::capability::vocabulary;

/// For each capability: what a grant may say, and what a request may say, a line for each part of it.
const SECTIONS: [(&[&str], &[&str]); 7] = [
    (
        &[
            "filesystem = [{ host = \"a\", guest = \"/a\" }]",
            "filesystem = [{ host = \"a\", guest = \"/a\", access = \"write\" }]",
        ],
        &[
            "filesystem = { mounts = [{ guest = \"/a\" }] }",
            "filesystem = { mounts = [{ guest = \"/a\", access = \"write\" }, { guest = \"/b\" }] }",
        ],
    ),
    (
        &["env = { set = { A = \"1\" }, inherit = [\"B\"] }", "env = { arguments = [\"x\"] }"],
        &["env = { names = [\"A\"] }", "env = { names = [\"B\", \"C\"], arguments = true }"],
    ),
    (&["clock = true"], &["clock = {}"]),
    (&["stdio = true", "stdio = { accepts = [\"pii\"] }"], &["stdio = {}"]),
    (&["state = { namespace = \"a\" }"], &["state = {}"]),
    (
        &["label = { remove = [\"pii\"] }", "label = { remove = [\"pii\", \"secret\"] }"],
        &["label = { remove = [\"pii\"] }", "label = { remove = [\"secret\", \"x\"] }"],
    ),
    (
        &["tools = [\"one\"]", "tools = [\"one\", { name = \"two\", imports = [] }]"],
        &["tools = { names = [\"one\"] }", "tools = { names = [\"two\", \"one\"] }"],
    ),
];

/// A choice for each section: none of its forms, or one.
fn choices() -> impl Strategy<Value = Vec<(Option<usize>, Option<usize>)>> {
    let form = || proptest::option::of(0_usize..2);
    proptest::collection::vec((form(), form()), SECTIONS.len())
}

fn chosen(forms: &[&'static str], choice: Option<usize>) -> Option<&'static str> {
    choice.map(|index| forms[index % forms.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// A component gets nothing that is not both granted and requested, and everything that is.
    #[test]
    fn what_is_effective_is_in_the_grant_and_in_the_request(choices in choices()) {
        let (mut grants, mut requests) = (Vec::new(), Vec::new());
        for ((granted, requested), (grant, request)) in SECTIONS.iter().zip(&choices) {
            grants.extend(chosen(granted, *grant));
            requests.extend(chosen(requested, *request));
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = open_folder(folder.path()).unwrap();
        dir.write("x.wasm", b"\0asm\x0d\0\x01\0").unwrap();
        let tools = "[tools.one]\ncomponent = \"x.wasm\"\n[tools.two]\ncomponent = \"x.wasm\"\n";
        let bundle = format!(
            "name = \"b\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"x.wasm\"\n[agent.requests]\n{}\n{tools}",
            requests.join("\n")
        );
        dir.write("bundle.toml", bundle).unwrap();
        let bundle = Bundle::open(&dir, Path::new("b"), &vocabulary()).unwrap();
        let manifest = format!("bundle = \"b\"\n[agent]\n{}\n", grants.join("\n"));
        let manifest = Manifest::parse(&manifest, Path::new("grants.toml"), &vocabulary()).unwrap();
        let effective = Effective::of(&bundle.agent, &manifest).sections;
        for row in REGISTRY {
            let (given, asked) = (row.given(&manifest.agent.sections), row.asked(&bundle.agent.requests));
            let mut left = row.given(&effective);
            let mut both: Vec<_> = given.into_iter().filter(|power| asked.contains(power)).collect();
            left.sort();
            both.sort();
            prop_assert_eq!(left, both, "{}", row.key());
            prop_assert!(!effective.has(row.key()) || (manifest.agent.sections.has(row.key()) && bundle.agent.requests.has(row.key())));
        }
    }
}
