//! A plan as Markdown: what a reviewer reads beside the change that it belongs to.

use linkflow_engine::Draft;
use linkflow_model::{Action, Change, StackName};

use super::change::say;

/// Most bytes that are written: GitHub takes 65,536 characters in a comment.
const LONGEST: usize = 60_000;

/// The plan.
pub(super) fn text(stack: &StackName, draft: &Draft) -> String {
    let mut out = String::new();
    let release = &draft.release.id;
    if draft.plan.is_empty() {
        say(
            &mut out,
            format_args!("### `{stack}`: no changes\n\nWhat runs is what the config asks for.\n"),
        );
    } else {
        let steps = draft.plan.steps().count();
        let word = if steps == 1 { "step" } else { "steps" };
        say(&mut out, format_args!("### `{stack}`: {steps} {word} to {release}\n\n"));
        out.push_str(&steps_of(draft));
        out.push_str(&differences_of(draft));
    }
    for held in &draft.plan.held {
        say(&mut out, format_args!("\n> waits: {}\n", cell(&held.why)));
    }
    cut(out)
}

fn steps_of(draft: &Draft) -> String {
    let mut out = "| stage | | step | why |\n|---|---|---|---|\n".to_owned();
    for stage in &draft.plan.stages {
        for step in &stage.steps {
            let sign = match &step.action {
                Action::Delete { .. } => "−",
                Action::Deploy { .. } if step.changes.iter().all(|c| c.from.is_none()) => "+",
                _ => "~",
            };
            let (action, why) = (cell(&step.action.to_string()), cell(&step.why));
            say(&mut out, format_args!("| {} | {sign} | {action} | {why} |\n", cell(&stage.name)));
        }
    }
    out
}

/// Every field that differs, each once for a service: its providers mostly differ in the same way.
fn differences_of(draft: &Draft) -> String {
    let mut rows: Vec<String> = Vec::new();
    for step in draft.plan.steps() {
        for Change { field, from, to } in &step.changes {
            let side = |text: &Option<String>| text.as_deref().map_or_else(String::new, code);
            let (service, field) = (step.action.service(), cell(field));
            let row = format!("| {service} | {field} | {} | {} |\n", side(from), side(to));
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = "\n<details><summary>What differs</summary>\n\n| service | field | now | then |\n|---|---|---|---|\n";
    format!("{head}{}\n</details>\n", rows.concat())
}

/// `text` in a cell of a table: one line, and nothing in it is mark-up.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A name after it would be told.
            '@' => out.push_str("&#64;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out
}

/// `text` as code in a cell. Digests are cut to what a person compares.
fn code(text: &str) -> String {
    let short = match text.find("sha256:") {
        Some(at) => text.get(..at + 19).unwrap_or(text),
        None => text,
    };
    let line = short.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe = line
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "&#124;")
        .replace('@', "&#64;");
    format!("<code>{safe}</code>")
}

fn cut(mut text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let end =
        text.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last().unwrap_or(0);
    text.truncate(end);
    let end = text.rfind('\n').unwrap_or(end);
    text.truncate(end);
    text.push_str("\n\nThe rest is cut off: `linkflow plan` shows all of it.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_is_mark_up() {
        assert_eq!(cell("a|b\n<c> @team *d*"), "a\\|b &lt;c&gt; &#64;team \\*d\\*");
        assert_eq!(code("a|<b>"), "<code>a&#124;&lt;b></code>");
    }

    #[test]
    fn a_digest_is_short_and_a_long_plan_is_cut_at_a_line() {
        let image = format!("ghcr.io/acme/api@sha256:{}", "a".repeat(64));
        assert_eq!(code(&image), "<code>ghcr.io/acme/api&#64;sha256:aaaaaaaaaaaa</code>");
        let long = cut("one line of it\n".repeat(10_000));
        assert!(long.len() < LONGEST + 100 && long.ends_with("shows all of it.\n"));
        assert!(long.contains("of it\n\nThe rest"));
    }
}
