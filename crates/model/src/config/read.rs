//! Reads typed values out of the tree and collects every problem on the way.

use super::codes::{self, Code};
use super::node::{Node, Table};
use super::print::Printed;
use super::problem::{Place, Problem, nearest};
use super::shape::{Book, Shape};
use super::source::Sources;
use super::template::Reference;

/// A type that can stand in the config: read, printed and described from one place.
pub(crate) trait Field: Sized {
    /// Reads it; `None` after having told the problem.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// Stands in for a value that could not be read, so that reading goes on. Never leaves the parser.
    fn blank() -> Self;

    /// What counts when the key is not there; `None` when it must be.
    fn absent() -> Option<Self> {
        None
    }

    /// The value as it is written.
    fn print(&self) -> Printed;

    /// What it takes.
    fn shape(book: &mut Book) -> Shape;
}

/// A reference and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// The keys that lead to it: `services`, `api`, `env`, `DATABASE_URL`.
    pub path: Vec<String>,
    /// Its place.
    pub at: Place,
    /// What it refers to.
    pub reference: Reference,
}

/// What is known while reading.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// The files.
    pub sources: &'a Sources,
    /// `stack.name` and `stack.domain`, which any text may refer to.
    pub stack: [Option<String>; 2],
    /// The keys that lead to what is being read.
    pub path: Vec<String>,
    /// What was wrong so far.
    pub problems: Vec<Problem>,
    /// What was referred to so far.
    pub uses: Vec<Use>,
}

impl<'a> Reader<'a> {
    /// A reader of `root`.
    pub(crate) fn new(sources: &'a Sources, root: &Table) -> Self {
        let stack = |key| {
            let stack = root.get("stack").and_then(Node::table);
            stack.and_then(|s| s.get(key)?.text().map(str::to_owned))
        };
        let stack = [stack("name"), stack("domain")];
        Self { sources, stack, path: Vec::new(), problems: Vec::new(), uses: Vec::new() }
    }

    /// Tells a problem.
    pub(crate) fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Tells a problem and gives nothing.
    pub(crate) fn wrong<T>(
        &mut self,
        code: Code,
        at: Place,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.tell(Problem::new(code, at, what).help(help));
        None
    }

    /// Tells that the value is not of the type that is due.
    pub(crate) fn wrong_type<T>(
        &mut self,
        node: &Node,
        due: &str,
        help: Option<String>,
    ) -> Option<T> {
        let what = format!("`{}` takes {due}, and this is {}", self.key(), node.what());
        let mut problem = Problem::new(codes::WRONG_TYPE, node.at, what);
        problem.help = help;
        self.tell(problem);
        None
    }

    /// The last key on the path that is not an index.
    pub(crate) fn key(&self) -> &str {
        let named = |k: &&String| !k.bytes().all(|b| b.is_ascii_digit());
        self.path.iter().rev().find(named).map_or("", String::as_str)
    }

    /// Reads below `key`.
    pub(crate) fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    /// The text of a string, or a problem.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, due: &str) -> Option<&'n str> {
        match node.text() {
            Some("") => {
                let what = format!("`{}` is empty", self.key());
                self.wrong(codes::EMPTY, node.at, what, format!("it takes {due}"))
            }
            Some(text) => Some(text),
            None => self.wrong_type(node, due, None),
        }
    }
}

/// A table being read, and the keys that were asked for.
#[derive(Debug)]
pub(crate) struct Fields<'t> {
    table: &'t Table,
    at: Place,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, Problem)>,
}

impl<'t> Fields<'t> {
    /// Opens the table in `node`, or tells that it is none.
    pub(crate) fn open(node: &'t Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.table() {
            Some(table) => {
                Some(Self { table, at: node.at, known: Vec::new(), missing: Vec::new() })
            }
            None => reader.wrong_type(node, "a table", None),
        }
    }

    /// Opens `table`.
    pub(crate) fn of(table: &'t Table, at: Place) -> Self {
        Self { table, at, known: Vec::new(), missing: Vec::new() }
    }

    /// The same, and `key` is known too.
    pub(crate) fn also(mut self, key: &'static str) -> Self {
        self.known.push(key);
        self
    }

    /// The node under `key`, which then counts as known.
    pub(crate) fn peek(&mut self, key: &'static str) -> Option<&'t Node> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The value of `key`: `default` when it is not there, and a problem when there is no default either.
    pub(crate) fn take<T: Field>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        reader: &mut Reader<'_>,
    ) -> T {
        let Some(node) = self.peek(key) else {
            return default.unwrap_or_else(|| self.missing(key, reader));
        };
        let value = reader.within(key, |r| T::read(node, r));
        value.or(default).unwrap_or_else(T::blank)
    }

    fn missing<T: Field>(&mut self, key: &'static str, reader: &Reader<'_>) -> T {
        let (due, table) = match T::shape(&mut Book::default()) {
            Shape::Text { what, .. } => (what.to_owned(), false),
            Shape::Choice(words) => {
                let words: Vec<_> = words.iter().map(|w| format!("`{}`", w.word)).collect();
                (format!("one of {}", words.join(", ")), false)
            }
            Shape::List(_) | Shape::Many(_) => ("a list".to_owned(), false),
            Shape::Map { .. } | Shape::Section(_) => ("a table".to_owned(), true),
            Shape::Integer { .. } | Shape::Number => ("a number".to_owned(), false),
            Shape::Bool => ("true or false".to_owned(), false),
            Shape::Any(_) => ("a value".to_owned(), false),
        };
        let what = match reader.path.join(".") {
            root if root.is_empty() => format!("`[{key}]` is missing"),
            path => format!("`{key}` is missing in `{path}`"),
        };
        let help = match table {
            true if reader.path.is_empty() => format!("add a section `[{key}]`"),
            true => format!("add `{key} = {{ … }}`"),
            false => format!("add `{key} = …`, {due}"),
        };
        self.missing.push((key, Problem::new(codes::MISSING, self.at, what).help(help)));
        T::blank()
    }

    /// Tells every key that nobody asked for, and every one that was missing.
    pub(crate) fn finish(mut self, reader: &mut Reader<'_>) {
        for (key, entry) in &self.table.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let what = match reader.path.join(".") {
                path if path.is_empty() => format!("unknown section `{key}`"),
                path => format!("unknown key `{key}` in `{path}`"),
            };
            let free = self.known.iter().copied().filter(|k| !self.table.entries.contains_key(*k));
            let near = nearest(key, free).or_else(|| nearest(key, self.known.iter().copied()));
            // What is missing was most likely misspelt; that is one mistake, not two.
            self.missing.retain(|(missing, _)| Some(*missing) != near);
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("keys here: {}", self.known.join(", ")),
            };
            reader.tell(Problem::new(codes::UNKNOWN_KEY, entry.key, what).help(help));
        }
        for (_, problem) in self.missing {
            reader.tell(problem);
        }
    }
}

/// The key of a field: `r#type` is `type`.
pub(super) fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}
