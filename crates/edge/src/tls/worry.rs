//! Tells in time of certificates that end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::{Level, Timestamp};
use tokio_util::sync::CancellationToken;

use super::certificate::About;
use super::keyring::{Keyring, Origin};
use crate::tell::Teller;

/// How much the end of a certificate matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worry {
    /// Not at all.
    None,
    /// It ends soon, and should have been renewed.
    Soon,
    /// It ends at any moment.
    Last,
    /// It has ended, or has not begun.
    Over,
}

const DAY: u64 = 86_400_000;
const EVERY: Duration = Duration::from_secs(3_600);

/// How much the end of `about` matters.
///
/// Soon is its last sixth, two weeks at most; the last moment is a twentieth of its time, three days at most. A certificate
/// that lives for 90 days is renewed after 60, so 14 days before its end two weeks of trying were in vain.
pub fn worry(about: &About, now: Timestamp) -> Worry {
    let whole = about.ends.0.saturating_sub(about.begins.0);
    let left = about.ends.0.saturating_sub(now.0);
    if left == 0 || now < about.begins {
        Worry::Over
    } else if left < (whole / 20).min(3 * DAY) {
        Worry::Last
    } else if left < (whole / 6).min(14 * DAY) {
        Worry::Soon
    } else {
        Worry::None
    }
}

/// Looks every hour, until `stop`. Each worry is told once, and again only when it grows.
pub(crate) async fn watch(keyring: Arc<Keyring>, teller: Arc<Teller>, stop: CancellationToken) {
    let mut told = BTreeMap::new();
    loop {
        for (level, said) in look(&keyring, &mut told, teller.wall()) {
            teller.of_certificates(level, said);
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

fn look(
    keyring: &Keyring,
    told: &mut BTreeMap<Origin, (Timestamp, Worry)>,
    now: Timestamp,
) -> Vec<(Level, String)> {
    let mut said = Vec::new();
    for held in keyring.stats() {
        let worry = worry(&held.about, now);
        let before = told.insert(held.origin.clone(), (held.about.ends, worry));
        let before = before.filter(|(ends, _)| *ends == held.about.ends);
        if worry == Worry::None || before.is_some_and(|(_, before)| before >= worry) {
            continue;
        }
        let (origin, names) = (&held.origin, held.about.names.join(", "));
        let hours = held.about.ends.0.saturating_sub(now.0) / 3_600_000;
        let left =
            if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        said.push(match worry {
            Worry::Over if now < held.about.begins => {
                (Level::Alarm, format!("{origin} ({names}) does not count yet"))
            }
            Worry::Over => (Level::Alarm, format!("{origin} ({names}) has ended")),
            Worry::Last => (Level::Alarm, format!("{origin} ({names}) ends in {left}")),
            _ => (Level::Warning, format!("{origin} ({names}) ends in {left}")),
        });
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::certificate::made_up;
    use super::*;

    fn about(days: u64) -> About {
        let begins = Timestamp(1_000 * DAY);
        About { names: vec!["a".to_owned()], begins, ends: Timestamp((1_000 + days) * DAY) }
    }

    #[test]
    fn the_worry_grows_towards_the_end() {
        let rows = [
            (90, 0, Worry::None),
            (90, 75, Worry::None),
            (90, 77, Worry::Soon),
            (90, 88, Worry::Last),
            (90, 90, Worry::Over),
            (365, 350, Worry::None),
            (365, 352, Worry::Soon),
            (6, 4, Worry::None),
            (6, 5, Worry::None),
        ];
        for (days, after, expected) in rows {
            let now = Timestamp((1_000 + after) * DAY);
            assert_eq!(worry(&about(days), now), expected, "{after} of {days} days");
        }
        assert_eq!(worry(&about(6), Timestamp(1_005 * DAY + DAY / 2)), Worry::Soon);
        assert_eq!(worry(&about(6), Timestamp(999 * DAY)), Worry::Over);
    }

    #[test]
    fn each_worry_is_told_once_and_a_new_certificate_begins_anew() {
        let keyring = Keyring::default();
        let put = |days| {
            let certificate = made_up(&["a".to_owned()]).unwrap();
            let certificate = super::super::Certificate { about: about(days), ..certificate };
            keyring.put(Origin::Files(0, "main".to_owned()), certificate);
        };
        let mut told = BTreeMap::new();
        let mut said = |day: u64| {
            let said = look(&keyring, &mut told, Timestamp((1_000 + day) * DAY));
            said.into_iter().map(|(level, text)| format!("{level:?}: {text}")).collect::<Vec<_>>()
        };
        put(90);
        assert_eq!(said(10), [""; 0]);
        assert_eq!(said(80), ["Warning: the certificate `main` (a) ends in 10 days"]);
        assert_eq!(said(81), [""; 0]);
        assert_eq!(said(88), ["Alarm: the certificate `main` (a) ends in 2 days"]);
        assert_eq!(said(91), ["Alarm: the certificate `main` (a) has ended"]);
        put(180);
        assert_eq!(said(91), [""; 0]);
    }
}
