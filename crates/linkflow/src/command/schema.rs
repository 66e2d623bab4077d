//! `linkflow schema`: what the config may say, for editors and for reading.

use clap::Args;
use linkflow_model::config::{manual, schema};
use serde_json::json;

use crate::say::answer::Answer;

/// Print the JSON schema of linkflow.toml, for editors.
///
/// A file that begins with `#:schema ./linkflow.schema.json` is completed and checked by editors that know TOML.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow schema > linkflow.schema.json\n  linkflow schema --markdown | less"
)]
pub(crate) struct SchemaArgs {
    /// Print the reference manual instead.
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// What `schema` answers.
pub(crate) fn answer(args: &SchemaArgs) -> Answer {
    if args.markdown {
        let text = manual();
        return Answer { result: json!({ "markdown": text }), out: text, ..Answer::default() };
    }
    let schema = schema();
    Answer { out: format!("{schema:#}\n"), result: schema, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_what_the_project_keeps() {
        let schema = answer(&SchemaArgs { markdown: false });
        assert_eq!(schema.out, include_str!("../../../../examples/linkflow/linkflow.schema.json"));
        assert_eq!(schema.result["title"], "linkflow.toml");
        let manual = answer(&SchemaArgs { markdown: true });
        assert_eq!(manual.out, include_str!("../../../../docs/config.md"));
    }
}
