//! Research with tools from a script.

use std::cell::RefCell;

use super::*;

/// Tools that answer from a script, and remember how they were called.
struct Script {
    search: Result<Value, CallError>,
    quote: fn(&str) -> Result<Value, CallError>,
    calls: RefCell<Vec<String>>,
}

impl Tools for Script {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        self.calls.borrow_mut().push(format!("{name} {arguments}"));
        let answer = if name == "search.query" { self.search.clone() } else { (self.quote)(arguments) };
        answer.map(|value| value.to_string())
    }
}

fn passage(file: &str, line: u32, last_line: u32, score: f64, text: &str) -> Value {
    json!({"file": file, "line": line, "last-line": last_line, "heading": "Guide", "score": score, "text": text})
}

fn found(passages: &[Value]) -> Value {
    json!({
        "passages": passages,
        "terms": [
            {"word": "fuel", "passages": 5},
            {"word": "charged", "passages": 2},
            {"word": "unicorns", "passages": 0},
            {"word": "fuelcharged", "passages": 0},
        ],
        "searched": {"files": 7, "bytes": 900, "passages": 50, "skipped": 0},
    })
}

fn two_passages() -> Value {
    found(&[
        passage("/documents/fuel.md", 10, 14, 4.0, "Guide\nFuel is charged for each instruction. Nothing is free."),
        passage("/documents/page.html", 3, 3, 2.0, "Guide\nWhen the fuel is spent, no more of it is charged."),
    ])
}

#[expect(clippy::unnecessary_wraps, reason = "others of its kind fail")]
fn exact(arguments: &str) -> Result<Value, CallError> {
    if arguments.contains("page.html") {
        let text = "Guide\nWhen the fuel is spent, no more of it is charged.";
        return Ok(json!({"markup-removed": true, "text": text}));
    }
    let text = "## Guide\n\nFuel is charged for\neach *instruction*. Nothing is free.\n";
    Ok(json!({"markup-removed": false, "text": text}))
}

fn run(
    search: Result<Value, CallError>,
    quote: fn(&str) -> Result<Value, CallError>,
) -> (Result<Value, Failure>, Vec<String>) {
    let script = Script { search, quote, calls: RefCell::new(Vec::new()) };
    let report = research(r#"{"question": "How is fuel charged for unicorns?"}"#, &script);
    (report, script.calls.into_inner())
}

#[test]
fn an_answer_says_where_each_sentence_stands() {
    let (report, calls) = run(Ok(two_passages()), exact);
    let report = report.unwrap();
    assert_eq!(
        report["answer"],
        "Fuel is charged for each *instruction*. [1]\nWhen the fuel is spent, no more of it is charged. [2]"
    );
    let first = &report["citations"][0];
    assert_eq!(
        (&first["cite"], &first["line"], &first["last_line"]),
        (&json!("/documents/fuel.md:12"), &json!(12), &json!(13))
    );
    assert_eq!(first["quote"], "Fuel is charged for\neach *instruction*. Nothing is free.");
    let second = &report["citations"][1];
    assert_eq!((&second["cite"], &second["last_line"]), (&json!("/documents/page.html:3"), &json!(3)));
    assert_eq!(second["quote"], "When the fuel is spent, no more of it is charged.");
    assert_eq!(report["searched"], json!({"files": 7, "bytes": 900}));
    assert_eq!(report["notes"], json!(["no document has the word `unicorns`"]));
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[1], r#"quote.lines {"file":"/documents/fuel.md","first":10,"last":14}"#);
}

/// A tool that reads two pages; the second leads to one that is refused.
struct Browser;

impl Tools for Browser {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        assert_eq!(name, "browse.read", "nothing else is asked for");
        let page = |url: &str, text: &str, link: &str| {
            Ok(json!({"url": url, "status": 200, "title": "", "text": text, "links": [link]}).to_string())
        };
        match arguments {
            r#"{"url":"http://a/"}"# => page("http://a/", "Nothing here.", "http://a/fuel"),
            r#"{"url":"http://a/fuel"}"# => {
                page("http://a/fuel", "# Guide\n\nFuel is charged for each *instruction*.", "http://a/admin")
            }
            _ => Err(CallError::Failed(r#"{"refused":"http://a/admin"}"#.to_owned())),
        }
    }
}

#[test]
fn pages_are_cited_by_their_addresses() {
    let report = research(r#"{"question": "How is fuel charged?", "pages": ["http://a/"]}"#, &Browser).unwrap();
    assert_eq!(report["answer"], "Fuel is charged for each *instruction*. [1]");
    let citation = &report["citations"][0];
    assert_eq!((&citation["cite"], &citation["url"]), (&json!("http://a/fuel"), &json!("http://a/fuel")));
    assert_eq!((&citation["heading"], &citation["line"]), (&json!("Guide"), &Value::Null));
    assert_eq!(report["pages"], json!({"read": ["http://a/", "http://a/fuel"], "refused": ["http://a/admin"]}));
    assert_eq!(report["notes"], json!(["http://a/admin was refused: it is not for this task to read"]));
    let nothing = r#"{"question": "what is it?", "pages": ["http://a/"]}"#;
    assert_eq!(research(nothing, &Browser).unwrap_err().code, "bad-input");
}

#[test]
fn nothing_found_is_an_answer() {
    let report = run(Ok(found(&[])), exact).0.unwrap();
    assert_eq!(report["answer"], "Nothing in the documents answers this (7 files, 900 bytes searched).");
    assert_eq!(report["citations"], json!([]));
}

#[test]
fn a_refused_quote_is_a_note() {
    let (report, calls) = run(Ok(two_passages()), |_| Err(CallError::Refused("denied".to_owned(), 9)));
    let report = report.unwrap();
    assert_eq!(report["citations"][0]["cite"], "/documents/fuel.md:10");
    assert_eq!(report["citations"][0]["last_line"], 14);
    assert!(report["notes"][1].as_str().unwrap().contains("fuel.md:10 was refused (denied; audit record 9)"));
    assert_eq!(calls.len(), 3);
}

#[test]
fn a_quote_tool_that_is_not_there_is_asked_once() {
    let (report, calls) = run(Ok(two_passages()), |_| Err(CallError::Unknown));
    assert_eq!(report.unwrap()["notes"].as_array().unwrap().len(), 2);
    assert_eq!(calls.len(), 2);
}

#[test]
fn a_search_that_fails_has_a_code() {
    let cases = [
        (CallError::Unknown, "no-tools"),
        (CallError::Refused("denied".to_owned(), 3), "search-refused"),
        (CallError::Failed("\"no-words\"".to_owned()), "bad-input"),
        (CallError::Failed("\"no-folder\"".to_owned()), "search-failed"),
        (CallError::Broken("it trapped".to_owned()), "search-failed"),
    ];
    for (error, code) in cases {
        assert_eq!(run(Err(error), exact).0.unwrap_err().code, code);
    }
    assert_eq!(run(Ok(json!({"passages": 1})), exact).0.unwrap_err().code, "search-failed");
}

#[test]
fn passages_of_marks_alone_are_still_cited() {
    let table = passage("/documents/t.md", 1, 1, 1.0, "| |");
    let report = run(Ok(found(&[table])), |_| Err(CallError::Broken(String::new()))).0.unwrap();
    assert_eq!(report["answer"], "| | [1]");
    assert_eq!(report["citations"][0]["quote"], "| |");
}

#[test]
fn source_code_is_known_by_its_name() {
    for (file, is) in
        [("/a/b.rs", true), ("/a.d/README", false), ("/a/b.md", false), ("/a/b.HTML", false), ("/a/b.c", true)]
    {
        assert_eq!(is_source_code(file), is, "{file}");
    }
}
