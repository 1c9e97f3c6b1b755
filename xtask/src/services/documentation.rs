//! A folder of documents as a web server shows it, and one page beside it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use axum::Router;
use axum::handler::HandlerWithoutStateExt as _;
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use tower_http::services::ServeDir;

/// How many folders may lie in each other.
const DEEPEST: usize = 8;

/// What stands at `/admin`.
const ADMIN: &str = "<title>Admin</title><p>The keys of the house lie under the third flower pot.";

pub(super) fn router(folder: &Path) -> Router {
    let listed = folder.to_path_buf();
    let otherwise = move |uri: Uri| async move { list(&uri, &listed) };
    let documents = ServeDir::new(folder).fallback(otherwise.into_service());
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .nest_service("/docs/", documents)
        .route("/admin", get(|| async { Html(ADMIN) }))
}

/// The list of all documents, where the folder itself has no page.
fn list(uri: &Uri, folder: &Path) -> Response {
    if uri.path() != "/" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut files = Vec::new();
    if let Err(error) = collect(folder, Path::new(""), DEEPEST, &mut files) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    files.sort();
    let mut page = "<!DOCTYPE html>\n<title>Documents</title>\n<h1>Documents</h1>\n<ul>\n".to_owned();
    for file in files {
        // Writing to a text cannot fail.
        let _ = writeln!(page, "<li><a href=\"{}\">{}</a></li>", address(&file), escaped(&file));
    }
    Html(page + "</ul>\n").into_response()
}

fn collect(folder: &Path, below: &Path, deepest: usize, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        let path = below.join(name);
        if kind.is_dir() && deepest > 0 {
            collect(folder, &path, deepest - 1, files)?;
        } else if kind.is_file() {
            files.extend(path.into_os_string().into_string());
        }
    }
    Ok(())
}

/// A relative path as the address of a link has it (RFC 3986, section 2).
fn address(path: &str) -> String {
    path.bytes().fold(String::new(), |mut address, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            address.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(address, "%{byte:02X}");
        }
        address
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
