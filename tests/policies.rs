//! `ambit policy`: what rules can speak of, cases kept beside them, and one decision explained.

use serde_json::{Value, json};

use super::support::{Answer, Scene};

const GRANTS: &str = "\
[agent]
tools = [\"quote\", \"keeper\"]
clock = true
[tools.keeper]
state = { namespace = \"notes\" }
filesystem = [
  { host = \"out\", guest = \"/data\", access = \"write\", accepts = [\"internal\"] },
  { host = \"in\", guest = \"/other\" },
]
";

const RULES: &str = "\
@id(\"calls\")
permit (principal, action in Ambit::Action::\"tools.call\", resource);

// @id(\"long\") is not here, but below.
@id(\"long\")
@approval(\"editors\") @ttl(\"5m\") @deadline(\"2h\")
forbid (principal, action == Ambit::Action::\"tools.call:quote.lines\", resource)
when { context.args.last > 100 }
unless { context.approvals.contains(\"editors\") };

@id(\"secret\")
forbid (principal, action in Ambit::Action::\"tools.call\", resource)
when { principal.labels.contains(\"secret\") };

@id(\"daytime\")
permit (principal, action == Ambit::Action::\"state.write\", resource == Ambit::Namespace::\"notes\")
when { context.now.toTime() >= duration(\"8h\") && context.operation == \"set\" };

@id(\"files\")
permit (principal, action == Ambit::Action::\"filesystem.write\", resource);

@id(\"waiting\")
permit (principal, action == Ambit::Action::\"clock.sleep\", resource)
when { principal.usage.toolCalls < 3 && principal has user && principal.user in Ambit::Group::\"staff\" };
";

fn scene() -> Scene {
    let scene = Scene::with_tools(&[("quote", "quote"), ("keeper", "probe-state"), ("idle", "quote")], GRANTS);
    scene.rules(RULES);
    scene
}

const SHORT: &str =
    "action = \"tools.call\"\nresource = \"quote.lines\"\nargs = { file = \"a\", first = 1, last = 2 }\n";
const LONG: &str =
    "action = \"tools.call\"\nresource = \"quote.lines\"\nargs = { file = \"a\", first = 1, last = 200 }\n";
const WRITE: &str = "component = \"keeper\"\naction = \"state.write\"\nresource = \"notes\"\ncontext = { operation = \"set\", key = \"k\", bytes = 1 }\n";
const SAVE: &str = "component = \"keeper\"\naction = \"filesystem.write\"\nresource = \"/data\"\ncontext = { operation = \"write\", path = \"/data/x\" }\n";
const WAIT: &str = "action = \"clock.sleep\"\nresource = \"monotonic\"\ncontext = { milliseconds = 5 }\n";

/// A file of cases: the request, and what is expected.
fn cases(scene: &Scene, cases: &[(&str, &str)]) {
    let mut text = "bundle = \"../bundle\"\n".to_owned();
    for (index, (request, expected)) in cases.iter().enumerate() {
        text.push_str(&format!("[[case]]\nname = \"case {index}\"\n{request}{expected}\n"));
    }
    scene.write("policy/cases.toml", text.as_bytes());
}

fn test(scene: &Scene) -> Answer {
    scene.ambit(&["policy", "test", "policy"])
}

fn results(scene: &Scene) -> Value {
    scene.ambit(&["--format", "json", "policy", "test", "policy"]).json()
}

#[test]
fn the_schema_is_one_and_says_what_rules_cannot_see() {
    let scene = Scene::with_tools(&[("echo", "echo")], "[agent]\ntools = [\"echo\"]\n");
    // It is what one looks at when a rule is wrong.
    scene.rules("permit (principal, action == Ambit::Action::\"no\", resource);");
    let answer = scene.ambit(&["policy", "schema", "bundle", "--policy", "policy"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(&answer.stdout).unwrap();
    let actions: Vec<String> = schema.actions().map(ToString::to_string).collect();
    assert!(actions.contains(&"Ambit::Action::\"tools.call:echo.echo-u32\"".to_owned()), "{actions:?}");
    assert!(answer.stdout.contains("//   echo.echo-f64 args.value: "), "{}", answer.stdout);
    let json = scene.ambit(&["--format", "json", "policy", "schema", "bundle", "--policy", "policy"]).json();
    assert!(cedar_policy::Schema::from_cedarschema_str(json["schema"].as_str().unwrap()).is_ok());
    let omitted = json["omitted"].as_array().unwrap();
    assert!(omitted.iter().any(|omitted| omitted["function"] == "echo.echo-f64"), "{omitted:?}");
    // Without its components nothing is known of their functions.
    scene.component("echo", "(component (import \"wasi:http/types@0.2.0\" (instance)))");
    let answer = scene.ambit(&["policy", "schema", "bundle", "--policy", "policy"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (3, ""), "{answer:?}");
    assert!(answer.stderr.contains("would be refused"), "{answer:?}");
}

#[test]
fn cases_that_are_as_expected_pass() {
    let scene = scene();
    let night = format!("{WRITE}now = \"2026-11-23T07:59:59Z\"\n");
    let staff = "as = { name = \"jo\", groups = [\"staff\"] }\n";
    cases(
        &scene,
        &[
            (SHORT, "decision = \"allow\"\nrules = [\"calls\"]\ngroups = []"),
            (LONG, "decision = \"needs-approval\"\nrules = [\"long\"]\ngroups = [\"editors\"]"),
            (LONG, "approvals = [\"editors\"]\ndecision = \"allow\"\nrules = [\"calls\"]"),
            (LONG, "approvals = [\"others\"]\ndecision = \"deny\"\nrules = [\"long\"]"),
            (LONG, "labels = [\"secret\"]\ndecision = \"deny\"\nrules = [\"long\", \"secret\"]"),
            (WRITE, "decision = \"allow\"\nrules = [\"daytime\"]"),
            (&night, "decision = \"deny\"\nrules = []"),
            (SAVE, "labels = [\"internal\"]\ndecision = \"allow\"\nrules = [\"files\"]"),
            (SAVE, "labels = [\"secret\"]\ndecision = \"deny\"\nrules = []"),
            (&SAVE.replace("\"/data\"", "\"/other\""), "decision = \"not-granted\""),
            (&WRITE.replace("notes", "others"), "decision = \"not-granted\""),
            (&WRITE.replace("keeper", "agent"), "decision = \"not-granted\""),
            ("action = \"env.read\"\nresource = \"MODE\"\n", "decision = \"not-granted\""),
            ("action = \"tools.call\"\nresource = \"idle.lines\"\n", "decision = \"not-granted\""),
            (&format!("component = \"keeper\"\n{SHORT}"), "decision = \"not-granted\""),
            (WAIT, "decision = \"deny\""),
            (&format!("{WAIT}as = \"jo\"\n"), "decision = \"deny\""),
            (&format!("{WAIT}{staff}"), "decision = \"allow\"\nrules = [\"waiting\"]"),
            (&format!("{WAIT}{staff}usage = {{ tool-calls = 3 }}\n"), "decision = \"deny\""),
        ],
    );
    let results = results(&scene);
    let failed: Vec<_> = results["cases"].as_array().unwrap().iter().filter(|case| case["passed"] == false).collect();
    assert_eq!((&results["passed"], failed.len()), (&json!(19), 0), "{failed:#?}");
    assert_eq!(results["not_covered"], json!([]));
    assert_eq!(test(&scene).code, 0);
}

#[test]
fn cases_that_are_not_say_what_differs() {
    let scene = scene();
    cases(
        &scene,
        &[
            (SHORT, "decision = \"allow\""),
            (LONG, "decision = \"allow\"\nrules = [\"calls\"]\ngroups = []"),
            (SAVE, "labels = [\"secret\"]\ndecision = \"allow\""),
            (SHORT, "labels = [\"secret\"]\ndecision = \"allow\""),
        ],
    );
    insta::assert_snapshot!(shown(&test(&scene)));
    let results = results(&scene);
    assert_eq!((&results["passed"], &results["failed"]), (&json!(1), &json!(3)));
    let differences = &results["cases"][1]["differences"];
    assert_eq!(differences[1], json!({ "part": "rules", "expected": ["calls"], "got": ["long"] }));
}

fn shown(answer: &Answer) -> String {
    format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", answer.code, answer.stdout, answer.stderr)
}

#[test]
fn what_makes_no_sense_is_shown_where_it_stands() {
    let scene = scene();
    let allow = "decision = \"allow\"";
    for (request, expected, what) in [
        (SHORT.replace("resource", "resuorce"), allow, "did you mean `resource`?"),
        (SHORT.to_owned(), "", "missing key `decision`"),
        (SHORT.to_owned(), "decision = \"yes\"", "valid values are"),
        (SHORT.replace("tools.call", "tool.call"), allow, "did you mean `tools.call`?"),
        (SHORT.replace("quote.", "qoute."), allow, "did you mean `quote`?"),
        (SHORT.replace(".lines", ".line"), allow, "did you mean `lines`?"),
        (SHORT.replace("last = 2", "last = -2"), allow, "$.last"),
        (SHORT.replace("last = 2", "lsat = 2"), allow, "takes `file`, `first`, `last`"),
        (format!("{SHORT}context = {{ depth = 1 }}\n"), allow, "made from its arguments"),
        (format!("component = \"quot\"\n{SHORT}"), allow, "did you mean `quote`?"),
        (WRITE.replace("bytes = 1", "bytes = \"1\""), allow, "`bytes` is a Long"),
        (WRITE.replace(", bytes = 1", ""), allow, "needs `bytes`"),
        (WRITE.replace("bytes", "size"), allow, "has no `size`"),
        (format!("{WRITE}args = {{}}\n"), allow, "has no arguments"),
        (format!("{SHORT}now = \"noon\"\n"), allow, "RFC 3339"),
        (format!("{SHORT}labels = [\"No\"]\n"), allow, "is no label"),
        (format!("{SHORT}usage = {{ fuel = 1 }}\n"), allow, "unknown key `fuel`"),
    ] {
        cases(&scene, &[(&request, expected)]);
        let answer = test(&scene);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.stderr.contains("cases.toml:") && answer.stderr.contains(what), "{what}: {}", answer.stderr);
    }
    scene.write("policy/cases.toml", format!("[[case]]\nname = \"a\"\n{SHORT}{allow}\n").as_bytes());
    assert!(test(&scene).stderr.contains("do not say which bundle"));
    let named = scene.ambit(&["policy", "test", "policy", "--bundle", "bundle"]);
    assert_eq!(named.code, 0, "{named:?}");
    scene.write(
        "policy/more.cases.toml",
        format!("bundle = \"../bundle\"\n[[case]]\nname = \"a\"\n{SHORT}{allow}\n").as_bytes(),
    );
    assert!(test(&scene).stderr.contains("two cases are named `a`"));
    scene.rules("permit (principal, action == Ambit::Action::\"tools.call:quote.lines\", resource) when { context.args.lst > 1 };");
    std::fs::remove_file(scene.path("policy/cases.toml")).unwrap();
    let wrong = test(&scene);
    assert!(wrong.code == 2 && wrong.stderr.contains("rules.cedar:1:"), "{wrong:?}");
    std::fs::remove_file(scene.path("policy/more.cases.toml")).unwrap();
    assert!(test(&scene).stderr.contains("there are no cases"));
}

/// Explains a request under the scene's policy.
fn explain(scene: &Scene, request: &[&str]) -> Answer {
    let all = [&["policy", "explain", "bundle", "--policy", "policy"], request].concat();
    let answer = scene.ambit(&all);
    assert_eq!(answer.code, 0, "{answer:?}");
    answer
}

#[test]
fn a_decision_is_explained_by_its_grant_and_its_rules() {
    let scene = scene();
    let at = ["--now", "2026-11-23T10:00:00Z"];
    let long = ["--tool", "quote.lines", "--args", r#"{"file":"a","first":1,"last":200}"#];
    insta::assert_snapshot!(shown(&explain(&scene, &[&long[..], &at].concat())));
    let more = ["--as", "jo", "--group", "staff", "--label", "secret", "--approved", "editors"];
    insta::assert_snapshot!(shown(&explain(&scene, &[&long[..], &more, &at].concat())));
    let mount = ["--component", "keeper", "--action", "filesystem.write", "--resource", "/elsewhere"];
    insta::assert_snapshot!(shown(&explain(&scene, &[&mount[..], &at].concat())));
    let idle = ["--tool", "idle.lines"];
    insta::assert_snapshot!(shown(&explain(&scene, &[&idle[..], &at].concat())));
    cases(&scene, &[(SAVE, "labels = [\"secret\"]\ndecision = \"deny\"")]);
    insta::assert_snapshot!(shown(&explain(&scene, &["--case", "case 0"])));
    let json = [&["--format", "json"], &long[..], &at].concat();
    let json = explain(&scene, &json).json();
    assert_eq!(json["rules"][0]["place"], "policy/rules.cedar:5");
    assert_eq!(json["grant"]["place"], "policy/grants.toml:3");
    assert_eq!(json["ask"], json!({ "groups": ["editors"], "deadline": 7_200_000, "ttl": 300_000 }));
}

#[test]
fn what_is_explained_is_what_happens() {
    let scene = scene();
    let report = scene.run(&json!({ "calls": [
        { "tool": "quote.lines", "arguments": { "file": "a", "first": 1, "last": 200 } },
        { "tool": "idle.lines", "arguments": {} },
    ] }));
    assert_eq!(report["status"], "succeeded", "{report}");
    let refusals = scene.records_of("refusal", "tools.call");
    let codes: Vec<_> = refusals.iter().map(|refusal| (&refusal["code"], &refusal["rules"])).collect();
    assert_eq!(codes, [(&json!("needs-approval"), &json!(["long"])), (&json!("not-granted"), &json!([]))]);
}

#[test]
fn requests_that_say_too_little_are_mistakes() {
    let scene = scene();
    cases(&scene, &[(&SHORT.replace("last", "lsat"), "decision = \"allow\"")]);
    for (request, what) in [
        (&[][..], "it is not said what would be done"),
        (&["--action", "clock.sleep"][..], "--resource"),
        (&["--tool", "quote.lines", "--args", "{"][..], "`--args` does not fit: the arguments are not JSON"),
        (&["--tool", "quote.line"][..], "`--tool` does not fit"),
        (&["--tool", "quote.lines", "--component", "quot"][..], "did you mean `quote`?"),
        (&["--case", "nosuch"][..], "the cases are `case 0`"),
        (&["--case", "case 0"][..], "cases.toml:6:"),
        (&["--tool", "quote.lines", "--args", "{\"file\":\"\",\"file\":\"\"}"][..], "JSON"),
        (&["--action", "clock.sleep", "--resource", "monotonic", "--context", "[]"][..], "`--context` cannot be read"),
        (&["--tool", "quote.lines", "--case", "x"][..], "cannot be used with"),
        (&["--tool", "quote.lines", "--label", "NO"][..], "is no label"),
    ] {
        let answer = scene.ambit(&[&["policy", "explain", "bundle", "--policy", "policy"], request].concat());
        assert!(answer.code == 2 && answer.stderr.contains(what), "{what}: {answer:?}");
    }
}
