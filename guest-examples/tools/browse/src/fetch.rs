//! From an address to a page, over redirections.

use web::{Method, Request, Response, Url, Web};

use crate::page::{self, Content};

/// The longest answer that is read, in bytes.
pub const LARGEST: usize = 2 << 20;

/// How often a page may send on to another.
const REDIRECTS: usize = 5;

/// What is asked for, best first.
const ACCEPT: &str = "text/markdown, text/html;q=0.9, text/*;q=0.8";

/// A page that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it is, in the end.
    pub url: String,
    /// The status.
    pub status: u16,
    /// What it calls itself.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Where it leads.
    pub links: Vec<String>,
}

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no address of a page.
    BadUrl(String),
    /// This address may not be read.
    Refused(String),
    /// No answer came.
    Unreachable(String),
    /// The answer is longer than [`LARGEST`], or than the host lets through.
    TooLarge,
    /// It is no text, but this.
    NotText(String),
    /// The server has no such page, for instance.
    Status(u16),
    /// It was sent on too often.
    TooManyRedirects,
}

/// Reads the page at an address.
///
/// # Errors
///
/// See [`Error`].
pub fn read(web: &impl Web, url: &str) -> Result<Page, Error> {
    let mut url = address(Url::parse(url).map_err(|error| error.to_string())).map_err(Error::BadUrl)?;
    for _ in 0..=REDIRECTS {
        let request = Request {
            method: Method::Get,
            url: url.clone(),
            body: Vec::new(),
            accept: ACCEPT,
            headers: &[],
            largest: LARGEST,
        };
        let response = web.send(&request).map_err(|error| told(error, &url))?;
        match (response.status, &response.location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                let next = url.join(location).map_err(|error| error.to_string());
                url = address(next).map_err(|why| Error::BadUrl(format!("`{url}` sends on to `{location}`: {why}")))?;
            }
            (200..=299, _) => return page(&url, &response),
            (status, _) => return Err(Error::Status(status)),
        }
    }
    Err(Error::TooManyRedirects)
}

/// An address to ask for. A name and a password in it would be sent to the server, so it is none.
fn address(url: Result<Url, String>) -> Result<Url, String> {
    let mut url = url?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is neither http nor https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a name or a password in it".to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

fn page(url: &Url, response: &Response) -> Result<Page, Error> {
    let content = Content::of(response.media_type.as_deref(), &response.body).map_err(Error::NotText)?;
    let page::Reading { title, text, links } = content.read(url);
    Ok(Page { url: url.to_string(), status: response.status, title, text, links })
}

fn told(error: web::Error, url: &Url) -> Error {
    match error {
        web::Error::Refused => Error::Refused(url.to_string()),
        web::Error::BadUrl => Error::BadUrl(url.to_string()),
        web::Error::TooLarge => Error::TooLarge,
        web::Error::Unreachable(why) => Error::Unreachable(why),
    }
}

#[cfg(test)]
mod tests {
    use web::Script;

    use super::*;

    fn html(status: u16, location: Option<&str>, body: &str) -> Response {
        Response {
            status,
            media_type: Some("text/html; charset=utf-8".to_owned()),
            location: location.map(str::to_owned),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_page_is_read_where_it_leads_to() {
        let script = Script::new(|request: &Request| match request.url.path() {
            "/docs" => Ok(html(308, Some("/docs/"), "")),
            _ => Ok(html(200, None, "<title>Docs</title><p>Read <a href=grants.html#x>this</a>")),
        });
        let page = read(&script, "http://LOCALHOST:80/a/../docs#part").unwrap();
        assert_eq!(
            (page.url.as_str(), page.status, page.title.as_str(), page.text.as_str()),
            ("http://localhost/docs/", 200, "Docs", "Read this")
        );
        assert_eq!(page.links, ["http://localhost/docs/grants.html"]);
        assert_eq!(script.asked(), ["GET http://localhost/docs", "GET http://localhost/docs/"]);
    }

    #[test]
    fn what_is_no_address_is_not_asked_for() {
        let script = Script::new(|_: &Request| Ok(html(302, Some("file:///etc/passwd"), "")));
        for url in ["", "docs", "file:///etc/passwd", "ftp://localhost/", "http://", "http://me:secret@localhost/"] {
            assert!(matches!(read(&script, url), Err(Error::BadUrl(_))), "{url}");
        }
        assert!(script.asked().is_empty());
        assert!(matches!(read(&script, "http://localhost/"), Err(Error::BadUrl(_))));
        assert_eq!(script.asked().len(), 1);
    }

    #[test]
    fn what_goes_wrong_has_a_kind() {
        let answered = |answer: Result<Response, web::Error>| {
            read(&Script::new(move |_: &Request| answer.clone()), "http://localhost/a").unwrap_err()
        };
        assert_eq!(answered(Ok(html(404, None, ""))), Error::Status(404));
        assert_eq!(answered(Ok(html(304, None, ""))), Error::Status(304));
        assert_eq!(answered(Ok(html(302, Some("/b"), ""))), Error::TooManyRedirects);
        assert_eq!(answered(Err(web::Error::Refused)), Error::Refused("http://localhost/a".to_owned()));
        assert_eq!(answered(Err(web::Error::TooLarge)), Error::TooLarge);
        let gone = "ConnectionRefused".to_owned();
        assert_eq!(answered(Err(web::Error::Unreachable(gone.clone()))), Error::Unreachable(gone));
        let picture = Response { media_type: Some("image/png".to_owned()), ..html(200, None, "x") };
        assert_eq!(answered(Ok(picture)), Error::NotText("image/png".to_owned()));
    }
}
