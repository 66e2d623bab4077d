//! Announced work as a calendar (RFC 5545) that others subscribe to.

use jiff::tz::TimeZone;
use linkflow_model::{Maintenance, Timestamp};

use super::markdown;
use super::page::Page;
use super::time::in_zone;

/// The calendar of all announced work, cancelled work included: that is how calendars learn of it.
pub(super) fn ics(page: &Page) -> String {
    let mut out = String::new();
    let mut line = |text: &str| fold(text, &mut out);
    line("BEGIN:VCALENDAR");
    line("VERSION:2.0");
    line("PRODID:-//LinkFlow//status page//EN");
    line("CALSCALE:GREGORIAN");
    line("METHOD:PUBLISH");
    line(&format!("X-WR-CALNAME:{}", escape(&page.title)));
    for work in page.maintenance.iter().rev() {
        event(page, work, &mut line);
    }
    line("END:VCALENDAR");
    out
}

fn event(page: &Page, work: &Maintenance, line: &mut impl FnMut(&str)) {
    let host = page.host.as_deref().unwrap_or("linkflow.invalid");
    line("BEGIN:VEVENT");
    line(&format!("UID:{}@{host}", work.id));
    line(&format!("SEQUENCE:{}", work.sequence));
    line(&format!("DTSTAMP:{}", stamp(work.changed)));
    line(&format!("LAST-MODIFIED:{}", stamp(work.changed)));
    line(&format!("DTSTART:{}", stamp(work.from)));
    line(&format!("DTEND:{}", stamp(work.to)));
    line(&format!("SUMMARY:{}", escape(&work.title)));
    let text = markdown::plain(&work.text);
    if !text.is_empty() {
        line(&format!("DESCRIPTION:{}", escape(&text)));
    }
    line(&format!("STATUS:{}", if work.cancelled { "CANCELLED" } else { "CONFIRMED" }));
    line("TRANSP:TRANSPARENT");
    if let Some(address) = page.address() {
        line(&format!("URL:{address}/maintenance/{}.html", work.id));
    }
    line("END:VEVENT");
}

/// `20261129T140305Z`.
fn stamp(at: Timestamp) -> String {
    in_zone(at, &TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A text value (RFC 5545, 3.3.11).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Writes a line; none is longer than 75 bytes, the rest goes on after a space (RFC 5545, 3.1).
fn fold(text: &str, out: &mut String) {
    let mut width = 0;
    for c in text.chars() {
        if width + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            width = 1;
        }
        out.push(c);
        width += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_characters() {
        let mut out = String::new();
        fold(&format!("SUMMARY:{}", "ä".repeat(80)), &mut out);
        let lines: Vec<&str> = out.trim_end().split("\r\n").collect();
        assert!(lines.iter().all(|line| line.len() <= 75), "{out}");
        let joined = lines.join("").replace(' ', "");
        assert_eq!(joined, format!("SUMMARY:{}", "ä".repeat(80)));
    }

    #[test]
    fn a_text_cannot_end_its_line() {
        assert_eq!(escape("a;b,c\\d\r\nEND:VEVENT"), "a\\;b\\,c\\\\d\\nEND:VEVENT");
    }
}
