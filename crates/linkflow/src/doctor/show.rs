//! What the doctor found, for people and for machines.

use serde_json::{Value, json};

use super::{Chapter, Finding, State};
use crate::say::answer::Answer;
use crate::say::table::Tone;
use crate::say::wrap::wrapped;

/// All chapters, and what they come to: 0 well, 1 something is broken, 4 a credential is refused.
pub(crate) fn answer(chapters: &[Chapter], colours: bool) -> Answer {
    let findings = || chapters.iter().flat_map(|chapter| &chapter.findings);
    let count = |state: State| findings().filter(|finding| finding.state == state).count();
    let (broken, refused) = (count(State::Broken), count(State::Refused));
    let exit = if refused > 0 { 4 } else { u8::from(broken > 0) };
    let mut answer = Answer { out: text(chapters, colours), exit, ..Answer::default() };
    for chapter in chapters {
        for finding in &chapter.findings {
            let row =
                json!({ "about": chapter.about, "message": finding.what, "help": finding.help });
            match finding.state {
                State::Broken | State::Refused => answer.errors.push(row),
                State::Doubtful => answer.warnings.push(row),
                State::Well | State::Known => {}
            }
        }
    }
    let (bad, doubtful) = (broken + refused, count(State::Doubtful));
    answer.out.push_str(&format!("\n{}\n", verdict(bad, doubtful, colours)));
    answer.result = json!({ "well": exit == 0, "chapters": values(chapters) });
    answer
}

fn values(chapters: &[Chapter]) -> Vec<Value> {
    let value = |chapter: &Chapter| {
        json!({
            "about": chapter.about,
            "title": chapter.title,
            "findings": chapter.findings,
            "facts": chapter.facts,
        })
    };
    chapters.iter().map(value).collect()
}

fn verdict(bad: usize, doubtful: usize, colours: bool) -> String {
    let is = |count: usize, what: &str| match count {
        1 => format!("1 thing is {what}"),
        count => format!("{count} things are {what}"),
    };
    let look = is(doubtful, "worth a look");
    match (bad, doubtful) {
        (0, 0) => Tone::Good.paint("all is well", colours),
        (0, _) => Tone::Notable.paint(&format!("it works; {look}"), colours),
        (_, 0) => Tone::Bad.paint(&is(bad, "broken"), colours),
        _ => Tone::Bad.paint(&format!("{}; {look}", is(bad, "broken")), colours),
    }
}

fn text(chapters: &[Chapter], colours: bool) -> String {
    let mut out = String::new();
    for (at, chapter) in chapters.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let is_one = matches!(chapter.about.as_str(), "machine" | "images");
        let head = if is_one { &chapter.title } else { &chapter.about };
        out.push_str(&Tone::Strong.paint(head, colours));
        if !is_one {
            out.push_str(&format!("  {}", Tone::Faint.paint(&chapter.title, colours)));
        }
        out.push('\n');
        chapter.findings.iter().for_each(|finding| out.push_str(&line(finding, colours)));
    }
    out
}

/// A finding with its sign; what helps stands below it.
fn line(finding: &Finding, colours: bool) -> String {
    let (sign, tone) = match finding.state {
        State::Well => ("✓", Tone::Good),
        State::Known => ("·", Tone::Faint),
        State::Doubtful => ("!", Tone::Notable),
        State::Broken | State::Refused => ("✗", Tone::Bad),
    };
    let mut out = String::new();
    let mut lead = format!("  {} ", tone.paint(sign, colours));
    for row in wrapped(&finding.what, 4) {
        let shown = if finding.state == State::Known { Tone::Faint } else { Tone::Plain };
        out.push_str(&format!("{lead}{}\n", shown.paint(&row, colours)));
        lead = "    ".to_owned();
    }
    let mut lead = "    → ";
    for row in wrapped(&finding.help, 6) {
        out.push_str(&format!("{}\n", Tone::Faint.paint(&format!("{lead}{row}"), colours)));
        lead = "      ";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter(findings: &[(State, &str, &str)]) -> Chapter {
        let mut chapter = Chapter::new("fly", "Fly.io, region fra");
        findings.iter().for_each(|(state, what, help)| chapter.add(*state, *what, *help));
        chapter
    }

    #[test]
    fn a_refused_token_counts_more_than_what_is_broken_and_a_warning_is_no_failure() {
        let exit = |findings: &[(State, &str, &str)]| answer(&[chapter(findings)], false).exit;
        let (refused, broken) = ((State::Refused, "no", ""), (State::Broken, "off", ""));
        assert_eq!(exit(&[broken, refused]), 4);
        assert_eq!(exit(&[broken, (State::Well, "on", "")]), 1);
        assert_eq!(exit(&[(State::Doubtful, "hm", ""), (State::Known, "so", "")]), 0);
    }

    #[test]
    fn long_sentences_are_broken_below_their_sign_and_help_stands_beneath() {
        let long = "the token, `${secret.FLY_API_TOKEN}`, is refused: unauthorized, and the vendor goes on to say a good deal more";
        let help = "put a new one into the environment; docs/providers/fly.md says how it is made, step by step";
        let chapters = [chapter(&[(State::Well, "short", ""), (State::Refused, long, help)])];
        insta::assert_snapshot!(answer(&chapters, false).out, @r"
        fly  Fly.io, region fra
          ✓ short
          ✗ the token, `${secret.FLY_API_TOKEN}`, is refused: unauthorized, and the
            vendor goes on to say a good deal more
            → put a new one into the environment; docs/providers/fly.md says how it is
              made, step by step

        1 thing is broken
        ");
    }
}
