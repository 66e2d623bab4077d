//! Bodies in chunks (RFC 9112, 7.1), taken apart as they come.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Malformed;

/// What chunks may say beside their sizes, in one body, in bytes.
const EXTENSIONS_MOST: usize = 16 << 10;
/// How long the trailers may be, in bytes, and how many there may be.
const TRAILERS_MOST: (usize, usize) = (16 << 10, 64);

/// Where in such a body the reader is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of extensions so far.
    beside: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the size of a chunk; `None` before its first digit.
    Size(Option<u64>),
    /// Behind the size, which ends with the line.
    Extension(u64),
    /// Before the end of the line of the size.
    SizeEnd(u64),
    Data(u64),
    /// Before both bytes, or the last, of the end of the data's line.
    DataEnd(&'static [u8]),
    Trailers,
    Over,
}

impl Default for At {
    fn default() -> Self {
        Self::Size(None)
    }
}

/// What was found next.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// Nothing before more has come.
    More,
}

impl Chunks {
    /// Takes the next piece of the body off the front of `from`.
    pub(super) fn take(&mut self, from: &mut Bytes) -> Result<Piece, Malformed> {
        loop {
            if matches!(self.at, At::Over) {
                return Ok(Piece::End);
            }
            if from.is_empty() {
                return Ok(Piece::More);
            }
            match self.at {
                At::Data(left) => return Ok(self.data(left, from)),
                At::Trailers => {
                    if let Some(found) = self.trailers(from)? {
                        return Ok(found);
                    }
                }
                at => self.at = self.step(at, from.get_u8())?,
            }
        }
    }

    fn step(&mut self, at: At, byte: u8) -> Result<At, Malformed> {
        match (at, byte) {
            (At::Size(Some(size)), b'\r') => Ok(At::SizeEnd(size)),
            (At::Size(Some(size)), b';' | b' ' | b'\t') => Ok(At::Extension(size)),
            (At::Size(size), _) => {
                let digit =
                    char::from(byte).to_digit(16).ok_or(Malformed("the size of a chunk"))?;
                let size = size.unwrap_or(0);
                if size >> 60 != 0 {
                    return Err(Malformed("a chunk that is too large"));
                }
                Ok(At::Size(Some(size << 4 | u64::from(digit))))
            }
            (At::Extension(size), b'\r') => Ok(At::SizeEnd(size)),
            (At::Extension(_), b'\n') => Err(Malformed("the line of a chunk's size")),
            (At::Extension(size), _) => {
                self.beside += 1;
                if self.beside > EXTENSIONS_MOST {
                    return Err(Malformed("chunk extensions that are too long"));
                }
                Ok(At::Extension(size))
            }
            (At::SizeEnd(0), b'\n') => Ok(At::Trailers),
            (At::SizeEnd(size), b'\n') => Ok(At::Data(size)),
            (At::DataEnd([first, rest @ ..]), _) if byte == *first => {
                Ok(if rest.is_empty() { At::Size(None) } else { At::DataEnd(rest) })
            }
            _ => Err(Malformed("the end of a chunk")),
        }
    }

    fn data(&mut self, left: u64, from: &mut Bytes) -> Piece {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(from.len());
        let data = from.split_to(most);
        let left = left - most as u64;
        self.at = if left == 0 { At::DataEnd(b"\r\n") } else { At::Data(left) };
        Piece::Data(data)
    }

    /// Takes trailers, up to the empty line that ends them and the body.
    fn trailers(&mut self, from: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        while from.has_remaining() {
            self.trailers.push(from.get_u8());
            if self.trailers.len() > TRAILERS_MOST.0 {
                return Err(Malformed("trailers that are too long"));
            }
            if self.trailers == b"\r\n" {
                self.at = At::Over;
                return Ok(Some(Piece::End));
            }
            if self.trailers.ends_with(b"\r\n\r\n") {
                self.at = At::Over;
                return fields(&self.trailers).map(|found| Some(Piece::Trailers(found)));
            }
        }
        Ok(None)
    }
}

fn fields(text: &[u8]) -> Result<HeaderMap, Malformed> {
    let malformed = Malformed("the trailers");
    let mut room = [httparse::EMPTY_HEADER; TRAILERS_MOST.1];
    let parsed = httparse::parse_headers(text, &mut room).map_err(|_| malformed)?;
    let httparse::Status::Complete((_, found)) = parsed else { return Err(malformed) };
    let mut fields = HeaderMap::with_capacity(found.len());
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| malformed)?;
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body's data, its trailers, and what is left behind it.
    type Body = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// All of a body that comes in these parts.
    fn read(parts: &[&[u8]]) -> Result<Body, Malformed> {
        let (mut chunks, mut data, mut trailers) = (Chunks::default(), Vec::new(), None);
        let mut from = Bytes::new();
        for (at, part) in parts.iter().enumerate() {
            from = Bytes::from([&from[..], part].concat());
            loop {
                match chunks.take(&mut from)? {
                    Piece::Data(found) => data.extend_from_slice(&found),
                    Piece::Trailers(found) => trailers = Some(found),
                    Piece::More => break,
                    Piece::End => {
                        let rest = parts[at + 1..].concat();
                        return Ok((data, trailers, [&from[..], &rest].concat()));
                    }
                }
            }
        }
        Err(Malformed("it does not end"))
    }

    #[test]
    fn chunks_are_put_together_and_what_follows_is_left() {
        let text = b"4\r\nWiki\r\n5;name=\"v\"\r\npedia\r\n0A \r\n in chunks\r\n0\r\n\r\nHTTP/1.1";
        let (data, trailers, left) = read(&[text]).unwrap();
        assert_eq!(data, b"Wikipedia in chunks");
        assert_eq!((trailers, left.as_slice()), (None, &b"HTTP/1.1"[..]));
        let (_, trailers, _) = read(&[b"0\r\ngrpc-status: 0\r\nx: y\r\n\r\n"]).unwrap();
        let trailers = trailers.unwrap();
        assert_eq!((trailers.len(), &trailers["grpc-status"]), (2, &HeaderValue::from_static("0")));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(EXTENSIONS_MOST + 1));
        let rows: [&[u8]; 12] = [
            b"\r\na\r\n0\r\n\r\n",
            b"g\r\n",
            b"-1\r\na\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b"1\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"1;x\na\r\n0\r\n\r\n",
            b"10000000000000000\r\na",
            b"0\r\n folded: x\r\n\r\n",
            long.as_bytes(),
        ];
        for row in rows {
            assert!(read(&[row]).is_err(), "{}", String::from_utf8_lossy(row));
        }
        assert!(read(&[b"5\r\nabc"]).is_err(), "it broke off");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_network_cuts(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nt: 1\r\n\r\n");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let parts: Vec<&[u8]> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (data, trailers, left) = read(&parts).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(trailers.unwrap().len(), 1);
            prop_assert_eq!(left, b"");
        }

        #[test]
        fn no_bytes_make_it_give_more_than_came(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((data, ..)) = read(&[&text]) {
                prop_assert!(data.len() < text.len());
            }
        }
    }
}
