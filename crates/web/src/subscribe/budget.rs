//! How many letters and text messages a day go to subscribers: a vendor's free plan ends in the middle of an incident otherwise,
//! and messages cost.

use linkflow_model::{Event, EventKind, Level, Timestamp};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::door::documents::read;

const DAY_MS: u64 = 86_400_000;

/// What was sent on a day. A document of the store, `subscriber-mails` or `subscriber-texts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    /// The day, counted from 1970 in UTC.
    day: u64,
    /// How many messages.
    sent: u32,
    /// How many of them were questions to those who have still to confirm.
    questions: u32,
    /// Whether operators were told that the day's are nearly used up, and that they are.
    near: bool,
    over: bool,
}

/// Counts what is sent each day.
pub(super) struct Budget<'a> {
    pub(super) store: &'a dyn Store,
    /// How many there may be.
    pub(super) most: u32,
    /// The key of the count.
    key: &'static str,
    /// What people call them, and the setting that says how many.
    words: (&'static str, &'static str),
}

impl<'a> Budget<'a> {
    /// That of letters.
    pub(super) fn of_letters(store: &'a dyn Store, most: u32) -> Self {
        Self { store, most, key: "subscriber-mails", words: ("letters", "mails_per_day") }
    }

    /// That of text messages.
    pub(super) fn of_texts(store: &'a dyn Store, most: u32) -> Self {
        Self { store, most, key: "subscriber-texts", words: ("text messages", "sms_per_day") }
    }

    /// Takes one of the day, news or a question. When there is none left, gives the moment from which on there are:
    /// questions have half of them, so that strangers cannot use up what those are told who subscribed.
    pub(super) async fn take(
        &self,
        is_news: bool,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let day = now.0 / DAY_MS;
        loop {
            let held = read::<Count>(self.store, self.key).await?;
            let version = held.as_ref().map(|held| held.version);
            let count = held.map(|held| held.value).filter(|count| count.day == day);
            let before = count.unwrap_or(Count { day, ..Count::default() });
            let mut count = before;
            let is_left =
                count.sent < self.most && (is_news || count.questions < self.most.div_ceil(2));
            if is_left {
                count.sent += 1;
                count.questions += u32::from(!is_news);
            }
            count.near |= u64::from(count.sent) * 5 >= u64::from(self.most) * 4;
            count.over |= !is_left && count.sent >= self.most;
            if count != before {
                match self.store.write(self.key, version, &json!(count), None).await {
                    Ok(_) => self.tell(before, count, now).await?,
                    Err(StoreError::Conflict { .. }) => continue,
                    Err(error) => return Err(error),
                }
            }
            return Ok((!is_left).then_some(Timestamp((day + 1) * DAY_MS)));
        }
    }

    /// Tells operators once a day that it is nearly over, and once that it is.
    async fn tell(&self, before: Count, count: Count, now: Timestamp) -> Result<(), StoreError> {
        let (most, (what, setting)) = (self.most, self.words);
        let told = match (count.near && !before.near, count.over && !before.over) {
            (_, true) => format!(
                "all {most} {what} of the day to subscribers are used up: the rest waits until 00:00 UTC; `status_page.subscribe.{setting}` says how many there are"
            ),
            (true, false) => {
                format!("{} of {most} {what} of the day to subscribers are used up", count.sent)
            }
            (false, false) => return Ok(()),
        };
        let event = Event::new(now, EventKind::Notice, Level::Warning, told);
        self.store.append(&event).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use linkflow_store::Memory;

    use super::*;

    #[tokio::test]
    async fn a_day_has_so_many_letters_and_questions_have_half_of_them() {
        let store = Memory::default();
        let mails = Budget::of_letters(&store, 10);
        let (now, tomorrow) = (Timestamp(5 * DAY_MS + 7), Timestamp(6 * DAY_MS));
        for n in 0..7 {
            let wanted = (n >= 5).then_some(tomorrow);
            assert_eq!(mails.take(false, now).await.unwrap(), wanted, "question {n}");
        }
        for n in 0..7 {
            let wanted = (n >= 5).then_some(tomorrow);
            assert_eq!(mails.take(true, now).await.unwrap(), wanted, "news {n}");
        }
        let told = store.events(0, 10).await.unwrap();
        let told: Vec<&str> = told.iter().map(|(_, event)| event.message.as_str()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("8 of 10") && told[1].starts_with("all 10"), "{told:?}");
        let texts = Budget::of_texts(&store, 1);
        assert_eq!(texts.take(true, now).await.unwrap(), None, "text messages are counted apart");
        assert_eq!(mails.take(false, tomorrow).await.unwrap(), None, "another day");
    }
}
