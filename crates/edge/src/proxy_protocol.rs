//! The PROXY protocol, versions 1 and 2: what a load balancer says about a client before the client speaks.
//!
//! Facts: the document `proxy-protocol.txt` of `HAProxy`, sections 2.1 and 2.2. Nothing is guessed: whoever is to speak it and does not is
//! cut off, as the document asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 1, with its line end.
const LINE_MOST: usize = 107;
/// Version 2 begins with these bytes.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 2 that is taken: addresses and what may stand behind them.
const BINARY_MOST: usize = 4 << 10;

/// What a header says, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// It is not whole yet.
    Partial,
    /// It is `length` bytes long. `from`: the client; `None` when the sender speaks for itself.
    Whole {
        /// The client.
        from: Option<SocketAddr>,
        /// How many bytes belong to the header.
        length: usize,
    },
    /// It is none.
    Wrong(&'static str),
}

/// Reads the header at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        if bytes.len() < SIGNATURE.len() { Parsed::Partial } else { binary(bytes) }
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Parsed::Wrong("neither version 1 nor 2 of the PROXY protocol")
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443` and a line end.
fn line(bytes: &[u8]) -> Parsed {
    let most = bytes.get(..LINE_MOST).unwrap_or(bytes);
    let Some(end) = most.iter().position(|b| *b == b'\n') else {
        return if bytes.len() < LINE_MOST {
            Parsed::Partial
        } else {
            Parsed::Wrong("a line that does not end")
        };
    };
    let text = most.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let Some(text) = text.and_then(|line| std::str::from_utf8(line).ok()) else {
        return Parsed::Wrong("a line that does not end with CR and LF");
    };
    let length = end + 1;
    let mut words = text.split(' ').skip(1);
    let from = match words.next() {
        // What else such a line says is to be ignored.
        Some("UNKNOWN") => return Parsed::Whole { from: None, length },
        Some("TCP4") => address::<Ipv4Addr>(&mut words),
        Some("TCP6") => address::<Ipv6Addr>(&mut words),
        _ => None,
    };
    match from {
        Some(from) if words.next().is_none() => Parsed::Whole { from: Some(from), length },
        _ => Parsed::Wrong("a line that does not name addresses and ports"),
    }
}

/// Source and destination, of which the source counts.
fn address<'t, A>(words: &mut impl Iterator<Item = &'t str>) -> Option<SocketAddr>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let (from, to) = (words.next()?.parse::<A>().ok()?, words.next()?.parse::<A>().ok());
    let (from_port, to_port) = (port(words.next()?)?, port(words.next()?));
    to.and(to_port)?;
    Some(SocketAddr::new(from.into(), from_port))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Signature, version and command, family and transport, length, addresses.
fn binary(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_at_checked(16) else { return Parsed::Partial };
    let [.., command, family, high, low] = head else { return Parsed::Partial };
    let size = usize::from(u16::from_be_bytes([*high, *low]));
    let length = 16 + size;
    if length > BINARY_MOST {
        return Parsed::Wrong("a header that is too long");
    }
    let proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Parsed::Wrong("a version or command that there is not"),
    };
    let Some(addresses) = rest.get(..size) else { return Parsed::Partial };
    let from = match family {
        // A stream over IPv4, over IPv6. Anything else tells no address that is of use here.
        0x11 if proxied => match addresses {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => {
                Some(SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes([*high, *low]))))
            }
            _ => return Parsed::Wrong("too short for the addresses that it announces"),
        },
        0x21 if proxied => {
            let source = addresses.first_chunk::<16>().filter(|_| addresses.len() >= 36);
            let port = addresses.get(32..).and_then(<[u8]>::first_chunk::<2>);
            match (source, port) {
                (Some(ip), Some(port)) => Some(SocketAddr::from((*ip, u16::from_be_bytes(*port)))),
                _ => return Parsed::Wrong("too short for the addresses that it announces"),
            }
        }
        0x00..=0x02 | 0x10..=0x12 | 0x20..=0x22 | 0x30..=0x32 => None,
        _ => return Parsed::Wrong("a family that there is not"),
    };
    Parsed::Whole { from, length }
}

/// Takes the header from the beginning of a connection, and nothing behind it.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut taken = Vec::new();
    let mut seen = [0; 512];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = taken.len();
        taken.extend_from_slice(seen.get(..count).unwrap_or_default());
        // As long as the header is not whole, all that came belongs to it.
        let (from, ours) = match parse(&taken) {
            Parsed::Wrong(why) => return Err(wrong(why)),
            Parsed::Partial => (None, count),
            Parsed::Whole { from, length } => (Some(from), length - before),
        };
        stream.read_exact(seen.get_mut(..ours).unwrap_or_default()).await?;
        if let Some(from) = from {
            return Ok(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let said = match parse(bytes) {
            Parsed::Partial => "partial".to_owned(),
            Parsed::Whole { from: None, length } => format!("itself, {length}"),
            Parsed::Whole { from: Some(from), length } => format!("{from}, {length}"),
            Parsed::Wrong(why) => why.to_owned(),
        };
        assert_eq!(said, expected, "{:?}", bytes.escape_ascii().to_string());
        for cut in 0..bytes.len().min(16) {
            let early = parse(&bytes[..cut]);
            assert!(early == Parsed::Partial || matches!(early, Parsed::Wrong(_)), "{early:?}");
        }
    }

    #[test]
    fn a_line_names_the_client() {
        let names = "a line that does not name addresses and ports";
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /", "192.0.2.1:56324, 45");
        check(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "[2001:db8::1]:1, 36");
        check(b"PROXY UNKNOWN\r\n", "itself, 15");
        check(b"PROXY UNKNOWN ffff::1 ffff::1 1 2\r\nX", "itself, 35");
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324", "partial");
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 70000\r\n", names);
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", names);
        check(b"PROXY TCP4 ::1 ::1 1 2\r\n", names);
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n", names);
        check(b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n", names);
        check(
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            "a line that does not end with CR and LF",
        );
        check(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat(), "a line that does not end");
        check(b"GET / HTTP/1.1\r\n", "neither version 1 nor 2 of the PROXY protocol");
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let size = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &size, addresses].concat()
    }

    #[test]
    fn bytes_name_the_client() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 4, 1, 0xBB];
        let mut six = [0; 36];
        (six[0], six[15], six[33]) = (0x20, 1, 80);
        check(&v2(0x21, 0x11, &four), "192.0.2.1:56324, 28");
        check(&v2(0x21, 0x21, &six), "[2000::1]:80, 52");
        check(&v2(0x21, 0x11, &[four.as_slice(), &[4, 0, 1, 0]].concat()), "192.0.2.1:56324, 32");
        check(&v2(0x20, 0x00, &[]), "itself, 16");
        check(&v2(0x20, 0x11, &four), "itself, 28");
        check(&v2(0x21, 0x31, &[0; 216]), "itself, 232");
        check(&v2(0x21, 0x11, &four)[..20], "partial");
        check(&v2(0x21, 0x11, &four[..8]), "too short for the addresses that it announces");
        check(&v2(0x21, 0x21, &six[..35]), "too short for the addresses that it announces");
        check(&v2(0x11, 0x11, &four), "a version or command that there is not");
        check(&v2(0x22, 0x11, &four), "a version or command that there is not");
        check(&v2(0x21, 0x44, &four), "a family that there is not");
        check(&v2(0x21, 0x11, &[0; 5_000]), "a header that is too long");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bounds(
            begin in prop::sample::select(vec![&b""[..], b"PROXY TCP4 ", b"PROXY TCP6 1", SIGNATURE]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, &rest].concat();
            if let Parsed::Whole { length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(parse(&bytes[..length - 1]), Parsed::Partial);
            }
        }
    }
}
