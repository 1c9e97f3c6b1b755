//! The lines of Git's protocol: four hexadecimal digits of length, and the text (gitprotocol-common, "pkt-line format").

use crate::{Error, broken};

/// The longest line, its length included.
const LONGEST: usize = 65_520;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// `0000`: the end of a message, or of a part of it.
    Flush,
    /// `0001`: the next section begins.
    Delimiter,
    /// Its bytes.
    Data(&'a [u8]),
}

impl<'a> Line<'a> {
    /// The text of a line, without the end of line.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Data(data) => std::str::from_utf8(data).ok().map(|text| text.strip_suffix('\n').unwrap_or(text)),
            Self::Flush | Self::Delimiter => None,
        }
    }
}

/// Writes lines.
#[derive(Debug, Default)]
pub struct Lines(pub Vec<u8>);

impl Lines {
    /// A line of text. What this tool writes is shorter than the longest.
    #[must_use]
    pub fn line(mut self, text: &str) -> Self {
        self.0.extend(format!("{:04x}{text}", text.len() + 4).into_bytes());
        self
    }

    /// [`Line::Delimiter`].
    #[must_use]
    pub fn delimiter(mut self) -> Self {
        self.0.extend(b"0001");
        self
    }

    /// [`Line::Flush`].
    #[must_use]
    pub fn flush(mut self) -> Self {
        self.0.extend(b"0000");
        self
    }
}

/// Reads all lines.
///
/// # Errors
///
/// They are not whole.
pub fn lines(mut bytes: &[u8]) -> Result<Vec<Line<'_>>, Error> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let digits = bytes.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
        let length = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let (line, taken) = match length {
            Some(0) => (Line::Flush, 4),
            Some(1) => (Line::Delimiter, 4),
            Some(length @ 4..=LONGEST) if length <= bytes.len() => (Line::Data(&bytes[4..length]), length),
            _ => return Err(broken("the answer is not in Git's lines")),
        };
        lines.push(line);
        bytes = &bytes[taken..];
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let written = Lines::default().line("version 2\n").delimiter().line("").flush().0;
        assert_eq!(written, b"000eversion 2\n000100040000");
        let read = lines(&written).unwrap();
        assert_eq!(read, [Line::Data(b"version 2\n"), Line::Delimiter, Line::Data(b""), Line::Flush]);
        assert_eq!(read[0].text(), Some("version 2"));
        for broken in [&b"000"[..], b"0002", b"0003", b"0005", b"+005x", b"fff1", b"zzzz"] {
            assert!(lines(broken).is_err(), "{broken:?}");
        }
    }
}
