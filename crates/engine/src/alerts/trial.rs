//! Whether people can be told: a test by every way of an alert.

use futures_util::future::join_all;
use linkflow_model::StackName;
use linkflow_model::role::{Notice, Tone};
use linkflow_store::StoreError;
use tokio::time::timeout;

use super::{AlertChannel, AlertPost, Alerts, Message, messages};
use crate::locked;

/// What became of a test by one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The alert of the config.
    pub alert: String,
    /// The way: `slack`, `sms-2`.
    pub way: String,
    /// Why it did not arrive.
    pub failed: Option<String>,
}

impl AlertPost {
    /// Tells a test by every way at once, also by those whose turn is not now. It is told once, and not tried again.
    pub async fn try_out(&self, stack: &StackName) -> Vec<Tried> {
        let notice = Notice {
            tone: Tone::Plain,
            key: None,
            title: format!("{stack}: this is a test"),
            text: format!(
                "Somebody asked for it. Incidents come this way by `alerts.{}`.",
                self.name
            ),
            facts: vec![("alert".to_owned(), self.name.clone())],
            lines: Vec::new(),
            link: None,
        };
        let told = |channel: &AlertChannel| {
            let (alert, way) = (self.name.clone(), channel.name.clone());
            let (notify, notice) = (channel.notify.clone(), &notice);
            async move {
                let failed = match timeout(notify.patience(), notify.tell(notice)).await {
                    Ok(told) => told.err().map(|fault| fault.to_string()),
                    Err(_) => Some("no answer came in time".to_owned()),
                };
                Tried { alert, way, failed }
            }
        };
        join_all(self.channels.iter().map(told)).await
    }
}

impl Alerts {
    /// The alerts that can be used, each with its ways.
    pub fn posts(&self) -> &[AlertPost] {
        &self.posts
    }

    /// What was told and what waits, the oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn messages(&self) -> Result<Vec<Message>, StoreError> {
        messages(&*self.store).await
    }

    /// Tells a test by every way of the alert `name`; none when there is no such alert, or it cannot be used. What became of it is
    /// what is known of each way from then on.
    pub async fn try_out(&self, name: &str) -> Option<Vec<Tried>> {
        let post = self.posts.iter().find(|post| post.name == name)?;
        let tried = post.try_out(&self.stack).await;
        let mut failing = locked(&self.failing);
        for one in &tried {
            let way = (one.alert.clone(), one.way.clone());
            match &one.failed {
                Some(why) => failing.insert(way, why.clone()),
                None => failing.remove(&way),
            };
        }
        Some(tried)
    }
}
