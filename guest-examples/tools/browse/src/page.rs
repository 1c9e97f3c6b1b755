//! What a page says, and where it leads.

use std::borrow::Cow;

use text::bytes;
use text::html::{self, Link, Piece};
use web::Url;

/// How many links of a page are told.
const MOST_LINKS: usize = 500;

/// A page's content, by how it is written.
#[derive(Debug)]
pub enum Content<'a> {
    /// HTML.
    Html(Cow<'a, str>),
    /// Markdown.
    Markdown(Cow<'a, str>),
    /// Any other text.
    Plain(Cow<'a, str>),
}

/// What was read of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it calls itself.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Where it leads.
    pub links: Vec<String>,
}

impl<'a> Content<'a> {
    /// Content of this media type (RFC 9110, section 8.3.1).
    ///
    /// # Errors
    ///
    /// What it is, when it is no text.
    pub fn of(media_type: Option<&str>, body: &'a [u8]) -> Result<Self, String> {
        let essence = media_type.unwrap_or("text/plain").split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        if bytes::find(body, 0, 0).is_some() {
            return Err(format!("{essence} with zero bytes"));
        }
        let text = bytes::as_text(body);
        match essence.as_str() {
            "text/html" | "application/xhtml+xml" => Ok(Content::Html(text)),
            "text/markdown" | "text/x-markdown" => Ok(Content::Markdown(text)),
            "application/json" | "application/toml" => Ok(Content::Plain(text)),
            other if other.starts_with("text/") => Ok(Content::Plain(text)),
            other => Err(other.to_owned()),
        }
    }

    /// Reads it as the page at `url`.
    #[must_use]
    pub fn read(self, url: &Url) -> Reading {
        match self {
            Content::Html(page) => html(&page, url),
            Content::Markdown(page) => {
                let title = page.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
                let title = title.trim().to_owned();
                let links = complete(targets(&page).into_iter(), url, url);
                Reading { title, text: page.into_owned(), links }
            }
            Content::Plain(page) => Reading { title: String::new(), text: page.into_owned(), links: Vec::new() },
        }
    }
}

/// HTML as Markdown has it: `#` before headings, an empty line between blocks.
fn html(page: &str, url: &Url) -> Reading {
    let (mut title, mut text) = (String::new(), String::new());
    html::read(page, |piece| match piece {
        Piece::Title(words) => title.push_str(words),
        Piece::Heading { level, text: words, .. } => {
            gap(&mut text);
            text.extend(std::iter::repeat_n('#', usize::from(level)));
            text.extend([" ", words, "\n\n"]);
        }
        Piece::Line { text: words, .. } => text.extend([words, "\n"]),
        Piece::Gap => gap(&mut text),
    });
    text.truncate(text.trim_end().len());
    let (mut targets, mut base) = (Vec::new(), url.clone());
    html::links(page, |link| match link {
        Link::To(target) => targets.push(target),
        Link::Base(target) => base = url.join(&target).unwrap_or_else(|_| url.clone()),
    });
    Reading { title, text, links: complete(targets.iter().map(String::as_str), &base, url) }
}

/// Ends a block, unless one ended just now.
fn gap(text: &mut String) {
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
    }
}

/// The targets of Markdown's links: `[text](target "title")`, `[name]: target` and `<http://...>`, but in code.
fn targets(page: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        let bare = line.trim_start();
        if bare.starts_with("```") || bare.starts_with("~~~") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        if let Some((_, target)) = bare.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            targets.extend(target.split_whitespace().next());
        }
        // Every other piece stands between backticks.
        for piece in line.split('`').step_by(2) {
            let inline = piece.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            let bracketed = piece.split('<').skip(1).filter(|rest| rest.starts_with("http"));
            targets.extend(inline.chain(bracketed.filter_map(|rest| rest.split_once('>').map(|(target, _)| target))));
        }
        // The text of a link may be code, and so end with a backtick.
        let behind_code = line.split("`](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        targets.extend(behind_code);
    }
    targets
}

/// Complete addresses, each once, without the page itself.
fn complete<'a>(targets: impl Iterator<Item = &'a str>, base: &Url, own: &Url) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    for target in targets {
        let Ok(mut url) = base.join(target) else { continue };
        url.set_fragment(None);
        let link = url.to_string();
        if matches!(url.scheme(), "http" | "https") && url != *own && !links.contains(&link) {
            links.push(link);
        }
        if links.len() == MOST_LINKS {
            break;
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(media_type: &str, body: &str) -> Reading {
        let url = Url::parse("http://localhost:8801/docs/").unwrap();
        Content::of(Some(media_type), body.as_bytes()).unwrap().read(&url)
    }

    #[test]
    fn html_reads_as_markdown_would() {
        let page =
            "<title>The docs</title><h1>Grants</h1><p>One\n<p>Two<ul><li>a<li>b</ul><h2>More</h2><pre>x\n  y</pre>";
        let reading = reading("text/html", page);
        assert_eq!(reading.title, "The docs");
        assert_eq!(reading.text, "# Grants\n\nOne\n\nTwo\n\na\nb\n\n## More\n\nx\n  y");
    }

    #[test]
    fn links_are_complete_and_told_once() {
        let page = "<a href=a.html#x><a href=a.html><a href=/b><a href=//c.example/d><a href='../../e?f=1'>\
            <a href=mailto:me@here><a href='#top'><a href=javascript:x()><a href='http://[bad'>";
        let expected = [
            "http://localhost:8801/docs/a.html",
            "http://localhost:8801/b",
            "http://c.example/d",
            "http://localhost:8801/e?f=1",
        ];
        assert_eq!(reading("text/html", page).links, expected);
        let based = "<base href='http://other.example/x/'><a href=a>";
        assert_eq!(reading("text/html", based).links, ["http://other.example/x/a"]);
    }

    #[test]
    fn markdown_stays_as_it_is() {
        let page = "Above\n# The *title*\n\nSee [a](a.md#x \"A\"), [`b`](b.md), <http://c.example/>, `[no](no.md)`.\n\n\
            ```\n[no](no.md)\n```\n[d]: d.md\n";
        let reading = reading("text/markdown; charset=utf-8", page);
        assert_eq!((reading.title.as_str(), reading.text.as_str()), ("The *title*", page));
        let mut links = reading.links;
        links.sort();
        let docs = |name: &str| format!("http://localhost:8801/docs/{name}");
        assert_eq!(links, ["http://c.example/".to_owned(), docs("a.md"), docs("b.md"), docs("d.md")]);
    }

    #[test]
    fn what_is_no_text_is_named() {
        assert_eq!(Content::of(Some("Image/PNG"), b"x").unwrap_err(), "image/png");
        assert_eq!(Content::of(None, b"a\0b").unwrap_err(), "text/plain with zero bytes");
        assert!(matches!(Content::of(None, b"text"), Ok(Content::Plain(_))));
        assert!(matches!(Content::of(Some("TEXT/x-rust"), b"fn"), Ok(Content::Plain(_))));
    }
}
