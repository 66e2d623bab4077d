//! Reads a message the way Block Kit does: what is too long, too many or unknown is refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::TEXT;

/// What is said of a message that cannot be taken.
type Word = &'static str;

const INVALID: Word = "invalid_blocks";

/// Refuses what Slack would refuse.
pub(super) fn check(message: &Value) -> Result<(), Word> {
    let text =
        message.get("text").map(|text| text.as_str().ok_or("invalid_payload")).transpose()?;
    let list =
        |name: &str| message.get(name).map(|v| v.as_array().ok_or("invalid_payload")).transpose();
    let (blocks, attachments) = (list("blocks")?, list("attachments")?);
    let has_more = blocks.or(attachments).is_some_and(|list| !list.is_empty());
    if text.is_none_or(str::is_empty) && !has_more {
        return Err("no_text");
    }
    if text.is_some_and(|text| text.chars().count() > TEXT) {
        return Err("msg_too_long");
    }
    let blocks = blocks.map(Vec::as_slice).unwrap_or_default();
    if blocks.len() > 50 {
        return Err(INVALID);
    }
    let mut ids = BTreeSet::new();
    for one in blocks {
        let one = one.as_object().ok_or(INVALID)?;
        if let Some(id) = one.get("block_id") {
            let id = id.as_str().filter(|id| id.chars().count() <= 255).ok_or(INVALID)?;
            ids.insert(id).then_some(()).ok_or(INVALID)?;
        }
        block(one).ok_or(INVALID)?;
    }
    Ok(())
}

/// `Some` when the block is well made.
fn block(block: &Map<String, Value>) -> Option<()> {
    let kind = block.get("type")?.as_str()?;
    match kind {
        "divider" => only(block, &[]),
        "header" => {
            only(block, &["text"])?;
            text(block.get("text")?, &["plain_text"], 150)
        }
        "section" => {
            only(block, &["text", "fields", "accessory", "expand"])?;
            let fields = match block.get("fields") {
                Some(fields) => many(fields, 10)?,
                None => &[],
            };
            let own = block.get("text");
            (own.is_some() || !fields.is_empty()).then_some(())?;
            own.map_or(Some(()), |own| text(own, &["plain_text", "mrkdwn"], 3_000))?;
            let each = |field: &Value| text(field, &["plain_text", "mrkdwn"], 2_000);
            fields.iter().try_for_each(each)
        }
        "context" => {
            only(block, &["elements"])?;
            let each = |element: &Value| match element.get("type")?.as_str()? {
                "image" => image(element.as_object()?),
                _ => text(element, &["plain_text", "mrkdwn"], 3_000),
            };
            many(block.get("elements")?, 10)?.iter().try_for_each(each)
        }
        "actions" => {
            only(block, &["elements"])?;
            let mut ids = BTreeSet::new();
            many(block.get("elements")?, 25)?.iter().try_for_each(|element| {
                let id = button(element.as_object()?)?;
                (id.is_empty() || ids.insert(id)).then_some(())
            })
        }
        "image" => image(block),
        "rich_text" => {
            only(block, &["elements"])?;
            many(block.get("elements")?, usize::MAX)?.iter().try_for_each(|e| rich(e.as_object()?))
        }
        _ => None,
    }
}

/// That nothing stands there beside what every block has and `names`.
fn only(object: &Map<String, Value>, names: &[&str]) -> Option<()> {
    let known = |name: &String| {
        matches!(name.as_str(), "type" | "block_id") || names.contains(&name.as_str())
    };
    object.keys().all(known).then_some(())
}

/// A list of one to `most` things.
fn many(value: &Value, most: usize) -> Option<&[Value]> {
    let list = value.as_array()?;
    (1..=most).contains(&list.len()).then_some(list.as_slice())
}

/// A text object of one of `kinds` with 1 to `most` characters. Only plain text may speak of emoji.
fn text(value: &Value, kinds: &[&str], most: usize) -> Option<()> {
    let object = value.as_object()?;
    let kind = object.get("type")?.as_str().filter(|kind| kinds.contains(kind))?;
    only(object, if kind == "plain_text" { &["text", "emoji"] } else { &["text", "verbatim"] })?;
    let text = object.get("text")?.as_str()?;
    (1..=most).contains(&text.chars().count()).then_some(())
}

fn image(image: &Map<String, Value>) -> Option<()> {
    only(image, &["image_url", "alt_text", "title"])?;
    let is_web = image.get("image_url")?.as_str()?.starts_with("http");
    (is_web && image.get("alt_text")?.as_str()?.chars().count() <= 2_000).then_some(())
}

/// The button's action, which no other button of the block may have.
fn button(button: &Map<String, Value>) -> Option<String> {
    only(
        button,
        &["text", "url", "action_id", "value", "style", "confirm", "accessibility_label"],
    )?;
    (button.get("type")?.as_str()? == "button").then_some(())?;
    text(button.get("text")?, &["plain_text"], 75)?;
    if let Some(url) = button.get("url") {
        let url = url.as_str().filter(|url| url.chars().count() <= 3_000)?;
        (url.starts_with("https://") || url.starts_with("http://")).then_some(())?;
    }
    let id = button.get("action_id").map_or(Some(""), Value::as_str)?;
    (id.chars().count() <= 255).then(|| id.to_owned())
}

fn rich(element: &Map<String, Value>) -> Option<()> {
    match element.get("type")?.as_str()? {
        "rich_text_preformatted" | "rich_text_quote" => only(element, &["elements", "border"])?,
        "rich_text_section" => only(element, &["elements"])?,
        _ => return None,
    }
    many(element.get("elements")?, usize::MAX)?.iter().try_for_each(|inner| {
        let inner = inner.as_object()?;
        match inner.get("type")?.as_str()? {
            "text" => {
                only(inner, &["text", "style"])?;
                (!inner.get("text")?.as_str()?.is_empty()).then_some(())
            }
            "link" => {
                only(inner, &["url", "text", "style", "unsafe"])?;
                inner.get("url")?.as_str().map(|_| ())
            }
            "emoji" => inner.get("name")?.as_str().map(|_| ()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_block(block: &Value, fits: bool) {
        let outcome = check(&json!({ "blocks": [block] }));
        assert_eq!(outcome.is_ok(), fits, "{block}");
    }

    #[test]
    fn each_block_has_its_limits() {
        let plain = |n: usize| json!({ "type": "plain_text", "text": "x".repeat(n) });
        let marked = |n: usize| json!({ "type": "mrkdwn", "text": "x".repeat(n) });
        let header = |text: Value| json!({ "type": "header", "text": text });
        check_block(&header(plain(150)), true);
        check_block(&header(plain(151)), false);
        check_block(&header(plain(0)), false);
        check_block(&header(marked(5)), false);
        let section = |text: Value| json!({ "type": "section", "text": text });
        check_block(&section(marked(3_000)), true);
        check_block(&section(marked(3_001)), false);
        let fields =
            |count: usize, n: usize| json!({ "type": "section", "fields": vec![marked(n); count] });
        check_block(&fields(10, 2_000), true);
        check_block(&fields(11, 1), false);
        check_block(&fields(1, 2_001), false);
        check_block(&json!({ "type": "section" }), false);
        check_block(&json!({ "type": "section", "fields": [] }), false);
        check_block(&section(json!({ "type": "mrkdwn", "text": "x", "emoji": true })), false);
        check_block(&json!({ "type": "marquee" }), false);
    }

    #[test]
    fn a_button_wants_a_web_address_and_a_short_name() {
        let actions = |url: &str, name: &str| {
            let text = json!({ "type": "plain_text", "text": name });
            json!({ "type": "actions", "elements": [{ "type": "button", "text": text, "url": url }] })
        };
        check_block(&actions("https://example.com", "Run"), true);
        check_block(&actions("javascript:0", "Run"), false);
        check_block(&actions("https://example.com", &"x".repeat(76)), false);
    }

    #[test]
    fn preformatted_lines_are_not_empty() {
        let rich = |text: &str| {
            let text = json!({ "type": "text", "text": text });
            let element = json!({ "type": "rich_text_preformatted", "elements": [text] });
            json!({ "type": "rich_text", "elements": [element] })
        };
        check_block(&rich("a\nb"), true);
        check_block(&rich(""), false);
    }

    #[test]
    fn fifty_blocks_are_the_most_and_nothing_at_all_is_refused() {
        let divider = json!({ "type": "divider" });
        assert_eq!(check(&json!({ "blocks": vec![divider.clone(); 50] })), Ok(()));
        assert_eq!(check(&json!({ "blocks": vec![divider; 51] })), Err(INVALID));
        assert_eq!(check(&json!({})), Err("no_text"));
        assert_eq!(check(&json!({ "text": "x", "blocks": "y" })), Err("invalid_payload"));
    }
}
