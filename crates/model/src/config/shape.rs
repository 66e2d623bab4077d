//! What each key takes, as a value: the JSON schema and the manual are both written from this.

use std::collections::BTreeMap;

/// What a value may be.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A string.
    Text {
        /// What it holds, with its article: "a duration".
        what: &'static str,
        /// What every such string matches.
        pattern: Option<&'static str>,
    },
    /// An integer.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A number, decimals allowed.
    Number,
    /// True or false.
    Bool,
    /// One of some words.
    Choice(&'static [Word]),
    /// A list.
    List(Box<Shape>),
    /// One value, or a list of them.
    Many(Box<Shape>),
    /// Any of these.
    Any(Vec<Shape>),
    /// A table whose keys the user chooses.
    Map {
        /// What every key matches.
        keys: Option<&'static str>,
        /// What each key takes.
        each: Box<Shape>,
    },
    /// A table of the [`Book`].
    Section(&'static str),
}

/// A word of a [`Shape::Choice`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    /// The word.
    pub word: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The key.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// What counts when it is not there, as TOML.
    pub default: Option<String>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order in which they are told.
    pub keys: Vec<Key>,
    /// Where the key `kind` decides which further keys there are: one section for each word, all keys included.
    pub kinds: Vec<(Word, &'static str)>,
}

/// Every table, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// The tables.
    pub sections: BTreeMap<&'static str, Section>,
}

impl Book {
    /// Puts the section called `name` in, once.
    pub(crate) fn put(
        &mut self,
        name: &'static str,
        make: impl FnOnce(&mut Self) -> Section,
    ) -> Shape {
        if !self.sections.contains_key(name) {
            self.sections.insert(name, Section::default());
            let section = make(self);
            self.sections.insert(name, section);
        }
        Shape::Section(name)
    }
}
