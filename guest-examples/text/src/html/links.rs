//! Where a page leads: the addresses of its `a` and `area` elements, and the `base` that they are relative to.

use super::references::decode;
use super::{SCRIPT, STYLE, TEMPLATE, TEXTAREA, find_sequence, hidden_end, tag_end, tag_name};
use crate::bytes;

/// An address in a page, as it is written there.
#[derive(Debug, PartialEq, Eq)]
pub enum Link {
    /// Leads to another page, or to another place in this one.
    To(String),
    /// What others are relative to, instead of the page's own address.
    Base(String),
}

/// The longest character reference, in bytes.
const LONGEST_REFERENCE: usize = 32;

/// Hands the links of a page to `emit`, those in its navigation as well.
pub fn links(html: &str, mut emit: impl FnMut(Link)) {
    let page = html.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes::find(page, at, b'<') {
        at = start + 1;
        if page[start..].starts_with(b"<!--") {
            at = find_sequence(page, start + 4, b"-->").unwrap_or(page.len());
            continue;
        }
        if !page.get(at).is_some_and(u8::is_ascii_alphabetic) {
            continue;
        }
        let Some((end, _)) = tag_end(page, start) else { continue };
        let (name, length) = tag_name(&page[at..end]);
        let tag = &page[at..at + length];
        let link: Option<fn(String) -> Link> = match () {
            () if tag.eq_ignore_ascii_case(b"a") || tag.eq_ignore_ascii_case(b"area") => Some(Link::To),
            () if tag.eq_ignore_ascii_case(b"base") => Some(Link::Base),
            () => None,
        };
        if let Some((link, href)) = link.zip(href(&html[at + length..end - 1])) {
            emit(link(decoded(href.trim())));
        }
        let hidden = matches!(name, SCRIPT | STYLE | TEXTAREA | TEMPLATE);
        at = if hidden { hidden_end(page, end, tag).unwrap_or(end) } else { end };
    }
}

/// The value of `href` among the attributes of a tag (HTML, section 13.1.2.3).
fn href(attributes: &str) -> Option<&str> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '/');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|letter: char| letter.is_ascii_whitespace() || letter == '=').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end.max(1));
        let Some(value) = behind.trim_ascii_start().strip_prefix('=') else {
            rest = behind;
            continue;
        };
        let value = value.trim_ascii_start();
        let (value, behind) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote)?,
            _ => value.split_at(value.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case("href") {
            return Some(value);
        }
        rest = behind;
    }
}

/// A value with its character references decoded.
fn decoded(value: &str) -> String {
    let mut whole = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        whole.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let head = &rest.as_bytes()[..rest.len().min(LONGEST_REFERENCE)];
        let end = head.iter().position(|byte| *byte == b';');
        match end.and_then(|end| Some((end, decode(&head[..end])?))) {
            Some((end, letter)) => {
                whole.push(letter);
                rest = &rest[end + 1..];
            }
            None => whole.push('&'),
        }
    }
    whole + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> String {
        let mut all = Vec::new();
        links(html, |link| {
            all.push(match link {
                Link::To(target) => target,
                Link::Base(target) => format!("base {target}"),
            });
        });
        all.join(" ")
    }

    #[test]
    fn links_are_found_in_all_their_forms() {
        let html = "<base href='/docs/'><nav><a class=x HREF = \"a.html?b=1&amp;c=2\">a</a></nav>\
            <a\nhref=b.html id=b>b</a><a href=' c.html '/><AREA href=\"d.html\"/><a name=\"e\">no</a>";
        assert_eq!(found(html), "base /docs/ a.html?b=1&c=2 b.html c.html d.html");
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let html = "<!-- <a href=\"a\"> --><script>'<a href=\"b\">'</script><abbr href=\"c\"></a href=\"d\">\
            <a data-href=\"e\">1 < 2 <a title=\"href='f'\">";
        assert_eq!(found(html), "");
    }

    #[test]
    fn broken_pages_end_as_well() {
        for html in
            ["<", "<a", "<a href", "<a href=", "<a href=>", "<a href=\">", "<a =>", "<a href='x", "<!--", "<a /=/ >"]
        {
            found(html);
        }
        assert_eq!(found("<a href=\"&\">&<a href=\"&#x41;&no;\">"), "& A&no;");
    }
}
