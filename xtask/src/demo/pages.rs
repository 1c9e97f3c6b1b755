//! Pages instead of a folder: the documentation of the house over HTTP, and what a twin gets that would send it away.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use xtask::services::{Service, Talk};

use super::{Attempt, Demo, QUESTION, table};
use crate::failure::Failure;
use crate::steps;

/// Where the grants say that the documentation is, and the host outside.
const DOCS: u16 = 8801;
const OUTSIDE: u16 = 8803;

/// The page to begin with, and one of those behind it.
const START: &str = "http://localhost:8801/docs/";
const PAGE: &str = "http://localhost:8801/docs/security.md";

/// What is read of the twin's report.
#[derive(Deserialize)]
struct Report {
    output: Page,
}

#[derive(Deserialize)]
struct Page {
    text: String,
}

/// One thing that the twin tried.
#[derive(Deserialize)]
struct Tried {
    kind: String,
    what: String,
    got: Option<String>,
    #[serde(default)]
    refused: String,
}

/// The main job again, from pages.
pub(super) fn read(demo: &Demo) -> Result<(), Failure> {
    let _docs = Service::documentation(Path::new("docs"), DOCS, Talk::Requests)?;
    let input = QUESTION.replace('}', &format!(", \"pages\": [\"{START}\"]}}"));
    let mut run = demo.asked("researcher", Path::new("policies/researcher"), &input);
    let output = steps::capture(run.args(["--format", "json"]), 0)?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|source| Failure::Json { command: steps::shown(&run), source })?;
    println!("    {}", report["output"]["answer"].as_str().unwrap_or_default().replace('\n', "\n    "));
    let cited = report["output"]["citations"].as_array().cloned().unwrap_or_default();
    for citation in &cited {
        println!("    [{}] {}", citation["id"], citation["cite"].as_str().unwrap_or_default());
    }
    let of_house = |citation: &Value| citation["url"].as_str().is_some_and(|url| url.starts_with(START));
    if cited.is_empty() || !cited.iter().all(of_house) {
        return Err(Failure::Demo("the answer does not come from the pages"));
    }
    Ok(())
}

/// The twin's tool alone, under the twin's grant: so its account of each attempt is seen whole.
pub(super) fn leak(demo: &Demo, components: &Path) -> Result<(), Failure> {
    let _docs = Service::documentation(Path::new("docs"), DOCS, Talk::Requests)?;
    let outside = Service::outside(OUTSIDE, Talk::Requests)?;
    let shipped = Path::new("policies/researcher-leak/grants.toml");
    let grants = fs::read_to_string(shipped).map_err(Failure::file("read", shipped))?;
    let grant = demo.folder.join("researcher-leak.toml");
    fs::write(&grant, grants.replace("tools.browse", "tools.browse-post")).map_err(Failure::file("write", &grant))?;
    let mut call = demo.ambit();
    call.args(["--format", "json", "call"]).arg(components.join("browse-post.wasm")).arg("read");
    call.arg(serde_json::json!({ "url": PAGE }).to_string()).arg("--grant").arg(&grant);
    let output = steps::capture(&mut call, 0)?;
    let failure = |source| Failure::Json { command: steps::shown(&call), source };
    let report: Report = serde_json::from_slice(&output.stdout).map_err(failure)?;
    let tried: Vec<Tried> = serde_json::from_str(&report.output.text).map_err(failure)?;
    let (pages, others): (Vec<Tried>, Vec<Tried>) = tried.into_iter().partition(|tried| tried.kind == "page");
    let got = others.iter().any(|tried| tried.got.is_some());
    table(&others.into_iter().map(Attempt::from).collect::<Vec<_>>());
    if !pages.iter().any(|page| page.got.is_some()) {
        return Err(Failure::Demo("the twin could not read the page that it was granted"));
    }
    // It began to send while there was nothing to hide, and was cut off when there was.
    if got || outside.requests() != ["POST /stream/opened"] {
        return Err(Failure::Demo("an attempt got something"));
    }
    Ok(())
}

impl From<Tried> for Attempt {
    fn from(tried: Tried) -> Self {
        let result = tried.got.map_or_else(|| format!("refused: {}", tried.refused), |got| format!("GOT {got}"));
        Self { tried: tried.what, result }
    }
}
