//! What the parts of the two paths cost that ambit is about: that of a task, and that of an effect.
//!
//! `cargo bench --bench paths`. Each part alone, to find which of them has become slower; what they come to together, beside
//! bare wasmtime, is what `ambit bench isolation` measures.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "a bench is not the product")]

use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ambit::audit::{Entry, Kind, Ledger as _};
use ambit::bundle::Digest;
use ambit::config::Home;
use ambit::edge::database::Database;
use ambit::edge::ledger::AuditLog;
use ambit::engine::{Engine, Room};
use ambit::policy::rules::RuleFiles;
use ambit::policy::{Arguments, Attribute, Decision, Policy, Principal, Question, Resource, Standing};
use ambit::recorder::{Found, Nowhere, Recorder};
use ambit::tool::{Function, Functions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What `ambit bench isolation` measures with: a tool in Rust, with the standard library.
const TOOL: &[u8] = include_bytes!("../host/cli/bench/guests/yardstick.wasm.gz");
/// Effects that are recorded at once.
const EFFECTS: u64 = 1_000;

fn tool() -> Vec<u8> {
    let mut wasm = Vec::new();
    flate2::read::GzDecoder::new(TOOL).read_to_end(&mut wasm).unwrap();
    wasm
}

fn path_of_a_task(criterion: &mut Criterion) {
    let (folder, wasm) = (tempfile::tempdir().unwrap(), tool());
    let (home, digest) = (Home::open(Some(folder.path())).unwrap(), Digest::of(&wasm));
    let engine = || Engine::new(&home, Path::new(env!("CARGO_BIN_EXE_ambit")), Room::OneTask).unwrap();
    let warm = engine();
    warm.component(&wasm, &digest).unwrap();
    let mut group = criterion.benchmark_group("task");
    group.bench_function("an engine, and a component from the cache", |bencher| {
        bencher.iter(|| engine().component(black_box(&wasm), &digest).unwrap());
    });
    group.bench_function("a component that is loaded", |bencher| {
        bencher.iter(|| warm.component(black_box(&wasm), &digest).unwrap());
    });
    group.finish();
}

/// Rules in one file.
fn policy(rules: &str, function: &Function) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.cedar"), rules).unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
    let files = RuleFiles::read(&dir, folder.path()).unwrap();
    Policy::of(&files, &ambit::capability::terms(Some(vec![("yardstick", function)]))).unwrap()
}

fn path_of_an_effect(criterion: &mut Criterion) {
    let (wasm, engine) = (tool(), wasmtime::Engine::default());
    let component = wasmtime::component::Component::new(&engine, &wasm).unwrap();
    let functions = Functions::of(&component, &engine, &wasm).unwrap();
    let function = functions.iter().find(|function| function.name() == "work").unwrap();
    let (values, _) = function.arguments(r#"{"input":"the quick brown fox"}"#).unwrap();
    let mut group = criterion.benchmark_group("effect");

    let (principal, standing) = (Principal { bundle: "bench".into(), ..Principal::default() }, Standing::default());
    let resource = Resource::new("Tool", "yardstick.work")
        .with("tool", Attribute::String("yardstick".into()))
        .with("function", Attribute::String("work".into()));
    let context = ambit::policy::context(vec![("depth", Attribute::count(1)), ("bytes", Attribute::count(40))]);
    let (action, arguments) = ("tools.call", Some(Arguments::Values(&values)));
    let question = Question {
        principal: &principal,
        standing: &standing,
        action,
        resource: &resource,
        context: &context,
        arguments,
    };
    let steady = policy("@id(\"all\") permit (principal, action, resource);", function);
    let passing =
        "@id(\"now\") permit (principal, action, resource) when { context.now > datetime(\"1970-01-01\") || true };";
    for (name, policy) in [("a decision that is kept", steady), ("a decision that is made", policy(passing, function))]
    {
        assert!(matches!(policy.judge(&question), Decision::Allow { .. }), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| policy.judge(black_box(&question))));
    }

    group.bench_function("arguments from JSON, and in canonical JSON", |bencher| {
        bencher.iter(|| function.arguments(black_box(r#"{"input":"the quick brown fox"}"#)).unwrap());
    });

    let recorder = Recorder::recording(Arc::new(Nowhere), u64::MAX);
    let (path, mut import) = (Arc::from("1/2"), 0);
    group.bench_function("a question, and an answer that is kept", |bencher| {
        bencher.iter(|| {
            import += 1;
            let question = ambit::recorder::Question::new("state.read", black_box(b"a key"));
            match recorder.ask::<u64>(&path, import, question).unwrap() {
                Found::New(slot) => recorder.keep(slot, &import),
                Found::Recalled(_) => unreachable!("nothing was asked before"),
            }
            if import.is_multiple_of(EFFECTS) {
                recorder.flush();
            }
        });
    });

    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::new(Database::open(&Home::open(Some(folder.path())).unwrap()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    group.throughput(Throughput::Elements(EFFECTS)).sample_size(10);
    group.bench_function("the two records of each of 1,000 effects, on the disk", |bencher| {
        bencher.iter(|| {
            let tickets: Vec<_> = (0..EFFECTS)
                .flat_map(|effect| [Kind::Intent, Kind::Outcome].map(|kind| log.append(entry(kind, effect)).unwrap()))
                .collect();
            runtime.block_on(async {
                for ticket in tickets {
                    ticket.await.unwrap();
                }
            });
        });
    });
    group.finish();
}

fn entry(kind: Kind, effect: u64) -> Entry {
    Entry {
        kind,
        at: 1_795_000_000_000 + effect,
        task: "01M85000000000000000000000".into(),
        component: "agent".into(),
        effect,
        import: effect,
        action: "tools.call".into(),
        resource: "Tool::\"yardstick.work\"".into(),
        arguments: "0".repeat(64).into(),
        code: if kind == Kind::Intent { "allowed" } else { "done" }.into(),
        rules: ["built-in".to_owned()].into(),
        detail: String::new(),
        text: String::new(),
    }
}

criterion_group!(benches, path_of_a_task, path_of_an_effect);
criterion_main!(benches);
