//! Strict JSON: read without loss, and written so that equal values are equal bytes.
//!
//! `serde_json` alone keeps the last of repeated keys in silence and reads some floats one bit off. What comes from a
//! model or a guest is decided upon and recorded, so here a text has exactly one meaning or is refused.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};
use thiserror::Error;

use super::text;

/// How deeply arrays and objects may be nested.
pub const DEPTH: usize = 128;

/// Why a text is not JSON, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{fault} at line {line}, column {column}")]
pub struct JsonError {
    /// What is wrong.
    pub fault: Fault,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// What may be wrong with a JSON text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// The text stops in the middle of a value.
    #[error("the text ends too early")]
    End,
    /// Something else must stand here.
    #[error("expected {expected}, found `{}`", visible(*found))]
    Unexpected {
        /// What may stand here.
        expected: &'static str,
        /// The character that does.
        found: char,
    },
    /// An object has the same key twice.
    #[error("the key `{}` is repeated", text::quoted(.0))]
    Duplicate(String),
    /// Arrays and objects are nested too deeply.
    #[error("nested more than {DEPTH} deep")]
    Depth,
    /// A number that no 64-bit float comes near to.
    #[error("the number is out of range")]
    Range,
    /// A control character in a string that is not escaped.
    #[error("a control character must be escaped")]
    Control,
    /// An escape that JSON does not have, or half of a surrogate pair.
    #[error("the escape sequence is not valid")]
    Escape,
    /// Something follows the value.
    #[error("text follows the value")]
    Trailing,
}

/// Reads a JSON text (RFC 8259).
///
/// Numbers without fraction and exponent that fit 64 bits are kept as integers; all others are the nearest 64-bit float.
///
/// # Errors
///
/// Anything that is not exactly one JSON value; repeated keys; numbers that overflow a 64-bit float, or that it would
/// make zero; nesting beyond [`DEPTH`].
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let parsed = reader.value(0).and_then(|value| {
        reader.space();
        if reader.at < text.len() { Err(Fault::Trailing) } else { Ok(value) }
    });
    parsed.map_err(|fault| {
        let before = text.get(..reader.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        JsonError { fault, line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    })
}

fn visible(character: char) -> String {
    match text::quoted(character.encode_utf8(&mut [0; 4])) {
        shown if shown.trim().is_empty() => character.escape_unicode().to_string(),
        shown => shown,
    }
}

/// Where reading has come to. When it fails, `at` is the place that the error is about.
struct Reader<'a> {
    text: &'a str,
    /// INVARIANT: lies on a character boundary.
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &'static str) -> Fault {
        match self.text[self.at..].chars().next() {
            Some(found) => Fault::Unexpected { expected, found },
            None => Fault::End,
        }
    }

    /// Takes `symbol` if it comes next.
    fn takes(&mut self, symbol: u8) -> bool {
        let there = self.peek() == Some(symbol);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH => Err(Fault::Depth),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value, Fault> {
        for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.takes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.takes(b']') {
                return Ok(Value::Array(items));
            }
            if !self.takes(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut entries = Map::new();
        self.space();
        if self.takes(b'}') {
            return Ok(Value::Object(entries));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let key = self.string()?;
            if entries.contains_key(&key) {
                self.at = start;
                return Err(Fault::Duplicate(key));
            }
            self.space();
            if !self.takes(b':') {
                return Err(self.unexpected("`:`"));
            }
            let value = self.value(depth)?;
            entries.insert(key, value);
            self.space();
            if self.takes(b'}') {
                return Ok(Value::Object(entries));
            }
            if !self.takes(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut read = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            read.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(read);
                }
                Some(b'\\') => read.push(self.escape()?),
                Some(_) => return Err(Fault::Control),
                None => return Err(Fault::End),
            }
        }
    }

    /// Reads an escape, or two that make one character together (RFC 8259, section 7).
    fn escape(&mut self) -> Result<char, Fault> {
        let unit = match self.text.as_bytes().get(self.at + 1) {
            Some(b'u') => self.unit(self.at)?,
            Some(&letter) => {
                let (_, meant) =
                    ESCAPES.iter().find(|(escape, _)| u8::try_from(*escape) == Ok(letter)).ok_or(Fault::Escape)?;
                self.at += 2;
                return Ok(*meant);
            }
            None => return Err(Fault::End),
        };
        let (units, length) = match unit {
            0xD800..=0xDBFF => ([unit, self.unit(self.at + 6)?], 2),
            _ => ([unit, 0], 1),
        };
        let decoded = char::decode_utf16(units.into_iter().take(length)).next();
        let decoded = decoded.and_then(Result::ok).ok_or(Fault::Escape)?;
        self.at += 6 * length;
        Ok(decoded)
    }

    /// The number in the escape `\uXXXX` that starts at `at`.
    fn unit(&self, at: usize) -> Result<u16, Fault> {
        let digits = self.text.get(at..at + 6).and_then(|escape| escape.strip_prefix("\\u")).ok_or(Fault::Escape)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Fault::Escape);
        }
        u16::from_str_radix(digits, 16).map_err(|_| Fault::Escape)
    }

    /// Takes digits, at least one.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        } else if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected("no digit after a leading zero"));
        }
        let integer = self.at;
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        let literal = &self.text[start..self.at];
        if self.at == integer && literal != "-0" {
            if let Ok(number) = literal.parse::<u64>() {
                return Ok(number.into());
            }
            if let Ok(number) = literal.parse::<i64>() {
                return Ok(number.into());
            }
        }
        let float: f64 = literal.parse().map_err(|_| Fault::Range)?;
        let mantissa = literal.split(['e', 'E']).next().unwrap_or(literal);
        let vanished = float == 0.0 && mantissa.contains(|digit| matches!(digit, '1'..='9'));
        match Number::from_f64(float) {
            Some(number) if !vanished => Ok(Value::Number(number)),
            _ => {
                self.at = start;
                Err(Fault::Range)
            }
        }
    }
}

/// What may follow a backslash, but for `u`.
const ESCAPES: [(char, char); 8] =
    [('"', '"'), ('\\', '\\'), ('/', '/'), ('b', '\u{8}'), ('f', '\u{c}'), ('n', '\n'), ('r', '\r'), ('t', '\t')];

/// How many bytes a value has as a text, without blanks.
pub fn length(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Nothing of it fails: a value has a text, and what counts takes all.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Writes a value in the one form that all equal values share (JCS, RFC 8785).
///
/// No space; keys ordered by their UTF-16 code units; numbers as ECMAScript writes them, so that `5.0` and `5` are the same.
/// Two departures, both so that different values never become the same bytes: integers of 64 bits are written exactly,
/// not rounded to a float; and negative zero is `-0`.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(64);
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_string(key, out);
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_string(text, out),
        Value::Number(number) if number.is_f64() => out.push_str(&float(number.as_f64().unwrap_or_default())),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// RFC 8785, section 3.2.2.2.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match ESCAPES.iter().find(|(escape, meant)| *meant == character && *escape != '/') {
            Some((escape, _)) => out.extend(['\\', *escape]),
            // Writing to a string cannot fail.
            None if character < ' ' => drop(write!(out, "\\u{:04x}", u32::from(character))),
            None => out.push(character),
        }
    }
    out.push('"');
}

/// `Number::toString` of ECMA-262 (section 6.1.6.1.20), but for negative zero.
fn float(number: f64) -> String {
    // Rust writes the fewest digits that read back to the same float, like ECMAScript; only the layout differs.
    let scientific = format!("{number:e}");
    let (sign, scientific) = match scientific.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", scientific.as_str()),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The decimal point stands after this many digits.
    let point = exponent + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let body = match usize::try_from(point) {
        Ok(_) if count <= point && point <= 21 => format!("{digits}{}", zeros(point - count)),
        Ok(place) if 0 < point && point <= 21 => format!("{}.{}", &digits[..place], &digits[place..]),
        _ if -6 < point && point <= 0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            let plus = if exponent < 0 { "" } else { "+" };
            format!("{first}{dot}{rest}e{plus}{exponent}")
        }
    };
    format!("{sign}{body}")
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn errors_say_what_and_where() {
        insta::assert_snapshot!(
            [
                "", "{", "[1,]", "{\"a\":1,\n \"b\":{\"é\":1,\"é\":2}}", "{\"a\":1} x", "nul", "01", "-", "1.", "1e", "1e400",
                "[1e-400]", "\"a\nb\"", "\"\\x\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\u+123\"", "\"abc",
                "{a:1}", "NaN", "'a'", "{\"a\" 1}", "[1 2]", "\u{feff}1", "\"\\", "\"\\ué000\"",
            ]
            .map(|text| format!("{text:?}: {}", refused(text)))
            .join("\n"),
            @r#"
            "": the text ends too early at line 1, column 1
            "{": the text ends too early at line 1, column 2
            "[1,]": expected a value, found `]` at line 1, column 4
            "{\"a\":1,\n \"b\":{\"é\":1,\"é\":2}}": the key `é` is repeated at line 2, column 13
            "{\"a\":1} x": text follows the value at line 1, column 9
            "nul": expected a value, found `n` at line 1, column 1
            "01": expected no digit after a leading zero, found `1` at line 1, column 2
            "-": the text ends too early at line 1, column 2
            "1.": the text ends too early at line 1, column 3
            "1e": the text ends too early at line 1, column 3
            "1e400": the number is out of range at line 1, column 1
            "[1e-400]": the number is out of range at line 1, column 2
            "\"a\nb\"": a control character must be escaped at line 1, column 3
            "\"\\x\"": the escape sequence is not valid at line 1, column 2
            "\"\\ud800\"": the escape sequence is not valid at line 1, column 2
            "\"\\ud800\\u0041\"": the escape sequence is not valid at line 1, column 2
            "\"\\udc00\"": the escape sequence is not valid at line 1, column 2
            "\"\\u+123\"": the escape sequence is not valid at line 1, column 2
            "\"abc": the text ends too early at line 1, column 5
            "{a:1}": expected a key in double quotes, found `a` at line 1, column 2
            "NaN": expected a value, found `N` at line 1, column 1
            "'a'": expected a value, found `'` at line 1, column 1
            "{\"a\" 1}": expected `:`, found `1` at line 1, column 6
            "[1 2]": expected `,` or `]`, found `2` at line 1, column 4
            "\u{feff}1": expected a value, found `\u{feff}` at line 1, column 1
            "\"\\": the text ends too early at line 1, column 2
            "\"\\ué000\"": the escape sequence is not valid at line 1, column 2
            "#
        );
    }

    #[test]
    fn repeated_keys_are_found_however_they_are_written() {
        assert!(refused(r#"{"a":1,"\u0061":2}"#).starts_with("the key `a` is repeated"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH)).is_ok());
        assert_eq!(parse(&nested(DEPTH + 1)).unwrap_err().fault, Fault::Depth);
        assert_eq!(parse(&"[".repeat(1_000_000)).unwrap_err().fault, Fault::Depth);
        assert_eq!(parse(&"{\"a\":".repeat(1_000_000)).unwrap_err().fault, Fault::Depth);
    }

    #[test]
    fn numbers_are_exact() {
        assert_eq!(parse("18446744073709551615").unwrap(), json!(u64::MAX));
        assert_eq!(parse("-9223372036854775808").unwrap(), json!(i64::MIN));
        assert_eq!(parse("18446744073709551616").unwrap(), json!(18_446_744_073_709_551_616.0_f64));
        assert!(parse("-0").unwrap().as_f64().unwrap().is_sign_negative());
        assert!(parse("5.0").unwrap().is_f64());
        assert_eq!(parse("0e5").unwrap(), json!(0.0));
    }

    #[test]
    fn canonical_form_follows_the_rfc() {
        // The example of RFC 8785, section 3.2.2, and the order of section 3.2.3.
        let text = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
            "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        assert_eq!(
            canonical(&parse(text).unwrap()),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(
            canonical(&parse(text).unwrap()),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn canonical_floats_follow_ecmascript() {
        // RFC 8785, appendix B, with the literals of ECMAScript where the layout changes.
        for (bits, text) in [
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        ] {
            assert_eq!(float(f64::from_bits(bits)), text);
        }
        assert_eq!(canonical(&json!([5.0, 5, -0.0, 0.0, u64::MAX])), "[5,5,-0,0,18446744073709551615]");
    }

    pub(in crate::tool) fn values() -> impl Strategy<Value = Value> {
        let number = any::<f64>().prop_filter_map("finite", Number::from_f64).prop_map(Value::Number);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            prop_assert_eq!(&parse(&value.to_string()).unwrap(), &value);
            prop_assert_eq!(&parse(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), &value);
        }

        #[test]
        fn the_canonical_form_is_a_fixed_point(value in values()) {
            let once = canonical(&value);
            prop_assert_eq!(canonical(&parse(&once).unwrap()), once);
        }

        #[test]
        fn what_is_accepted_is_json(text in "[\\[\\]{}\",:0-9eE.+\\-ntrue\\\\u ]{0,12}") {
            if parse(&text).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn no_text_breaks_it(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
