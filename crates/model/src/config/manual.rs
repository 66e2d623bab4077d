//! The reference manual of `linkflow.toml`, written from the same list as the parser.

use super::acts::NOT_YET;
use super::kinds::Settings;
use super::provider::Role;
use super::read::Field;
use super::shape::{Book, Key, Section, Shape};
use super::{Config, acts};

const HEAD: &str = "\
# `linkflow.toml`

<!-- Written by `linkflow schema --markdown`; a test holds this page to the parser. -->

One file declares a stack. Unknown keys are errors, every problem is told at once with its place, and references are checked
before anything runs: `linkflow check`. `linkflow schema` prints a JSON schema for editors; a file that begins with
`#:schema ./linkflow.schema.json` is completed and checked by them.

## Rules

- **Durations** are texts with units: `500ms`, `10s`, `1h30m`, `1d`, `1w`. A bare number is an error.
- **Memory** is `256MB` or `1GB`, where 1024 MB are a GB, as compute providers count. **All other sizes** know both: `10GB` is
  10 × 1000³ bytes, `10GiB` is 10 × 1024³.
- **Names** are 1 to 40 lower-case letters, digits and hyphens, starting with a letter.
- **Secrets** never stand in the file: `${secret.NAME}`, or `${env.NAME}` from the environment that LinkFlow runs in.
- **References** may stand in the texts of `env` and `url`: `${secret.NAME}`, `${env.NAME}`, `${stack.name}`, `${stack.domain}`,
  `${service.NAME.address}` (`host:port`, follows the service when it moves), `${service.NAME.url}`, `${service.NAME.host}`,
  `${service.NAME.port}`, `${database.NAME.url}`, `${cache.NAME.url}`, `${bucket.NAME.name}`, `.endpoint`, `.access_key`,
  `.secret_key`. `$${` is a plain `${`. In hosts, routes and addresses only `${stack.name}` and `${stack.domain}` may stand.
- **`include = [\"data.toml\"]`** joins other files; paths count from the file that includes. Tables are joined; a key set twice is an error.
- **`[env.NAME]`** holds what differs in one environment: `[env.staging.stack]`, `[env.staging.services.api.env]`. `--env NAME` lays it
  over the rest: its keys win, tables are joined key by key, lists are replaced whole, and the value `\"\"` takes a key away.
- **`embedded`** is a provider that is always there and can be used for everything. So is **`docker`**, for containers: the Docker
  engine of this machine. Where none answers, services run on the next provider of their cascade.
- Keys marked *not yet* are parsed and checked, and nothing acts on them so far; `linkflow check` says so too.
";

/// The manual, as Markdown.
pub fn manual() -> String {
    let mut book = Book::default();
    Config::shape(&mut book);
    let mut out = HEAD.to_owned();
    let Some(root) = book.sections.get("config") else { return out };
    out.push_str("\n## At the top\n\n");
    let plain = |k: &&Key| !is_table(&k.shape);
    table(&mut out, root.keys.iter().filter(plain), "");
    out.push_str("| `include` | a path, or a list of them | | Other files whose sections belong to this one. |\n");
    for key in root.keys.iter().filter(|k| is_table(&k.shape)) {
        section(&mut out, key, &book);
    }
    roles(&mut out);
    out
}

fn is_table(shape: &Shape) -> bool {
    match shape {
        Shape::Section(_) => true,
        Shape::Map { each, .. } => is_table(each),
        _ => false,
    }
}

fn section(out: &mut String, key: &Key, book: &Book) {
    let (header, path, shape) = match &key.shape {
        Shape::Map { each, .. } => {
            (format!("{}.NAME", key.name), format!("{}.*.", key.name), &**each)
        }
        shape => (key.name.to_owned(), format!("{}.", key.name), shape),
    };
    let Shape::Section(name) = shape else { return };
    let Some(section) = book.sections.get(name) else { return };
    let late = if NOT_YET.contains(&key.name) { " *Not yet acted on.*" } else { "" };
    out.push_str(&format!("\n## `[{header}]`\n\n{}{late}\n\n", section.doc.trim()));
    table(out, section.keys.iter(), &path);
    if section.kinds.is_empty() {
        below(out, section, book, &mut vec![*name]);
        return;
    }
    for (word, name) in &section.kinds {
        let Some(kind) = book.sections.get(name) else { continue };
        out.push_str(&format!("\n### `kind = \"{}\"`\n\n{}\n", word.word, word.doc.trim()));
        let shared = |k: &&Key| section.keys.iter().all(|s| s.name != k.name);
        if kind.keys.iter().any(|k| shared(&k)) {
            out.push('\n');
            table(out, kind.keys.iter().filter(shared), &path);
        }
    }
}

/// The tables within a section, each once.
fn below(out: &mut String, section: &Section, book: &Book, told: &mut Vec<&'static str>) {
    for key in &section.keys {
        let Some(name) = inner(&key.shape).filter(|n| !told.contains(n)) else { continue };
        let Some(section) = book.sections.get(name) else { continue };
        told.push(name);
        out.push_str(&format!("\n### `{}`\n\n{}\n\n", key.name, section.doc.trim()));
        table(out, section.keys.iter(), "");
        below(out, section, book, told);
    }
}

fn inner(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Section(name) => Some(name),
        Shape::List(item) | Shape::Many(item) => inner(item),
        _ => None,
    }
}

fn table<'a>(out: &mut String, keys: impl Iterator<Item = &'a Key>, path: &str) {
    out.push_str("| key | takes | when not said | |\n|---|---|---|---|\n");
    for key in keys {
        let default = match &key.default {
            _ if key.required => "**required**".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let late = if NOT_YET.contains(&format!("{path}{}", key.name).as_str()) {
            " *Not yet.*"
        } else {
            ""
        };
        let doc = key.doc.trim().replace('\n', " ").replace('|', "\\|");
        out.push_str(&format!(
            "| `{}` | {} | {default} | {doc}{late} |\n",
            key.name,
            takes(&key.shape)
        ));
    }
}

fn takes(shape: &Shape) -> String {
    match shape {
        Shape::Text { what, .. } => what.replace('|', "\\|"),
        Shape::Integer { least, most } => format!("an integer from {least} to {most}"),
        Shape::Number => "a number".to_owned(),
        Shape::Bool => "`true` or `false`".to_owned(),
        Shape::Choice(words) if words.len() > 12 => "a word, see below".to_owned(),
        Shape::Choice(words) => {
            let word = |w: &super::shape::Word| {
                let doc = w.doc.trim().trim_end_matches('.');
                let first =
                    doc.get(..1).filter(|_| !doc.starts_with("LinkFlow")).unwrap_or_default();
                let doc = first.to_lowercase() + &doc[first.len()..];
                format!("`{}` ({doc})", w.word)
            };
            words.iter().map(word).collect::<Vec<_>>().join(", ")
        }
        Shape::List(item) => format!("a list, each {}", takes(item)),
        Shape::Many(item) => format!("{}, or a list of such", takes(item)),
        Shape::Any(shapes) => shapes.iter().map(takes).collect::<Vec<_>>().join(", or "),
        Shape::Map { each, .. } => format!("a table, each {}", takes(each)),
        Shape::Section(name) => format!("a table, see `{name}` below"),
    }
}

/// Which kind of provider can be used for what.
fn roles(out: &mut String) {
    out.push_str("\n## What providers can be used for\n\nRoles in **bold** are acted on already. In a rehearsal every kind of compute provider is, simulated.\n\n");
    out.push_str("| kind | vendor | roles |\n|---|---|---|\n");
    for kind in Settings::KINDS {
        let role = |r: &Role| if acts(kind.word, *r) { format!("**{r}**") } else { r.to_string() };
        let roles: Vec<String> = kind.roles.iter().map(role).collect();
        out.push_str(&format!("| `{}` | {} | {} |\n", kind.word, kind.title, roles.join(", ")));
    }
}
