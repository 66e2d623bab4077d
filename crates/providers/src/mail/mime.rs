//! A letter as mail is written (RFC 5322), in letters that every server carries: RFC 2047 and quoted-printable.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use linkflow_model::Timestamp;
use linkflow_model::config::Mailbox;
use linkflow_model::role::Letter;
use sha2::{Digest, Sha256};

/// Most bytes of a line of quoted-printable.
const LINE: usize = 76;
/// Most bytes of text in one encoded word: the word is 75 long at most.
const WORD: usize = 45;

/// `letter` with every header, written at `now`. Its lines end in CR LF.
pub(super) fn message(letter: &Letter, now: Timestamp) -> String {
    let mut out = String::new();
    let mut header = |name: &str, value: &str| {
        out.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], " ")));
    };
    header("From", &encoded_mailbox(&letter.from));
    header("To", &encoded_mailbox(&letter.to));
    if let Some(reply_to) = &letter.reply_to {
        header("Reply-To", &encoded_mailbox(reply_to));
    }
    header("Date", &date(now));
    if !letter.headers.iter().any(|(name, _)| *name == "Message-Id") {
        let domain = letter.from.address.rsplit_once('@').map_or("localhost", |(_, host)| host);
        header("Message-Id", &format!("<{}@{domain}>", number(&letter.key)));
    }
    for (name, value) in &letter.headers {
        header(name, value);
    }
    header("Mime-Version", "1.0");
    // Folded already.
    out.push_str(&format!("Subject: {}\r\n", encoded(&letter.subject)));
    match &letter.html {
        None => out.push_str(&part("plain", &letter.text)),
        Some(html) => {
            let edge = format!("={}", number(&letter.key));
            out.push_str(&format!(
                "Content-Type: multipart/alternative; boundary=\"{edge}\"\r\n\r\n"
            ));
            for (kind, text) in [("plain", &letter.text), ("html", html)] {
                out.push_str(&format!("--{edge}\r\n{}", part(kind, text)));
            }
            out.push_str(&format!("--{edge}--\r\n"));
        }
    }
    out
}

fn part(kind: &str, text: &str) -> String {
    format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{}",
        quoted_printable(text)
    )
}

/// A number for `key`, 32 hex digits.
pub(super) fn number(key: &str) -> String {
    Sha256::digest(key).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn date(now: Timestamp) -> String {
    let at = i64::try_from(now.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = jiff::tz::TimeZone::UTC.to_datetime(at.unwrap_or_default());
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// `Name <address>`, the name quoted where it needs to be.
pub(super) fn mailbox(mailbox: &Mailbox) -> String {
    let Some(name) = &mailbox.name else { return mailbox.address.clone() };
    let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    if name.chars().all(is_plain) {
        return format!("{name} <{}>", mailbox.address);
    }
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{name}\" <{}>", mailbox.address)
}

fn encoded_mailbox(held: &Mailbox) -> String {
    match &held.name {
        Some(name) if !name.is_ascii() => format!("{} <{}>", encoded(name), held.address),
        _ => mailbox(held),
    }
}

/// `text` on one line, as encoded words where it is more than ASCII, each on a line of its own.
fn encoded(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_ascii() && text.len() < 900 && !text.contains("=?") {
        return text;
    }
    let mut words = vec![String::new()];
    for letter in text.chars() {
        if words.last().is_some_and(|word| word.len() + letter.len_utf8() > WORD) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let words = words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

/// RFC 2045, section 6.7.
fn quoted_printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let bytes = line.trim_end_matches('\r').as_bytes();
        let mut width = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let is_last = at + 1 == bytes.len();
            let written = match byte {
                b' ' | b'\t' if is_last => format!("={byte:02X}"),
                b' ' | b'\t' | 33..=60 | 62..=126 => char::from(*byte).to_string(),
                _ => format!("={byte:02X}"),
            };
            // One place is kept for the sign that the line goes on.
            if width + written.len() > LINE - 1 {
                out.push_str("=\r\n");
                width = 0;
            }
            width += written.len();
            out.push_str(&written);
        }
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            from: Mailbox {
                name: Some("Shop, Ltd.".to_owned()),
                address: "s@example.com".to_owned(),
            },
            to: Mailbox { name: Some("Zoë".to_owned()), address: "z@example.org".to_owned() },
            reply_to: None,
            subject: "API is away – für 41 s".to_owned(),
            text: "a=b\n.\nends with a space \nüü".to_owned(),
            html: None,
            headers: vec![("References", "<1@example.com>".to_owned())],
            key: "k".to_owned(),
        }
    }

    #[test]
    fn a_letter_has_every_header_and_only_ascii() {
        let text = message(&letter(), Timestamp(1_790_000_000_000));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 100), "{text}");
        let expected = [
            "From: \"Shop, Ltd.\" <s@example.com>",
            "To: =?utf-8?B?Wm/Dqw==?= <z@example.org>",
            "Date: Mon, 21 Sep 2026 14:13:20 +0000",
            "Message-Id: <8254c329a92850f6d539dd376f4816ee@example.com>",
            "References: <1@example.com>",
            "Subject: =?utf-8?B?QVBJIGlzIGF3YXkg4oCTIGbDvHIgNDEgcw==?=",
        ];
        for line in expected {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        assert_eq!(body, "a=3Db\r\n.\r\nends with a space=20\r\n=C3=BC=C3=BC\r\n");
    }

    #[test]
    fn a_letter_with_html_has_both() {
        let both = Letter { html: Some("<p>a</p>".to_owned()), ..letter() };
        let text = message(&both, Timestamp(0));
        let edge = format!("--={}", number("k"));
        assert_eq!(text.matches(&edge).count(), 3, "{text}");
        assert!(text.contains("text/plain") && text.contains("text/html"));
    }

    #[test]
    fn no_header_can_be_smuggled_in_by_a_subject() {
        let sly = Letter { subject: "a\r\nBcc: x@example.org".to_owned(), ..letter() };
        assert!(message(&sly, Timestamp(0)).contains("Subject: a Bcc: x@example.org\r\n"));
    }

    #[test]
    fn long_lines_are_cut_and_long_subjects_are_folded() {
        let long = quoted_printable(&"ü".repeat(100));
        assert!(long.lines().all(|line| line.len() <= LINE), "{long}");
        assert_eq!(long.replace("=\r\n", "").matches("=C3=BC").count(), 100);
        let subject = encoded(&"é".repeat(100));
        assert!(subject.lines().all(|line| line.trim().len() <= 75), "{subject}");
    }
}
