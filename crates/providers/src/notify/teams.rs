//! Microsoft Teams: an adaptive card through the webhook of a workflow.
//! <https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::{Value, json};

use super::post::{Place, post, split};
use super::text::{cut, markdown, masked, one_line, plain, sign, web};
use crate::kit::{Kit, Vendor};

/// Where a workflow's webhook is differs by region and tenant; this is where they were first.
const PRODUCTION: &str = "https://prod-00.westeurope.logic.azure.com";

/// A card is 28 KB at most; these are far below.
const TITLE: usize = 256;
const TEXT: usize = 3_000;
const LINES: usize = 3_000;
const FACTS: usize = 20;
const FACT: usize = 256;

/// What Teams needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The workflow's whole address, which is a secret.
    pub webhook: Secret,
    /// In place of its scheme and host.
    pub api: Option<String>,
}

/// One channel.
pub struct Teams {
    vendor: Vendor,
    kit: Kit,
    path: Secret,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Teams {
    let (origin, path) = split(&settings.webhook, kit, &["workflows", "triggers", "manual"]);
    let vendor = Place {
        spec: "teams",
        production: PRODUCTION,
        base: settings.api.unwrap_or(origin),
        auth: None,
        // Four requests a second.
        every: Duration::from_millis(250),
        burst: 4,
        judge,
    };
    Teams { vendor: vendor.open(kit, provider), kit: kit.clone(), path }
}

/// The address is the credential; a workflow that was taken away or switched off is not found.
fn judge(status: StatusCode, _: &str) -> Option<FaultKind> {
    matches!(status.as_u16(), 401 | 403 | 404).then_some(FaultKind::Denied)
}

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "Good",
        Tone::Plain => "Accent",
        Tone::Warning => "Warning",
        Tone::Bad => "Attention",
    }
}

fn message(notice: &Notice) -> Value {
    let title = format!("{} {}", sign(notice.tone), one_line(&notice.title));
    let mut blocks = vec![json!({
        "type": "TextBlock", "text": cut(&title, TITLE, markdown), "size": "Large", "weight": "Bolder",
        "color": colour(notice.tone), "wrap": true,
    })];
    if !notice.text.trim().is_empty() {
        let text = cut(notice.text.trim(), TEXT, markdown);
        blocks.push(json!({ "type": "TextBlock", "text": text, "wrap": true }));
    }
    if !notice.facts.is_empty() {
        let facts = notice.facts.iter().take(FACTS).map(|(name, value)| {
            json!({ "title": cut(&one_line(name), FACT, markdown), "value": cut(&one_line(value), FACT, markdown) })
        });
        blocks.push(json!({ "type": "FactSet", "facts": facts.collect::<Vec<_>>() }));
    }
    if !notice.lines.is_empty() {
        let lines = notice.lines.join("\n");
        let skipped = lines.chars().count().saturating_sub(LINES);
        let last: String = lines.chars().skip(skipped).collect();
        // A run of text is shown as it is: nothing in it is mark-up.
        let run =
            json!({ "type": "TextRun", "text": cut(&last, LINES, plain), "fontType": "Monospace" });
        blocks.push(json!({ "type": "RichTextBlock", "inlines": [run] }));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
        "body": blocks,
    });
    if let Some((name, address)) = web(notice) {
        let open = json!({ "type": "Action.OpenUrl", "title": cut(&one_line(name), 64, plain), "url": address });
        card["actions"] = json!([open]);
    }
    let kind = "application/vnd.microsoft.card.adaptive";
    json!({
        "type": "message",
        "attachments": [{ "contentType": kind, "contentUrl": null, "content": card }],
    })
}

#[async_trait]
impl Notify for Teams {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        post(&self.vendor, self.path.expose(), message(&notice)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn a_card_has_its_parts_and_stays_below_28_kb() {
        let told = message(&example());
        let card = &told["attachments"][0]["content"];
        let kinds: Vec<&str> =
            card["body"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["TextBlock", "TextBlock", "FactSet", "RichTextBlock"]);
        assert_eq!(card["body"][0]["text"], "🚨 shop: <api\\> is \\*down\\*");
        assert_eq!(card["actions"][0]["url"], "https://status.example.com/?a=1&b=2");
        let facts = (0..99).map(|n| (n.to_string(), "ü".repeat(900))).collect();
        let (text, lines) = ("*".repeat(99_000), vec!["é".repeat(99_000)]);
        let big = message(&Notice { text, facts, lines, ..example() });
        assert!(big.to_string().len() < 28_000, "{}", big.to_string().len());
    }
}
