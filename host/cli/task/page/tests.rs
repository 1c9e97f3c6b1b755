//! Pages of stories that are hostile, long or empty.

use super::super::show::Shown;
use super::{STYLE, Text, page};
use crate::audit::Kind;
use crate::audit::story::tests::Log;
use crate::edge::tasks::Listed;

const HOSTILE: &str = "</style></title><script>alert(\"1\")</script>' onload='x' \u{202e}\u{0}&amp;";

fn listed(text: &str) -> Listed {
    Listed {
        task: text.to_owned(),
        bundle: text.to_owned(),
        version: text.to_owned(),
        digest: text.to_owned(),
        status: text.to_owned(),
        started: 1,
        ended: Some(2),
        input: text.to_owned(),
        usage: Some(serde_json::json!({ text: text, "fuel": 7 })),
        error: Some(serde_json::json!({ "code": text, "message": text })),
        audit: None,
    }
}

/// A log in which this stands wherever something can stand.
fn log(text: &str) -> Log {
    let mut log = Log::default();
    let quoted = serde_json::Value::from(text);
    let detail = format!(
        r#"{{"labels":[{quoted}],"approval":{quoted},"groups":[{quoted}],"by":{quoted},"why":{quoted},"note":{quoted},
            {quoted}:1,"user":{quoted},"grant":{quoted},"policy":{{"digest":{quoted}}}}}"#
    );
    let kinds =
        [Kind::Start, Kind::Ask, Kind::Answer, Kind::Intent, Kind::Outcome, Kind::Refusal, Kind::Ask, Kind::End];
    for (kind, effect) in kinds.into_iter().zip([0, 1, 1, 1, 1, 2, 3, 0]) {
        let entry = log.put(kind, 10 * effect, "", effect, text);
        entry.component = text.into();
        if effect > 0 {
            (entry.action, entry.resource) = (text.to_owned().into(), text.into());
        }
        (entry.detail, entry.text, entry.rules) = (detail.clone(), text.to_owned(), [text.to_owned()].into());
    }
    log
}

fn written(log: &Log, listed: Listed) -> String {
    let mut out = Vec::new();
    page(&mut out, &Shown::of(listed, log.0.clone())).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every element is closed, in order, and no attribute has a name that was not meant.
fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let (before, after) = page.split_once("<style>").unwrap();
    let (style, rest) = after.split_once("</style>").unwrap();
    assert_eq!(style, STYLE);
    for tag in before.split('<').skip(1).chain(rest.split('<').skip(1)).map(|piece| piece.split_once('>').unwrap().0) {
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in {open:?}");
        } else if !(tag.ends_with('/') || ["!doctype", "meta"].contains(&name)) {
            open.push(name);
        }
        assert!(!["script", "img", "link", "iframe", "object", "base", "form"].contains(&name), "{tag}");
        for attribute in tag.split("=\"").map(|piece| piece.rsplit([' ', '"']).next().unwrap()) {
            assert!(!attribute.starts_with("on") && !["src", "style"].contains(&attribute), "{tag}");
        }
        let reference = tag.split_once("href=\"").map(|(_, rest)| rest);
        assert!(reference.is_none_or(|reference| reference.starts_with('#')), "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn whatever_stands_in_a_record_stays_a_text() {
    let page = written(&log(HOSTILE), listed(HOSTILE));
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{0}'), "{page}");
    let escaped = "&lt;/style&gt;&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39; onload=&#39;x&#39; \
                   \\u{202e}\\u{0}&amp;amp;";
    assert_eq!(Text(HOSTILE).to_string(), escaped);
    assert!(page.matches(escaped).count() > 20, "{page}");
}

#[test]
fn its_policy_allows_its_style_and_nothing_else() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let page = written(&log("a"), listed("succeeded"));
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE));
    let policy = format!("content=\"default-src 'none'; style-src 'sha256-{hash}'\"");
    // Before anything that it is about.
    assert!(page.find(&policy).unwrap() < page.find("<style>").unwrap());
    assert!(!STYLE.contains("@import") && !STYLE.contains("://"), "{STYLE}");
    assert!(STYLE.match_indices("url(").all(|(at, _)| STYLE[at..].starts_with("url(#")));
}

#[test]
fn deep_and_empty_tasks_have_pages_as_well() {
    assert_well_formed(&written(&Log::default(), listed("unknown")));
    let mut log = Log::default();
    let mut path = String::new();
    for effect in 1..100 {
        log.put(Kind::Intent, effect, &path, effect, "allowed");
        path.push_str("/1");
    }
    log.put(Kind::Intent, 100, "", 100, "allowed");
    let page = written(&log, listed("succeeded"));
    assert_well_formed(&page);
    assert_eq!(page.matches("<summary").count(), 100);
}

#[test]
fn what_is_not_execution_looks_otherwise_and_says_so() {
    let mut log = Log::default();
    log.put(Kind::Ask, 0, "", 1, "asked").detail = r#"{"approval":"A","groups":["ops"]}"#.to_owned();
    log.put(Kind::Answer, 50, "", 1, "approved").detail = r#"{"approval":"A","by":"jo","groups":["ops"]}"#.to_owned();
    log.put(Kind::Intent, 60, "", 1, "allowed");
    log.put(Kind::Outcome, 100, "", 1, "failed");
    log.put(Kind::Refusal, 100, "", 2, "denied");
    log.put(Kind::Intent, 100, "", 3, "allowed");
    let page = written(&log, listed("suspended"));
    assert!(page.contains(r#"<rect class="wait" x="0.000%" y="4" width="50.000%""#), "{page}");
    assert!(page.contains(r#"<rect class="bad" x="50.000%" y="4" width="50.000%""#), "{page}");
    for part in ["✗ failed, 40 ms", "⊘ refused: denied", "? unknown", "approved by jo after 50 ms", "drawn shorter"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
}
