//! The part of CBOR (RFC 8949) that authenticators speak: definite lengths, no tags, no fractions (CTAP2's canonical form).
//!
//! What they send is read from whoever asks, so nothing is taken on trust: lengths are held against what is there, and
//! nesting ends.

/// How deep values may be nested; CTAP2 allows 4, and an attestation is within a map.
const DEPTH: usize = 8;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cbor<'b> {
    /// A number.
    Number(i128),
    /// Bytes.
    Bytes(&'b [u8]),
    /// Text.
    Text(&'b str),
    /// Values in a row.
    Array(Vec<Self>),
    /// Keys and values, in the order they came.
    Map(Vec<(Self, Self)>),
    /// `true`, `false`, null and their like, by their number.
    Simple(u8),
}

impl<'b> Cbor<'b> {
    /// The value that `bytes` begin with, and what follows it.
    pub(super) fn read(bytes: &'b [u8]) -> Option<(Self, &'b [u8])> {
        Self::within(bytes, DEPTH)
    }

    fn within(bytes: &'b [u8], depth: usize) -> Option<(Self, &'b [u8])> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = bytes.split_first()?;
        let (major, info) = (first >> 5, first & 31);
        if major == 7 {
            return (20..24).contains(&info).then_some((Self::Simple(info), rest));
        }
        let (number, mut rest) = argument(info, rest)?;
        let value = match major {
            0 => Self::Number(number.into()),
            1 => Self::Number(-1 - i128::from(number)),
            2 => Self::Bytes(cut(&mut rest, number)?),
            3 => Self::Text(std::str::from_utf8(cut(&mut rest, number)?).ok()?),
            4 => {
                let mut items = Vec::new();
                for _ in 0..number {
                    items.push(next(&mut rest, depth)?);
                }
                Self::Array(items)
            }
            5 => {
                let mut items = Vec::new();
                for _ in 0..number {
                    items.push((next(&mut rest, depth)?, next(&mut rest, depth)?));
                }
                Self::Map(items)
            }
            _ => return None,
        };
        Some((value, rest))
    }

    /// The value of a map under a text.
    pub(super) fn under(&self, key: &'b str) -> Option<&Self> {
        self.at(&Self::Text(key))
    }

    /// The value of a map under a number.
    pub(super) fn labelled(&self, label: i128) -> Option<&Self> {
        self.at(&Self::Number(label))
    }

    fn at(&self, key: &Self) -> Option<&Self> {
        let Self::Map(items) = self else { return None };
        items.iter().find(|(held, _)| held == key).map(|(_, value)| value)
    }

    /// Its bytes, when it is bytes.
    pub(super) fn bytes(&self) -> Option<&'b [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// Its number, when it is one.
    pub(super) fn number(&self) -> Option<i128> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

/// The number after the first byte, in the shortest form that it has.
fn argument(info: u8, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = match info {
        0..24 => return Some((info.into(), bytes)),
        24..28 => 1_usize << (info - 24),
        _ => return None,
    };
    let (number, rest) = bytes.split_at_checked(length)?;
    let number = number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let least = match length {
        1 => 24,
        2 => 1 << 8,
        4 => 1 << 16,
        _ => 1 << 32,
    };
    (number >= least).then_some((number, rest))
}

fn cut<'b>(bytes: &mut &'b [u8], length: u64) -> Option<&'b [u8]> {
    let (cut, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(cut)
}

fn next<'b>(bytes: &mut &'b [u8], depth: usize) -> Option<Cbor<'b>> {
    let (value, rest) = Cbor::within(bytes, depth)?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 8949, appendix A.
        let rows: [(&[u8], Cbor<'_>); 9] = [
            (&[0x17], Cbor::Number(23)),
            (&[0x18, 0x64], Cbor::Number(100)),
            (
                &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Cbor::Number(u64::MAX.into()),
            ),
            (&[0x38, 0x63], Cbor::Number(-100)),
            (&[0xf5], Cbor::Simple(21)),
            (&[0x44, 1, 2, 3, 4], Cbor::Bytes(&[1, 2, 3, 4])),
            (&[0x62, 0xc3, 0xbc], Cbor::Text("ü")),
            (&[0x82, 1, 0x20], Cbor::Array(vec![Cbor::Number(1), Cbor::Number(-1)])),
            (&[0xa1, 0x61, b'a', 1], Cbor::Map(vec![(Cbor::Text("a"), Cbor::Number(1))])),
        ];
        for (bytes, wanted) in rows {
            assert_eq!(Cbor::read(bytes), Some((wanted, [].as_slice())));
        }
        assert_eq!(Cbor::read(&[0x62, 0xc3, 0xbc, 7]), Some((Cbor::Text("ü"), [7].as_slice())));
    }

    #[test]
    fn what_authenticators_do_not_send_is_refused() {
        let deep = [[0x81].repeat(9).as_slice(), &[1]].concat();
        let rows: [&[u8]; 9] = [
            &[],
            &[0x18, 0x17],          // longer than it need be
            &[0x5f, 0x41, 1, 0xff], // without a length
            &[0xc0, 0x61, b'a'],    // a tag
            &[0xf9, 0, 0],          // a fraction
            &[0x58, 0xff, 1],       // shorter than it says
            &[0x61, 0xff],          // no UTF-8
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // no memory has as many
            &deep,
        ];
        for bytes in rows {
            assert_eq!(Cbor::read(bytes), None, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((_, rest)) = Cbor::read(&bytes) {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }
}
