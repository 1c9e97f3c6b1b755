//! Reads HTML as a person does: without markup, scripts and navigation, but with the line numbers of its source.
//!
//! This is no conforming parser and builds no tree: one pass over the bytes, which cannot fail. Elements are told apart
//! only as far as it matters here:
//!
//! | elements | become |
//! | --- | --- |
//! | `title` | the page's title |
//! | `h1` to `h6` | headings |
//! | blocks (`p`, `div`, `table`, ...) | an end of the line and a gap |
//! | rows and list items (`li`, `tr`, `br`, ...) | an end of the line |
//! | `script`, `style`, `nav`, `svg`, `button`, ... | nothing |
//! | all others | nothing between the letters around them |
//!
//! A page that only sends its reader elsewhere (`http-equiv="refresh"`) reads as empty.

mod links;
mod references;

use crate::bytes::{self, LANES, Lanes};
pub use links::{Link, links};
use references::decode;

/// A part of a page, in the order of its source. Lines count from 1.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What the page calls itself.
    Title(&'a str),
    /// A heading of level 1 to 6.
    Heading {
        /// 1 to 6.
        level: u8,
        /// Its text, never empty.
        text: &'a str,
        /// The line where its text begins.
        line: u32,
    },
    /// What stands on one line of the source, or on a part of it.
    Line {
        /// Its text, never blank.
        text: &'a str,
        /// The line of the source.
        line: u32,
    },
    /// A block ends or begins. Several may follow each other.
    Gap,
}

/// How far into a page a redirection is looked for, in bytes.
const HEAD: usize = 1024;

/// The longest tag, in bytes: behind that, a `<` was no tag.
const LONGEST_TAG: usize = 1 << 18;

/// Hands the readable pieces of a page to `emit`.
pub fn read(html: &str, emit: impl FnMut(Piece<'_>)) {
    let bytes = html.as_bytes();
    let head = &bytes[..bytes.len().min(HEAD)];
    let refresh = b"http-equiv=\"refresh\"";
    if head.windows(refresh.len()).any(|window| window.eq_ignore_ascii_case(refresh)) {
        return;
    }
    let mut reader = Reader {
        html,
        bytes,
        at: 0,
        line: 1,
        run: String::new(),
        run_line: 1,
        heading: None,
        title: false,
        verbatim: 0,
        emit,
    };
    while reader.at < bytes.len() {
        if bytes[reader.at] == b'<' {
            reader.markup();
        } else {
            reader.text(bytes::find(bytes, reader.at, b'<').unwrap_or(bytes.len()));
        }
    }
    reader.end_line();
}

/// What the elements of a name do to the text around them.
enum Element {
    Inline,
    Cell,
    Line,
    Block,
    Verbatim,
    Heading(u8),
    Title,
    /// Its content is not text to read; the name is needed to find its end.
    Hidden,
}

/// A tag's name in lower case, as a number: its first eight letters, which tell all elements apart that matter.
type Name = u64;

const fn name(letters: &[u8]) -> Name {
    let mut name = 0;
    let mut at = 0;
    while at < letters.len() && at < 8 {
        name = name << 8 | letters[at].to_ascii_lowercase() as u64;
        at += 1;
    }
    name
}

/// Declares constants for names, which patterns need.
macro_rules! names {
    ($($constant:ident = $letters:literal),* $(,)?) => { $(const $constant: Name = name($letters.as_bytes());)* };
}

names! {
    P = "p", DIV = "div", SECTION = "section", ARTICLE = "article", MAIN = "main", HEADER = "header", FOOTER = "footer",
    ASIDE = "aside", BLOCKQUOTE = "blockquote", UL = "ul", OL = "ol", DL = "dl", TABLE = "table", DETAILS = "details",
    FIGURE = "figure", HR = "hr", BODY = "body", BR = "br", LI = "li", TR = "tr", DT = "dt", DD = "dd",
    SUMMARY = "summary", CAPTION = "caption", FIGCAPTION = "figcaption", OPTION = "option", TD = "td", TH = "th",
    PRE = "pre", H1 = "h1", H2 = "h2", H3 = "h3", H4 = "h4", H5 = "h5", H6 = "h6", TITLE = "title", SCRIPT = "script",
    STYLE = "style", NAV = "nav", SVG = "svg", TEMPLATE = "template", NOSCRIPT = "noscript", BUTTON = "button",
    SELECT = "select", TEXTAREA = "textarea", IFRAME = "iframe",
}

fn element(name: Name) -> Element {
    match name {
        P | DIV | SECTION | ARTICLE | MAIN | HEADER | FOOTER | ASIDE | BLOCKQUOTE | UL | OL | DL | TABLE | DETAILS
        | FIGURE | HR | BODY => Element::Block,
        BR | LI | TR | DT | DD | SUMMARY | CAPTION | FIGCAPTION | OPTION => Element::Line,
        TD | TH => Element::Cell,
        PRE => Element::Verbatim,
        H1 => Element::Heading(1),
        H2 => Element::Heading(2),
        H3 => Element::Heading(3),
        H4 => Element::Heading(4),
        H5 => Element::Heading(5),
        H6 => Element::Heading(6),
        TITLE => Element::Title,
        SCRIPT | STYLE | NAV | SVG | TEMPLATE | NOSCRIPT | BUTTON | SELECT | TEXTAREA | IFRAME => Element::Hidden,
        _ => Element::Inline,
    }
}

/// The name that a tag begins with, and how many letters it has.
fn tag_name(tag: &[u8]) -> (Name, usize) {
    let length = tag.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    (name(&tag[..length]), length)
}

struct Reader<'a, F> {
    html: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
    /// Text that was read and not emitted yet, and the line where it began.
    run: String,
    run_line: u32,
    heading: Option<u8>,
    title: bool,
    /// How many `pre` are open.
    verbatim: u32,
    emit: F,
}

impl<F: FnMut(Piece<'_>)> Reader<'_, F> {
    /// Takes the text up to `end`.
    fn text(&mut self, end: usize) {
        while self.at < end {
            let byte = self.bytes[self.at];
            self.at += 1;
            match byte {
                b'\n' => {
                    if self.heading.is_some() || self.title {
                        self.space();
                    } else {
                        self.end_line();
                    }
                    self.line += 1;
                }
                b' ' | b'\t' | b'\r' => self.space(),
                b'&' => self.entity(end),
                _ => {
                    let start = self.at - 1;
                    self.at = plain_end(&self.bytes[..end], self.at);
                    self.begin();
                    self.run.push_str(&self.html[start..self.at]);
                }
            }
        }
    }

    /// Notes where a line begins, when it does.
    fn begin(&mut self) {
        if self.run.is_empty() {
            self.run_line = self.line;
        }
    }

    fn letter(&mut self, letter: char) {
        self.begin();
        self.run.push(letter);
    }

    /// Spaces count one by one in `pre`, and once elsewhere; never at the start of a line outside `pre`.
    fn space(&mut self) {
        if self.verbatim > 0 || !matches!(self.run.as_bytes().last(), None | Some(b' ')) {
            self.letter(' ');
        }
    }

    /// Takes a character reference (HTML, section 13.5); what is none stays as it is.
    fn entity(&mut self, end: usize) {
        const LONGEST: usize = 32;
        let rest = &self.bytes[self.at..end.min(self.at + LONGEST)];
        let decoded = rest.iter().position(|byte| *byte == b';').and_then(|stop| Some((stop, decode(&rest[..stop])?)));
        match decoded {
            Some((stop, ' ')) => {
                self.at += stop + 1;
                self.space();
            }
            Some((stop, letter)) => {
                self.at += stop + 1;
                self.letter(letter);
            }
            None => self.letter('&'),
        }
    }

    /// Takes what begins with `<`.
    fn markup(&mut self) {
        let start = self.at;
        if self.bytes[start..].starts_with(b"<!--") {
            let end = find_sequence(self.bytes, start + 4, b"-->").map_or(self.bytes.len(), |end| end + 3);
            self.skip_to(end);
            return;
        }
        let next = self.bytes.get(start + 1).copied().unwrap_or_default();
        let begins = next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?');
        let Some((end, lines)) = Some(start).filter(|_| begins).and_then(|start| tag_end(self.bytes, start)) else {
            self.at += 1;
            self.letter('<');
            return;
        };
        self.at = end;
        let closing = next == b'/';
        let (name, length) = tag_name(&self.bytes[start + 1 + usize::from(closing)..end]);
        match element(name) {
            Element::Inline => {}
            Element::Cell => self.space(),
            Element::Line => self.end_line(),
            Element::Block => self.gap(),
            Element::Verbatim => {
                self.gap();
                self.verbatim = if closing { self.verbatim.saturating_sub(1) } else { self.verbatim + 1 };
            }
            Element::Heading(level) => {
                self.end_line();
                self.heading = (!closing).then_some(level);
            }
            Element::Title => {
                self.end_line();
                self.title = !closing;
            }
            Element::Hidden => {
                let empty = self.bytes[..end].ends_with(b"/>");
                if !closing
                    && !empty
                    && let Some(stop) = hidden_end(self.bytes, end, &self.bytes[start + 1..=start + length])
                {
                    self.skip_to(stop);
                }
            }
        }
        self.line = self.line.saturating_add(lines);
    }

    /// Goes on behind something that is not text.
    fn skip_to(&mut self, end: usize) {
        let lines = bytes::count(&self.bytes[self.at..end], b'\n');
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at = end;
    }

    fn gap(&mut self) {
        self.end_line();
        if self.heading.is_none() && !self.title {
            (self.emit)(Piece::Gap);
        }
    }

    /// Emits what was read since the last end of a line.
    fn end_line(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let text = self.run.trim_end();
        if self.title {
            (self.emit)(Piece::Title(text));
        } else if let Some(level) = self.heading {
            let text = text.trim_matches([' ', '\u{a7}', '\u{b6}', '#']);
            if !text.is_empty() {
                (self.emit)(Piece::Heading { level, text, line: self.run_line });
            }
        } else if !text.is_empty() {
            (self.emit)(Piece::Line { text, line: self.run_line });
        }
        self.run.clear();
    }
}

/// Where letters and single spaces end, looking from `from`.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn plain_end(text: &[u8], from: usize) -> usize {
    let special = |at: usize| match text[at] {
        b'\n' | b'\t' | b'\r' | b'&' => true,
        b' ' => text.get(at + 1).is_none_or(|next| *next == b' '),
        _ => false,
    };
    let mut at = from;
    while let Some(bytes) = text.get(at..=at + LANES) {
        let (Some(here), Some(behind)) = (bytes.first_chunk(), bytes[1..].first_chunk()) else { break };
        let (here, space) = (Lanes::of(here), Lanes::all(b' '));
        // From the tab to the carriage return are none but control characters.
        let special = here.within(b'\t', 5).or(here.equal(Lanes::all(b'&')));
        let spaces = here.equal(space).and(Lanes::of(behind).equal(space));
        let mask = special.or(spaces).mask();
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += LANES;
    }
    while at < text.len() && !special(at) {
        at += 1;
    }
    at
}

/// Where the tag that starts at `start` ends, behind its `>`, and how many lines end in it. A `>` in quotes does not count.
fn tag_end(html: &[u8], start: usize) -> Option<(usize, u32)> {
    let declaration = html[start + 1] == b'!';
    let mut seen = Quotes::default();
    let mut from = start;
    loop {
        from = seen.up_to_bracket(html, from)?;
        if from - start > LONGEST_TAG {
            return None;
        }
        let open = match (seen.double, seen.single) {
            (double, 0) => double % 2 == 1,
            (0, single) => single % 2 == 1,
            _ => ends_in_quotes(&html[start..from]),
        };
        if !open || declaration {
            return Some((from, seen.lines));
        }
    }
}

/// What was seen of a tag.
#[derive(Default)]
struct Quotes {
    double: u32,
    single: u32,
    lines: u32,
}

impl Quotes {
    /// Counts from `from` to the next `>`, and says where that ends.
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn up_to_bracket(&mut self, html: &[u8], from: usize) -> Option<usize> {
        let (blocks, tail) = html[from..].as_chunks::<LANES>();
        for (number, block) in blocks.iter().enumerate() {
            let lanes = Lanes::of(block);
            let end = lanes.equal(Lanes::all(b'>')).mask();
            // The lanes before the bracket, or all.
            let before = if end == 0 { u16::MAX } else { (end & end.wrapping_neg()) - 1 };
            self.double += (lanes.equal(Lanes::all(b'"')).mask() & before).count_ones();
            self.single += (lanes.equal(Lanes::all(b'\'')).mask() & before).count_ones();
            self.lines += (lanes.equal(Lanes::all(b'\n')).mask() & before).count_ones();
            if end != 0 {
                return Some(from + number * LANES + end.trailing_zeros() as usize + 1);
            }
        }
        for (byte, at) in tail.iter().zip(html.len() - tail.len() + 1..) {
            match byte {
                b'>' => return Some(at),
                b'"' => self.double += 1,
                b'\'' => self.single += 1,
                b'\n' => self.lines += 1,
                _ => {}
            }
        }
        None
    }
}

/// Whether a quote is still open at the end of a tag that has both kinds.
fn ends_in_quotes(tag: &[u8]) -> bool {
    let mut open = None;
    for byte in tag {
        match open {
            None if matches!(byte, b'"' | b'\'') => open = Some(*byte),
            Some(quote) if quote == *byte => open = None,
            _ => {}
        }
    }
    open.is_some()
}

/// Where the hidden element whose content starts at `from` ends, its closing tag included.
fn hidden_end(html: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let raw = matches!(self::name(name), SCRIPT | STYLE | TEXTAREA | IFRAME);
    let mut depth = 1;
    let mut at = from;
    loop {
        at = bytes::find(html, at, b'<')? + 1;
        let closing = html.get(at) == Some(&b'/');
        let begin = at + usize::from(closing);
        let Some(candidate) = html.get(begin..begin + name.len()) else { continue };
        let ends = !html.get(begin + name.len()).is_some_and(u8::is_ascii_alphanumeric);
        if !ends || !candidate.eq_ignore_ascii_case(name) {
            continue;
        }
        if closing {
            depth -= 1;
        } else if !raw {
            depth += 1;
        }
        if depth == 0 {
            return bytes::find(html, begin, b'>').map(|end| end + 1);
        }
    }
}

fn find_sequence(html: &[u8], mut from: usize, sequence: &[u8]) -> Option<usize> {
    loop {
        let at = bytes::find(html, from, sequence[0])?;
        if html[at..].starts_with(sequence) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces, one a line: `T` title, `1` to `6` headings, `=` a gap, and lines with their numbers.
    fn pieces(html: &str) -> String {
        let mut all = Vec::new();
        read(html, |piece| {
            let shown = match piece {
                Piece::Title(text) => format!("T {text}"),
                Piece::Heading { level, text, line } => format!("h{level} {line} {text}"),
                Piece::Line { text, line } => format!("{line} {text}"),
                Piece::Gap => "=".to_owned(),
            };
            if shown != "=" || all.last() != Some(&shown) {
                all.push(shown);
            }
        });
        all.join("\n")
    }

    #[test]
    fn markup_goes_and_lines_stay() {
        let html = "<!DOCTYPE html>\n<html><head><title>A page\n</title>\n<style>p { a > b }</style></head>\n<body>\n\
            <h1 id=\"x\">The <em>first</em> <a href=\"#x\">\u{a7}</a></h1>\n<p class='a'>One\n   two<br>three</p>\n\
            <script>if (a < b) { document.write(\"<p>no</p>\") }</script>\n<ul><li>four<li>five</ul></body></html>";
        assert_eq!(pieces(html), "T A page\n=\nh1 6 The first\n=\n7 One\n8 two\n8 three\n=\n10 four\n10 five\n=");
    }

    #[test]
    fn what_is_hidden_is_not_read_but_counted() {
        let html = "<nav>\n<div><nav>a</nav>b</div>\n</nav>c<button\n>d</button>\n<!-- e\n-->f<svg/>g";
        assert_eq!(pieces(html), "3 c\n6 fg");
    }

    #[test]
    fn a_hidden_element_without_an_end_hides_nothing() {
        assert_eq!(pieces("<nav>a<p>b"), "1 a\n=\n1 b");
    }

    #[test]
    fn references_are_decoded_and_others_stay() {
        let html = "a &lt;b&gt; &amp;amp; &#65;&#x42; &nbsp;&nbsp; R&D &unknown; &#0; 1 < 2 &";
        assert_eq!(pieces(html), "1 a <b> &amp; AB R&D &unknown; \u{fffd} 1 < 2 &");
    }

    #[test]
    fn quotes_hide_the_end_of_a_tag() {
        assert_eq!(pieces("<a title=\"x > y\">z</a><i data='it \"s'>w</i>"), "1 zw");
        assert_eq!(pieces("<a title=\"it's > so\">z</a>"), "1 z");
    }

    #[test]
    fn code_keeps_its_spaces() {
        assert_eq!(pieces("<pre><code>fn a() {\n    <b>b</b>()\n}</code></pre>"), "=\n1 fn a() {\n2     b()\n3 }\n=");
    }

    #[test]
    fn cells_stand_apart() {
        assert_eq!(pieces("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"), "=\n1 a b\n1 c\n=");
    }

    #[test]
    fn a_page_that_leads_elsewhere_is_empty() {
        assert_eq!(pieces("<meta http-equiv=\"refresh\" content=\"0;URL=x.html\"><p>Redirecting</p>"), "");
    }

    #[test]
    fn broken_pages_end_as_well() {
        for html in ["<", "<a", "<!--", "</", "&", "&#", "&#x;", "<p", "<script>", "<script", "\"<a \"", "<h1>a"] {
            pieces(html);
        }
        assert_eq!(pieces("a<b"), "1 a<b");
        assert_eq!(pieces("<h1>a"), "h1 1 a");
    }
}
