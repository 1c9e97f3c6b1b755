//! How a passage falls into sentences, and on which lines each stands.

/// The longest sentence that is shown whole, in bytes.
const LONGEST: usize = 500;

/// Words with a full stop that end no sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "cf.", "vs.", "Mr.", "Dr.", "No.", "Fig.", "Sec."];

/// A sentence of a passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Its text, on one line.
    pub text: String,
    /// The number of the passage's line where it begins, from 0.
    pub first: usize,
    /// The number of the passage's line where it ends.
    pub last: usize,
    /// Whether it is prose; else it is a line of code or a row of a table.
    pub prose: bool,
}

/// What a line of a passage is.
enum Line<'a> {
    /// Nothing to quote: blank, or a mark between blocks.
    Break,
    /// What stands below the first row of a table.
    Rule,
    /// A heading says what follows, but nothing itself.
    Heading,
    /// Prose that begins something new, a list item for instance.
    Item(&'a str),
    /// Prose that may go on from the line above.
    Prose(&'a str),
    Code(&'a str),
}

/// The sentences of a passage. `source_code` says that its lines are code and comments; `headings` are the titles above.
#[must_use]
pub fn sentences(text: &str, source_code: bool, headings: &str) -> Vec<Sentence> {
    let titles: Vec<&str> = headings.split(" > ").collect();
    let mut all = Vec::new();
    let mut paragraph = Paragraph::default();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !source_code && (line.starts_with("```") || line.starts_with("~~~")) {
            fenced = !fenced;
            paragraph.end(&mut all);
            continue;
        }
        let kind = match () {
            () if line.is_empty() => Line::Break,
            () if fenced => Line::Code(line),
            () if source_code => code_line(line),
            () => prose_line(line, &titles),
        };
        match kind {
            Line::Rule => {
                paragraph.end(&mut all);
                // The row above says what the columns are, and nothing else.
                all.pop_if(|above: &mut Sentence| !above.prose && above.last + 1 == number);
            }
            Line::Break | Line::Heading => paragraph.end(&mut all),
            Line::Item(line) => {
                paragraph.end(&mut all);
                paragraph.add(line, number);
            }
            Line::Prose(line) => {
                if paragraph.is_over(line) {
                    paragraph.end(&mut all);
                }
                paragraph.add(line, number);
            }
            Line::Code(line) => {
                paragraph.end(&mut all);
                all.push(Sentence { text: shortened(line), first: number, last: number, prose: false });
            }
        }
    }
    paragraph.end(&mut all);
    all
}

fn prose_line<'a>(line: &'a str, titles: &[&str]) -> Line<'a> {
    let bare = line.trim_start_matches('>').trim_start();
    if bare.starts_with("|-") || bare.starts_with("| -") {
        Line::Rule
    } else if bare.is_empty() || bare.chars().all(|letter| "=-*_|: ".contains(letter)) {
        Line::Break
    } else if bare.starts_with('#') || titles.contains(&bare) {
        Line::Heading
    } else if bare.starts_with('|') || is_code(bare) {
        Line::Code(bare)
    } else if let Some(item) = list_item(bare) {
        Line::Item(item)
    } else {
        Line::Prose(bare)
    }
}

/// Whether a line ends or begins as none of prose does.
fn is_code(line: &str) -> bool {
    line.ends_with([';', '{', '}'])
        || line.ends_with("=>")
        || line.starts_with(['}', ')', '{'])
        || line.starts_with("//")
}

/// The text of a list item, behind `-`, `*`, `+` or a number.
fn list_item(line: &str) -> Option<&str> {
    let digits = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rest = if digits.len() < line.len() && line.len() - digits.len() <= 3 {
        digits.strip_prefix(['.', ')'])
    } else {
        line.strip_prefix(['-', '*', '+'])
    };
    rest?.strip_prefix(' ').map(str::trim_start)
}

fn code_line(line: &str) -> Line<'_> {
    for mark in ["///", "//!", "//", "/**", "/*", "*/", "#!", "# ", "* ", "-- ", "; "] {
        if let Some(comment) = line.strip_prefix(mark) {
            let comment = comment.trim_end_matches("*/").trim();
            return if comment.is_empty() { Line::Break } else { Line::Prose(comment) };
        }
    }
    if line.chars().any(char::is_alphanumeric) { Line::Code(line) } else { Line::Break }
}

/// Lines that belong together.
#[derive(Default)]
struct Paragraph {
    text: String,
    /// Where each line begins in the text, and its number.
    lines: Vec<(usize, usize)>,
}

impl Paragraph {
    fn add(&mut self, line: &str, number: usize) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), number));
        self.text.push_str(line);
    }

    /// Whether a line does not go on from here: this has no end of a sentence, and the line begins like one.
    fn is_over(&self, line: &str) -> bool {
        let open = self.text.ends_with(|letter: char| letter.is_alphanumeric() || "`)\"'".contains(letter));
        let last_words = self.lines.last().map_or(0, |(start, _)| self.text[*start..].split(' ').count());
        open && last_words < 8 && line.starts_with(|letter: char| letter.is_uppercase())
    }

    fn end(&mut self, all: &mut Vec<Sentence>) {
        let mut start = 0;
        for end in ends(&self.text) {
            let text = self.text[start..end].trim();
            if text.chars().any(char::is_alphanumeric) {
                let (first, last) = (self.line_at(start), self.line_at(end - 1));
                all.push(Sentence { text: shortened(text), first, last, prose: true });
            }
            start = end;
            while self.text[start..].starts_with(' ') {
                start += 1;
            }
        }
        self.text.clear();
        self.lines.clear();
    }

    fn line_at(&self, at: usize) -> usize {
        self.lines.iter().rev().find(|(start, _)| *start <= at).map_or(0, |(_, number)| *number)
    }
}

/// Where sentences end in a paragraph, behind their last letter.
fn ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    for (at, mark) in text.match_indices(['.', '!', '?']) {
        let end = at + mark.len();
        let closed = end + text[end..].len() - text[end..].trim_start_matches(['"', '\'', ')', '*', '_', '`']).len();
        let Some(rest) = text[closed..].strip_prefix(' ') else { continue };
        let starts = rest.trim_start().chars().next().is_some_and(|letter| !letter.is_lowercase());
        let word = text[..end].rsplit([' ', '(']).next().unwrap_or_default();
        if starts && !ABBREVIATIONS.contains(&word) {
            ends.push(closed);
        }
    }
    if ends.last() != Some(&text.len()) && !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

/// Cuts off what is longer than a sentence should be, behind a word.
fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let head = &text[..text.floor_char_boundary(LONGEST)];
    let end = head.rfind(' ').unwrap_or(head.len());
    format!("{} ...", head[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, source_code: bool) -> Vec<(String, usize, usize, bool)> {
        let all = sentences(text, source_code, "Grants > Folders of a grant");
        all.into_iter().map(|one| (one.text, one.first, one.last, one.prose)).collect()
    }

    fn prose(text: &str, first: usize, last: usize) -> (String, usize, usize, bool) {
        (text.to_owned(), first, last, true)
    }

    #[test]
    fn sentences_know_their_lines() {
        let text =
            "## Folders\n\nA folder is given,\ne.g. `docs`. It is read. \"Is it?\" Version 1.2 of\nit is.\n\nNew";
        assert_eq!(
            split(text, false),
            [
                prose("A folder is given, e.g. `docs`.", 2, 3),
                prose("It is read.", 3, 3),
                prose("\"Is it?\"", 3, 3),
                prose("Version 1.2 of it is.", 3, 4),
                prose("New", 6, 6),
            ]
        );
    }

    #[test]
    fn items_and_rows_stand_alone_and_marks_go() {
        let text = "Folders of a grant\n- One item\n  goes on\n* two\n3. three\n---\n| a | b |\n> said\n2026 was\n| a |\n|---|";
        assert_eq!(
            split(text, false),
            [
                prose("One item goes on", 1, 2),
                prose("two", 3, 3),
                prose("three", 4, 4),
                ("| a | b |".to_owned(), 6, 6, false),
                prose("said 2026 was", 7, 8),
            ]
        );
    }

    #[test]
    fn code_is_told_from_what_is_said_about_it() {
        let text = "/// Opens a folder.\n/// It may fail.\nfn open() {\n}\n// Why.";
        assert_eq!(
            split(text, true),
            [
                prose("Opens a folder.", 0, 0),
                prose("It may fail.", 1, 1),
                ("fn open() {".to_owned(), 2, 2, false),
                prose("Why.", 4, 4),
            ]
        );
        assert_eq!(split("Say:\nlet a = b;\nAnd so", false)[1], ("let a = b;".to_owned(), 1, 1, false));
        assert_eq!(split("Say:\n```\nlet a = 1. B\n```", false)[1], ("let a = 1. B".to_owned(), 2, 2, false));
    }

    #[test]
    fn long_sentences_are_cut_behind_a_word() {
        let all = split(&"w\u{f6}rd ".repeat(300), false);
        assert!(all[0].0.len() <= LONGEST + 4 && all[0].0.ends_with("w\u{f6}rd ..."));
        assert!(split("", false).is_empty() && split(" . . ", false).is_empty());
    }
}
