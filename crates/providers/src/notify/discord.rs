//! Discord: a channel's webhook. <https://discord.com/developers/docs/resources/webhook#execute-webhook>

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::{Value, json};

use super::post::{Place, post, split};
use super::text::{cut, markdown, masked, one_line, sign, web};
use crate::kit::{Kit, Vendor};

/// Where webhooks are, as published.
const PRODUCTION: &str = "https://discord.com";

/// Most characters of an embed's title.
const TITLE: usize = 256;
/// Most characters of its text and of its lines; all of an embed's texts are 6,000 at most.
const TEXT: usize = 1_200;
/// Most fields.
const FIELDS: usize = 10;
/// Most characters of a field's name and of its value.
const FIELD: (usize, usize) = (64, 256);

/// What Discord needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The webhook's whole address, which is a secret.
    pub webhook: Secret,
    /// In place of the scheme and host of the webhook.
    pub api: Option<String>,
}

/// One channel.
pub struct Discord {
    vendor: Vendor,
    kit: Kit,
    path: Secret,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Discord {
    let (origin, path) = split(&settings.webhook, kit, &["webhooks"]);
    let vendor = Place {
        spec: "discord",
        production: PRODUCTION,
        base: settings.api.unwrap_or(origin),
        auth: None,
        // Five in two seconds for a webhook.
        every: Duration::from_millis(400),
        burst: 5,
        judge,
    };
    Discord { vendor: vendor.open(kit, provider), kit: kit.clone(), path }
}

/// The webhook is the credential.
fn judge(status: StatusCode, _: &str) -> Option<FaultKind> {
    match status.as_u16() {
        401 | 403 | 404 => Some(FaultKind::Denied),
        400 => Some(FaultKind::Invalid),
        _ => None,
    }
}

fn colour(tone: Tone) -> u32 {
    match tone {
        Tone::Good => 0x00_A887,
        Tone::Plain => 0x13_5FFF,
        Tone::Warning => 0x9D_9805,
        Tone::Bad => 0xC8_1D32,
    }
}

fn message(notice: &Notice) -> Value {
    let title = cut(&format!("{} {}", sign(notice.tone), one_line(&notice.title)), TITLE, markdown);
    let mut text = cut(notice.text.trim(), TEXT, markdown);
    if !notice.lines.is_empty() {
        // A fence would end at the first one within.
        let lines = notice.lines.join("\n").replace("```", "'''");
        let length = lines.chars().count();
        let last: String = lines.chars().skip(length.saturating_sub(TEXT)).collect();
        text = format!("{text}\n```\n{last}\n```");
    }
    let fields = notice.facts.iter().take(FIELDS).map(|(name, value)| {
        let value = cut(&one_line(value), FIELD.1, markdown);
        let value = if value.is_empty() { "–".to_owned() } else { value };
        json!({ "name": cut(&one_line(name), FIELD.0, markdown), "value": value, "inline": true })
    });
    let mut embed = json!({
        "title": title, "color": colour(notice.tone), "fields": fields.collect::<Vec<_>>(),
    });
    if !text.trim().is_empty() {
        embed["description"] = text.trim().into();
    }
    if let Some((_, address)) = web(notice) {
        embed["url"] = address.into();
    }
    // Whatever a text says, nobody is called by it.
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

#[async_trait]
impl Notify for Discord {
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
    fn an_embed_is_within_the_limits_and_calls_nobody() {
        let told = message(&example());
        assert_eq!(told["embeds"][0]["title"], "🚨 shop: <api\\> is \\*down\\*");
        assert_eq!(told["embeds"][0]["description"], "503 & no answer\n```\none\ntwo\n```");
        assert_eq!(told["allowed_mentions"], json!({ "parse": [] }));
        let facts = (0..40).map(|n| (n.to_string(), "v".repeat(900))).collect();
        let lines = vec!["x".repeat(9_000), "```".to_owned()];
        let big = message(&Notice { text: "*".repeat(9_000), facts, lines, ..example() });
        let embed = &big["embeds"][0];
        let fields = embed["fields"].as_array().unwrap();
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        let all: usize = fields.iter().map(|f| length(&f["name"]) + length(&f["value"])).sum();
        assert!(all + length(&embed["title"]) + length(&embed["description"]) <= 6_000);
        assert!(length(&embed["description"]) <= 4_096 && fields.len() <= 25);
        assert!(embed["description"].as_str().unwrap().ends_with("'''\n```"));
    }
}
