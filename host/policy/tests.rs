//! Decisions under made-up terms.

use super::rules::RuleFiles;
use super::schema::{Action, Terms};
use super::*;
use crate::manifest::{ManifestError, Source};

fn terms() -> Terms<'static> {
    Terms {
        entities: vec!["entity Tool { component: String };", "entity Folder;"],
        actions: vec![
            Action { name: "tools.call", resource: "Tool", context: "function: String, size: Long" },
            Action { name: "folder.open", resource: "Folder", context: "" },
        ],
        functions: None,
    }
}

fn policy(text: &str) -> Result<Policy, ManifestError> {
    Policy::of(&RuleFiles::of(vec![Source::new("rules.cedar", text)]), &terms())
}

fn principal() -> Principal {
    Principal {
        task: "01K".into(),
        bundle: "desk".into(),
        component: "agent".into(),
        digest: "sha256:00".into(),
        depth: 0,
        user: Some(Arc::new(Person { name: "jo".into(), groups: BTreeSet::from(["sales".to_owned()]) })),
    }
}

fn judge_standing(policy: &Policy, size: i64, standing: &Standing) -> Decision {
    let resource = Resource::new("Tool", "billing.refund").with("component", Attribute::String("billing".into()));
    let context = context(vec![("function", Attribute::String("refund".into())), ("size", Attribute::Long(size))]);
    let principal = principal();
    policy.judge(&Question {
        principal: &principal,
        standing,
        action: "tools.call",
        resource: &resource,
        context: &context,
        arguments: None,
    })
}

fn judge(policy: &Policy, size: i64) -> Decision {
    judge_standing(policy, size, &Standing::default())
}

fn allowed(rules: &[&str]) -> Decision {
    Decision::Allow { rules: rules.iter().map(|rule| (*rule).to_owned()).collect() }
}

fn denied(rules: &[&str]) -> Decision {
    Decision::Deny { rules: rules.iter().map(|rule| (*rule).to_owned()).collect(), error: None }
}

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

#[test]
fn the_built_in_policy_permits_and_says_its_name() {
    let policy = Policy::of(&RuleFiles::none(), &terms()).unwrap();
    assert!(policy.is_built_in());
    assert!(
        matches!(&policy.rules, Rules::BuiltIn { compiled, .. } if compiled.get().is_none()),
        "it is read when asked"
    );
    assert_eq!(judge(&policy, 1), allowed(&["built-in"]));
    let written = &policy.rules()["built-in"];
    assert_eq!((written.line(), written.text()), (1, "@id(\"built-in\")\npermit (principal, action, resource);"));
}

#[test]
fn a_policy_that_cannot_be_read_when_it_is_asked_denies() {
    let rules = Rules::BuiltIn { schema: "no schema".to_owned(), compiled: OnceLock::new() };
    let policy = Policy { rules, ..Policy::of(&RuleFiles::none(), &terms()).unwrap() };
    assert!(matches!(judge(&policy, 1), Decision::Deny { error: Some(_), .. }));
}

#[test]
fn rules_see_arguments_and_give_their_names() {
    let policy = policy(&format!(
        "{ALL} @id(\"small\") forbid (principal, action == Ambit::Action::\"tools.call\", resource)
         when {{ context.size > 9 }};"
    ))
    .unwrap();
    assert_eq!(judge(&policy, 9), allowed(&["all"]));
    assert_eq!(judge(&policy, 10), denied(&["small"]));
}

#[test]
fn rules_see_who_it_is_for_what_was_used_and_when() {
    let policy = policy(&format!(
        "{ALL}
         @id(\"sales\") forbid (principal, action, resource)
         unless {{ principal has user && principal.user in Ambit::Group::\"sales\" }};
         @id(\"often\") forbid (principal, action, resource) when {{ principal.usage.toolCalls >= 3 }};
         @id(\"night\") forbid (principal, action, resource)
         when {{ context.now.toTime() < duration(\"8h\") || context.now.toTime() >= duration(\"18h\") }};
         @id(\"weekend\") forbid (principal, action, resource)
         when {{ [\"saturday\", \"sunday\"].contains(context.weekday) }};
         @id(\"labels\") forbid (principal, action, resource) when {{ principal.labels.contains(\"pii\") }};"
    ))
    .unwrap();
    // 2026-11-23, a Monday, at noon.
    let noon = Duration::from_secs(1_795_435_200);
    let standing = Standing { now: noon, ..Standing::default() };
    assert_eq!(judge_standing(&policy, 1, &standing), allowed(&["all"]));
    let later = |hours: u64| Standing { now: noon + Duration::from_secs(hours * 3600), ..Standing::default() };
    assert_eq!(judge_standing(&policy, 1, &later(6)), denied(&["night"]));
    assert_eq!(judge_standing(&policy, 1, &later(5 * 24)), denied(&["weekend"]));
    let often = Standing { usage: Usage { tool_calls: 3, ..Usage::default() }, ..standing.clone() };
    assert_eq!(judge_standing(&policy, 1, &often), denied(&["often"]));
    let marked = Standing { labels: ["pii".parse().unwrap()].into_iter().collect(), ..standing };
    assert_eq!(judge_standing(&policy, 1, &marked), denied(&["labels"]));
}

#[test]
fn no_rule_is_a_denial_and_so_is_an_error() {
    let none = policy("permit (principal, action == Ambit::Action::\"folder.open\", resource);").unwrap();
    assert_eq!(judge(&none, 1), denied(&[]));
    let overflow = policy(&format!(
        "{ALL} forbid (principal, action == Ambit::Action::\"tools.call\", resource) when {{ context.size + 1 > 2 }};"
    ))
    .unwrap();
    assert!(matches!(judge(&overflow, i64::MAX), Decision::Deny { error: Some(_), .. }));
}

#[test]
fn a_request_that_does_not_fit_the_schema_is_a_denial() {
    let policy = Policy::of(&RuleFiles::none(), &terms()).unwrap();
    let resource = Resource::new("Tool", "x").with("component", Attribute::String("x".into()));
    let good = vec![("function", Attribute::String("f".into())), ("size", Attribute::Long(1))];
    for (action, resource, context) in [
        ("tools.call", &resource, vec![]),
        ("tools.nosuch", &resource, good.clone()),
        ("tools.call", &Resource::new("Nosuch", "x"), good.clone()),
        ("tools.call", &Resource::new("Folder", "x"), good.clone()),
        ("tools.call", &Resource::new("Tool", "x"), good.clone()),
        ("tools.call", &resource, vec![("function", Attribute::Bool(true)), ("size", Attribute::Long(1))]),
        (
            "tools.call",
            &resource,
            vec![good[0].clone(), ("size", Attribute::Inexpressible(ValueError::TooLarge(u64::MAX)))],
        ),
    ] {
        let (principal, standing) = (principal(), Standing::default());
        let (principal, standing, arguments) = (&principal, &standing, None);
        let context = &self::context(context);
        let question = Question { principal, standing, action, resource, context, arguments };
        let decision = policy.judge(&question);
        assert!(matches!(decision, Decision::Deny { error: Some(_), .. }), "{question:?}: {decision:?}");
    }
}

/// A rule that finance can lift, for the one action that has a size.
const BIG: &str = "@id(\"big\") @approval(\"finance\") @ttl(\"5m\") @deadline(\"2h\")
    forbid (principal, action == Ambit::Action::\"tools.call\", resource) when { context.size > 100 }
    unless { context.approvals.contains(\"finance\") };";

#[test]
fn a_rule_that_a_person_can_lift_says_whom_to_ask() {
    let policy = policy(&format!("{ALL}{BIG}")).unwrap();
    assert_eq!(judge(&policy, 100), allowed(&["all"]));
    let ask = Ask {
        groups: BTreeSet::from(["finance".to_owned()]),
        ttl: Duration::from_secs(300),
        deadline: Duration::from_secs(7200),
    };
    assert_eq!(judge(&policy, 101), Decision::NeedsApproval { rules: ["big".to_owned()].into(), ask });
}

#[test]
fn nobody_is_asked_where_it_would_not_help() {
    // Another rule forbids it as well; or none permits it.
    let never = "@id(\"never\") forbid (principal, action == Ambit::Action::\"tools.call\", resource)
        when { context.size > 500 };";
    let policy = policy(&format!("{ALL}{BIG}{never}")).unwrap();
    assert_eq!(judge(&policy, 501), denied(&["big", "never"]));
    let unpermitted = super::tests::policy(BIG).unwrap();
    assert_eq!(judge(&unpermitted, 101), denied(&["big"]));
    // A rule that forbids once somebody has approved.
    let spiteful =
        "@id(\"spite\") forbid (principal, action, resource) when { context.approvals.contains(\"finance\") };";
    let spiteful = super::tests::policy(&format!("{ALL}{BIG}{spiteful}")).unwrap();
    assert_eq!(judge(&spiteful, 101), denied(&["big"]));
}

#[test]
fn several_groups_are_asked_together() {
    let security = "@id(\"secure\") @approval(\"security\") @deadline(\"1h\")
        forbid (principal, action, resource) unless { context.approvals.contains(\"security\") };";
    let policy = policy(&format!("{ALL}{BIG}{security}")).unwrap();
    let Decision::NeedsApproval { rules, ask } = judge(&policy, 101) else { panic!("nobody is asked") };
    assert_eq!(*rules, ["big", "secure"]);
    assert_eq!(ask.groups.iter().map(String::as_str).collect::<Vec<_>>(), ["finance", "security"]);
    assert_eq!((ask.ttl, ask.deadline), (Duration::from_secs(300), Duration::from_secs(3600)));
}

#[test]
fn mistakes_are_found_at_load_with_their_place() {
    let lifted = "unless { context.approvals.contains(\"finance\") }";
    for (text, what) in [
        ("permit (principal, action, resource) when { context.sise > 1 };".to_owned(), "sise"),
        (
            "forbid (principal, action == Ambit::Action::\"tools.cal\", resource);".to_owned(),
            "did you mean `tools.call`",
        ),
        ("permit (principal, action, resource".to_owned(), ""),
        ("permit (principal == ?principal, action, resource);".to_owned(), "template"),
        (format!("@id(\"all\") forbid (principal, action, resource); {ALL}"), "two rules"),
        (format!("@aproval(\"finance\") forbid (principal, action, resource) {lifted};"), "did you mean `approval`"),
        (format!("@approval(\"finance\") permit (principal, action, resource) {lifted};"), "only a `forbid`"),
        (format!("@approval(\"\") forbid (principal, action, resource) {lifted};"), "no group"),
        (format!("@approval(\"boss\") forbid (principal, action, resource) {lifted};"), "no approval of `boss`"),
        (format!("@approval(\"finance\") @ttl(\"soon\") forbid (principal, action, resource) {lifted};"), "soon"),
        (format!("@approval(\"finance\") @ttl(\"0s\") forbid (principal, action, resource) {lifted};"), "no time"),
        ("@ttl(\"5m\") forbid (principal, action, resource);".to_owned(), "asks for none"),
    ] {
        let error = policy(&text).unwrap_err();
        let shown = format!("{:?}", miette::Report::new(error));
        assert!(shown.contains("rules.cedar") && shown.contains(what), "{shown}");
    }
}

#[test]
fn rules_about_tools_that_are_not_known_here_do_not_apply() {
    let elsewhere = "forbid (principal, action == Ambit::Action::\"tools.call:billing.refund\", resource)
        when { context.args.amount > 1 };";
    assert_eq!(judge(&policy(&format!("{ALL}{elsewhere}")).unwrap(), 1), allowed(&["all"]));
}

mod slicing {
    use proptest::prelude::*;

    use super::*;

    /// A rule about this action and resource, or all, that applies when the size is more than a bound.
    fn rule(index: usize, (effect, action, resource, bound): (bool, usize, usize, i64)) -> String {
        let effect = if effect { "permit" } else { "forbid" };
        let action = match action {
            0 => "action",
            1 => "action == Ambit::Action::\"tools.call\"",
            2 => "action in [Ambit::Action::\"tools.call\", Ambit::Action::\"folder.open\"]",
            _ => "action == Ambit::Action::\"folder.open\"",
        };
        let resource = match (resource, action.contains("folder.open")) {
            (0, _) | (_, true) => "resource",
            (1, _) => "resource == Ambit::Tool::\"billing.refund\"",
            (2, _) => "resource == Ambit::Tool::\"billing.other\"",
            _ => "resource is Ambit::Tool",
        };
        let condition = if action.contains("== Ambit::Action::\"tools") {
            format!("when {{ context.size > {bound} }}")
        } else {
            String::new()
        };
        format!("@id(\"r{index}\") {effect} (principal, {action}, {resource}) {condition};")
    }

    proptest! {
        /// A decision on the rules that can apply is the decision on all of them.
        #[test]
        fn slices_decide_as_the_whole(
            rules in proptest::collection::vec((any::<bool>(), 0_usize..4, 0_usize..4, 0_i64..3), 0..12),
            size in 0_i64..4,
        ) {
            let text: String = rules.iter().enumerate().map(|(index, parts)| rule(index, *parts)).collect();
            let sliced = policy(&text).unwrap();
            let whole = policy(&text).unwrap();
            let Rules::Written(compiled) = whole.rules else { unreachable!("it was written") };
            let whole = Policy { rules: Rules::Written(Box::new(compiled.unsliced())), ..whole };
            prop_assert_eq!(judge(&sliced, size), judge(&whole, size));
        }
    }
}

#[test]
fn it_is_known_where_each_rule_stands() {
    // What looks like the second rule stands in a comment before it.
    let second =
        "permit (principal, action == Ambit::Action::\"tools.call\", resource)\nwhen { context.size > 1 }; // ;";
    let text = format!("// First.\n\n@id(\"one\")\n{ALL_BUT_ID}\n")
        + &format!("// {}\n  {second}\n@id(\"three\") {ALL_BUT_ID}", second.lines().next().unwrap());
    let policy = policy(&text).unwrap();
    let found: Vec<_> = policy.rules().iter().map(|(name, rule)| (name.as_str(), rule.line(), rule.text())).collect();
    assert_eq!(
        found,
        [
            ("one", 3, format!("@id(\"one\")\n{ALL_BUT_ID}").as_str()),
            ("rules.cedar#1", 6, second.trim_end_matches(" // ;")),
            ("three", 8, format!("@id(\"three\") {ALL_BUT_ID}").as_str()),
        ]
    );
}

const ALL_BUT_ID: &str = "permit (principal, action, resource);";

#[test]
fn mistakes_are_shown_in_the_rule_that_has_them() {
    let lifted = "unless { context.approvals.contains(\"finance\") }";
    let right =
        format!("@id(\"a\") @approval(\"finance\") @ttl(\"5m\") forbid (principal, action, resource) {lifted};");
    let wrong = right.replace("\"a\"", "\"b\"").replace("5m", "soon");
    let error = policy(&format!("{right}\n{wrong}")).unwrap_err();
    let shown = format!("{:?}", miette::Report::new(error));
    assert!(shown.contains("rules.cedar:2:"), "{shown}");
}
