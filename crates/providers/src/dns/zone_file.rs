//! Zones as text: the master file format of RFC 1035, read entry by entry and written a record a line.

use linkflow_model::role::{Zone, ZoneRecord};

/// The longest string that a TXT record may be made of, in bytes (RFC 1035, 3.3.14).
const LONGEST_STRING: usize = 255;

/// One entry of a file: a record, a directive, a comment or an empty line, with the text that it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The text, with its line end.
    pub raw: String,
    /// Its words, each with whether it stood in quotes.
    words: Vec<(String, bool)>,
    /// Whether it begins with a blank: then it is about the name of the entry before.
    pub continues: bool,
    /// What stands behind the last `;`, trimmed.
    pub comment: Option<String>,
}

/// The parts of a file, in order. Joined, their `raw` is the file.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (entry, after) = entry(rest);
        entries.push(entry);
        rest = after;
    }
    entries
}

/// The first entry of `text`, and the text behind it. Within brackets a line end is a blank.
fn entry(text: &str) -> (Entry, &str) {
    let (mut words, mut comment) = (Vec::new(), None);
    let (mut word, mut open, mut depth) = (String::new(), false, 0_u32);
    let mut end = text.len();
    let mut letters = text.char_indices().peekable();
    let push = |word: &mut String, words: &mut Vec<(String, bool)>| {
        if !word.is_empty() {
            words.push((std::mem::take(word), false));
        }
    };
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => word.push_str(&escaped(&mut letters)),
            '"' if open => {
                words.push((std::mem::take(&mut word), true));
                open = false;
            }
            '"' => {
                push(&mut word, &mut words);
                open = true;
            }
            _ if open => word.push(letter),
            ';' => {
                let line = text[at + 1..].lines().next().unwrap_or_default();
                comment = Some(line.trim().to_owned());
                while letters.next_if(|(_, next)| *next != '\n').is_some() {}
            }
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '\n' if depth == 0 => {
                end = at + 1;
                break;
            }
            _ if letter.is_whitespace() => push(&mut word, &mut words),
            _ => word.push(letter),
        }
    }
    push(&mut word, &mut words);
    let continues = text.starts_with([' ', '\t']);
    (Entry { raw: text[..end].to_owned(), words, continues, comment }, &text[end..])
}

/// What stands behind a backslash: three digits are a byte, anything else is itself.
fn escaped(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> String {
    let mut digits = String::new();
    while digits.len() < 3
        && let Some((_, digit)) = letters.next_if(|(_, next)| next.is_ascii_digit())
    {
        digits.push(digit);
    }
    match (digits.len(), digits.parse::<u8>()) {
        (3, Ok(byte)) => char::from(byte).to_string(),
        (0, _) => letters.next().map(|(_, letter)| letter.to_string()).unwrap_or_default(),
        _ => digits,
    }
}

/// Reads records of a file, entry by entry.
#[derive(Clone, Debug)]
pub struct Names {
    origin: String,
    ttl_s: u32,
    last: String,
}

impl Names {
    /// For a file of `zone`.
    pub fn of(zone: &str) -> Self {
        Self { origin: zone.to_owned(), ttl_s: 3_600, last: zone.to_owned() }
    }

    /// The record in `entry`; `None` for what is none, or is none that can be read.
    pub fn record(&mut self, entry: &Entry) -> Option<ZoneRecord> {
        let mut words = entry.words.as_slice();
        let (first, _) = words.first()?;
        match first.as_str() {
            "$ORIGIN" => {
                self.origin = self.whole(&words.get(1)?.0);
                return None;
            }
            "$TTL" => {
                self.ttl_s = seconds(&words.get(1)?.0)?;
                return None;
            }
            _ if first.starts_with('$') => return None,
            _ => {}
        }
        if !entry.continues {
            self.last = self.whole(first);
            words = &words[1..];
        }
        let mut ttl_s = self.ttl_s;
        while let Some((word, _)) = words.first() {
            if let Some(own) = seconds(word) {
                ttl_s = own;
            } else if !matches!(word.to_ascii_uppercase().as_str(), "IN" | "CH" | "HS") {
                break;
            }
            words = &words[1..];
        }
        let ((kind, _), rest) = words.split_first()?;
        let kind = kind.to_ascii_uppercase();
        let value = self.value(&kind, rest)?;
        Some(ZoneRecord::new(&self.last, &kind, &value, ttl_s, false))
    }

    fn value(&self, kind: &str, words: &[(String, bool)]) -> Option<String> {
        let texts = || words.iter().map(|(word, _)| word.as_str());
        if words.is_empty() {
            return None;
        }
        Some(match kind {
            "TXT" | "SPF" => plain(words),
            "CNAME" | "NS" | "PTR" | "MX" | "SRV" => {
                let (last, first) = words.split_last()?;
                let first: String = first.iter().map(|(word, _)| format!("{word} ")).collect();
                first + &self.whole(&last.0)
            }
            "SOA" => {
                let [server, mailbox, numbers @ ..] = words else { return None };
                let numbers: Vec<&str> = numbers.iter().map(|(word, _)| word.as_str()).collect();
                format!(
                    "{} {} {}",
                    self.whole(&server.0),
                    self.whole(&mailbox.0),
                    numbers.join(" ")
                )
            }
            _ => texts().collect::<Vec<_>>().join(" "),
        })
    }

    /// `name` with the origin behind it, when it does not end with a dot.
    fn whole(&self, name: &str) -> String {
        match name.strip_suffix('.') {
            Some("") => ".".to_owned(),
            Some(bare) => bare.to_owned(),
            None if name == "@" => self.origin.clone(),
            None => format!("{name}.{}", self.origin),
        }
    }
}

/// A time: `300`, or with BIND's units, `1h30m`.
fn seconds(word: &str) -> Option<u32> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mut total, mut number) = (0_u32, 0_u32);
    for letter in word.chars() {
        let unit = match letter.to_ascii_lowercase() {
            '0'..='9' => {
                number = number.checked_mul(10)?.checked_add(letter.to_digit(10)?)?;
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    total.checked_add(number)
}

/// `record` as a line of a file, without its line end; every name is whole.
pub fn line(record: &ZoneRecord) -> String {
    let ZoneRecord { name, kind, ttl_s, .. } = record;
    format!("{name}. {ttl_s} IN {kind} {}", data(kind, &record.value))
}

/// A value as files and most APIs have it: names end with a dot, a text is in quotes.
pub fn data(kind: &str, value: &str) -> String {
    match kind {
        "TXT" | "SPF" => quoted(value),
        "CNAME" | "NS" | "PTR" | "MX" | "SRV" if !value.ends_with('.') => format!("{value}."),
        "SOA" => {
            let dotted = |(at, word): (usize, &str)| match at {
                0 | 1 if !word.ends_with('.') => format!("{word}."),
                _ => word.to_owned(),
            };
            value.split(' ').enumerate().map(dotted).collect::<Vec<_>>().join(" ")
        }
        _ => value.to_owned(),
    }
}

/// `text` as strings in quotes, each as long as one may be.
pub fn quoted(text: &str) -> String {
    let mut strings = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        let (string, after) = rest.split_at(rest.len().min(LONGEST_STRING));
        let letter = |byte: &u8| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(*byte)),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\{byte:03}"),
        };
        strings.push(format!("\"{}\"", string.iter().map(letter).collect::<String>()));
        rest = after;
        if rest.is_empty() {
            return strings.join(" ");
        }
    }
}

/// The text in strings in quotes; `text` itself when it has none.
pub fn unquoted(text: &str) -> String {
    if !text.trim_start().starts_with('"') {
        return text.to_owned();
    }
    plain(&entry(text).0.words)
}

/// The text that strings make together. Bytes that came as escapes may be UTF-8.
fn plain(words: &[(String, bool)]) -> String {
    let letters = || words.iter().flat_map(|(word, _)| word.chars());
    let bytes: Vec<u8> = letters().flat_map(as_bytes).collect();
    String::from_utf8(bytes).unwrap_or_else(|_| letters().collect())
}

/// A letter that came as an escape is one byte of UTF-8, any other is what it is.
fn as_bytes(letter: char) -> Vec<u8> {
    match u8::try_from(u32::from(letter)) {
        Ok(byte) => vec![byte],
        Err(_) => letter.to_string().into_bytes(),
    }
}

/// A serial that is greater than `before`: seconds since 1970 where that is so (RFC 1982 has them grow).
pub fn next_serial(before: Option<u32>, now_s: u64) -> u32 {
    let now = u32::try_from(now_s).unwrap_or(u32::MAX);
    match before {
        Some(before) if before >= now => before.wrapping_add(1).max(1),
        _ => now,
    }
}

/// The whole zone as a file that name servers and vendors can read: others' records too, ours with a comment.
pub fn text(zone: &Zone, marker: &str, serial: u32) -> String {
    let name = &zone.name;
    let mut lines = vec![format!("$ORIGIN {name}."), "$TTL 3600".to_owned()];
    let mut records: Vec<_> = zone.records.iter().collect();
    records.sort_by_key(|held| {
        let record = &held.record;
        let order = ["SOA", "NS"].iter().position(|kind| *kind == record.kind).unwrap_or(2);
        (record.name != *name, order, record.clone())
    });
    let is_there = |kind: &str| {
        records.iter().any(|held| held.record.kind == kind && held.record.name == *name)
    };
    if !is_there("SOA") {
        let server = zone.servers.first().map_or(name.as_str(), String::as_str);
        lines.push(line(&soa(name, server, serial)));
    }
    if !is_there("NS") {
        let servers = zone.servers.iter();
        let record = |server: &String| ZoneRecord::new(name, "NS", server, 86_400, false);
        lines.extend(servers.map(|server| line(&record(server))));
    }
    for held in records {
        let mut notes = Vec::new();
        if held.ours {
            notes.push(marker.to_owned());
        }
        if held.record.proxied {
            notes.push("proxied".to_owned());
        }
        let note =
            if notes.is_empty() { String::new() } else { format!(" ; {}", notes.join(", ")) };
        lines.push(line(&held.record) + &note);
    }
    lines.join("\n") + "\n"
}

/// The record that every zone begins with. Times as RFC 1912 advises for small zones.
pub fn soa(zone: &str, server: &str, serial: u32) -> ZoneRecord {
    let value = format!("{server} hostmaster.{zone} {serial} 7200 900 1209600 300");
    ZoneRecord::new(zone, "SOA", &value, 3_600, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let mut names = Names::of("example.com");
        let show = |r: ZoneRecord| format!("{} {} {} {}", r.name, r.ttl_s, r.kind, r.value);
        entries(text).iter().filter_map(|entry| names.record(entry)).map(show).collect()
    }

    #[test]
    fn a_file_written_by_hand_is_read() {
        let text = "; a comment\n$TTL 1h\n@ IN SOA ns hostmaster (\n  7 ; serial\n  1 2 3 4 )\n\tNS ns.example.net.\n\
                    www 60 IN A 192.0.2.1 ; ours\n    AAAA 2001:DB8::1\nmail MX 10 mx\n@ TXT \"a;\\\"b\" \"c\\\\d\"\n\
                    $ORIGIN sub\nx CNAME @\n";
        let expected = [
            "example.com 3600 SOA ns.example.com hostmaster.example.com 7 1 2 3 4",
            "example.com 3600 NS ns.example.net",
            "www.example.com 60 A 192.0.2.1",
            "www.example.com 3600 AAAA 2001:db8::1",
            "mail.example.com 3600 MX 10 mx.example.com",
            "example.com 3600 TXT a;\"bc\\d",
            "x.sub.example.com 3600 CNAME sub.example.com",
        ];
        assert_eq!(read(text), expected);
        let joined: String = entries(text).into_iter().map(|entry| entry.raw).collect();
        assert_eq!(joined, text, "nothing of it is lost");
        assert_eq!(entries(text)[4].comment.as_deref(), Some("ours"));
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let texts = ["v=spf1 -all", "", "say \"hi\" \\ ; (now)", "grün", &"x".repeat(600)];
        for text in texts {
            let record = ZoneRecord::new("a.example.com", "TXT", text, 60, false);
            let line = line(&record);
            assert!(line.is_ascii() && line.split('"').all(|part| part.len() <= 1_024), "{line}");
            assert_eq!(unquoted(&data("TXT", text)), text);
        }
        for (kind, value) in [
            ("A", "192.0.2.1"),
            ("MX", "10 mx.example.net"),
            ("SRV", "1 2 443 x.example.com"),
            ("CAA", "0 issue \"letsencrypt.org\""),
            ("NS", "ns.example.net"),
        ] {
            let record = ZoneRecord::new("a.example.com", kind, value, 60, false);
            let back = Names::of("example.com").record(&entries(&line(&record))[0]);
            assert_eq!(back, Some(record));
        }
    }

    #[test]
    fn a_serial_grows_also_when_the_clock_goes_back() {
        assert_eq!(next_serial(None, 1_700_000_000), 1_700_000_000);
        assert_eq!(next_serial(Some(2_026_112_901), 1_700_000_000), 2_026_112_902);
        assert_eq!(next_serial(Some(1_699_999_999), 1_700_000_000), 1_700_000_000);
    }
}
