//! Writes a config as TOML.

use std::fmt::Write;

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Printed {
    /// Nothing: the key is left out.
    Nothing,
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Printed>),
    /// A table, in order.
    Table(Vec<(String, Printed)>),
}

/// The whole document: a table of tables becomes headers, all below stands in one line.
pub(super) fn document(root: &[(String, Printed)]) -> String {
    let mut out = String::new();
    let is_table = |p: &Printed| matches!(p, Printed::Table(_));
    for (key, value) in root.iter().filter(|(_, v)| !is_table(v)) {
        line(&mut out, key, value);
    }
    for (name, value) in root {
        let Printed::Table(entries) = value else { continue };
        let name = key(name);
        if !entries.is_empty() && entries.iter().all(|(_, v)| is_table(v)) {
            for (below, value) in entries {
                let Printed::Table(entries) = value else { continue };
                header(&mut out, &format!("{name}.{}", key(below)), entries);
            }
        } else {
            header(&mut out, &name, entries);
        }
    }
    out
}

fn header(out: &mut String, name: &str, entries: &[(String, Printed)]) {
    if !out.is_empty() {
        out.push('\n');
    }
    push(out, format_args!("[{name}]\n"));
    for (key, value) in entries {
        line(out, key, value);
    }
}

fn line(out: &mut String, name: &str, value: &Printed) {
    if *value != Printed::Nothing {
        push(out, format_args!("{} = {}\n", key(name), inline(value)));
    }
}

/// The value in one line.
pub(super) fn inline(value: &Printed) -> String {
    match value {
        Printed::Nothing => String::new(),
        Printed::Text(text) => quoted(text),
        Printed::Integer(n) => n.to_string(),
        Printed::Bool(is) => is.to_string(),
        Printed::List(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Printed::Table(entries) => {
            let there = entries.iter().filter(|(_, v)| *v != Printed::Nothing);
            let entries: Vec<String> =
                there.map(|(k, v)| format!("{} = {}", key(k), inline(v))).collect();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

fn key(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && text.bytes().all(bare) { text.to_owned() } else { quoted(text) }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                push(&mut out, format_args!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    out.write_fmt(text).unwrap_or_default();
}
