//! Text with `${…}` in it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::{EnvValue, Secret, ServiceName};

use super::codes::{self, Code};
use super::node::Node;
use super::print::Printed;
use super::problem::{Place, Problem, nearest};
use super::read::{Field, Reader, Use};
use super::shape::{Book, Shape};
use crate::ItemName;

/// Something else that a text refers to, written `${…}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// `${secret.NAME}`: a secret.
    Secret(String),
    /// `${env.NAME}`: a variable of the environment that LinkFlow itself runs in. Treated as a secret.
    Env(String),
    /// `${stack.name}` or `${stack.domain}`.
    Stack(StackProperty),
    /// `${service.NAME.address}` and so on.
    Service(ServiceName, ServiceProperty),
    /// `${database.NAME.url}`.
    Database(ItemName),
    /// `${cache.NAME.url}`.
    Cache(ItemName),
    /// `${bucket.NAME.name}` and so on.
    Bucket(ItemName, BucketProperty),
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident { $($(#[$wdoc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$wdoc])* $variant,)+ }

        impl $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    )+};
}

properties! {
    /// What can be asked of the stack.
    StackProperty {
        /// Its name.
        Name = "name",
        /// Its domain.
        Domain = "domain",
    }
    /// What can be asked of a service.
    ServiceProperty {
        /// Where other services reach it, `host:port`; it follows the service when it moves.
        Address = "address",
        /// The address of its first public route, `https://…`.
        Url = "url",
        /// The host of its first public route.
        Host = "host",
        /// The port it listens on.
        Port = "port",
    }
    /// What can be asked of a bucket.
    BucketProperty {
        /// Its name at the provider.
        Name = "name",
        /// The base address of its S3 API.
        Endpoint = "endpoint",
        /// The key id for its S3 API.
        AccessKey = "access_key",
        /// The key for its S3 API.
        SecretKey = "secret_key",
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "secret.{name}"),
            Self::Env(name) => write!(f, "env.{name}"),
            Self::Stack(property) => write!(f, "stack.{}", property.word()),
            Self::Service(name, property) => write!(f, "service.{name}.{}", property.word()),
            Self::Database(name) => write!(f, "database.{name}.url"),
            Self::Cache(name) => write!(f, "cache.{name}.url"),
            Self::Bucket(name, property) => write!(f, "bucket.{name}.{}", property.word()),
        }
    }
}

/// What is wrong with a text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The code of the problem.
    pub code: Code,
    /// What is wrong.
    pub what: String,
    /// What would put it right.
    pub help: String,
    /// The bytes of the text that are wrong.
    pub at: Range<usize>,
}

/// One part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A reference, to be followed.
    Reference(Reference),
}

/// Text with references in it. `$${` stands for a plain `${`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The parts, in order.
    pub parts: Vec<Part>,
}

impl Template {
    /// A text without references.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { parts: if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] } }
    }

    /// What it refers to, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|p| match p {
            Part::Reference(r) => Some(r),
            Part::Text(_) => None,
        })
    }

    /// The text with every reference followed; a [`EnvValue::Secret`] when any part is one.
    ///
    /// # Errors
    ///
    /// The first reference that `value` has nothing for.
    pub fn fill(
        &self,
        value: &dyn Fn(&Reference) -> Option<EnvValue>,
    ) -> Result<EnvValue, Reference> {
        let mut text = String::new();
        let mut secret = false;
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Reference(reference) => {
                    let value = value(reference).ok_or_else(|| reference.clone())?;
                    secret |= matches!(value, EnvValue::Secret(_));
                    text.push_str(value.expose());
                }
            }
        }
        Ok(if secret { EnvValue::Secret(Secret::new(text)) } else { EnvValue::Plain(text) })
    }

    /// Reads `text`, with the place of each reference in it.
    ///
    /// # Errors
    ///
    /// Every reference that cannot be read.
    pub fn parse(text: &str) -> Result<(Self, Vec<Range<usize>>), Vec<TemplateError>> {
        let (mut parts, mut places, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut plain = String::new();
        let mut from = 0;
        while let Some(found) = text[from..].find("${") {
            let start = from + found;
            if text[..start].ends_with('$') && start > from {
                plain.push_str(&text[from..start - 1]);
                plain.push_str("${");
                from = start + 2;
                continue;
            }
            plain.push_str(&text[from..start]);
            let Some(length) = text[start..].find('}') else {
                errors.push(TemplateError {
                    code: codes::BAD_REFERENCE,
                    what: "`${` without its `}`".to_owned(),
                    help: "close it with `}`, or write `$${` for a plain `${`".to_owned(),
                    at: start..text.len(),
                });
                from = text.len();
                break;
            };
            let end = start + length + 1;
            match text[start + 2..end - 1].parse() {
                Ok(reference) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Reference(reference));
                    places.push(start..end);
                }
                Err((code, what, help)) => {
                    errors.push(TemplateError { code, what, help, at: start..end });
                }
            }
            from = end;
        }
        plain.push_str(&text[from..]);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if errors.is_empty() { Ok((Self { parts }, places)) } else { Err(errors) }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace("${", "$${"))?,
                Part::Reference(reference) => write!(f, "${{{reference}}}")?,
            }
        }
        Ok(())
    }
}

const KINDS: [&str; 7] = ["secret", "env", "stack", "service", "database", "cache", "bucket"];

impl FromStr for Reference {
    type Err = (Code, String, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split('.');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match (kind, rest.as_slice()) {
            ("secret", [name]) => variable(name).map(Self::Secret),
            ("env", [name]) => variable(name).map(Self::Env),
            ("stack", [word]) => property(StackProperty::ALL, "stack", word).map(Self::Stack),
            ("service", [name, word]) => Ok(Self::Service(
                named(name)?,
                property(ServiceProperty::ALL, &format!("service.{name}"), word)?,
            )),
            ("database", [name, word]) => {
                property(&[("url", ())], &format!("database.{name}"), word)?;
                Ok(Self::Database(named(name)?))
            }
            ("cache", [name, word]) => {
                property(&[("url", ())], &format!("cache.{name}"), word)?;
                Ok(Self::Cache(named(name)?))
            }
            ("bucket", [name, word]) => Ok(Self::Bucket(
                named(name)?,
                property(BucketProperty::ALL, &format!("bucket.{name}"), word)?,
            )),
            _ => Err(malformed(text, kind)),
        }
    }
}

fn malformed(text: &str, kind: &str) -> (Code, String, String) {
    let form = match kind {
        "secret" | "env" | "stack" => format!("write `${{{kind}.NAME}}`"),
        "service" | "database" | "cache" | "bucket" => format!("write `${{{kind}.NAME.PROPERTY}}`"),
        _ => {
            let help = match nearest(kind, KINDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a reference begins with {}", KINDS.join(", ")),
            };
            let what = format!("`${{{text}}}` refers to nothing LinkFlow knows");
            return (codes::UNKNOWN_REFERENCE, what, help);
        }
    };
    (codes::BAD_REFERENCE, format!("`${{{text}}}` is not complete or too long"), form)
}

fn variable(name: &str) -> Result<String, (Code, String, String)> {
    if is_variable(name) {
        return Ok(name.to_owned());
    }
    let what = format!("`{name}` is not the name of a secret or a variable");
    Err((codes::BAD_REFERENCE, what, "letters, digits and `_` make such a name".to_owned()))
}

/// Whether `name` can be the name of an environment variable or a secret.
pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn named<T: FromStr<Err = crate::name::NameError>>(
    name: &str,
) -> Result<T, (Code, String, String)> {
    name.parse().map_err(|error: crate::name::NameError| {
        (codes::BAD_REFERENCE, error.to_string(), "write the name as its section has it".to_owned())
    })
}

fn property<T: Copy>(
    all: &[(&str, T)],
    whose: &str,
    word: &str,
) -> Result<T, (Code, String, String)> {
    if let Some((_, value)) = all.iter().find(|(w, _)| *w == word) {
        return Ok(*value);
    }
    let words = all.iter().map(|(w, _)| *w);
    let help = match nearest(word, words.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`{whose}` has {}", words.collect::<Vec<_>>().join(", ")),
    };
    Err((codes::NO_PROPERTY, format!("`{whose}` has no `{word}`"), help))
}

impl Reader<'_> {
    /// Reads the references in the text of `node`; `None` after having told what is wrong.
    pub(super) fn template(&mut self, node: &Node, text: &str) -> Option<Template> {
        // A plain string stands in the file as it is, so the place of a part is known.
        let inner =
            Place { start: node.at.start + 1, end: node.at.end.saturating_sub(1), ..node.at };
        let plain = self.sources.text(inner) == text;
        let at = |range: &Range<usize>| {
            if !plain {
                return node.at;
            }
            Place { start: inner.start + range.start, end: inner.start + range.end, ..node.at }
        };
        match Template::parse(text) {
            Ok((template, places)) => {
                for (reference, place) in template.references().zip(&places) {
                    let (path, reference) = (self.path.clone(), reference.clone());
                    self.uses.push(Use { path, at: at(place), reference });
                }
                Some(template)
            }
            Err(errors) => {
                for error in errors {
                    let problem = Problem::new(error.code, at(&error.at), error.what);
                    self.tell(problem.help(error.help));
                }
                None
            }
        }
    }
}

impl Field for Template {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.text() {
            Some(text) => reader.template(node, text),
            None => {
                let help = matches!(
                    node.value,
                    super::node::Raw::Integer(_)
                        | super::node::Raw::Float(_)
                        | super::node::Raw::Bool(_)
                );
                let help = help.then(|| {
                    format!(
                        "write it in quotes: `{} = \"{}\"`",
                        reader.key(),
                        reader.sources.text(node.at)
                    )
                });
                reader.wrong_type(node, "a string", help)
            }
        }
    }

    fn blank() -> Self {
        Self::default()
    }

    fn print(&self) -> Printed {
        Printed::Text(self.to_string())
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Text {
            what: "a text with references, like `postgres://${secret.NAME}`",
            pattern: None,
        }
    }
}

/// A secret by reference: exactly one `${secret.NAME}` or `${env.NAME}`, so that no secret stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// What holds it.
    pub reference: Reference,
}

impl Field for SecretRef {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a secret by reference, `${secret.NAME}`")?;
        if let Ok((template, _)) = Template::parse(text)
            && let [Part::Reference(reference @ (Reference::Secret(_) | Reference::Env(_)))] =
                template.parts.as_slice()
        {
            reader.template(node, text);
            return Some(Self { reference: reference.clone() });
        }
        let key = reader.key().to_owned();
        let whose = match reader.path.as_slice() {
            [section, name, ..] if section == "providers" => format!("{name}_"),
            _ => String::new(),
        };
        let name = format!("{whose}{key}").to_uppercase().replace('-', "_");
        reader.wrong(
            codes::NOT_SECRET,
            node.at,
            format!("`{key}` is a secret, and must not stand in the file"),
            format!("run `linkflow secrets set {name}` and write `{key} = \"${{secret.{name}}}\"`"),
        )
    }

    fn blank() -> Self {
        Self { reference: Reference::Secret("BLANK".to_owned()) }
    }

    fn print(&self) -> Printed {
        Printed::Text(format!("${{{}}}", self.reference))
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Text {
            what: "a secret by reference, `${secret.NAME}` or `${env.NAME}`",
            pattern: Some(r"^\$\{(secret|env)\.[A-Za-z_][A-Za-z0-9_]*\}$"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match Template::parse(text) {
            Ok((t, _)) => {
                assert_eq!(t.to_string(), text, "a template prints as it was written");
                let parts = t.parts.iter().map(|p| match p {
                    Part::Text(text) => format!("'{text}'"),
                    Part::Reference(r) => r.to_string(),
                });
                parts.collect::<Vec<_>>().join(" ")
            }
            Err(e) => {
                e.iter().map(|e| format!("{} at {:?}", e.what, e.at)).collect::<Vec<_>>().join("; ")
            }
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn references_are_found_in_text() {
        check("", "");
        check("http://${service.api.address}/x", "'http://' service.api.address '/x'");
        check("${secret.A}${env.B}", "secret.A env.B");
        check("a $${secret.A} costs $5", "'a ${secret.A} costs $5'");
    }

    #[test]
    fn what_is_no_reference_is_told_with_its_place() {
        check("x${secret.A", "`${` without its `}` at 1..11");
        check("${sercet.A}", "`${sercet.A}` refers to nothing LinkFlow knows at 0..11");
        check("${service.api.adress}", "`service.api` has no `adress` at 0..21");
        check("${secret}", "`${secret}` is not complete or too long at 0..9");
    }

    #[test]
    fn a_text_with_a_secret_in_it_is_a_secret() {
        let (template, _) = Template::parse("user:${secret.A}@${stack.domain}").unwrap();
        let filled = template.fill(&|r| match r {
            Reference::Secret(_) => Some(EnvValue::Secret(Secret::new("pw"))),
            _ => Some(EnvValue::Plain("example.com".to_owned())),
        });
        assert_eq!(filled, Ok(EnvValue::Secret(Secret::new("user:pw@example.com"))));
        let missing = template.fill(&|_| None);
        assert_eq!(missing, Err(Reference::Secret("A".to_owned())));
    }
}
