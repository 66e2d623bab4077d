//! From files to a config, or to every problem in them.

use std::collections::BTreeMap;

use super::acts::{self, NotYet};
use super::codes;
use super::node::Table;
use super::problem::{Place, Problem};
use super::read::{Fields, Reader, Use};
use super::source::{self, Files, Sources};
use super::{Config, check};
use crate::ItemName;

/// What came of reading a config.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The config; `None` when any problem is an error.
    pub config: Option<Config>,
    /// Everything that is wrong, in the order of the files.
    pub problems: Vec<Problem>,
    /// The files, for showing problems.
    pub sources: Sources,
    /// What is understood and without effect so far.
    pub not_yet: Vec<NotYet>,
    /// The names under `[env]`.
    pub environments: Vec<String>,
    /// What is referred to by `${secret.NAME}`, each once.
    pub secrets: Vec<String>,
    /// What is referred to by `${env.NAME}`, each once.
    pub variables: Vec<String>,
    /// Where each of `edge.certificates` stands. What is in its files is for others to look at.
    pub certificates: BTreeMap<ItemName, Place>,
}

impl Config {
    /// Reads `main` and what it includes, with `[env.NAME]` laid over it when `env` is one.
    ///
    /// Without `env`, every environment is checked as well, so that a mistake in one is found at once.
    pub fn parse(files: &dyn Files, main: &str, env: Option<&str>) -> Parsed {
        let loaded = source::load(files, main);
        let mut parsed = Parsed {
            config: None,
            problems: loaded.problems.clone(),
            sources: loaded.sources.clone(),
            not_yet: Vec::new(),
            environments: loaded.environments.entries.keys().cloned().collect(),
            secrets: Vec::new(),
            variables: Vec::new(),
            certificates: BTreeMap::new(),
        };
        if parsed.problems.iter().any(Problem::is_error) {
            parsed.settle();
            return parsed;
        }
        match env {
            Some(name) if !parsed.environments.iter().any(|e| e == name) => {
                parsed.problems.push(loaded.no_environment(name));
            }
            Some(name) => parsed.take(&loaded.environment(name)),
            None => {
                parsed.take(&loaded.root);
                for name in parsed.environments.clone() {
                    let (_, problems, _) = read(&parsed.sources, &loaded.environment(&name));
                    parsed.problems.extend(problems.into_iter().map(|p| in_environment(p, &name)));
                }
            }
        }
        parsed.settle();
        parsed
    }
}

impl Parsed {
    fn take(&mut self, root: &Table) {
        let (config, problems, uses) = read(&self.sources, root);
        let place = |name: &ItemName| root.find(&["edge", "certificates", name.as_str()]).0;
        let places = config.edge.certificates.keys();
        self.certificates =
            places.map(|name| (name.clone(), place(name).unwrap_or_default())).collect();
        self.config = Some(config);
        self.problems.extend(problems);
        self.not_yet = acts::not_yet(root);
        let named = |of: fn(&super::Reference) -> Option<&String>| {
            let mut names: Vec<String> =
                uses.iter().filter_map(|u| of(&u.reference).cloned()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        self.secrets = named(|reference| match reference {
            super::Reference::Secret(name) => Some(name),
            _ => None,
        });
        self.variables = named(|reference| match reference {
            super::Reference::Env(name) => Some(name),
            _ => None,
        });
    }

    /// Puts the problems in order, each once, and drops the config if any is an error.
    fn settle(&mut self) {
        self.problems.sort_by(|a, b| (a.at, a.code, &a.what).cmp(&(b.at, b.code, &b.what)));
        // A problem of the base shows in each environment too; one told once is enough.
        self.problems.dedup_by(|b, a| {
            let same = |a: &str, b: &str| {
                b == a || b.strip_prefix(a).is_some_and(|r| r.starts_with(" (in env"))
            };
            a.at == b.at && a.code == b.code && same(&a.what, &b.what)
        });
        if self.problems.iter().any(Problem::is_error) {
            self.config = None;
        }
    }
}

fn in_environment(mut problem: Problem, name: &str) -> Problem {
    problem.what = format!("{} (in env.{name})", problem.what);
    problem
}

/// Reads a whole tree. The config is only sound when no problem is an error.
fn read(sources: &Sources, root: &Table) -> (Config, Vec<Problem>, Vec<Use>) {
    let mut reader = Reader::new(sources, root);
    let mut fields = Fields::root(root);
    let config = Config::read_fields(&mut fields, &mut reader);
    fields.finish(&mut reader);
    let Reader { mut problems, uses, .. } = reader;
    if config.schema_version != 1 {
        let at = root.find(&["schema_version"]).0.unwrap_or_default();
        let what = format!("`schema_version` {} is not known", config.schema_version);
        problems.push(
            Problem::new(codes::OUT_OF_RANGE, at, what).help("this LinkFlow reads version 1"),
        );
    }
    check::check(&config, root, &uses, &mut problems);
    (config, problems, uses)
}

impl<'t> Fields<'t> {
    /// Opens the whole document. What is missing in it has no place.
    fn root(table: &'t Table) -> Self {
        Self::of(table, Place::default()).also("include").also("env")
    }
}
