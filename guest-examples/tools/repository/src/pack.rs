//! Objects on their way: packs, with deltas where they are read and whole objects where they are written (gitformat-pack).

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::object::{Id, Kind, Object, digest};
use crate::{Error, broken};

/// The most bytes of all objects of a pack together.
const MOST_BYTES: usize = 128 << 20;
/// The most objects of a pack.
const MOST_OBJECTS: u32 = 100_000;

/// Objects by their names.
pub type Objects = HashMap<Id, Object>;

/// What a delta is made from.
enum Base {
    /// The object that begins there in the pack.
    Offset(usize),
    /// The object of that name.
    Named(Id),
}

/// What stands at a place of a pack.
enum Stored {
    Whole(Kind),
    Delta(Base),
}

/// Reads the objects of a pack.
///
/// # Errors
///
/// It is damaged, or has too much in it.
pub fn read(pack: &[u8]) -> Result<Objects, Error> {
    let bad = || broken("the pack is damaged");
    let end = pack.len().checked_sub(20).ok_or_else(bad)?;
    let (content, sum) = pack.split_at(end);
    if digest(&[content])?.0 != *sum {
        return Err(bad());
    }
    let word = |at: usize| content.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
    if content.get(..4) != Some(b"PACK") || word(4) != Some(2) {
        return Err(broken("the pack is of another version"));
    }
    let count = word(8).ok_or_else(bad)?;
    if count > MOST_OBJECTS {
        return Err(Error::TooLarge(format!("the pack has more than {MOST_OBJECTS} objects")));
    }
    let mut reading = Reading { content, at: 12, room: MOST_BYTES, ..Reading::default() };
    let mut deltas = Vec::new();
    for _ in 0..count {
        let place = reading.at;
        let (stored, bytes) = reading.next()?;
        match stored {
            Stored::Whole(kind) => reading.keep(place, Object { kind, bytes })?,
            Stored::Delta(base) => deltas.push((place, base, bytes)),
        }
    }
    // A delta's base can be a delta, and can come behind it.
    while !deltas.is_empty() {
        let before = deltas.len();
        let mut waiting = Vec::new();
        for (place, base, delta) in deltas {
            match reading.base(&base) {
                Some(base) => {
                    let (kind, bytes) = (base.kind, apply(&base.bytes, &delta, reading.room)?);
                    reading.room -= bytes.len();
                    reading.keep(place, Object { kind, bytes })?;
                }
                None => waiting.push((place, base, delta)),
            }
        }
        if waiting.len() == before {
            return Err(broken("the pack leans on objects that are not in it"));
        }
        deltas = waiting;
    }
    Ok(reading.objects)
}

#[derive(Default)]
struct Reading<'p> {
    content: &'p [u8],
    at: usize,
    /// How many bytes may still come.
    room: usize,
    objects: Objects,
    /// Names by where their objects begin.
    places: HashMap<usize, Id>,
}

impl Reading<'_> {
    fn byte(&mut self) -> Result<u8, Error> {
        let byte = self.content.get(self.at).copied().ok_or_else(|| broken("the pack is cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    fn next(&mut self) -> Result<(Stored, Vec<u8>), Error> {
        let place = self.at;
        let first = self.byte()?;
        let (mut size, mut shift, mut more) = (usize::from(first & 15), 4, first & 128 != 0);
        while more {
            let byte = self.byte()?;
            size |= usize::from(byte & 127).checked_shl(shift).filter(|_| shift < 28).ok_or_else(too_large)?;
            (shift, more) = (shift + 7, byte & 128 != 0);
        }
        let stored = match (first >> 4) & 7 {
            1 => Stored::Whole(Kind::Commit),
            2 => Stored::Whole(Kind::Tree),
            3 => Stored::Whole(Kind::Blob),
            4 => Stored::Whole(Kind::Tag),
            6 => {
                let back = self.offset()?;
                let base = place.checked_sub(back).filter(|_| back > 0);
                Stored::Delta(Base::Offset(base.ok_or_else(|| broken("a delta leads out of the pack"))?))
            }
            7 => {
                let id = self.content.get(self.at..self.at + 20).and_then(|id| id.try_into().ok());
                self.at += 20;
                Stored::Delta(Base::Named(Id(id.ok_or_else(|| broken("the pack is cut off"))?)))
            }
            _ => return Err(broken("the pack has objects of an unknown kind")),
        };
        Ok((stored, self.inflate(size)?))
    }

    /// How far back a delta's base begins (gitformat-pack, "offset encoding").
    fn offset(&mut self) -> Result<usize, Error> {
        let mut byte = self.byte()?;
        let mut offset = usize::from(byte & 127);
        while byte & 128 != 0 {
            byte = self.byte()?;
            let next = offset.checked_add(1).and_then(|offset| offset.checked_mul(128));
            offset = next.ok_or_else(too_large)? | usize::from(byte & 127);
        }
        Ok(offset)
    }

    fn inflate(&mut self, size: usize) -> Result<Vec<u8>, Error> {
        self.room = self.room.checked_sub(size).ok_or_else(too_large)?;
        let mut decoder = ZlibDecoder::new(&self.content[self.at.min(self.content.len())..]);
        let mut bytes = Vec::new();
        let read = decoder.by_ref().take(size as u64 + 1).read_to_end(&mut bytes);
        if read.is_err() || bytes.len() != size {
            return Err(broken("an object of the pack is damaged"));
        }
        self.at += usize::try_from(decoder.total_in()).map_err(|_| too_large())?;
        Ok(bytes)
    }

    fn keep(&mut self, place: usize, object: Object) -> Result<(), Error> {
        let id = object.id()?;
        self.places.insert(place, id);
        self.objects.insert(id, object);
        Ok(())
    }

    fn base(&self, base: &Base) -> Option<&Object> {
        let id = match base {
            Base::Offset(place) => self.places.get(place)?,
            Base::Named(id) => id,
        };
        self.objects.get(id)
    }
}

fn too_large() -> Error {
    Error::TooLarge(format!("the objects have more than {} MiB", MOST_BYTES >> 20))
}

/// What a delta makes of its base (gitformat-pack, "deltified representation").
fn apply(base: &[u8], delta: &[u8], room: usize) -> Result<Vec<u8>, Error> {
    let bad = || broken("a delta is damaged");
    let mut rest = delta.iter().copied();
    let mut size = || {
        let (mut size, mut shift) = (0_usize, 0);
        loop {
            let byte = rest.next()?;
            size |= usize::from(byte & 127).checked_shl(shift).filter(|_| shift < 28)?;
            shift += 7;
            if byte & 128 == 0 {
                return Some(size);
            }
        }
    };
    if size() != Some(base.len()) {
        return Err(bad());
    }
    let size = size().ok_or_else(bad)?;
    if size > room {
        return Err(too_large());
    }
    let mut made = Vec::with_capacity(size);
    while let Some(instruction) = rest.next() {
        if instruction & 128 == 0 {
            let before = made.len();
            made.extend(rest.by_ref().take(usize::from(instruction)));
            if instruction == 0 || made.len() - before != usize::from(instruction) {
                return Err(bad());
            }
        } else {
            let mut number = |bits: std::ops::Range<u32>| {
                let present = bits.enumerate().filter(|(_, bit)| instruction & (1 << bit) != 0);
                let part = |(at, _)| Some(usize::from(rest.next()?) << (8 * at));
                present.map(part).sum::<Option<usize>>()
            };
            let (offset, length) = (number(0..4).ok_or_else(bad)?, number(4..7).ok_or_else(bad)?);
            let length = if length == 0 { 0x10000 } else { length };
            let end = offset.checked_add(length).ok_or_else(bad)?;
            made.extend_from_slice(base.get(offset..end).ok_or_else(bad)?);
        }
        if made.len() > size {
            return Err(bad());
        }
    }
    if made.len() == size { Ok(made) } else { Err(bad()) }
}

/// Writes a pack of whole objects.
///
/// # Errors
///
/// There are too many.
pub fn write<'o>(objects: impl ExactSizeIterator<Item = &'o Object>) -> Result<Vec<u8>, Error> {
    let count = u32::try_from(objects.len()).map_err(|_| too_large())?;
    let mut pack = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
    for object in objects {
        let kind: u8 = match object.kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut size = object.bytes.len();
        let mut byte = kind << 4 | u8::try_from(size & 15).unwrap_or_default();
        size >>= 4;
        while size > 0 {
            pack.push(byte | 128);
            byte = u8::try_from(size & 127).unwrap_or_default();
            size >>= 7;
        }
        pack.push(byte);
        let mut encoder = ZlibEncoder::new(pack, Compression::default());
        let written = encoder.write_all(&object.bytes).and_then(|()| encoder.finish());
        pack = written.map_err(|error| broken(error.to_string()))?;
    }
    let sum = digest(&[&pack])?;
    pack.extend(sum.0);
    Ok(pack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> Object {
        Object { kind: Kind::Blob, bytes: bytes.to_vec() }
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A pack of these entries: their heads, and what is deflated behind each.
    fn pack(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let count = u32::try_from(entries.len()).unwrap();
        let mut pack = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
        for (head, bytes) in entries {
            pack.extend([*head, &deflated(bytes)].concat());
        }
        let sum = digest(&[&pack]).unwrap();
        pack.extend(sum.0);
        pack
    }

    #[test]
    fn what_is_written_is_read() {
        let objects = [blob(b""), blob(&[7; 5000]), Object { kind: Kind::Commit, bytes: b"tree x".to_vec() }];
        let read = read(&write(objects.iter()).unwrap()).unwrap();
        assert_eq!(read.len(), 3);
        for object in &objects {
            assert_eq!(read.get(&object.id().unwrap()), Some(object));
        }
    }

    /// Copies `hello`, and adds a `!`.
    const DELTA: &[u8] = &[5, 6, 0x90, 5, 1, b'!'];

    #[test]
    fn deltas_are_applied_whatever_their_order() {
        let base = blob(b"hello").id().unwrap();
        let named = [[0x70 | 6].as_slice(), &base.0].concat();
        // By name, and before its base.
        let objects = read(&pack(&[(&named, DELTA), (&[0x35], b"hello")])).unwrap();
        assert!(objects.contains_key(&blob(b"hello!").id().unwrap()));
        // By offset: a delta of a delta.
        let first = 1 + deflated(b"hello").len();
        let second = 2 + deflated(DELTA).len();
        let twice: &[u8] = &[6, 7, 0x90, 6, 1, b'?'];
        let (one, two) = ([0x66, u8::try_from(first).unwrap()], [0x66, u8::try_from(second).unwrap()]);
        let objects = read(&pack(&[(&[0x35], b"hello"), (&one, DELTA), (&two, twice)])).unwrap();
        assert!(objects.contains_key(&blob(b"hello!?").id().unwrap()));
    }

    #[test]
    fn damage_is_noticed() {
        let whole = pack(&[(&[0x35], b"hello")]);
        for at in [0, 5, 11, 12, 14, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_err(), "{at}");
        }
        assert!(read(&[]).is_err() && read(&whole[..whole.len() - 1]).is_err());
        let other = [[0x76].as_slice(), &[9; 20]].concat();
        assert!(read(&pack(&[(&other, DELTA)])).is_err(), "a base that is not there");
        assert!(read(&pack(&[(&[0x66, 100], DELTA)])).is_err(), "a base before the pack");
        assert!(read(&pack(&[(&[0x66, 0], DELTA)])).is_err(), "itself");
        assert!(read(&pack(&[(&[0x34], b"hello")])).is_err(), "longer than it says");
        assert!(read(&pack(&[(&[0xbf, 0xff, 0xff, 0xff, 0x7f], b"hello")])).is_err(), "larger than anything");
        assert!(read(&pack(&[(&[0x55], b"hello")])).is_err(), "an unknown kind");
    }

    #[test]
    fn deltas_stay_in_their_bounds() {
        for delta in [
            &[][..],
            &[4, 1, 1, b'x'],
            &[5],
            &[5, 1, 0],
            &[5, 2, 1, b'x'],
            &[5, 1, 2, b'x', b'y'],
            &[5, 3, 0x91, 3, 3],
            &[5, 1, 0x80],
            &[5, 5, 0x91],
            &[5, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(apply(b"hello", delta, 1 << 20).is_err(), "{delta:?}");
        }
        assert_eq!(apply(b"hello", DELTA, 6).unwrap(), b"hello!");
        assert!(matches!(apply(b"hello", DELTA, 5), Err(Error::TooLarge(_))));
    }
}
