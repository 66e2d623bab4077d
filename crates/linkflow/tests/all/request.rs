//! Requests to what runs beside a test, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer to one request.
pub(crate) struct Reply {
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Sends `line` (`POST /path`) to `at` (`127.0.0.1:80`, with `http://` before it or without), over a connection of its own.
#[track_caller]
pub(crate) fn request(at: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let at = at.trim_start_matches("http://");
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{headers}");
    write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Reply { head: head.to_owned(), body: body.to_owned() }
}
