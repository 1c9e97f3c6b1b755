//! Takes lines out of a file's content.

use text::html::{self, Piece};

/// The largest file that is quoted from, in bytes.
pub const LARGEST: u64 = 8 << 20;

/// The longest quote, in bytes.
pub const LONGEST: u32 = 64 << 10;

/// Lines of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Passage {
    /// The first line, from 1.
    pub first: u32,
    /// The last line.
    pub last: u32,
    /// How many lines the file has.
    pub total_lines: u32,
    /// Whether this is HTML without its markup.
    pub markup_removed: bool,
    /// The lines, without the end of the last one.
    pub text: String,
}

/// Why a content has no such passage.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not text in UTF-8.
    NotText,
    /// The first line is 0 or behind the last.
    BadRange,
    /// It has only so many lines.
    OutOfRange(u32),
    /// The passage has more than so many bytes.
    TooLong(u32),
}

/// Takes the lines `first` to `last` of a file.
///
/// # Errors
///
/// See [`Error`].
pub fn passage(name: &str, content: Vec<u8>, first: u32, last: u32) -> Result<Passage, Error> {
    if first == 0 || first > last {
        return Err(Error::BadRange);
    }
    let content = String::from_utf8(content).map_err(|_| Error::NotText)?;
    let total_lines = u32::try_from(content.lines().count()).map_err(|_| Error::NotText)?;
    if first > total_lines {
        return Err(Error::OutOfRange(total_lines));
    }
    let last = last.min(total_lines);
    let markup_removed = is_html(name);
    let text = if markup_removed { readable(&content, first, last) } else { exact(&content, first, last).to_owned() };
    if text.len() > LONGEST as usize {
        return Err(Error::TooLong(LONGEST));
    }
    Ok(Passage { first, last, total_lines, markup_removed, text })
}

fn is_html(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["html", "htm", "xhtml"].iter().any(|html| extension.eq_ignore_ascii_case(html))
}

/// The bytes from the start of `first` to the end of `last`.
fn exact(content: &str, first: u32, last: u32) -> &str {
    let (mut start, mut end, mut at) = (content.len(), content.len(), 0);
    for (line, number) in content.split_inclusive('\n').zip(1..) {
        if number == first {
            start = at;
        }
        at += line.len();
        if number == last {
            end = at;
            break;
        }
    }
    let lines = &content[start..end];
    let lines = lines.strip_suffix('\n').unwrap_or(lines);
    lines.strip_suffix('\r').unwrap_or(lines)
}

/// What a reader sees of the lines `first` to `last` of a page.
fn readable(content: &str, first: u32, last: u32) -> String {
    let mut shown = String::new();
    html::read(content, |piece| {
        let (text, line) = match piece {
            Piece::Heading { text, line, .. } | Piece::Line { text, line } => (text, line),
            Piece::Title(_) | Piece::Gap => return,
        };
        if (first..=last).contains(&line) {
            if !shown.is_empty() {
                shown.push('\n');
            }
            shown.push_str(text);
        }
    });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, content: &str, first: u32, last: u32) -> Result<(u32, String), Error> {
        passage(name, content.as_bytes().to_vec(), first, last).map(|passage| (passage.last, passage.text))
    }

    #[test]
    fn lines_are_quoted_byte_for_byte() {
        let content = "one\n  two \r\n\tthree\n\nfive";
        assert_eq!(text("a.md", content, 1, 1), Ok((1, "one".to_owned())));
        assert_eq!(text("a.md", content, 2, 2), Ok((2, "  two ".to_owned())));
        assert_eq!(text("a.md", content, 2, 4), Ok((4, "  two \r\n\tthree\n".to_owned())));
        assert_eq!(text("a.md", content, 5, 5), Ok((5, "five".to_owned())));
        assert_eq!(text("a.md", content, 3, u32::MAX), Ok((5, "\tthree\n\nfive".to_owned())));
        assert_eq!(text("a.md", "one\n", 1, 2), Ok((1, "one".to_owned())));
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        assert_eq!(text("a.md", "one", 0, 1), Err(Error::BadRange));
        assert_eq!(text("a.md", "one", 2, 1), Err(Error::BadRange));
        assert_eq!(text("a.md", "one\ntwo\n", 3, 3), Err(Error::OutOfRange(2)));
        assert_eq!(text("a.md", "", 1, 1), Err(Error::OutOfRange(0)));
    }

    #[test]
    fn a_quote_is_bounded() {
        let longest = "x".repeat(LONGEST as usize);
        assert_eq!(text("a.md", &longest, 1, 1), Ok((1, longest.clone())));
        assert_eq!(text("a.md", &format!("{longest}x"), 1, 1), Err(Error::TooLong(LONGEST)));
    }

    #[test]
    fn html_is_quoted_as_it_reads() {
        let page = "<title>T</title>\n<h1>Grants</h1>\n<p>A <b>grant</b>\nis &lt;this&gt;</p><p>x</p>\n";
        let passage = passage("a.HTML", page.as_bytes().to_vec(), 2, 4).unwrap();
        assert!(passage.markup_removed);
        assert_eq!(passage.text, "Grants\nA grant\nis <this>\nx");
    }

    #[test]
    fn what_is_not_utf8_is_not_quoted() {
        assert_eq!(passage("a.md", b"caf\xe9".to_vec(), 1, 1), Err(Error::NotText));
    }
}
