//! The files of a config: read through a trait, joined by `include`, laid over by `[env.NAME]`.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::codes;
use super::node::{Node, Raw, Table};
use super::problem::{Place, Problem, nearest};

/// Where the text of the files comes from.
pub trait Files {
    /// The bytes of the file at `path`, or why they cannot be had.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

impl<T: AsRef<[u8]>> Files for BTreeMap<String, T> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let bytes = self.get(path).map(|b| b.as_ref().to_vec());
        bytes.ok_or_else(|| "there is no such file".to_owned())
    }
}

/// One file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the user would write it.
    pub path: String,
    /// Its text; empty when it could not be read.
    pub text: String,
}

/// The files that were read, the main one first. A [`Place`] names them by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The files.
    pub files: Vec<Source>,
}

impl Sources {
    /// The path of the file at `index`.
    pub fn path(&self, index: usize) -> &str {
        self.files.get(index).map_or("", |f| &f.path)
    }

    /// The text at `place`.
    pub fn text(&self, place: Place) -> &str {
        self.files.get(place.file).and_then(|f| f.text.get(place.start..place.end)).unwrap_or("")
    }

    /// The line and column of the start of `place`, both from 1; columns count characters.
    pub fn line_and_column(&self, place: Place) -> (usize, usize) {
        let text = self.files.get(place.file).map_or("", |f| &f.text);
        let before = text.get(..place.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// The files as they were found.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) sources: Sources,
    /// All keys of all files but `include` and `env`.
    pub(super) root: Table,
    /// The tables under `env`.
    pub(super) environments: Table,
    pub(super) problems: Vec<Problem>,
}

const MOST_FILES: usize = 32;

/// Reads `main` and all that it includes.
pub(super) fn load(files: &dyn Files, main: &str) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.root = loaded.file(files, main, Place::default(), &mut Vec::new());
    if let Some(entry) = loaded.root.entries.remove("env") {
        match entry.node.value {
            Raw::Table(environments) => loaded.environments = environments,
            _ => loaded.tell(
                codes::WRONG_TYPE,
                entry.node.at,
                "`env` takes a table for each environment",
                "write `[env.staging]` and below it the keys that differ",
            ),
        }
    }
    let names: Vec<(String, Place)> =
        loaded.environments.entries.iter().map(|(name, e)| (name.clone(), e.node.at)).collect();
    for (name, at) in names {
        if loaded.environments.get(&name).and_then(Node::table).is_none() {
            let what = format!("`env.{name}` takes a table");
            let help = format!("write `[env.{name}.SECTION]` and below it the keys that differ");
            loaded.tell(codes::WRONG_TYPE, at, &what, &help);
        }
    }
    loaded
}

impl Loaded {
    fn tell(&mut self, code: codes::Code, at: Place, what: &str, help: &str) {
        self.problems.push(Problem::new(code, at, what).help(help));
    }

    fn file(
        &mut self,
        files: &dyn Files,
        path: &str,
        from: Place,
        open: &mut Vec<String>,
    ) -> Table {
        let index = self.sources.files.len();
        self.sources.files.push(Source { path: path.to_owned(), text: String::new() });
        // The main file is to blame itself; any other, the line that includes it.
        let blame = if index == 0 { Place::default() } else { from };
        let bytes = match files.read(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                let help = if index == 0 {
                    "`linkflow init` writes a first one; `--config FILE` names another"
                } else {
                    "a path in `include` counts from the file that includes it"
                };
                self.tell(
                    codes::UNREADABLE,
                    blame,
                    &format!("`{path}` cannot be read: {why}"),
                    help,
                );
                return Table::default();
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let byte = error.utf8_error().valid_up_to();
                let what = format!("`{path}` is not UTF-8 text: byte {} is wrong", byte + 1);
                self.tell(codes::NOT_TEXT, blame, &what, "save the file as UTF-8");
                return Table::default();
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let at = Place { file: index, start: span.start, end: span.end };
            self.problems.push(Problem::new(codes::SYNTAX, at, error.message()));
        }
        let mut table = Table::of(index, table.into_inner());
        self.sources.files[index].text.clone_from(&text);
        open.push(path.to_owned());
        self.include(files, path, &mut table, open);
        open.pop();
        table
    }

    fn include(
        &mut self,
        files: &dyn Files,
        path: &str,
        table: &mut Table,
        open: &mut Vec<String>,
    ) {
        let Some(entry) = table.entries.remove("include") else { return };
        let wanted = match entry.node.value {
            Raw::List(nodes) => nodes,
            _ => vec![entry.node],
        };
        for node in wanted {
            let Some(text) = node.text().filter(|t| !t.is_empty()) else {
                let what = format!(
                    "`include` takes a path or a list of paths, and this is {}",
                    node.what()
                );
                self.tell(codes::WRONG_TYPE, node.at, &what, "write `include = [\"data.toml\"]`");
                continue;
            };
            let file = beside(path, text);
            if open.contains(&file) || self.sources.files.len() >= MOST_FILES {
                let what = format!("`{file}` includes itself: {} → {file}", open.join(" → "));
                self.tell(
                    codes::INCLUDE_CYCLE,
                    node.at,
                    &what,
                    "take one of the `include` lines away",
                );
                continue;
            }
            let more = self.file(files, &file, node.at, open);
            for (key, first, again) in table.join(more) {
                let (line, column) = self.sources.line_and_column(first);
                let what = format!("`{key}` is set in two files");
                let help = format!(
                    "it is also at {}:{line}:{column}; keep one",
                    self.sources.path(first.file)
                );
                self.tell(codes::TWICE, again, &what, &help);
            }
        }
    }

    /// The tree of one environment.
    pub(super) fn environment(&self, name: &str) -> Table {
        let mut root = self.root.clone();
        if let Some(over) = self.environments.get(name).and_then(Node::table) {
            root.overlay(over);
        }
        root
    }

    /// The problem of an environment that is not there.
    pub(super) fn no_environment(&self, name: &str) -> Problem {
        let names = self.environments.entries.keys().map(String::as_str);
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `--env {near}`?"),
            None if self.environments.entries.is_empty() => {
                format!("write `[env.{name}]` and below it the keys that differ")
            }
            None => format!("environments here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        let what = format!("there is no environment `{name}`");
        Problem::new(codes::NO_ENVIRONMENT, Place::default(), what).help(help)
    }
}

/// `path` as seen from the folder of `from`, without `.` and `..` where possible.
fn beside(from: &str, path: &str) -> String {
    let whole = match from.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|p| !matches!(*p, "" | "..")) => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
