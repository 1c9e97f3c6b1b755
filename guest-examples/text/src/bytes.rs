//! Looks at sixteen bytes at a time.
//!
//! On WebAssembly a vector instruction costs as much fuel as one for a single byte, so that this is what makes searching
//! hundreds of megabytes affordable. Elsewhere the same operations are written out, for tests.

use std::borrow::Cow;

/// How many bytes are looked at together.
pub const LANES: usize = 16;

#[cfg(target_family = "wasm")]
mod vector {
    use std::arch::wasm32::{
        i8x16_bitmask, i8x16_eq, i64x2, u8x16_lt, u8x16_splat, u8x16_sub, v128, v128_and, v128_andnot, v128_or,
    };

    use super::LANES;

    /// Sixteen bytes.
    #[derive(Debug, Clone, Copy)]
    pub struct Lanes(v128);

    impl Lanes {
        /// These bytes.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn of(bytes: &[u8; LANES]) -> Lanes {
            let (words, _) = bytes.as_chunks::<8>();
            Lanes(i64x2(i64::from_le_bytes(words[0]), i64::from_le_bytes(words[1])))
        }

        /// The same byte in all lanes.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn all(byte: u8) -> Lanes {
            Lanes(u8x16_splat(byte))
        }

        /// All bits of the lanes that are equal, no bit of the others.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn equal(self, other: Lanes) -> Lanes {
            Lanes(i8x16_eq(self.0, other.0))
        }

        /// All bits of the lanes from `first` to `first + number - 1`.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn within(self, first: u8, number: u8) -> Lanes {
            Lanes(u8x16_lt(u8x16_sub(self.0, u8x16_splat(first)), u8x16_splat(number)))
        }

        /// The bits of either.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes(v128_or(self.0, other.0))
        }

        /// The bits of both.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn and(self, other: Lanes) -> Lanes {
            Lanes(v128_and(self.0, other.0))
        }

        /// The bits that the other has not.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn and_not(self, other: Lanes) -> Lanes {
            Lanes(v128_andnot(self.0, other.0))
        }

        /// The highest bit of each lane, the first lane's lowest.
        #[inline]
        #[must_use]
        #[target_feature(enable = "simd128")]
        pub fn mask(self) -> u16 {
            i8x16_bitmask(self.0)
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod vector {
    use std::array::from_fn;

    use super::LANES;

    /// Sixteen bytes.
    #[derive(Debug, Clone, Copy)]
    pub struct Lanes([u8; LANES]);

    impl Lanes {
        /// These bytes.
        #[inline]
        #[must_use]
        pub fn of(bytes: &[u8; LANES]) -> Lanes {
            Lanes(*bytes)
        }

        /// The same byte in all lanes.
        #[inline]
        #[must_use]
        pub fn all(byte: u8) -> Lanes {
            Lanes([byte; LANES])
        }

        /// All bits of the lanes that are equal, no bit of the others.
        #[inline]
        #[must_use]
        pub fn equal(self, other: Lanes) -> Lanes {
            Lanes(from_fn(|lane| if self.0[lane] == other.0[lane] { 0xff } else { 0 }))
        }

        /// All bits of the lanes from `first` to `first + number - 1`.
        #[inline]
        #[must_use]
        pub fn within(self, first: u8, number: u8) -> Lanes {
            Lanes(self.0.map(|byte| if byte.wrapping_sub(first) < number { 0xff } else { 0 }))
        }

        /// The bits of either.
        #[inline]
        #[must_use]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes(from_fn(|lane| self.0[lane] | other.0[lane]))
        }

        /// The bits of both.
        #[inline]
        #[must_use]
        pub fn and(self, other: Lanes) -> Lanes {
            Lanes(from_fn(|lane| self.0[lane] & other.0[lane]))
        }

        /// The bits that the other has not.
        #[inline]
        #[must_use]
        pub fn and_not(self, other: Lanes) -> Lanes {
            Lanes(from_fn(|lane| self.0[lane] & !other.0[lane]))
        }

        /// The highest bit of each lane, the first lane's lowest.
        #[inline]
        #[must_use]
        pub fn mask(self) -> u16 {
            (0..LANES).fold(0, |mask, lane| mask | u16::from(self.0[lane] >> 7) << lane)
        }
    }
}

pub use vector::Lanes;

/// The bytes as text; what is not UTF-8 is replaced. Faster than the standard library's way when nothing is.
#[must_use]
pub fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Where `byte` first stands at `from` or behind it.
#[must_use]
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn find(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let (blocks, tail) = rest.as_chunks::<LANES>();
    let wanted = Lanes::all(byte);
    for (number, block) in blocks.iter().enumerate() {
        let mask = Lanes::of(block).equal(wanted).mask();
        if mask != 0 {
            return Some(from + number * LANES + mask.trailing_zeros() as usize);
        }
    }
    let lane = tail.iter().position(|value| *value == byte)?;
    Some(bytes.len() - tail.len() + lane)
}

/// How often `byte` occurs.
#[must_use]
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn count(bytes: &[u8], byte: u8) -> usize {
    let (blocks, tail) = bytes.as_chunks::<LANES>();
    let wanted = Lanes::all(byte);
    let mut total = 0;
    for block in blocks {
        total += Lanes::of(block).equal(wanted).mask().count_ones() as usize;
    }
    for value in tail {
        total += usize::from(*value == byte);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_compared_one_by_one() {
        let bytes: [u8; LANES] = *b"abcdefghijklmnop";
        let lanes = Lanes::of(&bytes);
        assert_eq!(lanes.equal(Lanes::all(b'c')).mask(), 0b100);
        assert_eq!(lanes.within(b'b', 2).mask(), 0b110);
        assert_eq!(lanes.within(b'b', 2).or(lanes.equal(Lanes::all(b'p'))).mask(), 0x8006);
        assert_eq!(lanes.within(b'b', 2).and_not(lanes.equal(Lanes::all(b'c'))).mask(), 0b10);
        assert_eq!(lanes.within(b'a', 26).and(lanes.equal(Lanes::all(b'a'))).mask(), 1);
    }

    #[test]
    fn bytes_are_found_wherever_they_stand() {
        for length in 0..70 {
            for at in 0..length {
                let mut bytes = vec![b'.'; length];
                bytes[at] = b'x';
                for from in 0..=length {
                    assert_eq!(find(&bytes, from, b'x'), (at >= from).then_some(at), "{length} {at} {from}");
                }
            }
        }
        assert_eq!(find(b"abc", 4, b'a'), None);
    }

    #[test]
    fn bytes_are_counted() {
        for length in [0, 1, 15, 16, 17, 10_000] {
            assert_eq!(count(&vec![b'\n'; length], b'\n'), length);
            assert_eq!(count(&vec![b'-'; length], b'\n'), 0);
        }
    }
}
