//! Reduces English words to stems, so that `grants`, `granted` and `granting` are one term.
//!
//! This is the algorithm of M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, pages 130-137. Its
//! stems are no words (`polici`), and all of a stem but its last letter begins each word that it stands for; the search
//! relies on that.

/// Suffixes of step 2, and what they become behind a stem of measure 1 or more.
const STEP_2: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("abli", "able"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
];

/// Suffixes of step 3, and what they become behind a stem of measure 1 or more.
const STEP_3: &[(&str, &str)] =
    &[("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Suffixes of step 4, which fall behind a stem of measure 2 or more; longer ones stand before those that they end with.
const STEP_4: &[&str] = &[
    "ement", "ment", "ance", "ence", "able", "ible", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize", "ion",
    "al", "er", "ic", "ou",
];

/// Replaces a lower-case word by its stem. What is not all ASCII letters, or shorter than three, stays as it is.
pub fn stem(word: &mut Vec<u8>) {
    if word.len() < 3 || !word.iter().all(u8::is_ascii_lowercase) {
        return;
    }
    plurals(word);
    past_and_progressive(word);
    if ends(word, "y") && has_vowel(&word[..word.len() - 1]) {
        replace(word, 1, "i");
    }
    double_suffixes(word, STEP_2);
    double_suffixes(word, STEP_3);
    last_suffix(word);
    final_letters(word);
}

/// Step 1a.
fn plurals(word: &mut Vec<u8>) {
    if ends(word, "sses") || ends(word, "ies") {
        replace(word, 2, "");
    } else if ends(word, "s") && !ends(word, "ss") {
        replace(word, 1, "");
    }
}

/// Step 1b.
fn past_and_progressive(word: &mut Vec<u8>) {
    if ends(word, "eed") {
        if measure(&word[..word.len() - 3]) > 0 {
            replace(word, 1, "");
        }
        return;
    }
    let Some(suffix) = ["ed", "ing"].into_iter().find(|suffix| ends(word, suffix)) else { return };
    if !has_vowel(&word[..word.len() - suffix.len()]) {
        return;
    }
    replace(word, suffix.len(), "");
    if ends(word, "at") || ends(word, "bl") || ends(word, "iz") {
        replace(word, 0, "e");
    } else if ends_in_double_consonant(word) && !matches!(word.last(), Some(b'l' | b's' | b'z')) {
        replace(word, 1, "");
    } else if measure(word) == 1 && ends_short(word) {
        replace(word, 0, "e");
    }
}

/// Steps 2 and 3.
fn double_suffixes(word: &mut Vec<u8>, suffixes: &[(&str, &str)]) {
    if let Some((suffix, instead)) = suffixes.iter().find(|(suffix, _)| ends(word, suffix))
        && measure(&word[..word.len() - suffix.len()]) > 0
    {
        replace(word, suffix.len(), instead);
    }
}

/// Step 4.
fn last_suffix(word: &mut Vec<u8>) {
    let Some(suffix) = STEP_4.iter().find(|suffix| ends(word, suffix)) else { return };
    let rest = &word[..word.len() - suffix.len()];
    let stays = *suffix == "ion" && !matches!(rest.last(), Some(b's' | b't'));
    if !stays && measure(rest) > 1 {
        replace(word, suffix.len(), "");
    }
}

/// Step 5.
fn final_letters(word: &mut Vec<u8>) {
    if ends(word, "e") {
        let rest = &word[..word.len() - 1];
        let length = measure(rest);
        if length > 1 || (length == 1 && !ends_short(rest)) {
            replace(word, 1, "");
        }
    }
    if ends(word, "ll") && measure(&word[..word.len() - 1]) > 1 {
        replace(word, 1, "");
    }
}

/// A suffix is only one behind something.
fn ends(word: &[u8], suffix: &str) -> bool {
    word.len() > suffix.len() && word.ends_with(suffix.as_bytes())
}

fn replace(word: &mut Vec<u8>, dropped: usize, instead: &str) {
    word.truncate(word.len() - dropped);
    word.extend_from_slice(instead.as_bytes());
}

fn is_consonant(word: &[u8], at: usize) -> bool {
    match word[at] {
        b'a' | b'e' | b'i' | b'o' | b'u' => false,
        b'y' => at == 0 || !is_consonant(word, at - 1),
        _ => true,
    }
}

fn has_vowel(word: &[u8]) -> bool {
    (0..word.len()).any(|at| !is_consonant(word, at))
}

/// The `m` of Porter's paper: how often a consonant follows a vowel.
fn measure(word: &[u8]) -> usize {
    (1..word.len()).filter(|&at| is_consonant(word, at) && !is_consonant(word, at - 1)).count()
}

fn ends_in_double_consonant(word: &[u8]) -> bool {
    let end = word.len();
    end >= 2 && word[end - 1] == word[end - 2] && is_consonant(word, end - 1)
}

/// Porter's `*o`: consonant, vowel, consonant, and the last is none of `w`, `x`, `y`.
fn ends_short(word: &[u8]) -> bool {
    let end = word.len();
    end >= 3
        && is_consonant(word, end - 3)
        && !is_consonant(word, end - 2)
        && is_consonant(word, end - 1)
        && !matches!(word[end - 1], b'w' | b'x' | b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stemmed(word: &str) -> String {
        let mut bytes = word.as_bytes().to_vec();
        stem(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn examples_of_the_paper_come_out_as_it_says() {
        let pairs = "caresses caress ponies poni ties ti caress caress cats cat feed feed agreed agre plastered plaster \
            bled bled motoring motor sing sing conflated conflat troubled troubl sized size hopping hop tanned tan \
            falling fall hissing hiss fizzed fizz failing fail filing file happy happi sky sky relational relat \
            conditional condit rational ration valenci valenc digitizer digit conformabli conform radicalli radic \
            differentli differ vileli vile analogousli analog vietnamization vietnam predication predic operator oper \
            feudalism feudal decisiveness decis hopefulness hope callousness callous formaliti formal sensitiviti \
            sensit sensibiliti sensibl triplicate triplic formative form formalize formal electriciti electr \
            electrical electr hopeful hope goodness good revival reviv allowance allow inference infer airliner airlin \
            gyroscopic gyroscop adjustable adjust defensible defens irritant irrit replacement replac adjustment adjust \
            dependent depend adoption adopt homologou homolog communism commun activate activ angulariti angular \
            homologous homolog effective effect bowdlerize bowdler probate probat rate rate cease ceas controll control \
            roll roll";
        let words: Vec<&str> = pairs.split_whitespace().collect();
        for pair in words.chunks(2) {
            assert_eq!(stemmed(pair[0]), pair[1], "{}", pair[0]);
        }
    }

    #[test]
    fn forms_of_one_word_meet() {
        for (one, other) in
            [("policies", "policy"), ("granted", "grants"), ("denied", "deny"), ("searched", "searches")]
        {
            assert_eq!(stemmed(one), stemmed(other));
        }
    }

    #[test]
    fn what_is_no_english_word_is_left_alone() {
        for word in ["io", "utf8", "über", "x", ""] {
            assert_eq!(stemmed(word), word);
        }
    }
}
