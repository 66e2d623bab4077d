//! Rows for every figure of a result.

use linkflow_model::Level;

use super::*;
use crate::load::Failure;

/// Where the moments of these tests begin, on the two clocks.
const FROM: Moment = Moment(50_000);
const WALL: Timestamp = Timestamp(1_700_000_000_000);

/// Requests as `due:latency:who`, in milliseconds from the start; who answered, or `!` for a failure; `+` in front: a write.
fn samples(text: &str) -> Vec<Sample> {
    let one = |word: &str| {
        let (kind, word) = match word.strip_prefix('+') {
            Some(word) => (Kind::Write, word),
            None => (Kind::Read, word),
        };
        let mut parts = word.split(':');
        let due = parts.next().unwrap().parse().unwrap();
        let latency_ms = parts.next().unwrap().parse().unwrap();
        let who = parts.next().unwrap();
        Sample {
            due: FROM.plus(due),
            latency_ms,
            kind,
            status: None,
            failure: (who == "!").then_some(Failure::Broken),
            key: (kind == Kind::Write).then(|| format!("k{due}")),
            id: None,
            provider: (who != "!").then(|| who.into()),
            release: None,
            instance: None,
        }
    };
    text.split_whitespace().map(one).collect()
}

/// Events as `t:kind:provider:service`.
fn events(text: &str) -> Vec<Event> {
    let one = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        let at = Timestamp(WALL.0 + parts[0].parse::<u64>().unwrap());
        let kind = match parts[1] {
            "down" => EventKind::Down,
            "ejected" => EventKind::Ejected,
            "up" => EventKind::Up,
            "failback" => EventKind::Failback,
            "readmitted" => EventKind::Readmitted,
            other => panic!("{other}"),
        };
        let event = Event::new(at, kind, Level::Notice, word);
        event.about(&ServiceName::new(parts[3]).unwrap(), &ProviderName::new(parts[2]).unwrap())
    };
    text.split_whitespace().map(one).collect()
}

/// Everything of fly dies at 1 s; at 5 s it is let live again, and is to serve again.
fn fault() -> FaultSpan {
    FaultSpan {
        at: FROM.plus(1_000),
        cleared: Some(FROM.plus(5_000)),
        provider: ProviderName::new("fly").unwrap(),
        service: None,
        drives_off: true,
    }
}

fn result(
    fault: Option<&FaultSpan>,
    asked: &str,
    said: &str,
    wanted: &Expectations,
) -> ScenarioResult {
    let told = Told { name: "x".into(), title: "X".into(), story: "x is done".into() };
    let back = Return::Answers(ProviderName::new("fly").unwrap());
    let (samples, events) = (samples(asked), events(said));
    let seen = Observed {
        from: FROM,
        from_wall: WALL,
        samples: &samples,
        fault,
        back: Some(&back),
        events: &events,
        ledger: LedgerCount::default(),
        lost: &[],
    };
    measure(&told, &seen, wanted)
}

fn check_rerouted(asked: &str, wanted: Option<u64>) {
    let result = result(Some(&fault()), asked, "", &Expectations::default());
    assert_eq!(result.rerouted_ms, wanted, "{asked}");
}

#[test]
fn rerouting_lasts_until_the_last_disturbed_request_is_over() {
    // Nothing was disturbed.
    check_rerouted("900:5:fly 1100:5:render 1200:5:render", Some(0));
    // A failure, and then good answers.
    check_rerouted("900:5:fly 1100:50:! 1200:5:render", Some(150));
    // The later of two, though there were good ones in between.
    check_rerouted("1100:50:! 1200:5:render 1900:100:! 2100:5:render", Some(1_000));
    // A slow answer disturbs as well, until it is there.
    check_rerouted("1100:1400:render 1200:5:render 2600:5:render", Some(1_500));
    // So does an answer from the provider that is meant to be gone.
    check_rerouted("1100:5:render 1500:5:fly 1600:5:render", Some(505));
    // A request in flight when the fault came counts, though it was due before.
    check_rerouted("900:700:! 1700:5:render", Some(600));
    check_rerouted("900:1700:fly 2700:5:render", Some(1_600));
    // But not one that failed before, nor a good answer that had been asked for before.
    check_rerouted("800:100:! 990:20:fly 1100:5:render", Some(0));
    // What fails after the fault was lifted is no matter of rerouting.
    check_rerouted("1100:5:! 1200:5:render 5100:5:!", Some(105));
}

#[test]
fn a_write_that_was_sent_shows_only_when_it_was_due() {
    // It hangs at the struck provider until that lives again, or fails: nobody may send it elsewhere.
    check_rerouted("+1400:4000:fly 1500:5:render 5400:5:fly", Some(400));
    check_rerouted("+900:4500:fly 1500:5:render 5400:5:fly", Some(0));
    check_rerouted("+1400:2000:! 1500:5:render", Some(400));
    // A later one that goes there is one more that was not rerouted.
    check_rerouted("+1400:4000:fly 1500:5:render +4000:1100:fly 4100:5:render", Some(3_000));
    // One that another provider answered was rerouted, and waited for it.
    check_rerouted("+1400:1600:render 3100:5:render", Some(2_000));
}

#[test]
fn what_nobody_saw_the_end_of_is_not_rerouted() {
    // It failed until the fault was lifted.
    check_rerouted("1100:5:! 4900:5:! 5100:5:fly", None);
    // The last request under the fault ended after it.
    check_rerouted("1100:5:render 4900:500:! 5500:5:fly", None);
    // Nobody asked.
    check_rerouted("900:5:fly", None);
    check_rerouted("", None);
}

#[test]
fn a_fault_that_does_not_drive_requests_off_is_not_disturbed_by_good_answers() {
    let calm = FaultSpan { drives_off: false, ..fault() };
    let result = result(Some(&calm), "1100:5:fly 1200:5:fly", "", &Expectations::default());
    assert_eq!(result.rerouted_ms, Some(0));
}

#[test]
fn a_fault_that_stays_is_rerouted_too() {
    let forever = FaultSpan { cleared: None, ..fault() };
    let result = result(Some(&forever), "1100:5:! 9000:5:render", "", &Expectations::default());
    assert_eq!((result.rerouted_ms, result.back_ms), (Some(105), None));
}

#[test]
fn detection_is_the_first_word_about_the_struck_provider_from_the_fault_on() {
    let rows = [
        ("1300:down:fly:api 1200:ejected:fly:api", None, Some(200)),
        ("1000:down:fly:api", None, Some(0)),
        ("900:down:fly:api 1100:down:render:api 1150:up:fly:api", None, None),
        ("1100:down:fly:api 1400:down:fly:queue", Some("queue"), Some(400)),
        ("", None, None),
    ];
    for (said, service, wanted) in rows {
        let fault = FaultSpan { service: service.and_then(ServiceName::new), ..fault() };
        let result = result(Some(&fault), "", said, &Expectations::default());
        assert_eq!(result.detected_ms, wanted, "{said}");
    }
}

/// Good answers every 50 ms from `from` to `to`, each by whom `who` says.
fn stream(from: u64, to: u64, who: impl Fn(u64) -> &'static str) -> String {
    let words = (from..to).step_by(50).map(|due| format!("{due}:5:{} ", who(due)));
    words.collect()
}

#[test]
fn the_preferred_provider_is_back_from_a_good_second_on() {
    let check = |asked: &str, wanted: Option<u64>| {
        let result = result(Some(&fault()), asked, "", &Expectations::default());
        assert_eq!(result.back_ms, wanted, "{asked}");
    };
    // It served all the time.
    check(&stream(0, 7_000, |_| "fly"), Some(0));
    check(&stream(0, 9_000, |due| if due < 6_000 { "render" } else { "fly" }), Some(1_000));
    // A canary is not enough.
    let canary = |due| if due == 5_200 || due >= 7_000 { "fly" } else { "render" };
    check(&stream(0, 9_000, canary), Some(2_000));
    // One hedged request does not spoil the second.
    let hedged = |due| if due < 6_000 || due == 6_100 { "render" } else { "fly" };
    check(&stream(0, 9_000, hedged), Some(1_000));
    // Half a second says nothing, nor do failures.
    check(&stream(0, 6_500, |due| if due < 6_000 { "render" } else { "fly" }), None);
    check(&stream(0, 9_000, |due| if due < 6_000 { "render" } else { "!" }), None);
    check("", None);
}

#[test]
fn a_service_that_visitors_do_not_see_is_back_when_linkflow_says_so() {
    let told = Told { name: "x".into(), title: "X".into(), story: "x".into() };
    let back = Return::Events(ProviderName::new("koyeb").unwrap());
    let said = "4000:failback:koyeb:history 5600:failback:fly:history 6000:failback:koyeb:history";
    let (fault, events) = (fault(), events(said));
    let seen = Observed {
        from: FROM,
        from_wall: WALL,
        samples: &[],
        fault: Some(&fault),
        back: Some(&back),
        events: &events,
        ledger: LedgerCount::default(),
        lost: &[],
    };
    let result = measure(&told, &seen, &Expectations::default());
    assert_eq!(result.back_ms, Some(1_000));
    assert_eq!(result.events.len(), 3);
    assert_eq!((result.events[0].t_ms, result.events[0].kind.as_str()), (4_000, "failback"));
}

#[test]
fn requests_are_counted_and_placed_by_when_they_were_due() {
    let asked = "0:1:fly 50:2:fly 99:3:! +100:4:render +310:2500:! 320:1000:fly";
    let result = result(None, asked, "", &Expectations::default());
    assert_eq!((result.requests, result.failed_requests, result.failed_idempotent), (6, 2, 1));
    assert_eq!(result.slow_requests, 1);
    let figures = [result.p50_ms, result.p99_ms, result.max_ms];
    assert!(
        figures.iter().zip([3.0, 2_500.0, 2_500.0]).all(|(a, b)| (a - b).abs() < 0.01),
        "{figures:?}"
    );
    let bucket = |t_ms, providers: &[(&str, u32)], failed| Bucket {
        t_ms,
        providers: providers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        failed,
    };
    let wanted = [
        bucket(0, &[("fly", 2)], 1),
        bucket(100, &[("render", 1)], 0),
        bucket(200, &[], 0),
        bucket(300, &[("fly", 1)], 1),
    ];
    assert_eq!(result.timeline, wanted);
    assert_eq!((result.detected_ms, result.rerouted_ms, result.back_ms), (None, None, None));
    assert_eq!(acknowledged(&samples(asked)).collect::<Vec<_>>(), ["k100"]);
}

#[test]
fn the_marks_stand_where_the_figures_say() {
    let asked = stream(0, 9_000, |due| match due {
        1_000..1_500 => "!",
        1_500..6_000 => "render",
        _ => "fly",
    });
    let result = result(Some(&fault()), &asked, "1200:down:fly:api", &Expectations::default());
    let wanted = [
        (1_000, MarkKind::Fault),
        (1_200, MarkKind::Detected),
        (1_455, MarkKind::Rerouted),
        (5_000, MarkKind::Cleared),
        (6_000, MarkKind::Back),
    ];
    assert_eq!(result.marks, wanted.map(|(t_ms, kind)| Mark { t_ms, kind }));
}

#[test]
fn every_expectation_can_be_broken_and_says_so() {
    let asked = stream(0, 9_000, |due| if (1_000..3_000).contains(&due) { "!" } else { "fly" });
    let rows: [(Expectations, &str); 9] = [
        (
            Expectations { detected_within_ms: Some(100), ..Expectations::default() },
            "the fault was noticed: within 100 ms expected, 300 ms measured",
        ),
        (
            Expectations { rerouted_within_ms: Some(9_000), ..Expectations::default() },
            "requests went elsewhere: within 9.0 s expected, never measured",
        ),
        (Expectations { back_within_ms: Some(0), ..Expectations::default() }, ""),
        (
            Expectations { failed_at_most: Some(39), ..Expectations::default() },
            "failed requests: 39 at most expected, 40 measured",
        ),
        (
            Expectations { failed_idempotent_at_most: Some(0), ..Expectations::default() },
            "failed idempotent requests: none expected, 40 measured",
        ),
        (Expectations { slow_at_most: Some(0), ..Expectations::default() }, ""),
        (
            Expectations { p99_at_most_ms: Some(4.5), ..Expectations::default() },
            "99 of 100 requests were answered: within 4.5 ms expected, 5 ms measured",
        ),
        (Expectations { missed_fires_at_most: Some(0), ..Expectations::default() }, ""),
        (
            Expectations {
                also: vec![Check {
                    what: "the old release serves".into(),
                    expected: "r1".into(),
                    measured: "r2".into(),
                    kept: false,
                }],
                ..Expectations::default()
            },
            "the old release serves: r1 expected, r2 measured",
        ),
    ];
    for (expectations, wanted) in rows {
        let result = result(Some(&fault()), &asked, "1300:down:fly:api", &expectations);
        assert_eq!(result.broken.join("; "), wanted);
        assert_eq!(result.verdict == Verdict::Fail, !wanted.is_empty());
    }
}

#[test]
fn what_was_lost_or_doubled_fails_a_scenario_whatever_was_expected() {
    let told = Told { name: "x".into(), title: "X".into(), story: "x".into() };
    let samples = samples("0:5:fly");
    let check = |ledger: LedgerCount, lost: &[String], wanted: &str| {
        let (from, from_wall, samples) = (FROM, WALL, samples.as_slice());
        let seen = Observed {
            from,
            from_wall,
            samples,
            fault: None,
            back: None,
            events: &[],
            ledger,
            lost,
        };
        let result = measure(&told, &seen, &Expectations::default());
        assert_eq!(result.broken.join("; "), wanted);
        result
    };
    check(LedgerCount::default(), &[], "");
    let lost =
        check(LedgerCount::default(), &["k1".to_owned()], "lost writes: none expected, 1 measured");
    assert_eq!(lost.lost_writes, 1);
    let doubled = check(
        LedgerCount { doubled_keys: 2, doubled_completions: 1, ..LedgerCount::default() },
        &[],
        "doubled writes: none expected, 3 measured",
    );
    assert_eq!(doubled.doubled_writes, 3);
    check(
        LedgerCount { doubled_fires: 1, ..LedgerCount::default() },
        &[],
        "timer periods fired twice: none expected, 1 measured",
    );
}

#[test]
fn a_drill_that_nobody_visited_does_not_pass() {
    let result = result(None, "", "", &Expectations::default());
    assert_eq!(result.verdict, Verdict::Fail);
    assert_eq!(result.broken.len(), 1);
}
