//! The programs of this machine that stand for images.

use std::collections::BTreeMap;

use super::codes;
use super::node::{Node, Raw};
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use crate::ImageRef;

/// The command line that stands for each image, by repository, `ghcr.io/acme/api`: the program and its arguments.
///
/// Repositories have their registry in front, also where the config leaves `docker.io` out. No command line is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs(pub BTreeMap<String, Vec<String>>);

impl Field for Programs {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = node.table() else { return reader.wrong_type(node, "a table", None) };
        let mut map = BTreeMap::new();
        for (key, entry) in &table.entries {
            let line = reader.within(key, |r| line(&entry.node, r));
            let repository = match repository(key) {
                Ok(repository) => repository,
                Err(what) => {
                    let help = "write it without tag and digest, like `ghcr.io/acme/api`";
                    reader.wrong::<()>(codes::BAD_IMAGE, entry.key, what, help);
                    continue;
                }
            };
            if map.contains_key(&repository) {
                let what = format!("`{repository}` has two programs");
                let help = "keep one of them";
                reader.wrong::<()>(codes::LISTED_TWICE, entry.key, what, help);
            } else {
                map.extend(line.map(|line| (repository, line)));
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
        Printed::Table(self.0.iter().map(|(k, line)| (k.clone(), line.print())).collect())
    }

    fn shape(book: &mut Book) -> Shape {
        Shape::Map { keys: None, each: Box::new(Shape::Many(Box::new(String::shape(book)))) }
    }
}

/// `text` with its registry in front; otherwise what is wrong with it.
fn repository(text: &str) -> Result<String, String> {
    let image: ImageRef = text.parse().map_err(|e: crate::image::ImageError| e.to_string())?;
    if image.tag.is_some() || image.digest.is_some() {
        return Err(format!("`{text}` is one version of an image; a program stands for all"));
    }
    Ok(format!("{}/{}", image.registry, image.repository))
}

/// A list of words, or the program alone.
fn line(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    match &node.value {
        Raw::List(words) if words.is_empty() => {
            let what = format!("`{}` is empty", reader.key());
            reader.wrong(codes::EMPTY, node.at, what, "it takes a program and its arguments")
        }
        Raw::List(_) => Vec::read(node, reader),
        _ => {
            let program = String::read(node, reader)?;
            if program.contains(char::is_whitespace) {
                let words: Vec<String> =
                    program.split_whitespace().map(super::print::quoted).collect();
                let what = format!("`{}` is one word with spaces in it", reader.key());
                let help = format!("write each word by itself: `[{}]`", words.join(", "));
                return reader.wrong(codes::BAD_VALUE, node.at, what, help);
            }
            Some(vec![program])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::kinds::Settings;
    use crate::config::{Config, Parsed};

    fn parse(programs: &str) -> Parsed {
        let text = format!(
            "[stack]\nname = \"shop\"\n[providers.here]\nkind = \"embedded\"\nprograms = {programs}\n\
             [services.api]\nimage = \"acme/api\"\nport = 80\nruns_on = [\"here\"]\n"
        );
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        Config::parse(&files, "linkflow.toml", None)
    }

    fn told(programs: &str) -> Vec<(&'static str, String)> {
        let problems = parse(programs).problems;
        problems.into_iter().map(|p| (p.code.as_str(), p.what)).collect()
    }

    #[test]
    fn a_program_is_a_list_of_words_or_one_word_and_its_image_has_a_registry() {
        let parsed = parse("{ \"acme/api\" = [\"a b\", \"c\"], \"ghcr.io/acme/web\" = \"web\" }");
        let config = parsed.config.unwrap();
        let provider = config.providers.values().next().unwrap();
        let Settings::Embedded(settings) = &provider.settings else { panic!("{provider:?}") };
        assert_eq!(settings.programs.0["docker.io/acme/api"], ["a b", "c"]);
        assert_eq!(settings.programs.0["ghcr.io/acme/web"], ["web"]);

        let files = BTreeMap::from([("linkflow.toml".to_owned(), config.to_toml())]);
        assert_eq!(Config::parse(&files, "linkflow.toml", None).config, Some(config));
    }

    #[test]
    fn what_is_no_command_line_of_a_repository_is_told() {
        let codes = |programs| told(programs).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(codes("{ \"acme/api:1\" = \"api\" }"), ["LF0111"]);
        assert_eq!(codes("{ \"Acme/API\" = \"api\" }"), ["LF0111"]);
        assert_eq!(codes("{ \"acme/api\" = [] }"), ["LF0115"]);
        assert_eq!(codes("{ \"acme/api\" = 1 }"), ["LF0103"]);
        assert_eq!(codes("{ \"acme/api\" = \"linkflow app api\" }"), ["LF0118"]);
        assert_eq!(codes("{ \"acme/api\" = \"a\", \"docker.io/acme/api\" = \"b\" }"), ["LF0307"]);
    }
}
