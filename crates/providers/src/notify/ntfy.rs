//! ntfy: a topic, at ntfy.sh or on a server of one's own. <https://docs.ntfy.sh/publish/#publish-as-json>

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::{Value, json};

use super::post::{Place, post};
use super::text::{body, masked, one_line, web};
use crate::kit::{Auth, Kit, Vendor};

/// The server that everybody may use.
const API: &str = "https://ntfy.sh";

/// Most bytes of a message; what is longer becomes an attachment there.
const MOST: usize = 3_800;
/// Most characters of a title.
const TITLE: usize = 200;

/// What ntfy needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The topic: whoever knows it can read it, where the server has no logins.
    pub topic: Secret,
    /// A token, where the server has logins.
    pub token: Option<Secret>,
    /// In place of `https://ntfy.sh`.
    pub api: Option<String>,
}

/// One topic.
pub struct Ntfy {
    vendor: Vendor,
    kit: Kit,
    topic: Secret,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Ntfy {
    kit.learn(&settings.topic);
    let vendor = Place {
        spec: "ntfy",
        production: API,
        base: settings.api.unwrap_or_else(|| API.to_owned()),
        auth: settings.token.map(Auth::bearer),
        // 60 at once, then one in five seconds.
        every: Duration::from_secs(5),
        burst: 60,
        judge,
    };
    Ntfy { vendor: vendor.open(kit, provider), kit: kit.clone(), topic: settings.topic }
}

fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let is_spent = status == StatusCode::TOO_MANY_REQUESTS && said.contains("daily");
    is_spent.then_some(FaultKind::Exhausted)
}

fn message(notice: &Notice, topic: &str) -> Value {
    let (priority, tag) = match notice.tone {
        Tone::Good => (3, "white_check_mark"),
        Tone::Plain => (2, "information_source"),
        Tone::Warning => (4, "warning"),
        Tone::Bad => (5, "rotating_light"),
    };
    let mut text = body(notice);
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    let title = super::text::cut(&one_line(&notice.title), TITLE, super::text::plain);
    let mut message = json!({
        "topic": topic, "title": title, "message": text, "priority": priority, "tags": [tag],
    });
    if let Some((_, address)) = web(notice) {
        message["click"] = address.into();
    }
    message
}

#[async_trait]
impl Notify for Ntfy {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        post(&self.vendor, "", message(&notice, self.topic.expose())).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn a_message_is_short_enough_in_bytes_and_says_how_urgent_it_is() {
        let told = message(&example(), "alerts");
        assert_eq!((&told["priority"], &told["tags"]), (&json!(5), &json!(["rotating_light"])));
        assert_eq!(told["click"], "https://status.example.com/?a=1&b=2");
        let long = message(&Notice { text: "é".repeat(9_000), ..example() }, "alerts");
        assert!(long["message"].as_str().unwrap().len() <= 4_096);
    }
}
