//! Components that are not of this project's making: one in Python, and one that somebody else built, as it is.
//!
//! Both ask with plain `wasi:http`. `cargo xtask foreign` makes the first and fetches the second. One test for each, because
//! they take long to compile and tests that run side by side would compile them twice.

use std::io::Write as _;

use serde_json::{Value, json};

use super::support::Scene;
use super::wire::{Wire, text};

/// The digest of the component as its makers published it.
const SANDBOX: &str = "sha256:8d7c073166dc5b1d00b943f0e0cddd7b8d63529781cd06deffb7e27b0a246acb";

/// A page with links of several kinds.
const PAGE: &str = "<html><body><a href='two.html#part'>2</a> <a href='/docs/two.html'>again</a>\
                    <area href=\"https://example.org/?a=1&amp;b=2\"> <a href='mailto:me@example.org'>no page</a></body></html>";

/// Reads a page in the sandbox with the bindings that are in it. Its own `http_get` reads a body without waiting for it, and
/// loses what is not there at once: whether that is all or nothing is a matter of luck.
const READ_WHOLE: &str = "
import wit_world.imports.outgoing_handler as handler
import wit_world.imports.wasi_http_types as http

request = http.OutgoingRequest(http.Fields())
request.set_scheme(http.Scheme_Http())
request.set_authority('127.0.0.1:PORT')
request.set_path_with_query('/docs/one.html')
with handler.handle(request, None) as future:
    with future.subscribe() as ready:
        ready.block()
    response = future.get().value.value
page = b''
with response, response.consume() as body, body.stream() as stream:
    try:
        while True:
            page += stream.blocking_read(65536)
    except Exception:
        print(page.decode())
";

/// A server whose only page is `/docs/one.html`.
fn library() -> Wire {
    Wire::answering(|request, stream| {
        if !request.line().ends_with(" /docs/one.html") {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
        let length = PAGE.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        // A HEAD request has its answer now.
        if request.line().starts_with("GET") { stream.write_all(PAGE.as_bytes()) } else { Ok(()) }
    })
}

/// Lets a tool read what one server has below `/docs`.
fn reads(wire: &Wire) -> String {
    let port = wire.port;
    format!(
        "http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port}, methods = [\"GET\", \"HEAD\"], paths = [\"/docs/**\"] }}]\n"
    )
}

fn url(wire: &Wire, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", wire.port)
}

/// Calls functions one after another, in one task, and gives what each returned.
fn call(scene: &Scene, calls: &[(&str, Value)]) -> Vec<Value> {
    let calls: Vec<Value> =
        calls.iter().map(|(tool, arguments)| json!({ "tool": tool, "arguments": arguments })).collect();
    let report = scene.run(&json!({ "calls": calls }));
    assert_eq!(report["status"], "succeeded", "{report}");
    report["output"].as_array().unwrap().clone()
}

/// The requests that were refused, as the log has them: `GET http://...`.
fn refused(scene: &Scene) -> Vec<String> {
    let refusals = scene.records_of("refusal", "http.request");
    refusals.iter().map(|record| record["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tool_in_python_reads_what_its_grant_lists_and_nothing_else() {
    let (granted, other) = (library(), library());
    let scene = Scene::with_tools(&[("links", "links")], "");
    scene.grant(&format!("[agent]\ntools = [\"links\"]\n[tools.links]\n{}", reads(&granted)));
    let page = |wire: &Wire| json!({ "url": url(wire, "/docs/one.html") });
    let answers = call(
        &scene,
        &[
            ("links.links", page(&granted)),
            ("links.status", page(&granted)),
            ("links.status", json!({ "url": url(&granted, "/docs/none.html") })),
            ("links.links", json!({ "url": url(&granted, "/docs/none.html") })),
            ("links.links", page(&other)),
            ("links.status", json!({ "url": url(&granted, "/private.html") })),
            ("links.status", json!({ "url": "ftp://127.0.0.1/docs/one.html" })),
        ],
    );
    assert_eq!(answers[0]["ok"], json!([url(&granted, "/docs/two.html"), "https://example.org/?a=1&b=2"]));
    assert_eq!((&answers[1]["ok"], &answers[2]["ok"]), (&json!(200), &json!(404)));
    assert_eq!(answers[3]["value"], "the server answered with the status 404");
    assert_eq!(
        (&answers[4]["value"], &answers[5]["value"]),
        (&json!("HttpRequestDenied"), &json!("HttpRequestDenied"))
    );
    assert_eq!(answers[6]["value"], "`ftp://127.0.0.1/docs/one.html` is no URL of the web");
    let lines: Vec<String> = granted.arrived().iter().map(super::wire::Arrived::line).collect();
    assert_eq!(lines, ["GET /docs/one.html", "HEAD /docs/one.html", "HEAD /docs/none.html", "GET /docs/none.html"]);
    assert_eq!(other.connections(), 0);
    assert_eq!(
        refused(&scene),
        [format!("GET {}", url(&other, "/docs/one.html")), format!("HEAD {}", url(&granted, "/private.html"))]
    );
}

#[test]
fn a_component_that_somebody_else_built_is_held_to_its_grant_as_it_is() {
    let granted = Wire::answering(|_, stream| stream.write_all(&text("to be read in there")));
    let other = Wire::greeting();
    let scene = Scene::with_tools(&[("sandbox", "python-sandbox"), ("dispatch", "dispatch"), ("echo", "echo")], "");
    scene.grant(&format!(
        "[agent]\ntools = [\"sandbox\"]\n[tools.sandbox]\ndigest = \"{SANDBOX}\"\ntools = [\"dispatch\"]\n{}\
         [tools.dispatch]\ntools = [\"echo\"]\n[tools.echo]\n",
        reads(&granted)
    ));
    let run = |code: &str| ("sandbox.run", json!({ "code": code }));
    let get = |wire: &Wire| format!("print(http_get('{}')['status'])", url(wire, "/docs/one.html"));
    let answers = call(
        &scene,
        &[
            run(&get(&granted)),
            run(&READ_WHOLE.replace("PORT", &granted.port.to_string())),
            run(&get(&other)),
            run(&format!("http_post('{}', 'what it knows')", url(&granted, "/docs/one.html"))),
            run("print(call_tool('echo.echo-string', value='by way of a tool of ours'))"),
            run("call_tool('echo.none-such')"),
        ],
    );
    let [got, read, elsewhere, posted, dispatched, unknown] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(got["ok"]["stdout"], "200\n", "{got}");
    assert_eq!(read["ok"]["stdout"], "to be read in there\n", "{read}");
    for (answer, error) in [
        (elsewhere, "OSError: HTTP request failed: ErrorCode_HttpRequestDenied()\n"),
        (posted, "OSError: HTTP request failed: ErrorCode_HttpRequestDenied()\n"),
        (unknown, "RuntimeError: Tool 'echo.none-such' failed: there is no tool `echo.none-such`\n"),
    ] {
        assert_eq!((&answer["ok"]["exit-code"], &answer["ok"]["stderr"]), (&json!(1), &json!(error)), "{answer}");
    }
    assert_eq!(dispatched["ok"]["stdout"], "by way of a tool of ours\n", "{dispatched}");
    let arrived = granted.arrived();
    let lines: Vec<String> = arrived.iter().map(super::wire::Arrived::line).collect();
    assert_eq!((lines, other.connections()), (vec!["GET /docs/one.html".to_owned(); 2], 0));
    assert_eq!(arrived[0].header("user-agent"), ["hyperlight-sandbox/0.1"]);
    assert_eq!(
        refused(&scene),
        [format!("GET {}", url(&other, "/docs/one.html")), format!("POST {}", url(&granted, "/docs/one.html"))]
    );
}
