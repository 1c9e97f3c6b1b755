//! Cuts a document into passages: what is ranked, and what is cited.
//!
//! A heading begins a passage; so does a blank line or the end of a block, once the passage is long enough. Each knows
//! the headings above it. Cutting the same bytes again gives the same passages, so that a passage is known by its number
//! in its document, and its text need not be kept.

use text::bytes;
use text::html::{self, Piece};

/// The longest passage, in bytes.
pub const LONGEST: usize = 2_000;

/// From this length on, in bytes, a passage ends with its paragraph.
const ENOUGH: usize = 600;

/// Lines beyond this length, in bytes, are data that a program wrote; they are left out, but in HTML.
const LONGEST_LINE: usize = 8_192;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `CommonMark` or a relative of it.
    Markdown,
    /// HTML.
    Html,
    /// Anything else that is text.
    Plain,
}

impl Format {
    /// The format that a file's name promises, or nothing when it promises no text.
    #[must_use]
    pub fn of(name: &str) -> Option<Format> {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        match extension.as_str() {
            "md" | "markdown" | "mdx" => Some(Format::Markdown),
            "html" | "htm" | "xhtml" => Some(Format::Html),
            "png" | "jpg" | "jpeg" | "gif" | "ico" | "webp" | "avif" | "bmp" | "svg" | "woff" | "woff2" | "ttf"
            | "otf" | "eot" | "pdf" | "zip" | "gz" | "tgz" | "xz" | "zst" | "bz2" | "7z" | "tar" | "jar" | "wasm"
            | "a" | "o" | "so" | "lib" | "dll" | "dylib" | "exe" | "pdb" | "rlib" | "rmeta" | "class" | "pyc"
            | "bin" | "dat" | "data" | "db" | "sqlite" | "mp3" | "mp4" | "ogg" | "webm" | "wav" | "flac" | "mov"
            | "map" | "lock" => None,
            _ => Some(Format::Plain),
        }
    }
}

/// A passage of a document, as it is cut.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// The titles above it, outermost first.
    pub heading: &'a str,
    /// Its first line, from 1.
    pub first: u32,
    /// Its last line.
    pub last: u32,
    /// Its text, at most [`LONGEST`] bytes.
    pub text: &'a str,
}

/// Hands the passages of a document to `emit`, in order.
pub fn cut(format: Format, document: &[u8], emit: impl FnMut(Passage<'_>)) {
    let mut cutter = Cutter::new(emit);
    let document = &*bytes::as_text(document);
    match format {
        Format::Html => html::read(document, |piece| match piece {
            Piece::Title(title) => cutter.title(title),
            Piece::Heading { level, text, line } => cutter.heading(level, text, line),
            Piece::Line { text, line } => cutter.line(text, line),
            Piece::Gap => cutter.gap(),
        }),
        Format::Markdown => markdown(document, &mut cutter),
        Format::Plain => lines(document, |text, line, _| match text {
            "" => cutter.gap(),
            _ => cutter.line(text, line),
        }),
    }
    cutter.end();
}

/// Hands each line to `take`, without the spaces at its end, with its number and the text below it.
fn lines(document: &str, mut take: impl FnMut(&str, u32, &str)) {
    let mut number = 0_u32;
    let mut rest = document;
    while !rest.is_empty() {
        let end = bytes::find(rest.as_bytes(), 0, b'\n').unwrap_or(rest.len());
        number = number.saturating_add(1);
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.len() <= LONGEST_LINE {
            take(line.trim_end(), number, rest);
        }
    }
}

fn markdown<F: FnMut(Passage<'_>)>(document: &str, cutter: &mut Cutter<F>) {
    let mut fence: Option<u8> = None;
    lines(document, |text, line, below| {
        let bare = text.trim_start();
        let mark = bare.bytes().next().unwrap_or_default();
        let fenced = bare.starts_with("```") || bare.starts_with("~~~");
        if fenced && fence.is_none_or(|open| open == mark) {
            fence = if fence.is_some() { None } else { Some(mark) };
            cutter.line(text, line);
        } else if fence.is_some() {
            // What is fenced stays together.
            cutter.line(text, line);
        } else if text.is_empty() {
            cutter.gap();
        } else if let Some((level, title)) = heading(bare) {
            cutter.heading(level, title, line);
        } else if let Some(level) = underlined(below) {
            cutter.heading(level, bare, line);
        } else {
            cutter.line(text, line);
        }
    });
}

/// The level and the text of a heading that begins with `#`.
fn heading(line: &str) -> Option<(u8, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    let text = title.trim().trim_end_matches('#').trim_end();
    let is = (1..=6).contains(&level) && title.starts_with([' ', '\t']) && !text.is_empty();
    is.then(|| (u8::try_from(level).unwrap_or(6), text))
}

/// The level of a heading that a line of `=` or `-` below makes of a line.
fn underlined(below: &str) -> Option<u8> {
    let below = below.as_bytes();
    if !matches!(below.first(), Some(b'=' | b'-')) {
        return None;
    }
    let line = below.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let mark = *line.first()?;
    let is = line.len() >= 3 && line.iter().all(|byte| *byte == mark);
    match mark {
        b'=' if is => Some(1),
        b'-' if is => Some(2),
        _ => None,
    }
}

/// Collects lines into passages.
struct Cutter<F> {
    emit: F,
    /// The headings that are open, with their levels; a page's title has level 0.
    open: Vec<(u8, String)>,
    /// The same, as one text.
    outline: String,
    text: String,
    first: u32,
    last: u32,
    /// Whether the passage has more than headings.
    body: bool,
}

/// The longest heading, in bytes; what is longer is cut off.
const LONGEST_HEADING: usize = 160;

impl<F: FnMut(Passage<'_>)> Cutter<F> {
    fn new(emit: F) -> Self {
        let (open, outline) = (Vec::new(), String::new());
        Cutter { emit, open, outline, text: String::new(), first: 1, last: 1, body: false }
    }

    fn title(&mut self, title: &str) {
        self.enter(0, title);
    }

    fn heading(&mut self, level: u8, title: &str, line: u32) {
        if self.body {
            self.end();
        }
        self.enter(level, title);
        self.add(title, line);
    }

    fn enter(&mut self, level: u8, title: &str) {
        self.open.retain(|(other, _)| *other < level);
        let cut = title.floor_char_boundary(LONGEST_HEADING);
        self.open.push((level, title[..cut].to_owned()));
        self.outline.clear();
        for (_, title) in &self.open {
            if !self.outline.is_empty() {
                self.outline.push_str(" > ");
            }
            self.outline.push_str(title);
        }
    }

    fn line(&mut self, mut text: &str, line: u32) {
        while text.len() > LONGEST {
            let (piece, rest) = text.split_at(end_of_sentence(text));
            self.add(piece.trim_end(), line);
            self.body = true;
            text = rest.trim_start();
        }
        if !text.is_empty() {
            self.add(text, line);
            self.body = true;
        }
    }

    fn add(&mut self, text: &str, line: u32) {
        if self.text.len() + 1 + text.len() > LONGEST {
            self.end();
        }
        if self.text.is_empty() {
            self.first = line;
        } else {
            self.text.push('\n');
        }
        self.text.push_str(&text[..text.floor_char_boundary(LONGEST)]);
        self.last = line;
    }

    fn gap(&mut self) {
        if self.body && self.text.len() >= ENOUGH {
            self.end();
        }
    }

    fn end(&mut self) {
        if !self.text.is_empty() {
            let (heading, text) = (self.outline.as_str(), self.text.as_str());
            (self.emit)(Passage { heading, first: self.first, last: self.last, text });
            self.text.clear();
        }
        self.body = false;
    }
}

/// Where to cut a text that is too long: behind a sentence, else behind a word, else anywhere.
fn end_of_sentence(text: &str) -> usize {
    let head = &text[..text.floor_char_boundary(LONGEST - 1)];
    let sentence = head.rfind(". ").map(|at| at + 1).filter(|at| *at > LONGEST / 4);
    sentence.or_else(|| head.rfind(' ')).filter(|at| *at > 0).unwrap_or(head.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_up(format: Format, document: &str) -> Vec<(String, u32, u32, String)> {
        let mut all = Vec::new();
        cut(format, document.as_bytes(), |passage| {
            assert!(passage.text.len() <= LONGEST && passage.first <= passage.last);
            all.push((passage.heading.to_owned(), passage.first, passage.last, passage.text.to_owned()));
        });
        all
    }

    fn passage(heading: &str, first: u32, last: u32, text: &str) -> (String, u32, u32, String) {
        (heading.to_owned(), first, last, text.to_owned())
    }

    #[test]
    fn headings_begin_passages_and_stand_above_them() {
        let document = "Intro.\n\n# Grants\n\n## Folders ##\nA folder\nis granted.\n\nSo it is.\n\n## Hosts\nNone.\n# State\nKept.\n";
        assert_eq!(
            cut_up(Format::Markdown, document),
            [
                passage("", 1, 1, "Intro."),
                passage("Grants > Folders", 3, 9, "Grants\nFolders\nA folder\nis granted.\nSo it is."),
                passage("Grants > Hosts", 11, 12, "Hosts\nNone."),
                passage("State", 13, 14, "State\nKept."),
            ]
        );
    }

    #[test]
    fn underlined_lines_are_headings_and_code_has_none() {
        let document = "One\n===\ntext\n\nTwo\n---\n```sh\n# no heading\n```\n#hashtag\n";
        assert_eq!(
            cut_up(Format::Markdown, document),
            [
                passage("One", 1, 3, "One\n===\ntext"),
                passage("One > Two", 5, 10, "Two\n---\n```sh\n# no heading\n```\n#hashtag"),
            ]
        );
    }

    #[test]
    fn paragraphs_are_gathered_until_there_is_enough() {
        let paragraph = format!("{}\n\n", "word ".repeat(50).trim_end());
        let all = cut_up(Format::Plain, &paragraph.repeat(6));
        assert_eq!(all.iter().map(|passage| (passage.1, passage.2)).collect::<Vec<_>>(), [(1, 5), (7, 11)]);
    }

    #[test]
    fn long_texts_are_cut_behind_sentences_and_data_is_left_out() {
        let page = format!("<title>T</title><p>{}</p>", "A sentence of some words. ".repeat(500));
        let all = cut_up(Format::Html, &page);
        assert!(all.len() > 5);
        assert!(all.iter().all(|(heading, first, last, text)| {
            heading == "T" && (*first, *last) == (1, 1) && text.starts_with("A ") && text.ends_with("words.")
        }));
        assert_eq!(cut_up(Format::Plain, &"x".repeat(LONGEST_LINE + 1)), []);
        assert!(cut_up(Format::Plain, &"\u{e9}".repeat(LONGEST_LINE / 2)).len() >= 4);
    }

    #[test]
    fn html_keeps_its_lines() {
        let page = "<html><title>Page</title>\n<h2>Part</h2>\n<p>one</p>\n<p>two</p></html>";
        assert_eq!(cut_up(Format::Html, page), [passage("Page > Part", 2, 4, "Part\none\ntwo")]);
    }

    #[test]
    fn what_is_not_utf8_is_still_read() {
        let mut all = String::new();
        cut(Format::Plain, b"caf\xe9 ol\xe9\n\xff", |passage| all.push_str(passage.text));
        assert_eq!(all, "caf\u{fffd} ol\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn names_tell_formats() {
        assert_eq!(Format::of("a/README.md"), Some(Format::Markdown));
        assert_eq!(Format::of("index.HTML"), Some(Format::Html));
        assert_eq!(Format::of("Makefile"), Some(Format::Plain));
        assert_eq!(Format::of("main.rs"), Some(Format::Plain));
        assert_eq!(Format::of("logo.png"), None);
    }
}
