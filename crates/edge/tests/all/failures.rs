//! A target dies, hangs, sickens, slows, cuts connections: under load, no read fails and no write happens twice.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use linkflow_edge::Limits;
use linkflow_model::{EventKind, Health};
use tokio::time::{Instant, sleep};

use crate::load::{Load, no_write_was_doubled};
use crate::stage::{Setup, Stage, provider, service, until, zeros};
use crate::upstream::{full, repeated};

const RATE: u64 = 200;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_target_is_left_at_once_and_comes_back() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    let load = Load::start(&stage, RATE, ms(4_500));
    sleep(ms(500)).await;
    let killed = load.now();
    stage.ups[0].kill().await;
    stage.event(EventKind::Ejected).await;
    sleep(ms(500)).await;
    stage.ups[0].restart().await;
    stage.event(EventKind::Readmitted).await;
    let back = load.now();
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(killed + ms(250));
    shots.none_answered_by("a", killed + ms(250), back - ms(250));
    assert!(shots.last_by("a") > back, "it is used again");
    assert!(shots.slowest_read() < ms(900), "{:?}", shots.slowest_read());
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_target_is_left_and_the_requests_in_it_are_saved() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    let load = Load::start(&stage, RATE, ms(5_000));
    sleep(ms(500)).await;
    let hung = load.now();
    stage.ups[0].freeze();
    let ejected = stage.event(EventKind::Ejected).await;
    let left = load.now() - hung;
    assert!(left < ms(2_500), "left after {left:?}: {}", ejected.message);
    sleep(ms(1_000)).await;
    stage.ups[0].thaw();
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(hung + left + ms(100));
    assert!(shots.slowest_read() < ms(2_000), "{:?}", shots.slowest_read());
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_hedging_a_hung_target_still_costs_no_read() {
    let limits = Limits { hedge: false, ..Setup::default().limits };
    let mut stage = Stage::with(Setup { limits, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    let load = Load::start(&stage, RATE, ms(3_500));
    sleep(ms(300)).await;
    let hung = load.now();
    stage.ups[0].freeze();
    stage.event(EventKind::Ejected).await;
    let left = load.now();
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(left + ms(100));
    assert!(left - hung < ms(2_500), "left after {:?}", left - hung);
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_target_is_left_although_its_health_page_is_well() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    let load = Load::start(&stage, RATE, ms(3_500));
    sleep(ms(300)).await;
    stage.ups[0].ways.status.store(503, Relaxed);
    let ejected = stage.event(EventKind::Ejected).await;
    assert!(ejected.message.contains("answered 503"), "{}", ejected.message);
    let left = load.now();
    let before = stage.ups[0].requests();
    sleep(ms(1_500)).await;
    assert!(stage.ups[0].requests() - before < 20, "a passing check does not end the ejection");
    let shots = load.end().await;
    shots.no_read_failed();
    shots.none_answered_by("a", left, ms(3_500));
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apps_own_errors_are_passed_on_and_then_the_target_is_left() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    stage.ups[0].ways.status.store(500, Relaxed);
    for _ in 0..3 {
        assert_eq!(stage.get("/read").await.status, 500);
    }
    let ejected = stage.event(EventKind::Ejected).await;
    assert!(ejected.message.contains("answered 500, 3 failures in a row"), "{}", ejected.message);
    assert_eq!(stage.get("/read").await.text, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_before_the_answer_cost_no_read() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    let load = Load::start(&stage, RATE, ms(2_000));
    sleep(ms(300)).await;
    stage.ups[0].ways.cuts.store(true, Relaxed);
    stage.event(EventKind::Ejected).await;
    let left = load.now();
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(left + ms(100));
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cut_in_its_middle_reaches_the_client_as_cut() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    for _ in 0..3 {
        let request = stage.request("GET", "/half").body(full("")).unwrap();
        let cut = stage.send(request).await;
        assert!(cut.is_err(), "{cut:?}");
    }
    let ejected = stage.event(EventKind::Ejected).await;
    assert!(ejected.message.contains("its answers break off"), "{}", ejected.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_target_is_raced_and_then_left() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    for _ in 0..50 {
        stage.get("/read").await;
    }
    let load = Load::start(&stage, 50, ms(4_000));
    sleep(ms(300)).await;
    stage.ups[0].ways.delay.store(900, Relaxed);
    let ejected = stage.event(EventKind::Ejected).await;
    let left = load.now();
    let shots = load.end().await;
    shots.no_read_failed();
    assert!(shots.slowest_read() < ms(800), "{:?}", shots.slowest_read());
    assert!(left < ms(2_500), "left after {left:?}: {}", ejected.message);
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_goes_to_the_next_target_when_the_first_refuses_connections() {
    let stage = Stage::set().await;
    stage.ups[0].kill().await;
    let load = Load::start(&stage, RATE, ms(600));
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(Duration::ZERO);
    shots.none_answered_by("a", Duration::ZERO, ms(600));
    no_write_was_doubled(&stage);
    // A body that is being streamed goes along: none of it was read before a connection was there.
    let body = repeated(zeros(64 << 10), 32);
    let read = stage.send(stage.request("POST", "/sink").body(body).unwrap()).await.unwrap();
    assert_eq!(read.text, "b took 2097152");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_sent_is_answered_with_an_error_and_not_sent_again() {
    let stage = Stage::set().await;
    stage.is_up(&[]).await;
    stage.ups[0].ways.cuts.store(true, Relaxed);
    let request = stage.request("POST", "/write").header("x-id", "once").body(full("x")).unwrap();
    let read = stage.send(request).await.unwrap();
    assert_eq!(read.status, 502);
    assert!(read.text.contains("may have been carried out"), "{}", read.text);
    stage.ups[0].ways.cuts.store(false, Relaxed);
    stage.ups[0].ways.status.store(503, Relaxed);
    let request = stage.request("POST", "/write").header("x-id", "two").body(full("x")).unwrap();
    assert_eq!(stage.send(request).await.unwrap().status, 503);
    assert_eq!(stage.ledger.lock().unwrap().values().copied().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(stage.ups[1].requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_put_is_sent_again_a_large_one_is_not() {
    let stage = Stage::set().await;
    stage.is_up(&[]).await;
    stage.ups[0].ways.cuts.store(true, Relaxed);
    let put = |body| stage.send(stage.request("PUT", "/sink").body(body).unwrap());
    let small = put(repeated(Bytes::from_static(b"12345"), 4)).await.unwrap();
    assert_eq!(small.text, "b took 20");
    // Sent through the one that cuts, again: it was struck, not ejected.
    assert_eq!(stage.ups[0].requests(), 1);
    stage.ups[0].ways.cuts.store(false, Relaxed);
    stage.ups[0].ways.delay.store(100, Relaxed);
    let cutting = async {
        until(|| stage.ups[0].requests() == 2).await;
        sleep(ms(50)).await;
        stage.ups[0].kill().await;
    };
    let (large, ()) = tokio::join!(put(repeated(zeros(64 << 10), 64)), cutting);
    let large = large.unwrap();
    assert_eq!(large.status, 502, "{}", large.text);
    assert_eq!(stage.ups[1].requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_target_gone_the_answer_says_which_service_and_when_to_come_back() {
    let stage = Stage::set().await;
    for up in &stage.ups {
        up.kill().await;
    }
    let read = stage.get("/read").await;
    assert_eq!((read.status.as_u16(), &read.headers["retry-after"]), (503, &"2".parse().unwrap()));
    assert!(read.text.contains("api: "), "{}", read.text);
    let request = stage.request("GET", "/read").header("accept", "application/json");
    let read = stage.send(request.body(full("")).unwrap()).await.unwrap();
    assert!(read.text.contains(r#""service":"api""#), "{}", read.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_target_is_used_whatever_is_known_of_it() {
    let stage = Stage::with(Setup { count: 1, ..Setup::default() }).await;
    stage.ups[0].ways.health.store(500, Relaxed);
    let mut probes = stage.edge.probes();
    let key = (service(), provider("a"));
    let down = |p: &std::sync::Arc<linkflow_model::ProbePicture>| {
        p.get(&key).is_some_and(|probe| probe.health == Health::Down)
    };
    let picture = probes.wait_for(down).await.unwrap().clone();
    assert_eq!(picture[&key].why.as_deref(), Some("answered 500"));
    assert_eq!(stage.get("/read").await.text, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_tell_ups_and_downs_and_the_release_that_runs() {
    let mut stage = Stage::set().await;
    stage.is_up(&[]).await;
    let picture = stage.edge.probes().borrow().clone();
    let probe = &picture[&(service(), provider("a"))];
    assert_eq!(probe.release.map(|r| r.to_string()).as_deref(), Some("r7"));
    assert_eq!(probe.why, None);
    stage.event(EventKind::Up).await;
    stage.ups[1].kill().await;
    let down = stage.event(EventKind::Down).await;
    assert_eq!(down.message, "api on b does not answer: connection refused");
    assert_eq!(down.provider, Some(provider("b")));
    let begun = Instant::now();
    stage.ups[1].restart().await;
    let up = stage.event(EventKind::Up).await;
    assert_eq!(up.message, "api on b answers again");
    assert!(begun.elapsed() < ms(2_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_does_not_listen_holds_nothing_up() {
    let stage = Stage::with(Setup { events: 1, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    stage.ups[0].kill().await;
    for _ in 0..20 {
        assert_eq!(stage.get("/read").await.text, "b");
    }
    assert!(stage.stats("a").ejected);
}
