//! Views of bytes in which values are looked for: as they are, and as who decodes them reads them.
//!
//! Encoders differ in what they encode (RFC 3986, WHATWG URL and ECMA-262 each have their own sets of what is written in
//! percent; JSON may write any character as `\u…`), but not in what they mean. So what is decoded is compared, and not what
//! each of them would write.

/// A view, and where it stands in what it decodes.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// As it is.
    Plain,
    /// With `%41` as `A` (RFC 3986, section 2.1).
    Percent(Vec<(u8, usize)>),
    /// The same, with `+` as a space (WHATWG URL, section 5.1).
    Form(Vec<(u8, usize)>),
    /// With the escapes of JSON strings resolved (RFC 8259, section 7).
    Json(Escape),
    /// Without line ends, as lines of base64 are wrapped (RFC 2045, section 6.8).
    Unwrapped,
}

/// Where a JSON escape stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Escape {
    /// What was read of it, with its place; empty between escapes.
    read: Vec<(u8, usize)>,
    /// The first half of a character that is written in two.
    high: Option<(u16, usize)>,
}

impl View {
    pub(super) fn all() -> [Self; 5] {
        [Self::Plain, Self::Percent(Vec::new()), Self::Form(Vec::new()), Self::Json(Escape::default()), Self::Unwrapped]
    }

    /// Takes the byte at a place, and gives what it comes to: bytes, each with the place where its spelling begins.
    pub(super) fn take(&mut self, byte: u8, place: usize, give: &mut impl FnMut(u8, usize)) {
        match self {
            Self::Unwrapped if matches!(byte, b'\r' | b'\n') => {}
            Self::Plain | Self::Unwrapped => give(byte, place),
            Self::Percent(read) => percent(read, byte, place, give),
            Self::Form(read) => {
                percent(read, byte, place, &mut |given, at| {
                    give(if at == place && byte == b'+' { b' ' } else { given }, at);
                });
            }
            Self::Json(escape) => escape.take(byte, place, give),
        }
    }

    /// Whether nothing is half read.
    pub(super) fn is_between(&self) -> bool {
        match self {
            Self::Plain | Self::Unwrapped => true,
            Self::Percent(read) | Self::Form(read) => read.is_empty(),
            Self::Json(escape) => escape.read.is_empty() && escape.high.is_none(),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn percent(read: &mut Vec<(u8, usize)>, byte: u8, place: usize, give: &mut impl FnMut(u8, usize)) {
    if !read.is_empty() && digit(byte).is_some() {
        read.push((byte, place));
        if let [(_, start), (high, _), (low, _)] = read[..] {
            let (high, low) = (digit(high).unwrap_or_default(), digit(low).unwrap_or_default());
            give(high << 4 | low, start);
            read.clear();
        }
        return;
    }
    // It was no encoding: it stands for itself.
    read.drain(..).for_each(|(byte, place)| give(byte, place));
    match byte {
        b'%' => read.push((byte, place)),
        byte => give(byte, place),
    }
}

impl Escape {
    fn take(&mut self, byte: u8, place: usize, give: &mut impl FnMut(u8, usize)) {
        let start = self.read.first().map(|(_, start)| *start);
        match (self.read.len(), start) {
            (0, _) | (_, None) => {
                if byte == b'\\' {
                    self.read.push((byte, place));
                } else {
                    self.end_of_half(give);
                    give(byte, place);
                }
            }
            (1, Some(_)) if byte == b'u' => self.read.push((byte, place)),
            (1, Some(start)) => {
                self.read.clear();
                self.end_of_half(give);
                let meant = match byte {
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'f' => 12,
                    b'r' => b'\r',
                    byte => byte,
                };
                give(meant, start);
            }
            (_, Some(start)) if digit(byte).is_some() => {
                self.read.push((byte, place));
                if self.read.len() == 6 {
                    let digits = self.read.drain(..).skip(2).filter_map(|(byte, _)| digit(byte));
                    let unit = digits.fold(0, |unit, digit| unit << 4 | u16::from(digit));
                    self.unit(unit, start, give);
                }
            }
            _ => {
                // It was no escape: it stands for itself.
                self.end_of_half(give);
                for (byte, place) in std::mem::take(&mut self.read) {
                    give(byte, place);
                }
                self.take(byte, place, give);
            }
        }
    }

    /// A unit of UTF-16.
    fn unit(&mut self, unit: u16, start: usize, give: &mut impl FnMut(u8, usize)) {
        let (units, start) = match self.high.take() {
            Some((high, first)) if (0xdc00..0xe000).contains(&unit) => (vec![high, unit], first),
            high => {
                self.high = high;
                self.end_of_half(give);
                (vec![unit], start)
            }
        };
        if let [high @ 0xd800..0xdc00] = units[..] {
            self.high = Some((high, start));
            return;
        }
        for character in char::decode_utf16(units).map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER)) {
            character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| give(byte, start));
        }
    }

    /// Half a character, without the other half, is none.
    fn end_of_half(&mut self, give: &mut impl FnMut(u8, usize)) {
        if let Some((_, start)) = self.high.take() {
            let mut none = [0; 4];
            char::REPLACEMENT_CHARACTER.encode_utf8(&mut none).bytes().for_each(|byte| give(byte, start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut view: View, text: &str) -> (String, Vec<usize>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for (place, byte) in text.bytes().enumerate() {
            view.take(byte, place, &mut |byte, place| {
                bytes.push(byte);
                places.push(place);
            });
        }
        (String::from_utf8(bytes).unwrap(), places)
    }

    #[test]
    fn each_view_decodes_its_own() {
        let (text, places) = read(View::Percent(Vec::new()), "a%42%4%zc+%c3%a9d");
        assert_eq!(text, "aB%4%zc+éd");
        assert_eq!(read(View::Form(Vec::new()), "a+%2b%4+").0, "a +%4 ");
        assert_eq!(places[..3], [0, 1, 4]);
        let json = View::Json(Escape::default());
        let (text, places) = read(json.clone(), r#"a\u0042\/\"\n\u00e9\ud83d\ude00\u12x\\"#);
        assert_eq!(text, "aB/\"\né😀\\u12x\\");
        assert_eq!(places[..3], [0, 1, 7]);
        assert_eq!(read(json, r"\ud83dx").0, "\u{fffd}x");
        assert_eq!(read(View::Unwrapped, "ab\r\ncd\n").0, "abcd");
    }
}
