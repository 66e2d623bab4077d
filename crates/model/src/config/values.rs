//! The values that keys take: numbers, names, durations, sizes, addresses.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::codes::{self, Code};
use super::node::{Node, Raw};
use super::print::Printed;
use super::problem::nearest;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::template::Template;
use crate::{ImageRef, ItemName, ProviderName, ServiceName, StackName};

impl<T: Field> Field for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn blank() -> Self {
        None
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn print(&self) -> Printed {
        self.as_ref().map_or(Printed::Nothing, T::print)
    }

    fn shape(book: &mut Book) -> Shape {
        T::shape(book)
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Raw::List(nodes) = &node.value else {
            let shown = node.text().map(|t| format!("write `{} = [\"{t}\"]`", reader.key()));
            return reader.wrong_type(node, "a list", shown);
        };
        let read = |(i, node): (usize, &Node)| reader.within(&i.to_string(), |r| T::read(node, r));
        Some(nodes.iter().enumerate().filter_map(read).collect())
    }

    fn blank() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn print(&self) -> Printed {
        Printed::List(self.iter().map(T::print).collect())
    }

    fn shape(book: &mut Book) -> Shape {
        Shape::List(Box::new(T::shape(book)))
    }
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<T> std::ops::Deref for Many<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Field> Field for Many<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Raw::List(_) = node.value {
            return Vec::read(node, reader).map(Self);
        }
        T::read(node, reader).map(|one| Self(vec![one]))
    }

    fn blank() -> Self {
        Self(Vec::new())
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn print(&self) -> Printed {
        match self.0.as_slice() {
            [one] => one.print(),
            _ => self.0.print(),
        }
    }

    fn shape(book: &mut Book) -> Shape {
        Shape::Many(Box::new(T::shape(book)))
    }
}

/// A key that the user chooses.
pub(crate) trait Name: FromStr + Ord + AsRef<str> {
    /// What such a key matches.
    const PATTERN: &'static str;
    /// Stands in for a name that could not be read.
    fn blank() -> Self;
}

impl<K: Name, T: Field> Field for BTreeMap<K, T>
where
    K::Err: std::fmt::Display,
{
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = node.table() else { return reader.wrong_type(node, "a table", None) };
        let mut map = Self::new();
        for (key, entry) in &table.entries {
            let value = reader.within(key, |r| T::read(&entry.node, r));
            match key.parse::<K>() {
                Ok(name) => map.extend(value.map(|v| (name, v))),
                Err(error) => {
                    let help = "choose another name, for example `main`";
                    reader.wrong::<()>(codes::BAD_NAME, entry.key, error.to_string(), help);
                }
            }
        }
        Some(map)
    }

    fn blank() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn print(&self) -> Printed {
        Printed::Table(self.iter().map(|(k, v)| (k.as_ref().to_owned(), v.print())).collect())
    }

    fn shape(book: &mut Book) -> Shape {
        Shape::Map { keys: Some(K::PATTERN), each: Box::new(T::shape(book)) }
    }
}

macro_rules! names {
    ($($name:ident: $blank:literal, $what:literal;)+) => {$(
        impl Name for $name {
            const PATTERN: &'static str = "^[a-z][a-z0-9-]{0,39}$";

            fn blank() -> Self {
                Self::new($blank).expect("a name")
            }
        }

        impl Field for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let text = reader.text(node, $what)?;
                match text.parse() {
                    Ok(name) => Some(name),
                    Err(error) => {
                        let help = "write it as its section has it".to_owned();
                        reader.wrong(codes::BAD_NAME, node.at, format!("{error}"), help)
                    }
                }
            }

            fn blank() -> Self {
                <Self as Name>::blank()
            }

            fn print(&self) -> Printed {
                Printed::Text(self.to_string())
            }

            fn shape(_: &mut Book) -> Shape {
                Shape::Text { what: $what, pattern: Some(<Self as Name>::PATTERN) }
            }
        }
    )+};
}
// `embedded` is always a provider, so a name that could not be read makes no second problem.
names! {
    StackName: "stack", "a name";
    ServiceName: "service", "the name of a service";
    ProviderName: "embedded", "the name of a provider";
    ItemName: "item", "a name";
}

impl Field for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Raw::Bool(is) => Some(is),
            _ => {
                let help = node.text().filter(|t| matches!(*t, "true" | "false"));
                let help =
                    help.map(|t| format!("write it without quotes: `{} = {t}`", reader.key()));
                reader.wrong_type(node, "true or false", help)
            }
        }
    }

    fn blank() -> Self {
        false
    }

    fn print(&self) -> Printed {
        Printed::Bool(*self)
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Bool
    }
}

/// An integer from `least` to `most`, or a problem.
fn integer(node: &Node, least: i64, most: i64, reader: &mut Reader<'_>) -> Option<i64> {
    let due = format!("an integer from {least} to {most}");
    match node.value {
        Raw::Integer(Some(n)) if (least..=most).contains(&n) => Some(n),
        Raw::Integer(_) => {
            let what = format!("`{}` is out of range", reader.key());
            reader.wrong(codes::OUT_OF_RANGE, node.at, what, format!("it takes {due}"))
        }
        _ => {
            let number = node.text().filter(|t| t.parse::<i64>().is_ok());
            let help = number.map(|t| format!("write it without quotes: `{} = {t}`", reader.key()));
            reader.wrong_type(node, &due, help)
        }
    }
}

macro_rules! integers {
    ($($type:ty: $least:literal to $most:literal, blank $blank:expr;)+) => {$(
        impl Field for $type {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let n = integer(node, $least, $most, reader)?;
                Self::try_from(u32::try_from(n).ok()?).ok()
            }

            fn blank() -> Self {
                $blank
            }

            fn print(&self) -> Printed {
                Printed::Integer(i64::from(u32::from(*self)))
            }

            fn shape(_: &mut Book) -> Shape {
                Shape::Integer { least: $least, most: $most }
            }
        }
    )+};
}
integers! {
    u8: 0 to 255, blank 0;
    u16: 1 to 65_535, blank 1;
    u32: 0 to 1_000_000_000, blank 0;
    NonZeroU32: 1 to 1_000_000, blank NonZeroU32::MIN;
}

/// An integer from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Within<const LEAST: u16, const MOST: u16>(pub u16);

impl<const LEAST: u16, const MOST: u16> Field for Within<LEAST, MOST> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let n = integer(node, i64::from(LEAST), i64::from(MOST), reader)?;
        u16::try_from(n).ok().map(Self)
    }

    fn blank() -> Self {
        Self(LEAST)
    }

    fn print(&self) -> Printed {
        Printed::Integer(i64::from(self.0))
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Integer { least: i64::from(LEAST), most: i64::from(MOST) }
    }
}

/// Which of `words` the text is, or a problem.
pub(super) fn one_of(
    node: &Node,
    words: &[&'static str],
    reader: &mut Reader<'_>,
) -> Option<&'static str> {
    let list = || words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    let Some(text) = node.text() else {
        return reader.wrong_type(node, &format!("one of {}", list()), None);
    };
    if let Some(word) = words.iter().find(|w| **w == text) {
        return Some(word);
    }
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it takes one of {}", list()),
    };
    let what = format!("`{}` cannot be `{text}`", reader.key());
    reader.wrong(codes::UNKNOWN_WORD, node.at, what, help)
}

/// A type that is written as a string of a certain form.
pub(super) trait Written: Sized {
    /// What the string holds, with its article and an example.
    const WHAT: &'static str;
    /// What every such string matches.
    const PATTERN: Option<&'static str>;
    /// The code of a string that is not of this form.
    const CODE: Code;

    /// Reads the string; otherwise says what is wrong and what helps.
    fn parse(text: &str) -> Result<Self, (String, String)>;
    /// Writes the string.
    fn write(&self) -> String;
    /// Stands in for one that could not be read.
    fn blank() -> Self;
}

impl Reader<'_> {
    /// Reads a string of a certain form, in which `${stack.name}` and `${stack.domain}` may stand.
    pub(super) fn written<T: Written>(&mut self, node: &Node) -> Option<T> {
        let text = self.text(node, T::WHAT)?;
        let text = self.expand(text);
        match T::parse(&text) {
            Ok(value) => Some(value),
            Err((what, help)) => self.wrong(T::CODE, node.at, what, help),
        }
    }

    /// `text` with the stack's own properties put in.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (property, value) in ["${stack.name}", "${stack.domain}"].iter().zip(&self.stack) {
            if let Some(value) = value.as_ref().filter(|v| !v.contains("${")) {
                text = text.replace(property, value);
            }
        }
        text
    }
}

/// Makes each [`Written`] type a [`Field`].
macro_rules! written {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                reader.written(node)
            }

            fn blank() -> Self {
                <Self as Written>::blank()
            }

            fn print(&self) -> Printed {
                Printed::Text(Written::write(self))
            }

            fn shape(_: &mut Book) -> Shape {
                Shape::Text { what: <Self as Written>::WHAT, pattern: <Self as Written>::PATTERN }
            }
        }
    )+};
}
pub(super) use written;

written!(String, ImageRef);

impl Written for String {
    const WHAT: &'static str = "a text";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.contains("${") {
            let what = format!("`{text}` cannot have that reference in it");
            return Err((
                what,
                "only `${stack.name}` and `${stack.domain}` can stand here".to_owned(),
            ));
        }
        Ok(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }

    fn blank() -> Self {
        Self::new()
    }
}

impl Written for ImageRef {
    const WHAT: &'static str = "an image, like `ghcr.io/acme/api:1.4` or `…@sha256:…`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_IMAGE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let help = || "write `registry/repository:tag`, in lower case but for the tag".to_owned();
        text.parse().map_err(|error: crate::image::ImageError| (error.to_string(), help()))
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn blank() -> Self {
        let repository = "blank".to_owned();
        Self { registry: "docker.io".to_owned(), repository, tag: None, digest: None }
    }
}

/// The environment of a service: variables and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(pub BTreeMap<String, Template>);

/// Variables that LinkFlow sets itself.
pub const RESERVED: [&str; 6] = [
    "PORT",
    "LINKFLOW_STACK",
    "LINKFLOW_SERVICE",
    "LINKFLOW_PROVIDER",
    "LINKFLOW_RELEASE",
    "LINKFLOW_FINGERPRINT",
];

impl std::ops::Deref for Environment {
    type Target = BTreeMap<String, Template>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Field for Environment {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = node.table() else { return reader.wrong_type(node, "a table", None) };
        let mut map = BTreeMap::new();
        for (key, entry) in &table.entries {
            let value = reader.within(key, |r| Template::read(&entry.node, r));
            if !super::template::is_variable(key) {
                let what = format!("`{key}` is not the name of a variable");
                let help = "letters, digits and `_` make such a name";
                reader.wrong::<()>(codes::BAD_VARIABLE, entry.key, what, help);
            } else if RESERVED.contains(&key.as_str()) {
                let what = format!("`{key}` is set by LinkFlow itself");
                let help = match key.as_str() {
                    "PORT" => "take it away; `port` of the service says which it is",
                    _ => "take it away, or choose another name",
                };
                reader.wrong::<()>(codes::BAD_VARIABLE, entry.key, what, help);
            } else {
                map.extend(value.map(|v| (key.clone(), v)));
            }
        }
        Some(Self(map))
    }

    fn blank() -> Self {
        Self::default()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn print(&self) -> Printed {
        Printed::Table(self.iter().map(|(k, v)| (k.clone(), v.print())).collect())
    }

    fn shape(book: &mut Book) -> Shape {
        let each = Box::new(Template::shape(book));
        Shape::Map { keys: Some("^[A-Za-z_][A-Za-z0-9_]*$"), each }
    }
}
