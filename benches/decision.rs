//! What a decision costs, and that rules about other tools cost nothing.
//!
//! `cargo bench --bench decision`. The numbers to compare are those of one shape: what counts is the ratio of 1,000 rules to
//! 10, in the same run. Decisions include building entities and context from the effect, and validating the request.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "a bench is not the product")]

use std::hint::black_box;

use ambit::policy::rules::RuleFiles;
use ambit::policy::{Attribute, Decision, Policy, Principal, Question, Resource, Standing};
use ambit::tool::{Function, Functions};
use criterion::{Criterion, criterion_group, criterion_main};
use wasmtime::Engine;
use wasmtime::component::{Component, Val};

const TOOLS: usize = 100;

/// A tool with one function: `refund: func(amount: u32, order: string)`.
const TOOL: &str = r#"(component
  (core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "refund") (param i32 i32 i32)))
  (core instance $i (instantiate $m))
  (func (export "refund") (param "amount" u32) (param "order" string)
    (canon lift (core func $i "refund") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#;

/// How rules say what they are about.
#[derive(Clone, Copy)]
enum Scope {
    Action,
    Resource,
}

fn rule(index: usize, tool: usize, scope: Scope) -> String {
    let scope = match scope {
        Scope::Action => format!("action == Ambit::Action::\"tools.call:tool{tool}.refund\", resource"),
        Scope::Resource => {
            format!("action in Ambit::Action::\"tools.call\", resource == Ambit::Tool::\"tool{tool}.refund\"")
        }
    };
    let bound = 1_000 + index;
    format!("@id(\"r{index}\") forbid (principal, {scope}) when {{ context.args.amount > {bound} }};\n")
}

/// A policy with so many rules, ten about each tool.
fn policy(function: &Function, rules: usize, scope: Scope) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "@id(\"all\") permit (principal, action, resource);\n".to_owned();
    (0..rules).for_each(|index| text.push_str(&rule(index, index / 10, scope)));
    std::fs::write(folder.path().join("rules.cedar"), text).unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
    let files = RuleFiles::read(&dir, folder.path()).unwrap();
    let names: Vec<String> = (0..TOOLS).map(|tool| format!("tool{tool}")).collect();
    let functions = names.iter().map(|name| (name.as_str(), function)).collect();
    Policy::of(&files, &ambit::capability::terms(Some(functions))).unwrap()
}

fn decisions(criterion: &mut Criterion) {
    let wasm = wat::parse_str(TOOL).unwrap();
    let engine = Engine::default();
    let component = Component::new(&engine, &wasm).unwrap();
    let function = Functions::of(&component, &engine, &wasm).unwrap().remove(0);
    let principal = Principal {
        task: "01M8393E8AHS2BJ5NYVX4G0JGQ".into(),
        bundle: "desk".into(),
        component: "agent".into(),
        digest: "sha256:9c12638f48dd44c7850ff7f898b83e8ac3c12a90c9b780675525c3ae8f6efafb".into(),
        ..Principal::default()
    };
    let standing = Standing::default();
    let resource = Resource::new("Tool", "tool0.refund")
        .with("tool", Attribute::String("tool0".into()))
        .with("function", Attribute::String("refund".into()));
    let context = ambit::policy::context(vec![("depth", Attribute::count(1)), ("bytes", Attribute::count(40))]);
    let arguments = [Val::U32(50), Val::String("A-1001".into())];
    let question = Question {
        principal: &principal,
        standing: &standing,
        action: "tools.call",
        resource: &resource,
        context: &context,
        arguments: Some(ambit::policy::Arguments::Values(&arguments)),
    };
    for (name, scope) in [("rules about an action", Scope::Action), ("rules about a resource", Scope::Resource)] {
        let mut group = criterion.benchmark_group(name);
        for rules in [10, 100, 1_000] {
            let policy = policy(&function, rules, scope);
            assert!(matches!(policy.judge(&question), Decision::Allow { .. }));
            group.bench_function(format!("{rules} rules"), |bencher| {
                bencher.iter(|| policy.judge(black_box(&question)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
