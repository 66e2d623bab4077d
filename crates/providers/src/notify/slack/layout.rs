//! A notice as Slack's Block Kit has it, within its limits.

use linkflow_model::role::Notice;
use serde_json::{Value, json};

// `&`, `<` and `>` would begin a link or an entity in Slack's mark-up, as they do in HTML.
use super::super::text::{cut, html as escaped, one_line, plain, sign};

/// Most characters of a header.
const HEADER: usize = 150;
/// Most characters of a section's text, and of all preformatted lines together.
const TEXT: usize = 3_000;
/// Most characters of a field.
const FIELD: usize = 2_000;
/// Most fields of a section.
const FIELDS: usize = 10;
/// Most facts that are shown: four sections of fields.
const FACTS: usize = 4 * FIELDS;
/// Most characters of a button.
const BUTTON: usize = 75;
/// Most characters of a button's address.
const ADDRESS: usize = 3_000;

/// The whole message: blocks, and a text for notifications and for whoever cannot show blocks. Every text goes through
/// `mask` first.
pub(in crate::notify) fn message(notice: &Notice, mask: impl Fn(&str) -> String) -> Value {
    let title = mask(&notice.title);
    let (sign, text) = (sign(notice.tone), mask(&notice.text));
    let header = cut(&format!("{sign} {}", one_line(&title)), HEADER, plain);
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": header, "emoji": true } }),
    ];
    if !text.trim().is_empty() {
        blocks.push(json!({ "type": "section", "text": marked(&cut(text.trim(), TEXT, escaped)) }));
    }
    let facts: Vec<Value> = notice
        .facts
        .iter()
        .take(FACTS)
        .map(|(name, value)| fact(&mask(name), &mask(value)))
        .collect();
    for fields in facts.chunks(FIELDS) {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let masked: Vec<String> = notice.lines.iter().map(|line| mask(line)).collect();
    let (lines, left_out) = last_lines(&masked);
    if !lines.is_empty() {
        let text = json!({ "type": "text", "text": lines });
        let element = json!({ "type": "rich_text_preformatted", "elements": [text], "border": 0 });
        blocks.push(json!({ "type": "rich_text", "elements": [element] }));
    }
    blocks.extend(link(notice, &mask));
    let mut small = vec!["LinkFlow".to_owned()];
    if left_out > 0 {
        small.push(format!("{left_out} earlier lines are left out"));
    }
    if notice.facts.len() > FACTS {
        small.push(format!("{} more facts are left out", notice.facts.len() - FACTS));
    }
    blocks.push(json!({ "type": "context", "elements": [marked(&small.join(" · "))] }));
    let fallback = cut(&format!("{sign} {}", one_line(&title)), TEXT, escaped);
    json!({ "text": fallback, "blocks": blocks })
}

fn marked(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text })
}

/// The name in bold and the value below it.
fn fact(name: &str, value: &str) -> Value {
    let name = cut(&one_line(name), HEADER, escaped);
    let value = cut(value.trim(), FIELD - HEADER - 8, escaped);
    // Slack refuses a field that shows nothing.
    let value = if value.is_empty() { "–" } else { &value };
    marked(&format!("*{name}*\n{value}"))
}

/// A button, which Slack takes only with a web address.
fn link(notice: &Notice, mask: &impl Fn(&str) -> String) -> Option<Value> {
    let (name, address) = notice.link.as_ref()?;
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    if !is_web || address.chars().count() > ADDRESS || name.trim().is_empty() {
        return None;
    }
    let name = cut(&one_line(&mask(name)), BUTTON, plain);
    let text = json!({ "type": "plain_text", "text": name, "emoji": true });
    let button =
        json!({ "type": "button", "text": text, "url": mask(address), "action_id": "open" });
    Some(json!({ "type": "actions", "elements": [button] }))
}

/// The last lines that fit, and how many do not. A line that is too long alone is cut.
fn last_lines(lines: &[String]) -> (String, usize) {
    let mut kept: Vec<String> = Vec::new();
    let mut room = TEXT;
    for line in lines.iter().rev() {
        let need = line.chars().count() + 1;
        if need > room {
            if kept.is_empty() {
                kept.push(cut(line, TEXT, plain));
            }
            break;
        }
        room -= need;
        kept.push(line.clone());
    }
    kept.reverse();
    let left_out = lines.len() - kept.len();
    let text = kept.join("\n");
    if text.trim().is_empty() { (String::new(), left_out) } else { (text, left_out) }
}

#[cfg(test)]
mod tests {
    use linkflow_model::role::Tone;

    use super::*;

    fn notice() -> Notice {
        Notice {
            tone: Tone::Good,
            key: None,
            title: "shop: r12 is live".to_owned(),
            text: "a < b & c".to_owned(),
            facts: vec![("took".to_owned(), "3 s".to_owned())],
            lines: vec!["one".to_owned(), "<two>".to_owned()],
            link: Some(("Run".to_owned(), "https://example.com/1".to_owned())),
        }
    }

    fn shown(notice: &Notice) -> Value {
        message(notice, ToOwned::to_owned)
    }

    #[test]
    fn a_notice_has_a_header_its_text_its_facts_its_lines_and_a_button() {
        let message = shown(&notice());
        let kinds: Vec<&str> = message["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["header", "section", "section", "rich_text", "actions", "context"]);
        assert_eq!(message["blocks"][1]["text"]["text"], "a &lt; b &amp; c");
        assert_eq!(message["blocks"][2]["fields"][0]["text"], "*took*\n3 s");
        assert_eq!(message["blocks"][3]["elements"][0]["elements"][0]["text"], "one\n<two>");
        assert_eq!(message["text"], "✅ shop: r12 is live");
    }

    #[test]
    fn an_empty_notice_is_a_header_and_who_says_it() {
        let bare = Notice {
            text: " ".to_owned(),
            facts: Vec::new(),
            lines: vec![String::new()],
            link: None,
            ..notice()
        };
        assert_eq!(shown(&bare)["blocks"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_last_lines_are_kept_and_the_earlier_ones_counted() {
        let lines = (0..1_000).map(|n| format!("line {n}")).collect();
        let message = shown(&Notice { lines, ..notice() });
        let text = message["blocks"][3]["elements"][0]["elements"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("line 999") && text.chars().count() <= TEXT);
        let said = message["blocks"][5]["elements"][0]["text"].as_str().unwrap();
        assert_eq!(
            said,
            format!("LinkFlow · {} earlier lines are left out", 1_000 - text.lines().count())
        );
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_of_the_original() {
        assert_eq!(cut("abc", 3, escaped), "abc");
        assert_eq!(cut("abcd", 3, escaped), "ab…");
        assert_eq!(cut("a&b", 6, escaped), "a…");
        assert_eq!(cut("a&b", 7, escaped), "a&amp;b");
        assert_eq!(cut("&&&", 10, escaped), "&amp;…");
        assert_eq!(cut("ééé", 2, plain), "é…");
    }

    #[test]
    fn an_address_that_is_none_makes_no_button() {
        let message =
            shown(&Notice { link: Some(("x".to_owned(), "javascript:0".to_owned())), ..notice() });
        assert!(!message.to_string().contains("button"));
    }
}
