//! The repository host: Git's own `git http-backend` behind HTTP, for whoever is admitted.
//!
//! Two bare repositories lie in its folder, made when they are not there: `team/site.git`, with a few pages, and
//! `team/payroll.git`, which no developer of pages has anything to do with. `/reflect` says what it was asked with, credential and
//! all.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Error;
use super::admission::Admission;

/// The longest request, in bytes.
const LONGEST: usize = 64 << 20;

struct Shared {
    folder: PathBuf,
    admission: Admission,
}

pub(super) fn router(folder: &Path, admission: Admission) -> Result<Router, Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.to_path_buf(), source })?;
    let folder = folder.canonicalize().map_err(|source| Error::Folder { path: folder.to_path_buf(), source })?;
    make(&folder.join("team/site.git"), &pages())?;
    let salaries = [("salaries.json".to_owned(), "{ \"everybody\": \"a lot\" }\n".to_owned())];
    make(&folder.join("team/payroll.git"), &salaries)?;
    let shared = Arc::new(Shared { folder, admission });
    Ok(Router::new().fallback(answer).layer(DefaultBodyLimit::max(LONGEST)).with_state(shared))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let user = match shared.admission.admit(&headers) {
        Ok(user) => user,
        Err(stranger) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"repositories\"")];
            return (StatusCode::UNAUTHORIZED, challenge, format!("{stranger}\n")).into_response();
        }
    };
    if uri.path() == "/reflect" {
        // What hosts have for whoever looks for a mistake, and should not.
        return format!("{user} asked with {}\n", of(&headers, "authorization")).into_response();
    }
    let mut backend = git();
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", &shared.folder).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method.as_str()).env("PATH_INFO", uri.path()).env("REMOTE_USER", user);
    backend.env("QUERY_STRING", uri.query().unwrap_or_default()).env("REMOTE_ADDR", "127.0.0.1");
    backend.env("CONTENT_LENGTH", body.len().to_string());
    backend.env("CONTENT_TYPE", of(&headers, "content-type")).env("GIT_PROTOCOL", of(&headers, "git-protocol"));
    backend.env("HTTP_CONTENT_ENCODING", of(&headers, "content-encoding"));
    // It works as long as it works: meanwhile others are answered.
    let said = tokio::task::spawn_blocking(move || run(&mut backend, &body)).await;
    match said.map_err(io::Error::other).and_then(|said| said).and_then(|said| response(&said)) {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn of(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// What a CGI program said, as an answer (RFC 3875, section 6).
fn response(said: &[u8]) -> io::Result<Response> {
    let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::other("`git http-backend` said nothing"))?;
    let head = std::str::from_utf8(&said[..end]).map_err(io::Error::other)?;
    let mut response = Response::new(Body::from(said[end + 4..].to_vec()));
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("status") {
            let status = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).map_err(io::Error::other)?;
        } else {
            let name = header::HeaderName::try_from(name).map_err(io::Error::other)?;
            response.headers_mut().append(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
        }
    }
    Ok(response)
}

/// Git, whatever the machine's configuration of it says.
fn git() -> Command {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a program on an input, and gives what it says.
fn run(command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|threads| {
        // It may stop reading before the end, and says why itself.
        threads.spawn(|| stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Makes a bare repository with one commit of some files on the branch `main`, unless it is there.
fn make(folder: &Path, files: &[(String, String)]) -> Result<(), Error> {
    if folder.exists() {
        return Ok(());
    }
    let error = |source| Error::Git { path: folder.to_path_buf(), source };
    run(git().args(["init", "--quiet", "--bare", "--initial-branch", "main"]).arg(folder), b"").map_err(error)?;
    let head = "commit refs/heads/main\ncommitter House <house@localhost> 1700000000 +0000\ndata 5\nBegin\n";
    let file = |(path, text): &(String, String)| format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
    let import = std::iter::once(head.to_owned()).chain(files.iter().map(file)).collect::<String>();
    run(git().arg("-C").arg(folder).args(["fast-import", "--quiet"]), import.as_bytes()).map_err(error)?;
    Ok(())
}

/// A few pages. Two are long and much alike, so that Git sends one as a delta of the other.
fn pages() -> Vec<(String, String)> {
    let terms = |year: u32| {
        let clause =
            |number| format!("{number}. What is agreed in clause {number} of {year} is agreed until it is changed.\n");
        format!(
            "# Terms of {year}\n\n{}",
            (1..=200).map(clause).collect::<String>().replace(&format!("of {year} is"), "is")
        )
    };
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    vec![
        file("README.md", "# The site\n\nPages in `pages/`, settings in `config/site.json`.\n"),
        file(
            "config/site.json",
            "{\n  \"title\": \"Our site\",\n  \"contact\": \"office@example.net\",\n  \"items-per-page\": 10\n}\n",
        ),
        file("pages/opening-hours.md", "# Opening hours\n\nMonday to Friday, 9 to 17 o'clock.\n"),
        ("pages/terms-2024.md".to_owned(), terms(2024)),
        ("pages/terms.md".to_owned(), terms(2025)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Service, Talk};
    use super::*;

    fn git_says(arguments: &[&str]) -> Result<String, String> {
        let mut command = git();
        command.args(arguments).env("GIT_TERMINAL_PROMPT", "0");
        run(&mut command, b"").map(|said| String::from_utf8(said).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn git_itself_clones_and_pushes_with_the_credential_and_not_without() {
        let folder = tempfile::tempdir().unwrap();
        let (host, clone) = (folder.path().join("host"), folder.path().join("clone"));
        let service = Service::repository(&host, 0, Admission::Token("hunter22".to_owned()), Talk::Quiet).unwrap();
        let (url, clone) = (format!("{}/team/site.git", service.url()), clone.to_str().unwrap());
        assert!(git_says(&["clone", "--quiet", &url, clone]).is_err());
        let header = "http.extraHeader=Authorization: Bearer hunter22";
        git_says(&["-c", header, "clone", "--quiet", "--depth", "1", &url, clone]).unwrap();
        assert!(std::fs::read_to_string(Path::new(clone).join("pages/terms.md")).unwrap().len() > 10_000);
        git_says(&["-C", clone, "-c", header, "push", "--quiet", "origin", "main:refs/heads/other"]).unwrap();
        let bare = host.join("team/site.git");
        assert!(git_says(&["-C", bare.to_str().unwrap(), "branch"]).unwrap().contains("other"));
        let borne = service.authorizations();
        assert!(
            borne.iter().any(String::is_empty) && borne.iter().any(|value| value == "Bearer hunter22"),
            "{borne:?}"
        );
        drop(service);
        // What is there stays there.
        Service::repository(&host, 0, Admission::Token("other".to_owned()), Talk::Quiet).unwrap();
        assert!(git_says(&["-C", bare.to_str().unwrap(), "branch"]).unwrap().contains("other"));
    }
}
