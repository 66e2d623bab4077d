//! `SQLite` and memory answer any sequence of calls alike.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::Memory;

/// One call, on names and numbers from ranges so small that calls meet.
#[derive(Clone, Debug)]
enum Call {
    Append(u64),
    Events(u64, usize),
    List(&'static str),
    Changed(&'static str, Option<u64>),
    Write(&'static str, Option<u64>, Option<u64>),
    Remove(&'static str, u64),
    Put(&'static str, u64),
    Claim(u64, u64),
    Finish(&'static str, u64),
    Return(&'static str, u64, u64),
    Record(u64, i32),
    Series(u64, u64, u64),
    Forget(u64),
    Take(Option<(u64, u64)>),
    Beat(u64),
    Free(u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let key = || prop_oneof![Just("a"), Just("a%"), Just("a/b"), Just("b")];
    let call = prop_oneof![
        (0..50_u64).prop_map(Call::Append),
        (0..9_u64, 0..5_usize).prop_map(|(after, limit)| Call::Events(after, limit)),
        prop_oneof![Just(""), Just("a"), Just("a%")].prop_map(Call::List),
        (prop_oneof![Just(""), Just("a")], of(0..9_u64)).prop_map(|(k, at)| Call::Changed(k, at)),
        (key(), of(0..4_u64), of(0..3_u64)).prop_map(|(k, at, f)| Call::Write(k, at, f)),
        (key(), 1..3_u64).prop_map(|(key, at)| Call::Remove(key, at)),
        (key(), 0..50_u64).prop_map(|(id, due)| Call::Put(id, due)),
        (0..50_u64, 0..60_u64).prop_map(|(now, until)| Call::Claim(now, until)),
        (key(), 0..5_u64).prop_map(|(id, claim)| Call::Finish(id, claim)),
        (key(), 0..5_u64, 0..50_u64).prop_map(|(id, claim, due)| Call::Return(id, claim, due)),
        (0..50_u64, -9..9_i32).prop_map(|(at, value)| Call::Record(at, value)),
        (0..50_u64, 0..60_u64, 0..9_u64).prop_map(|(from, to, step)| Call::Series(from, to, step)),
        (0..40_u64).prop_map(Call::Forget),
        of((1..4_u64, 0..3_u64)).prop_map(Call::Take),
        (1..4_u64).prop_map(Call::Beat),
        (1..4_u64).prop_map(Call::Free),
    ];
    vec(call, 1..60)
}

fn job(id: &str, claim: u64) -> Job {
    Job { queue: "q".to_owned(), id: id.to_owned(), body: Value::Null, tries: 0, claim }
}

/// The answer to `call`, in words.
async fn answer(store: &dyn Store, call: &Call) -> String {
    let fence = |token| Fence { lease: "l".to_owned(), token };
    let at = Timestamp;
    match *call {
        Call::Append(when) => {
            let event = Event { at: at(when), ..happened("x") };
            format!("{:?}", store.append(&event).await)
        }
        Call::Events(after, limit) => {
            let newest = store.newest_event().await;
            format!("{newest:?} {:?}", store.events(after, limit).await)
        }
        Call::List(prefix) => format!("{:?}", store.list(prefix).await),
        Call::Changed(prefix, after) => {
            format!("{:?} {:?}", store.changed(prefix, after).await, store.last(prefix).await)
        }
        Call::Write(key, expected, token) => {
            let (body, fence) = (json!({ "was": expected }), token.map(fence));
            format!("{:?}", store.write(key, expected, &body, fence.as_ref()).await)
        }
        Call::Remove(key, expected) => format!("{:?}", store.remove(key, expected).await),
        Call::Put(id, due) => {
            let put = store.put_job("q", id, &json!([due]), at(due)).await;
            format!("{put:?} {:?}", store.open_jobs("q").await)
        }
        Call::Claim(now, until) => format!("{:?}", store.claim_job("q", at(now), at(until)).await),
        Call::Finish(id, claim) => {
            let ended = store.finish_job(&job(id, claim)).await;
            format!("{ended:?} {:?}", store.open_jobs("q").await)
        }
        Call::Return(id, claim, due) => {
            format!("{:?}", store.return_job(&job(id, claim), at(due)).await)
        }
        Call::Record(when, value) => {
            format!("{:?}", store.record("s", at(when), f64::from(value)).await)
        }
        Call::Series(from, to, step) => {
            format!("{:?}", store.series("s", at(from), at(to), step).await)
        }
        Call::Forget(before) => format!("{:?}", store.forget(at(before)).await),
        Call::Take(replacing) => format!("{:?}", store.take_lease("l", "o", replacing).await),
        Call::Beat(token) => {
            let beat = store.beat_lease(&fence(token)).await;
            format!("{beat:?} {:?}", store.lease("l").await)
        }
        Call::Free(token) => {
            let freed = store.free_lease(&fence(token)).await;
            format!("{freed:?} {:?}", store.lease("l").await)
        }
    }
}

#[test]
fn sqlite_and_memory_answer_any_calls_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let ended = runner.run(&calls(), |calls| {
        let folder = TempDir::new().unwrap();
        let (sqlite, memory) = (Sqlite::open(file_in(&folder)).unwrap(), Memory::default());
        runtime.block_on(async {
            for call in &calls {
                let (one, other) = (answer(&sqlite, call).await, answer(&memory, call).await);
                proptest::prop_assert_eq!(one, other, "to {:?}", call);
            }
            Ok(())
        })
    });
    ended.unwrap();
}
