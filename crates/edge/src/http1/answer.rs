//! The head of a target's answer, and what it says of its body (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use httparse::{ParserConfig, Status};

use super::Malformed;

/// The most headers an answer may have.
const HEADERS_MOST: usize = 128;

/// How far a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// To the end of the connection.
    Rest,
}

/// An answer whose head is there.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) extent: Extent,
    /// Whether the connection may carry another request after it.
    pub(super) keep: bool,
    /// What came behind the head.
    pub(super) rest: Bytes,
}

/// Whether `text` has an empty line, which ends a head. What `searched` says was searched already.
pub(super) fn has_end(text: &[u8], searched: usize) -> bool {
    let text = text.get(searched.saturating_sub(2)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', text).any(|at| match text.get(at + 1..) {
        Some([b'\n', ..] | [b'\r', b'\n', ..]) => true,
        Some(_) | None => false,
    })
}

/// Reads a head that has come whole. `None`: after all, it has not.
pub(super) fn parse(all: &Bytes, to_head: bool) -> Result<Option<Begun>, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MOST];
    let mut head = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut head, all, &mut room);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed("its head")),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed("its status"))?;
    let is_10 = head.version != Some(1);
    let (mut headers, mut said) = (HeaderMap::with_capacity(head.headers.len()), Said::default());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Malformed("the name of a header"))?;
        // A slice of what was read, and no copy.
        let value = HeaderValue::from_maybe_shared(all.slice_ref(field.value));
        let value = value.map_err(|_| Malformed("the value of a header"))?;
        said.hear(&name, &value)?;
        headers.append(name, value);
    }
    let bodiless = to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let extent = if bodiless { Extent::None } else { said.extent(is_10)? };
    let both = said.encoded && said.length.is_some();
    if both {
        headers.remove(header::CONTENT_LENGTH);
    }
    let keep = !is_10 && !said.close && !both && extent != Extent::Rest;
    let rest = all.slice(length..);
    Ok(Some(Begun { status, headers, extent, keep, rest }))
}

/// What the headers say of the body and of the connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    /// There is a `Transfer-Encoding`; any but `chunked` is refused, for none was asked for.
    encoded: bool,
    close: bool,
}

impl Said {
    fn hear(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        if *name == header::CONTENT_LENGTH {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                let length = number(part.trim_ascii()).ok_or(Malformed("its length"))?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(Malformed("its length, which it says in two ways"));
                }
            }
        } else if *name == header::TRANSFER_ENCODING {
            let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            if std::mem::replace(&mut self.encoded, true) || !is_chunked {
                return Err(Malformed("its transfer encoding"));
            }
        } else if *name == header::CONNECTION {
            let mut listed = value.as_bytes().split(|byte| *byte == b',');
            self.close |= listed.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
        Ok(())
    }

    fn extent(&self, is_10: bool) -> Result<Extent, Malformed> {
        match (self.encoded, self.length) {
            (true, _) if is_10 => Err(Malformed("its transfer encoding, in HTTP/1.0")),
            (true, _) => Ok(Extent::Chunked),
            (false, Some(0)) => Ok(Extent::None),
            (false, Some(length)) => Ok(Extent::Length(length)),
            (false, None) => Ok(Extent::Rest),
        }
    }
}

/// A number of digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Begun>, Malformed> {
        parse(&Bytes::copy_from_slice(text.as_bytes()), false)
    }

    #[test]
    fn a_head_says_how_far_the_body_goes_and_whether_the_connection_stays() {
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Extent::Length(5), true),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n\r\n",
                Extent::Length(5),
                true,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Extent::None, true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Extent::Chunked, true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                Extent::Chunked,
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Extent::Rest, false),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\n",
                Extent::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
                Extent::Length(5),
                false,
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Extent::None, true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Extent::None, true),
            ("HTTP/1.1 100 Continue\r\n\r\n", Extent::None, true),
        ];
        for (text, extent, keep) in rows {
            let begun = read(text).unwrap().unwrap();
            assert_eq!((begun.extent, begun.keep), (extent, keep), "{text}");
        }
        let both = read(rows[4].0).unwrap().unwrap();
        assert!(
            !both.headers.contains_key(header::CONTENT_LENGTH),
            "only one way to read it is left"
        );
        let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let begun = parse(&head, true).unwrap().unwrap();
        assert_eq!(
            (begun.extent, &begun.headers["content-length"]),
            (Extent::None, &HeaderValue::from_static("5"))
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let rows = [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "content-length: -5",
            "content-length: 0x5",
            "content-length: 5 5",
            "content-length:",
            "content-length: 18446744073709551616",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: xchunked",
            "name : value",
            "name: va\rlue",
            " folded: value",
            "a: b\r\n folded",
        ];
        for row in rows {
            let text = format!("HTTP/1.1 200 OK\r\n{row}\r\n\r\n");
            assert!(read(&text).is_err(), "{row}");
        }
        for text in [
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_network_cuts() {
        let text = b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody";
        for cut in 0..=text.len() {
            let whole = cut >= text.len() - 4;
            assert_eq!(has_end(&text[..cut], 0), whole, "{cut}");
            for searched in 0..cut.min(text.len() - 4) {
                assert_eq!(has_end(&text[..cut], searched), whole, "{searched} of {cut}");
            }
        }
        assert!(has_end(b"HTTP/1.1 200 OK\n\n", 0));
        assert!(read("HTTP/1.1 200 OK\r\na: b").unwrap().is_none());
    }
}
