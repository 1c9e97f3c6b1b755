//! Character references (HTML, section 13.5): `&amp;`, `&#65;`, `&#x42;`; of the named ones those that documents use.

/// The letter that a character reference stands for, without its `&` and `;`.
pub(super) fn decode(reference: &[u8]) -> Option<char> {
    if let Some(number) = reference.strip_prefix(b"#") {
        let digits = std::str::from_utf8(number).ok()?;
        let value = match digits.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
            None => digits.parse().ok()?,
        };
        return char::from_u32(value).filter(|letter| !letter.is_control()).or(Some('\u{fffd}'));
    }
    let letter = match reference {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        b"nbsp" | b"ensp" | b"emsp" | b"thinsp" => ' ',
        b"ndash" => '\u{2013}',
        b"mdash" => '\u{2014}',
        b"lsquo" => '\u{2018}',
        b"rsquo" => '\u{2019}',
        b"ldquo" => '\u{201c}',
        b"rdquo" => '\u{201d}',
        b"laquo" => '\u{ab}',
        b"raquo" => '\u{bb}',
        b"hellip" => '\u{2026}',
        b"bull" => '\u{2022}',
        b"middot" => '\u{b7}',
        b"copy" => '\u{a9}',
        b"reg" => '\u{ae}',
        b"trade" => '\u{2122}',
        b"sect" => '\u{a7}',
        b"para" => '\u{b6}',
        b"deg" => '\u{b0}',
        b"times" => '\u{d7}',
        b"plusmn" => '\u{b1}',
        b"le" => '\u{2264}',
        b"ge" => '\u{2265}',
        b"ne" => '\u{2260}',
        b"larr" => '\u{2190}',
        b"rarr" => '\u{2192}',
        b"euro" => '\u{20ac}',
        b"pound" => '\u{a3}',
        b"auml" => '\u{e4}',
        b"ouml" => '\u{f6}',
        b"uuml" => '\u{fc}',
        b"Auml" => '\u{c4}',
        b"Ouml" => '\u{d6}',
        b"Uuml" => '\u{dc}',
        b"szlig" => '\u{df}',
        b"agrave" => '\u{e0}',
        b"aacute" => '\u{e1}',
        b"ccedil" => '\u{e7}',
        b"egrave" => '\u{e8}',
        b"eacute" => '\u{e9}',
        b"ntilde" => '\u{f1}',
        _ => return None,
    };
    Some(letter)
}
