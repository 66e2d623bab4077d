//! Which release a rollback means when none is named.

use linkflow_model::{Release, ReleaseId, ReleaseState};

/// The release to go back to when none is named, and why that one; an error in words when there is none.
pub(crate) fn before(
    releases: &[Release],
    live: Option<&Release>,
) -> Result<(ReleaseId, String), String> {
    let Some(live) = live else { return Err("nothing is live yet".to_owned()) };
    let halted = releases
        .iter()
        .rev()
        .find(|release| release.id > live.id && release.before == Some(live.id));
    if let Some(failed) = halted.filter(|release| release.state == ReleaseState::Failed)
        && releases.last().is_some_and(|newest| newest.id == failed.id)
    {
        let why = format!("{} failed, so {} is put back", failed.id, live.id);
        return Ok((live.id, why));
    }
    let before = live
        .before
        .ok_or_else(|| format!("{} is live, and no release was live before it", live.id))?;
    Ok((before, format!("{} is live; {before} ran before it", live.id)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_model::Timestamp;

    use super::*;

    fn release(id: u64, before: Option<u64>, state: ReleaseState) -> Release {
        Release {
            id: ReleaseId(id),
            at: Timestamp(0),
            state,
            why: String::new(),
            before: before.map(ReleaseId),
            services: BTreeMap::new(),
            by: None,
            migrations: BTreeMap::new(),
            took_ms: None,
            failed: None,
        }
    }

    #[track_caller]
    fn check(releases: &[(u64, Option<u64>, ReleaseState)], expected: Result<u64, &str>) {
        let all: Vec<Release> = releases.iter().map(|(i, b, s)| release(*i, *b, *s)).collect();
        let live = all.iter().find(|release| release.state == ReleaseState::Live);
        match (before(&all, live), expected) {
            (Ok((to, _)), expected) => assert_eq!(Ok(to.0), expected),
            (Err(what), Err(expected)) => assert_eq!(what, expected),
            (Err(what), Ok(_)) => panic!("{what}"),
        }
    }

    #[test]
    fn a_second_rollback_goes_back_one_further_and_never_to_what_was_left() {
        use ReleaseState::{Failed, Live, Superseded};
        check(&[(1, None, Superseded), (2, Some(1), Superseded), (3, Some(2), Live)], Ok(2));
        // After that rollback r2 is live again, and r3 is what was left.
        check(&[(1, None, Superseded), (2, Some(1), Live), (3, Some(2), Superseded)], Ok(1));
        check(&[(1, None, Live)], Err("r1 is live, and no release was live before it"));
        // A deploy after the rollback to r1: what ran before it is r1, not r2.
        check(&[(1, None, Superseded), (2, Some(1), Superseded), (3, Some(1), Live)], Ok(1));
        check(&[(1, None, Live), (2, Some(1), Failed)], Ok(1));
        // A release that failed long ago and was followed by a good one is over.
        check(&[(1, None, Superseded), (2, Some(1), Failed), (3, Some(1), Live)], Ok(1));
        check(&[], Err("nothing is live yet"));
    }
}
