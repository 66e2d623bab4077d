//! The files as one tree, every key and value with its place.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::problem::Place;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where the value stands; a table's place is its header.
    pub at: Place,
    /// The value.
    pub value: Raw,
}

/// A value as TOML has it.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// A string.
    Text(String),
    /// An integer; `None` when it does not fit 64 bits.
    Integer(Option<i64>),
    /// A float, as written.
    Float(String),
    /// A truth value.
    Bool(bool),
    /// A date or a time, which no key takes.
    Date,
    /// An array.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table: its entries by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The entries.
    pub entries: BTreeMap<String, Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What the value is, with its article.
    pub(crate) fn what(&self) -> &'static str {
        match self.value {
            Raw::Text(_) => "a string",
            Raw::Integer(_) => "an integer",
            Raw::Float(_) => "a decimal number",
            Raw::Bool(_) => "true or false",
            Raw::Date => "a date",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Raw::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Raw::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Table {
    /// The tree of one parsed file.
    pub(crate) fn of(file: usize, table: DeTable<'_>) -> Self {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let at = place(file, key.span());
            let node = node(file, value);
            entries.insert(key.into_inner().into_owned(), Entry { key: at, node });
        }
        Self { entries }
    }

    /// The node under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|e| &e.node)
    }

    /// Adds the keys of `other`; tables are joined. Gives the keys that both set: path, here, there.
    pub(crate) fn join(&mut self, other: Self) -> Vec<(String, Place, Place)> {
        let mut both = Vec::new();
        for (key, theirs) in other.entries {
            let Some(ours) = self.entries.get_mut(&key) else {
                self.entries.insert(key, theirs);
                continue;
            };
            match (&mut ours.node.value, theirs.node.value) {
                (Raw::Table(a), Raw::Table(b)) => {
                    let below = a.join(b);
                    both.extend(below.into_iter().map(|(p, a, b)| (format!("{key}.{p}"), a, b)));
                }
                _ => both.push((key, ours.key, theirs.key)),
            }
        }
        both
    }

    /// Lays `over` on top: its keys win, tables are joined, and `""` takes a key away.
    pub(crate) fn overlay(&mut self, over: &Self) {
        for (key, theirs) in &over.entries {
            if theirs.node.text() == Some("") {
                self.entries.remove(key);
                continue;
            }
            match (self.entries.get_mut(key).map(|e| &mut e.node.value), &theirs.node.value) {
                (Some(Raw::Table(a)), Raw::Table(b)) => a.overlay(b),
                (_, Raw::Table(b)) => {
                    // An overlay's own table is laid on nothing, so that its `""` are dropped too.
                    let mut fresh = Self::default();
                    fresh.overlay(b);
                    let node = Node { at: theirs.node.at, value: Raw::Table(fresh) };
                    self.entries.insert(key.clone(), Entry { key: theirs.key, node });
                }
                _ => {
                    self.entries.insert(key.clone(), theirs.clone());
                }
            }
        }
    }

    /// The place of the deepest node on `path` that is there, and whether all of it is.
    pub(crate) fn find(&self, path: &[&str]) -> (Option<Place>, bool) {
        let mut at = None;
        let mut table = self;
        let mut steps = path.iter();
        while let Some(step) = steps.next() {
            let Some(entry) = table.entries.get(*step) else { return (at, false) };
            at = Some(entry.node.at);
            match &entry.node.value {
                Raw::Table(next) => {
                    at = Some(entry.key);
                    table = next;
                }
                Raw::List(nodes) => {
                    let Some(step) = steps.next() else { return (at, true) };
                    let Some(item) = step.parse().ok().and_then(|i: usize| nodes.get(i)) else {
                        return (at, false);
                    };
                    at = Some(item.at);
                    match item.table() {
                        Some(next) => table = next,
                        None => return (at, steps.next().is_none()),
                    }
                }
                _ => return (at, steps.next().is_none()),
            }
        }
        (at, true)
    }
}

fn place(file: usize, span: std::ops::Range<usize>) -> Place {
    Place { file, start: span.start, end: span.end }
}

fn node(file: usize, value: toml::Spanned<DeValue<'_>>) -> Node {
    let at = place(file, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(n) => Raw::Integer(i64::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Float(n) => Raw::Float(n.as_str().to_owned()),
        DeValue::Boolean(is) => Raw::Bool(is),
        DeValue::Datetime(_) => Raw::Date,
        DeValue::Array(items) => Raw::List(items.into_iter().map(|i| node(file, i)).collect()),
        DeValue::Table(table) => Raw::Table(Table::of(file, table)),
    };
    Node { at, value }
}
