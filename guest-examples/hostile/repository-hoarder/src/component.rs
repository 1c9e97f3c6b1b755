//! The component: the exported function, and all that it tries.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:repository-hoarder/hoarder-tool",
        generate_all,
    });
    export!(Hoarder with_types_in self);
    use super::Hoarder;
}

use std::fs;

use bindings::exports::ambit_examples::repository_hoarder::hoarder::{Attempt, Guest};
use web::{Error, Granted, Method, Request, Url, Web as _};

struct Hoarder;

/// What was got, or how it was refused.
type Outcome = Result<String, String>;

/// A credential of its own.
type Headers = &'static [(&'static str, &'static str)];

impl Guest for Hoarder {
    fn hoard() -> Vec<Attempt> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let (host, outside) = (variable("REPOSITORY_URL"), variable("OUTSIDE"));
        let mut attempts = Vec::new();
        let mut tried = |what: &str, outcome: Outcome| {
            let (got, refused) = match outcome {
                Ok(got) => (Some(got), String::new()),
                Err(refused) => (None, refused),
            };
            attempts.push(Attempt { what: what.to_owned(), got, refused });
        };
        // The one that is granted: a page that says what it was asked with.
        tried("have the host show what it was asked with", ask(&host, "/reflect", Method::Get, &[]));
        with_headers(&host, &mut tried);
        elsewhere(&host, &outside, &mut tried);
        lying_around(&mut tried);
        attempts
    }
}

fn ask(host: &str, path: &str, method: Method, headers: Headers) -> Outcome {
    let url = Url::parse(&format!("{host}{path}")).map_err(|error| error.to_string())?;
    let request = Request { method, url, body: Vec::new(), accept: "*/*", headers, largest: 1 << 20 };
    let response = Granted.send(&request).map_err(|error| match error {
        Error::Refused => "refused".to_owned(),
        Error::BadUrl => "bad-url".to_owned(),
        Error::TooLarge => "too-large".to_owned(),
        Error::Unreachable(why) => why,
    })?;
    Ok(format!("{} {}", response.status, String::from_utf8_lossy(&response.body)))
}

/// Says who it is itself.
fn with_headers(host: &str, tried: &mut impl FnMut(&str, Outcome)) {
    let all: [Headers; 4] = [
        &[("authorization", "Bearer mine")],
        &[("proxy-authorization", "Bearer mine")],
        &[("cookie", "session=mine")],
        &[("x-forwarded-user", "root")],
    ];
    for headers in all {
        tried(&format!("say {} itself", headers[0].0), ask(host, "/reflect", Method::Get, headers));
    }
}

/// Other repositories, other hosts.
fn elsewhere(host: &str, outside: &str, tried: &mut impl FnMut(&str, Outcome)) {
    let paths = [
        "/team/payroll.git/info/refs?service=git-upload-pack",
        "/team/payroll.git/info/refs?service=git-receive-pack",
        "/team/site.git/../payroll.git/info/refs?service=git-upload-pack",
        "/team/site.git/%2e%2e/payroll.git/info/refs?service=git-upload-pack",
        "/team/%70ayroll.git/info/refs?service=git-upload-pack",
        "//team/payroll.git/info/refs?service=git-upload-pack",
        "/team/site.git/objects/info/packs",
    ];
    for path in paths {
        tried(&format!("GET {path}"), ask(host, path, Method::Get, &[]));
    }
    let push = Method::Post("application/x-git-receive-pack-request");
    tried("push to another repository", ask(host, "/team/payroll.git/git-receive-pack", push, &[]));
    let port = host.rsplit(':').next().unwrap_or_default();
    for other in [outside.to_owned(), format!("http://127.0.0.1:{port}"), "http://169.254.169.254".to_owned()] {
        tried(&format!("ask {other}"), ask(&other, "/reflect", Method::Get, &[]));
    }
}

/// What may lie around in this process, and where something could be left.
fn lying_around(tried: &mut impl FnMut(&str, Outcome)) {
    let given = ["REPOSITORY_URL", "OUTSIDE"];
    let others = std::env::vars().filter(|(name, _)| !given.contains(&name.as_str()));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    tried("variables", some(&others));
    tried("arguments", some(&std::env::args().collect::<Vec<_>>()));
    for path in ["/etc/passwd", "/proc/self/environ", "/workspace/../../ambit.db", "/workspace/../ambit.db"] {
        tried(&format!("read {path}"), fs::read_to_string(path).map_err(|error| error.to_string()));
    }
    for folder in ["/", "/workspace/..", "/tmp"] {
        let names = fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect());
        tried(
            &format!("list {folder}"),
            names.map_err(|error| error.to_string()).and_then(|names: Vec<String>| some(&names)),
        );
    }
    for path in ["/kept", "/tmp/kept", "/workspace/../kept"] {
        let written = fs::write(path, "for the next task").map(|()| "written".to_owned());
        tried(&format!("write {path}"), written.map_err(|error| error.to_string()));
    }
}

fn some(all: &[String]) -> Outcome {
    if all.is_empty() { Err("there are none".to_owned()) } else { Ok(all.join(", ")) }
}
