//! What the layouts of channels have in common: cutting, and a notice as plain lines.

use linkflow_model::role::{Notice, Tone};

/// What stands where something was cut off.
const CUT: char = '…';

/// One line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` with each character as `write` has it, `most` characters long at most. Cut between characters of the original,
/// so that no escape is broken.
pub(super) fn cut(text: &str, most: usize, write: fn(char) -> String) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut fits_with_cut = 0;
    for letter in text.chars() {
        let written = write(letter);
        length += written.chars().count();
        if length > most {
            out.truncate(fits_with_cut);
            out.push(CUT);
            return out;
        }
        out.push_str(&written);
        if length < most {
            fits_with_cut = out.len();
        }
    }
    out
}

/// One character as it is.
pub(super) fn plain(letter: char) -> String {
    letter.to_string()
}

/// One character as HTML has it in a text.
pub(super) fn html(letter: char) -> String {
    match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        _ => letter.to_string(),
    }
}

/// One character of which Markdown makes nothing.
pub(super) fn markdown(letter: char) -> String {
    match letter {
        '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '[' | ']' | '(' | ')' | '#' => {
            format!("\\{letter}")
        }
        _ => letter.to_string(),
    }
}

/// A word that says how a notice is meant, where no picture may be shown.
pub(super) fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "OK",
        Tone::Plain => "Note",
        Tone::Warning => "Warning",
        Tone::Bad => "ALARM",
    }
}

/// A picture that says how a notice is meant.
pub(super) fn sign(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✅",
        Tone::Plain => "ℹ️",
        Tone::Warning => "⚠️",
        Tone::Bad => "🚨",
    }
}

/// The address of a notice's link, when it is one of the web.
pub(super) fn web(notice: &Notice) -> Option<(&str, &str)> {
    let (name, address) = notice.link.as_ref()?;
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    (is_web && !name.trim().is_empty()).then_some((name.as_str(), address.as_str()))
}

/// Text, facts and lines, one under the other.
pub(super) fn body(notice: &Notice) -> String {
    let mut parts = Vec::new();
    if !notice.text.trim().is_empty() {
        parts.push(notice.text.trim().to_owned());
    }
    let facts = notice.facts.iter();
    let facts: Vec<String> =
        facts.map(|(name, value)| format!("{}: {}", one_line(name), one_line(value))).collect();
    parts.extend((!facts.is_empty()).then(|| facts.join("\n")));
    parts.extend((!notice.lines.is_empty()).then(|| notice.lines.join("\n")));
    parts.join("\n\n")
}

/// The notice with each of its texts as `mask` has it.
pub(super) fn masked(notice: &Notice, mask: impl Fn(&str) -> String) -> Notice {
    Notice {
        tone: notice.tone,
        key: notice.key.clone(),
        title: mask(&notice.title),
        text: mask(&notice.text),
        facts: notice.facts.iter().map(|(name, value)| (mask(name), mask(value))).collect(),
        lines: notice.lines.iter().map(|line| mask(line)).collect(),
        link: notice.link.as_ref().map(|(name, address)| (mask(name), mask(address))),
    }
}

#[cfg(test)]
pub(super) fn example() -> Notice {
    Notice {
        tone: Tone::Bad,
        key: Some("20261129-api-1".to_owned()),
        title: "shop: <api> is *down*".to_owned(),
        text: "503 & no answer".to_owned(),
        facts: vec![("since".to_owned(), "12:00 UTC".to_owned())],
        lines: vec!["one".to_owned(), "two".to_owned()],
        link: Some(("Status".to_owned(), "https://status.example.com/?a=1&b=2".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_of_the_original() {
        assert_eq!(cut("abcd", 3, plain), "ab…");
        assert_eq!(cut("a&b", 6, html), "a…");
        assert_eq!(cut("a&b", 7, html), "a&amp;b");
        assert_eq!(cut("a*b", 3, markdown), "a…");
        assert_eq!(cut("a*b", 4, markdown), "a\\*b");
    }

    #[test]
    fn the_body_is_text_facts_and_lines() {
        assert_eq!(body(&example()), "503 & no answer\n\nsince: 12:00 UTC\n\none\ntwo");
    }
}
