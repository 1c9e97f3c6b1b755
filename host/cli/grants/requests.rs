//! Many requests as few rules of `http`: one for each host and set of methods, with paths that are alike as a pattern.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fold::{Item, Need};
use super::least::Evidence;
use super::text::{roomy, roomy_size};
use crate::manifest::ByteSize;

/// How many paths that differ in one segment alone are a pattern.
const MANY: usize = 4;

/// The longest body of a rule that does not say, in bytes.
const LONGEST_BODY: u64 = 1 << 20;

/// The keys of a rule that are not the same for all its requests.
const OWN: [&str; 4] = ["methods", "paths", "request", "budget"];

/// Everything that a rule says but for its methods, paths, and how much it lets pass.
type Frame = String;

/// What was asked for at one path.
#[derive(Default)]
struct Asked {
    methods: BTreeSet<String>,
    evidence: Evidence,
}

/// Requests under one frame.
#[derive(Default)]
struct Requests {
    frame: Value,
    paths: BTreeMap<String, Asked>,
    /// The longest body, and what it might have been.
    longest: u64,
    allowed: u64,
    budget: Value,
}

/// Folds requests into rules.
pub(super) fn fold(needs: Vec<Need>, patterns: bool) -> Vec<Item> {
    let (mut frames, mut counts) = (BTreeMap::<Frame, Requests>::new(), BTreeMap::<(String, String), u64>::new());
    for Need { section, bytes, task, evidence } in needs {
        for entry in section.as_array().into_iter().flatten() {
            *counts.entry((task.clone(), place(entry))).or_default() += 1;
            let mut frame = entry.clone();
            if let Some(frame) = frame.as_object_mut() {
                frame.retain(|key, _| !OWN.contains(&key.as_str()));
            }
            let requests = frames.entry(frame.to_string()).or_default();
            requests.take(frame, entry, bytes, &evidence);
        }
    }
    let mut hosts: BTreeMap<String, usize> = BTreeMap::new();
    for requests in frames.values() {
        *hosts.entry(place(&requests.frame)).or_default() += 1;
    }
    let mut rules = Vec::new();
    for requests in frames.values() {
        let at = place(&requests.frame);
        // A pattern could list what another rule with other labels has to.
        let patterns = patterns && hosts.get(&at) == Some(&1);
        let most = counts.iter().filter(|((_, host), _)| host_of(host) == host_of(&at)).map(|(_, count)| *count).max();
        rules.extend(requests.rules(patterns, most.unwrap_or_default()));
    }
    rules
}

/// Scheme, port and host of a rule.
fn place(entry: &Value) -> String {
    let part = |key: &str| entry.get(key).map(ToString::to_string).unwrap_or_default();
    format!("{} {} {}", part("scheme"), part("port"), part("host"))
}

/// Budgets are of a host, whatever its port.
fn host_of(place: &str) -> &str {
    place.rsplit(' ').next().unwrap_or_default()
}

fn texts<'a>(entry: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    entry.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl Requests {
    fn take(&mut self, frame: Value, entry: &Value, bytes: u64, evidence: &Evidence) {
        for path in texts(entry, "paths") {
            let asked = self.paths.entry(path.to_owned()).or_default();
            asked.methods.extend(texts(entry, "methods").map(ToOwned::to_owned));
            asked.evidence.and(evidence);
        }
        self.frame = frame;
        self.longest = self.longest.max(bytes);
        let allowed = entry.get("request").and_then(Value::as_str).and_then(|size| size.parse::<ByteSize>().ok());
        self.allowed = self.allowed.max(allowed.map_or(LONGEST_BODY, ByteSize::bytes));
        if let Some(budget) = entry.get("budget") {
            self.budget = budget.clone();
        }
    }

    /// A rule for each set of methods.
    fn rules(&self, patterns: bool, most: u64) -> Vec<Item> {
        let mut alike: BTreeMap<&BTreeSet<String>, Vec<(String, Evidence)>> = BTreeMap::new();
        for (path, Asked { methods, evidence }) in &self.paths {
            alike.entry(methods).or_default().push((path.clone(), evidence.clone()));
        }
        let rule = |(methods, asked): (&BTreeSet<String>, Vec<(String, Evidence)>)| {
            let mut evidence = Evidence::default();
            for (_, more) in &asked {
                evidence.and(more);
            }
            let paths: Vec<String> = asked.into_iter().map(|(path, _)| path).collect();
            let mut value = self.frame.clone();
            value["methods"] = json!(methods);
            value["paths"] = json!(if patterns { generalised(paths) } else { paths });
            let streams = self.frame.get("stream").is_some();
            let request = if streams { self.allowed } else { roomy_size(self.longest).min(self.allowed) };
            value["request"] = json!(ByteSize::new(request));
            let mut budget = self.budget.clone();
            budget["requests"] = json!(roomy(most));
            value["budget"] = budget;
            Item { value, evidence }
        };
        alike.into_iter().map(rule).collect()
    }
}

/// Paths, with one pattern in place of many that differ in one segment.
fn generalised(mut paths: Vec<String>) -> Vec<String> {
    loop {
        let mut groups: BTreeMap<Vec<&str>, Vec<&String>> = BTreeMap::new();
        for path in &paths {
            let segments: Vec<&str> = path.split('/').collect();
            // The first is what stands before the first slash; an empty one matches no `*`.
            for place in (1..segments.len()).filter(|place| !segments[*place].is_empty() && segments[*place] != "*") {
                let mut pattern = segments.clone();
                pattern[place] = "*";
                groups.entry(pattern).or_default().push(path);
            }
        }
        let Some((pattern, _)) =
            groups.iter().filter(|(_, paths)| paths.len() >= MANY).max_by_key(|(_, paths)| paths.len())
        else {
            return paths;
        };
        let (pattern, covered) =
            (pattern.join("/"), groups[pattern].iter().map(|path| (*path).clone()).collect::<BTreeSet<_>>());
        paths.retain(|path| !covered.contains(path));
        if !paths.contains(&pattern) {
            paths.push(pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(path: &str, method: &str, bytes: u64, more: &Value) -> Need {
        let mut entry = json!({ "host": "a.example", "methods": [method], "paths": [path] });
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        Need { section: json!([entry]), bytes, task: "t".to_owned(), evidence: Evidence::of("t", Some(1)) }
    }

    fn values(needs: Vec<Need>) -> Vec<Value> {
        fold(needs, true).into_iter().map(|item| item.value).collect()
    }

    fn paths(given: &[&str]) -> Vec<String> {
        generalised(given.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn paths_that_vary_in_one_segment_are_a_pattern() {
        assert_eq!(paths(&["/a/1", "/a/2", "/a/3"]), ["/a/1", "/a/2", "/a/3"]);
        assert_eq!(paths(&["/a/1", "/a/2", "/a/3", "/a/4", "/b"]), ["/b", "/a/*"]);
        assert_eq!(paths(&["/a/1/x", "/a/2/x", "/a/3/x", "/a/4/x", "/a/1/y"]), ["/a/1/y", "/a/*/x"]);
        assert_eq!(paths(&["/a/", "/a/1", "/a/2", "/a/3"]), ["/a/", "/a/1", "/a/2", "/a/3"]);
    }

    #[test]
    fn no_method_is_given_at_a_path_at_which_it_was_not_asked_for() {
        let none = json!({});
        let rules =
            values(vec![need("/a", "GET", 0, &none), need("/b", "POST", 700, &none), need("/c", "GET", 0, &none)]);
        let told: Vec<_> = rules.iter().map(|rule| (&rule["methods"], &rule["paths"])).collect();
        assert_eq!(told, [(&json!(["GET"]), &json!(["/a", "/c"])), (&json!(["POST"]), &json!(["/b"]))]);
        assert_eq!(rules[1]["request"], "2KiB");
        assert_eq!(rules[1]["budget"], json!({ "requests": 6 }));
    }

    #[test]
    fn no_pattern_lists_what_a_rule_with_labels_has_to() {
        let labelled = json!({ "labels": ["pii"] });
        let mut needs: Vec<Need> = (0..9).map(|n| need(&format!("/d/{n}"), "GET", 0, &json!({}))).collect();
        needs.push(need("/d/x", "GET", 0, &labelled));
        let rules = values(needs);
        assert_eq!(rules.len(), 2);
        assert!(rules.iter().all(|rule| !rule["paths"].to_string().contains('*')), "{rules:?}");
    }
}
