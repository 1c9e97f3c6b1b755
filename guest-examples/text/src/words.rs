//! How text falls into words.
//!
//! A word is a run of ASCII letters, digits and anything beyond ASCII. All else separates, `_` as well: `read_to_string`
//! is three words. Case does not count.

use crate::stem::stem;

/// Words that say nothing about what a text is about.
const STOPWORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "done", "each",
    "either", "else", "ever", "every", "few", "find", "for", "from", "get", "gets", "give", "given", "gives", "had",
    "happen", "happens", "has", "have", "having", "he", "her", "here", "him", "his", "how", "i", "if", "in", "into",
    "is", "it", "its", "just", "kind", "let", "like", "many", "may", "me", "might", "mine", "more", "most", "much",
    "must", "my", "no", "not", "of", "off", "on", "one", "only", "or", "other", "others", "our", "out", "over", "own",
    "please", "shall", "she", "should", "show", "so", "some", "such", "tell", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "upon", "us",
    "use", "used", "uses", "using", "very", "want", "was", "way", "we", "were", "what", "when", "where", "whether",
    "which", "while", "who", "whom", "whose", "why", "will", "with", "within", "without", "would", "you", "your",
];

/// Whether a byte of UTF-8 text belongs to a word.
#[must_use]
pub const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// The words of a text, in order.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether a word, in lower case, is too common to look for.
#[must_use]
pub fn is_stopword(word: &str) -> bool {
    STOPWORDS.binary_search(&word).is_ok()
}

/// Writes the term that a word counts as, its stem in lower case, to `term`.
pub fn normalise(word: &[u8], term: &mut Vec<u8>) {
    term.clear();
    if word.is_ascii() {
        term.extend(word.iter().map(u8::to_ascii_lowercase));
        stem(term);
    } else {
        term.extend_from_slice(String::from_utf8_lossy(word).to_lowercase().as_bytes());
    }
}

/// The term that a word counts as.
#[must_use]
pub fn term(word: &str) -> String {
    let mut term = Vec::new();
    normalise(word.as_bytes(), &mut term);
    String::from_utf8_lossy(&term).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let found: Vec<&str> = words("wasi:io's read_to_string(), caf\u{e9} - 64-bit!").collect();
        assert_eq!(found, ["wasi", "io", "s", "read", "to", "string", "caf\u{e9}", "64", "bit"]);
    }

    #[test]
    fn stopwords_are_sorted_so_that_they_are_found() {
        assert!(STOPWORDS.is_sorted());
        assert!(is_stopword("the") && is_stopword("a") && is_stopword("your"));
        assert!(!is_stopword("grant"));
    }

    #[test]
    fn terms_have_no_case() {
        assert_eq!(term("Grants"), term("granting"));
        assert_eq!(term("\u{dc}BER"), "\u{fc}ber");
    }
}
