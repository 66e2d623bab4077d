//! How many letters a day go to subscribers: a vendor's free plan ends in the middle of an incident otherwise.

use linkflow_model::{Event, EventKind, Level, Timestamp};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::door::documents::read;

/// The key of the count.
const KEY: &str = "subscriber-mails";

const DAY_MS: u64 = 86_400_000;

/// What was sent on a day. A document of the store, `subscriber-mails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    /// The day, counted from 1970 in UTC.
    day: u64,
    /// How many letters.
    sent: u32,
    /// How many of them were questions to those who have still to confirm.
    questions: u32,
    /// Whether operators were told that the day's letters are nearly used up, and that they are.
    near: bool,
    over: bool,
}

/// Counts the letters of each day.
pub(super) struct Mails<'a> {
    pub(super) store: &'a dyn Store,
    /// How many there may be.
    pub(super) most: u32,
}

impl Mails<'_> {
    /// Takes one letter of the day, news or a question. When there is none left, gives the moment from which on there are:
    /// questions have half of them, so that strangers cannot use up what those are told who subscribed.
    pub(super) async fn take(
        &self,
        is_news: bool,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let day = now.0 / DAY_MS;
        loop {
            let held = read::<Count>(self.store, KEY).await?;
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
                match self.store.write(KEY, version, &json!(count), None).await {
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
        let most = self.most;
        let told = match (count.near && !before.near, count.over && !before.over) {
            (_, true) => format!(
                "all {most} letters of the day to subscribers are used up: the rest waits until 00:00 UTC; `status_page.subscribe.mails_per_day` says how many there are"
            ),
            (true, false) => {
                format!("{} of {most} letters of the day to subscribers are used up", count.sent)
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
        let mails = Mails { store: &store, most: 10 };
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
        assert_eq!(mails.take(false, tomorrow).await.unwrap(), None, "another day");
    }
}
