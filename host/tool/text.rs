//! Text of authors and models, made fit to be shown: bounded, and without anything that hides or moves other text.

/// Cleans text that an untrusted author wrote, and shortens it to `limit` bytes of UTF-8.
///
/// Gone are: control characters other than the newline; ANSI escape sequences, whole; bidirectional controls, which
/// reorder what a reader sees (Unicode Standard Annex 9, section 2); characters that show nothing and can carry a message
/// past the reader (zero width, tags, variation selectors, fillers). Tabs and carriage returns become spaces and newlines.
/// Text that is cut ends with `…`.
#[must_use]
pub fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(limit));
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let shown = match character {
            '\r' if characters.peek() == Some(&'\n') => continue,
            '\r' | '\n' | '\u{2028}' | '\u{2029}' => '\n',
            '\t' => ' ',
            '\u{1b}' | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}' => {
                skip_escape(character, &mut characters);
                continue;
            }
            hidden if hidden.is_control() || is_invisible(hidden) => continue,
            visible => visible,
        };
        cleaned.push(shown);
        if cleaned.len() > limit {
            break;
        }
    }
    shorten(&mut cleaned, limit);
    cleaned
}

/// Cleans a name that somebody else chose, to stand between backticks in one line of a message.
#[must_use]
pub fn quoted(text: &str) -> String {
    clean(text, 64).replace('\n', " ").replace('`', "'")
}

/// Cuts text to `limit` bytes at the boundary of a character, and says so with `…`.
fn shorten(text: &mut String, limit: usize) {
    const MARK: char = '…';
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(MARK.len_utf8())));
        if text.len() + MARK.len_utf8() <= limit {
            text.push(MARK);
        }
    }
}

/// Skips the rest of a control sequence or string (ECMA-48, sections 5.4 and 5.6).
fn skip_escape(introducer: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let introducer = match introducer {
        '\u{1b}' => match rest.next_if(|next| matches!(next, ' '..='~')) {
            Some(second) => second,
            None => return,
        },
        // A control character of one byte is the same as ESC and the byte less 0x40.
        single => char::from_u32(u32::from(single) - 0x40).unwrap_or(single),
    };
    match introducer {
        '[' => while rest.next().is_some_and(|next| !matches!(next, '@'..='~')) {},
        'P' | 'X' | ']' | '^' | '_' => {
            while let Some(next) = rest.next() {
                if matches!(next, '\u{7}' | '\u{9c}') || (next == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        ' '..='/' => while rest.next().is_some_and(|next| matches!(next, ' '..='/')) {},
        _ => {}
    }
}

/// Whether a character shows nothing, or only changes how others show.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_hides_or_moves_text_is_gone() {
        for (given, kept) in [
            ("plain\ntext", "plain\ntext"),
            ("a\tb\r\nc\rd\u{2028}e", "a b\nc\nd\ne"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\!", "link!"),
            ("\u{1b}(Bx\u{1b}cy", "xy"),
            ("a\u{202e}b\u{2066}c\u{200f}", "abc"),
            ("z\u{200b}e\u{feff}r\u{e0041}o\u{fe0f}", "zero"),
            ("bell\u{7}\u{0}\u{7f}\u{85}", "bell"),
            ("\u{1b}", ""),
            ("Grüße, 世界 🙂", "Grüße, 世界 🙂"),
        ] {
            assert_eq!(clean(given, 100), kept, "{given:?}");
        }
    }

    #[test]
    fn it_is_cut_between_characters() {
        assert_eq!(clean("aaaa", 4), "aaaa");
        assert_eq!(clean("aaaaa", 4), "a…");
        assert_eq!(clean("ééé", 5), "é…");
        assert_eq!(clean("aaa", 2), "");
        assert_eq!(quoted("a`\nb"), "a' b");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_stable(text in any::<String>(), limit in 0_usize..40) {
            let once = clean(&text, limit);
            prop_assert!(once.len() <= limit);
            prop_assert_eq!(clean(&once, limit), once);
        }
    }
}
