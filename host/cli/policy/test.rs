//! `ambit policy test`: decides the cases of a policy folder, and compares with what they expect.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::cases::{Case, Cases};
use super::supposed::{Verdict, Word};
use super::{Paint, refused};
use crate::cli::load::Loaded;
use crate::cli::{Context, Failure, Format, answered, output};
use crate::manifest::ManifestError;
use crate::runtime::plan::Plan;

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 all cases are as expected, 1 some are not, 2 a manifest, a rule or a case is wrong, \
    3 the bundle would be refused."
)]
pub(in crate::cli) struct Arguments {
    /// The folder with grants.toml, the *.cedar rules, and the cases
    folder: PathBuf,
    /// The bundle's folder, instead of the one that the cases name
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

/// What came of all cases.
#[derive(Serialize)]
struct Results {
    passed: usize,
    failed: usize,
    cases: Vec<Outcome>,
    /// The rules that determined no case.
    not_covered: Vec<Uncovered>,
}

/// What came of one case.
#[derive(Serialize)]
struct Outcome {
    name: String,
    /// Its file and line.
    place: String,
    passed: bool,
    decision: Word,
    rules: Vec<String>,
    groups: BTreeSet<String>,
    /// Why, where no rule says it.
    why: Option<String>,
    differences: Vec<Difference>,
}

/// A part of the answer that is not as expected.
#[derive(Serialize)]
struct Difference {
    part: &'static str,
    expected: BTreeSet<String>,
    got: BTreeSet<String>,
}

#[derive(Serialize)]
struct Uncovered {
    rule: String,
    place: String,
}

/// A bundle under the rules that are tested, and those of them that determined a case.
struct Bench {
    loaded: Loaded,
    seen: BTreeSet<String>,
}

pub(super) fn test(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let files = Cases::read(&arguments.folder)?;
    let host = context.host()?;
    let mut benches: BTreeMap<PathBuf, Bench> = BTreeMap::new();
    let mut cases = Vec::new();
    for file in &files {
        let folder = arguments.bundle.as_ref().or(file.bundle.as_ref()).ok_or_else(|| nameless(file))?;
        let bench = match benches.entry(folder.clone()) {
            std::collections::btree_map::Entry::Occupied(bench) => bench.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let loaded = Loaded::open(host.loader(), folder, &arguments.folder)?;
                place.insert(Bench { loaded, seen: BTreeSet::new() })
            }
        };
        let plan = match &bench.loaded.plan {
            Ok(plan) => plan,
            Err(refusal) => return refused(context, refusal),
        };
        for case in &file.cases {
            cases.push(decide(case, &bench.loaded, plan, &mut bench.seen)?);
        }
    }
    let failed = cases.iter().filter(|case| !case.passed).count();
    let results = Results { passed: cases.len() - failed, failed, cases, not_covered: not_covered(&benches) };
    let told = if context.format == Format::Json { output::json(&results) } else { show(&results) };
    answered(told, ExitCode::from(u8::from(failed > 0)))
}

fn nameless(file: &Cases) -> ManifestError {
    let help = "write `bundle = \"../../bundles/desk\"` above the cases, relative to their file, or give `--bundle`";
    ManifestError::at(&file.source, 0..1, "these cases do not say which bundle they are about", help.to_owned())
}

fn decide(case: &Case, loaded: &Loaded, plan: &Plan, seen: &mut BTreeSet<String>) -> Result<Outcome, ManifestError> {
    let verdict = case.supposed.judge(loaded, plan).map_err(|error| case.unfit(error))?;
    seen.extend(verdict.rules().iter().cloned());
    let differences = differences(case, &verdict);
    Ok(Outcome {
        name: case.name.clone(),
        place: case.place(),
        passed: differences.is_empty(),
        decision: verdict.word(),
        rules: verdict.rules().to_vec(),
        groups: verdict.groups(),
        why: verdict.why(),
        differences,
    })
}

/// The parts of an answer that are not as its case expects.
fn differences(case: &Case, verdict: &Verdict) -> Vec<Difference> {
    let word = |word: Word| BTreeSet::from([word.as_str().to_owned()]);
    let rules: BTreeSet<String> = verdict.rules().iter().cloned().collect();
    let compared = [
        ("decision", Some(word(case.expected.decision)), word(verdict.word())),
        ("rules", case.expected.rules.clone(), rules),
        ("groups", case.expected.groups.clone(), verdict.groups()),
    ];
    compared
        .into_iter()
        .filter_map(|(part, expected, got)| Some(Difference { part, expected: expected?, got }))
        .filter(|Difference { expected, got, .. }| expected != got)
        .collect()
}

/// The rules that determined no case, under any bundle. The built-in rule is nobody's to test.
fn not_covered(benches: &BTreeMap<PathBuf, Bench>) -> Vec<Uncovered> {
    let seen: BTreeSet<&String> = benches.values().flat_map(|bench| &bench.seen).collect();
    let written = benches.values().filter(|bench| !bench.loaded.policy.is_built_in());
    let rules: BTreeMap<_, _> = written.flat_map(|bench| bench.loaded.policy.rules()).collect();
    let left = rules.into_iter().filter(|(rule, _)| !seen.contains(rule));
    left.map(|(rule, written)| Uncovered { rule: rule.clone(), place: written.place() }).collect()
}

fn show(results: &Results) -> Result<(), Failure> {
    let paint = Paint::of_stdout();
    let mut out = std::io::stdout().lock();
    for case in &results.cases {
        let name = output::printable(&case.name);
        if case.passed {
            writeln!(out, "{}    {name}", paint.good("ok"))?;
            continue;
        }
        writeln!(out, "{}  {name}  ({})", paint.bad("FAIL"), case.place)?;
        for Difference { part, expected, got } in &case.differences {
            writeln!(out, "        {part:<9} expected  {}", paint.good(&listed(expected)))?;
            writeln!(out, "        {:<9} got       {}", "", paint.bad(&listed(got)))?;
        }
        if case.differences.iter().all(|difference| difference.part != "rules") && !case.rules.is_empty() {
            writeln!(out, "        {:<9} {}", "by", listed(&case.rules.iter().cloned().collect()))?;
        }
        if let Some(why) = &case.why {
            writeln!(out, "        {:<9} {}", "because", output::printable(why))?;
        }
    }
    let count = results.cases.len();
    let cases = if count == 1 { "1 case".to_owned() } else { format!("{count} cases") };
    match results.failed {
        0 => writeln!(out, "\n{cases}, {}", paint.good("all as expected"))?,
        failed => writeln!(out, "\n{cases}, {}", paint.bad(&format!("{failed} not as expected")))?,
    }
    for Uncovered { rule, place } in &results.not_covered {
        writeln!(out, "not covered: no case is decided by `{}` ({place})", output::printable(rule))?;
    }
    Ok(())
}

/// `finance, security`, or `none`.
fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| output::printable(name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
