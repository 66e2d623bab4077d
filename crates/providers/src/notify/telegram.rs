//! Telegram: a bot's message into a chat. <https://core.telegram.org/bots/api#sendmessage>

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{Notice, Notify};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::{Value, json};

use super::post::{Place, post};
use super::text::{body, cut, html, masked, one_line, sign, web};
use crate::kit::{Kit, Vendor};

/// The API.
const API: &str = "https://api.telegram.org";

/// Most characters of a message. Escapes count once there; counted as they are written, a message is never too long.
const MOST: usize = 4_096;
/// Most characters of its title.
const TITLE: usize = 256;

/// What Telegram needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bot's token.
    pub token: Secret,
    /// The chat's id, or `@name` of a channel.
    pub chat: String,
    /// In place of `https://api.telegram.org`.
    pub api: Option<String>,
}

/// One chat.
pub struct Telegram {
    vendor: Vendor,
    kit: Kit,
    settings: Settings,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Telegram {
    kit.learn(&settings.token);
    let vendor = Place {
        spec: "telegram",
        production: API,
        base: settings.api.clone().unwrap_or_else(|| API.to_owned()),
        auth: None,
        // A message a second into one chat (core.telegram.org/bots/faq).
        every: Duration::from_secs(1),
        burst: 3,
        judge,
    };
    Telegram { vendor: vendor.open(kit, provider), kit: kit.clone(), settings }
}

/// It answers `{"ok":false,"description":"Too Many Requests: retry after 5"}`, mostly without a header.
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    match status.as_u16() {
        429 => {
            let after = said.split_once("retry after ").map_or("", |(_, rest)| rest);
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            let wait = Duration::from_secs(digits.parse().unwrap_or(5));
            Some(FaultKind::Limited { wait })
        }
        // 404: there is no bot with this token.
        403 | 404 => Some(FaultKind::Denied),
        400 if said.contains("chat not found") => Some(FaultKind::Missing),
        _ => None,
    }
}

fn message(notice: &Notice, chat: &str) -> Value {
    let title = cut(&one_line(&notice.title), TITLE, html);
    let link = web(notice).filter(|(_, address)| address.len() < 1_024).map(|(name, address)| {
        let address: String = address.chars().map(html).collect::<String>().replace('"', "%22");
        format!("\n\n<a href=\"{address}\">{}</a>", cut(&one_line(name), 64, html))
    });
    let head = format!("{} <b>{title}</b>", sign(notice.tone));
    let link = link.unwrap_or_default();
    let room = MOST - head.chars().count() - link.chars().count() - 2;
    let below = cut(&body(notice), room, html);
    let gap = if below.is_empty() { "" } else { "\n\n" };
    json!({
        "chat_id": chat, "text": format!("{head}{gap}{below}{link}"), "parse_mode": "HTML",
        "link_preview_options": { "is_disabled": true },
    })
}

#[async_trait]
impl Notify for Telegram {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        let path = format!("/bot{}/sendMessage", self.settings.token.expose());
        post(&self.vendor, &path, message(&notice, &self.settings.chat)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn marks_of_html_are_escaped_and_the_whole_is_short_enough() {
        let told = message(&example(), "-100");
        let text = told["text"].as_str().unwrap();
        assert!(
            text.starts_with("🚨 <b>shop: &lt;api&gt; is *down*</b>\n\n503 &amp; no"),
            "{text}"
        );
        assert!(
            text.ends_with("<a href=\"https://status.example.com/?a=1&amp;b=2\">Status</a>"),
            "{text}"
        );
        let long = message(&Notice { text: "<".repeat(9_000), ..example() }, "-100");
        let length = long["text"].as_str().unwrap().chars().count();
        assert!((4_000..=MOST).contains(&length), "{length}");
    }

    #[test]
    fn a_wait_is_read_from_the_words() {
        let said =
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 17"}"#;
        let wait = Duration::from_secs(17);
        assert_eq!(judge(StatusCode::TOO_MANY_REQUESTS, said), Some(FaultKind::Limited { wait }));
        assert_eq!(judge(StatusCode::FORBIDDEN, "bot was blocked"), Some(FaultKind::Denied));
    }
}
