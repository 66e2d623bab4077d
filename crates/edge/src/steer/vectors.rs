//! Stories that the worker of `worker/` replays as well, so that both make the same choices.
//!
//! `worker/vectors.json` has one story in each line. A story of the kind `request` is about requests alone, and both
//! replay it; one of the kind `probe` is about checks, which only the edge makes all the time. A field that a story does
//! not have means what it meant before there was such a field, so old stories stay true when new fields come.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;

/// The stories that are kept.
const KEPT: &str = include_str!("../../../../worker/vectors.json");
/// How many stories are made up, and how long each is.
const STORIES: u64 = 300;
const STEPS: u64 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Request,
    Probe,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Story {
    name: String,
    kind: Kind,
    tuning: Numbers,
    steps: Vec<Step>,
}

/// The numbers of [`Tuning`] that requests depend on; checks go by fixed ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    suspect: u64,
    silent: u64,
    first_byte: u64,
    hedge: bool,
    retry_burst: u64,
    forgiven: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    at: u64,
    #[serde(flatten)]
    what: What,
    /// What follows, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
enum What {
    Table { targets: Vec<u32> },
    Waits { target: u32, wait: u64 },
    Answered { target: u32, wait: Option<u64>, began: u64, status: u16, sample: bool },
    Failed { target: u32, wait: Option<u64>, failure: Fails, why: Option<String> },
    Left { target: u32, wait: u64 },
    Late { target: u32 },
    Ticked,
    Checked { target: u32, bad: Option<String> },
    NextCheck { target: u32, dice: u64 },
    Plan { table: Vec<u32> },
    Start { trip: u32, table: Vec<u32>, repeat: Often, limit: Option<u64> },
    LookAfter { trip: u32 },
    Look { trip: u32, going: Vec<Try>, whole: bool },
    Ended { trip: u32, target: u32, end: Ends, running: usize, whole: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fails {
    Refused,
    Unreachable,
    Cut,
    Broken,
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Often {
    Safe,
    Idempotent,
    Once,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ends {
    NeverSent,
    Cut,
    Stale,
    Refusal,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Try {
    target: u32,
    since: Option<u64>,
}

/// Where a story is played.
struct Scene {
    steer: Steer,
    trips: BTreeMap<u32, Trip>,
}

impl Scene {
    fn new(numbers: Numbers) -> Self {
        let Numbers { suspect, silent, first_byte, hedge, retry_burst, forgiven } = numbers;
        let tuning = Tuning {
            fall: 2,
            rise: 3,
            check_every: 5_000,
            check_in_doubt: 250,
            suspect,
            silent,
            first_byte,
            hedge,
            retry_burst,
            forgiven,
            // A worker has no way back by degrees: each of its isolates finds out by itself, at another time.
            ramp: 0,
        };
        Self { steer: Steer::new(tuning), trips: BTreeMap::new() }
    }

    /// Plays one step. The answer is what follows, in words.
    fn play(&mut self, what: &What, now: Moment) -> Vec<String> {
        match what {
            What::Plan { table } => {
                let plan = self.steer.plan(&ids(table), now);
                let order: Vec<String> = plan.order.iter().map(|id| id.0.to_string()).collect();
                let hedge = plan.hedge_after.map(|after| format!("hedge {after}"));
                [order.join(" ")].into_iter().chain(hedge).collect()
            }
            What::NextCheck { target, dice } => {
                vec![self.steer.next_check(Id(*target), now, *dice).to_string()]
            }
            What::Start { trip, table, repeat, limit } => {
                let (steer, table) = (&mut self.steer, ids(table));
                let (made, first) = Trip::start(steer, &table, repeat_of(*repeat), *limit, now);
                self.trips.insert(*trip, made);
                first.map(|id| format!("try {}", id.0)).into_iter().collect()
            }
            What::LookAfter { trip } => vec![self.trips[trip].look_after(now).to_string()],
            What::Look { trip, going, whole } => {
                let going: Vec<Going> = going
                    .iter()
                    .map(|t| Going { target: Id(t.target), since: t.since.map(Moment) })
                    .collect();
                let trip = self.trips.get_mut(trip).unwrap();
                match trip.look(&mut self.steer, &going, *whole, now) {
                    Do::Nothing => Vec::new(),
                    Do::Beside(id) => vec![format!("beside {}", id.0)],
                    Do::Instead(id) => vec![format!("instead {}", id.0)],
                    Do::GiveUp => vec!["give up".to_owned()],
                }
            }
            What::Ended { trip, target, end, running, whole } => {
                let trip = self.trips.get_mut(trip).unwrap();
                let (target, end) = (Id(*target), end_of(*end));
                vec![match trip.ended(&mut self.steer, target, end, *running, *whole, now) {
                    Next::Try(id) => format!("try {}", id.0),
                    Next::Again(id) => format!("again {}", id.0),
                    Next::Later(id) => format!("later {}", id.0),
                    Next::Wait => "wait".to_owned(),
                    Next::Stop => "stop".to_owned(),
                }]
            }
            _ => self.steer.on(happened(what), now).iter().map(say).collect(),
        }
    }
}

fn ids(table: &[u32]) -> Vec<Id> {
    table.iter().copied().map(Id).collect()
}

fn repeat_of(often: Often) -> Repeat {
    match often {
        Often::Safe => Repeat::Safe,
        Often::Idempotent => Repeat::Idempotent,
        Often::Once => Repeat::Once,
    }
}

fn end_of(end: Ends) -> End {
    match end {
        Ends::NeverSent => End::NeverSent,
        Ends::Cut => End::Cut { reused: false },
        Ends::Stale => End::Cut { reused: true },
        Ends::Refusal => End::Refusal,
    }
}

fn failure_of(fails: Fails, why: Option<&str>) -> Failure {
    match fails {
        Fails::Refused => Failure::Refused,
        Fails::Unreachable => Failure::Unreachable(why.unwrap_or("no route").to_owned()),
        Fails::Cut => Failure::Cut,
        Fails::Broken => Failure::Broken,
        Fails::Silent => Failure::Silent,
    }
}

fn happened(what: &What) -> Happened {
    match what.clone() {
        // None of them sleeps: the worker knows no sleep.
        What::Table { targets } => {
            let named = |(place, id)| Named { id, place, sleeps: None };
            Happened::Table { targets: ids(&targets).into_iter().enumerate().map(named).collect() }
        }
        What::Waits { target, wait } => Happened::Waits { target: Id(target), wait },
        What::Answered { target, wait, began, status, sample } => {
            let (target, began) = (Id(target), Moment(began));
            Happened::Answered { target, wait, began, status, sample }
        }
        What::Failed { target, wait, failure, why } => {
            let failure = failure_of(failure, why.as_deref());
            Happened::Failed { target: Id(target), wait, failure }
        }
        What::Left { target, wait } => Happened::Left { target: Id(target), wait },
        What::Late { target } => Happened::Late { target: Id(target) },
        What::Checked { target, bad } => Happened::Checked { target: Id(target), bad },
        What::Ticked => Happened::Ticked,
        other => panic!("{other:?} is asked, not told"),
    }
}

fn say(effect: &Effect) -> String {
    match effect {
        Effect::Ejected { target, for_ms, why } => {
            format!("{} ejected for {for_ms}: {why}", target.0)
        }
        Effect::Readmitted { target, why } => format!("{} readmitted: {why}", target.0),
        Effect::Up { target, again } => {
            format!("{} up{}", target.0, if *again { " again" } else { "" })
        }
        Effect::Down { target, why } => format!("{} down: {why}", target.0),
        Effect::CheckNow { target } => format!("check {}", target.0),
    }
}

fn stories(lines: &str) -> Vec<Story> {
    let lines = lines.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).unwrap_or_else(|why| panic!("line {}: {why}", n + 1))
        })
        .collect()
}

fn replay(stories: &[Story]) {
    for story in stories {
        let mut scene = Scene::new(story.tuning);
        for (n, step) in story.steps.iter().enumerate() {
            let then = scene.play(&step.what, Moment(step.at));
            assert_eq!(then, step.then, "{}, step {n}: {:?}", story.name, step.what);
        }
    }
}

#[test]
fn the_kept_stories_go_as_they_are_told() {
    let stories = stories(KEPT);
    replay(&stories);
    let of = |kind| stories.iter().filter(|story| story.kind == kind).count();
    assert!(of(Kind::Request) >= 15 && of(Kind::Probe) >= 5, "there are too few stories");
    for story in stories.iter().filter(|story| story.kind == Kind::Request) {
        let probes =
            |step: &Step| matches!(step.what, What::Checked { .. } | What::NextCheck { .. });
        assert!(!story.steps.iter().any(probes), "{} is about checks", story.name);
    }
}

/// Makes up stories for the worker, which replays those in the folder that `LINKFLOW_TEST_VECTORS` names.
#[test]
fn stories_made_from_seeds_can_be_told_and_go_the_same_way_again() {
    let made: Vec<Story> = (1..=STORIES).map(made_up).collect();
    let lines: Vec<String> =
        made.iter().map(|story| serde_json::to_string(story).unwrap()).collect();
    let text = lines.join("\n") + "\n";
    let told = stories(&text);
    assert_eq!(told, made);
    replay(&told);
    let all = |word: &str| text.matches(word).count();
    for word in ["ejected for", "readmitted:", "\"beside ", "\"instead ", "\"give up\"", "\"stop\""]
    {
        assert!(all(word) > 50, "{word} comes {} times only", all(word));
    }
    let folder = std::env::vars().find(|(name, _)| name == "LINKFLOW_TEST_VECTORS");
    if let Some((_, folder)) = folder {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("made.json"), text).unwrap();
    }
}

/// Numbers from a seed: the `SplitMix64` generator.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn of<T: Copy>(&mut self, rows: &[T]) -> T {
        rows[usize::try_from(self.throw(rows.len() as u64)).unwrap()]
    }

    fn holds(&mut self, one_in: u64) -> bool {
        self.throw(one_in) == 0
    }
}

/// A request of a made-up story.
struct Asking {
    trip: u32,
    going: Vec<(Try, u64)>,
}

/// Makes up a story: requests that overlap, at targets that answer, fail, hang and change.
struct Writer {
    dice: Dice,
    scene: Scene,
    steps: Vec<Step>,
    now: u64,
    table: Vec<u32>,
    asking: Vec<Asking>,
    trips: u32,
    waits: u64,
}

fn made_up(seed: u64) -> Story {
    let mut dice = Dice(seed);
    let tuning = Numbers {
        suspect: dice.of(&[300, 600]),
        silent: dice.of(&[900, 1_500]),
        first_byte: dice.of(&[1_000, 2_000]),
        hedge: !dice.holds(5),
        retry_burst: dice.of(&[2, 10, 100]),
        forgiven: dice.of(&[5_000, 60_000]),
    };
    let table = (1..=u32::try_from(dice.throw(3) + 1).unwrap()).collect();
    let scene = Scene::new(tuning);
    let (steps, asking) = (Vec::new(), Vec::new());
    let mut writer = Writer { dice, scene, steps, now: 0, table, asking, trips: 0, waits: 0 };
    writer.step(What::Table { targets: writer.table.clone() });
    for _ in 0..STEPS {
        let gap = writer.dice.of(&[0, 1, 7, 40, 100, 100, 450, 2_500]);
        writer.now += gap;
        writer.happens();
    }
    Story { name: format!("seed {seed}"), kind: Kind::Request, tuning, steps: writer.steps }
}

impl Writer {
    fn step(&mut self, what: What) -> Vec<String> {
        let then = self.scene.play(&what, Moment(self.now));
        self.steps.push(Step { at: self.now, what, then: then.clone() });
        then
    }

    fn happens(&mut self) {
        match self.dice.throw(20) {
            0 => self.changes(),
            1 => drop(self.step(What::Plan { table: self.table.clone() })),
            2 => drop(self.step(What::Ticked)),
            3..=7 => self.asks(),
            8..=13 => self.looks(),
            _ => self.ends(),
        }
    }

    fn changes(&mut self) {
        if self.dice.holds(3) {
            // The order changes; one in nine times a target that was not there before joins.
            self.table.rotate_left(1);
            let new = self.table.iter().max().map_or(1, |most| most + 1);
            if self.dice.holds(3) && new <= 5 {
                self.table.push(new);
            }
            self.step(What::Table { targets: self.table.clone() });
            return;
        }
        let target = self.dice.of(&self.table);
        let broken = What::Failed { target, wait: None, failure: Fails::Broken, why: None };
        let what = if self.dice.holds(2) { What::Late { target } } else { broken };
        self.step(what);
    }

    fn asks(&mut self) {
        self.trips += 1;
        let (trip, table) = (self.trips, self.table.clone());
        let repeat = self.dice.of(&[Often::Safe, Often::Safe, Often::Idempotent, Often::Once]);
        let limit = self.dice.of(&[None, Some(3_000), Some(10_000)]);
        let then = self.step(What::Start { trip, table, repeat, limit });
        self.asking.push(Asking { trip, going: Vec::new() });
        self.follow(self.asking.len() - 1, &then);
        self.step(What::LookAfter { trip });
    }

    /// Sends the request to the target that `then` names.
    fn follow(&mut self, at: usize, then: &[String]) {
        let Some((word, target)) = then.first().and_then(|text| text.split_once(' ')) else {
            return;
        };
        let Ok(target) = target.parse() else { return };
        if word == "instead" {
            self.leaves(at);
        }
        self.waits += 1;
        let wait = self.waits;
        let since = (!self.dice.holds(8)).then_some(self.now);
        if since.is_some() {
            self.step(What::Waits { target, wait });
        }
        self.asking[at].going.push((Try { target, since }, wait));
    }

    fn leaves(&mut self, at: usize) {
        for (Try { target, .. }, wait) in std::mem::take(&mut self.asking[at].going) {
            self.step(What::Left { target, wait });
        }
    }

    fn picked(&mut self) -> Option<usize> {
        let most = self.asking.len() as u64;
        (most > 0).then(|| usize::try_from(self.dice.throw(most)).unwrap())
    }

    fn looks(&mut self) {
        let Some(at) = self.picked() else { return };
        if self.dice.holds(2) {
            self.step(What::Ticked);
        }
        let trip = self.asking[at].trip;
        let going = self.asking[at].going.iter().map(|(going, _)| *going).collect();
        let whole = !self.dice.holds(10);
        let then = self.step(What::Look { trip, going, whole });
        if then.first().is_some_and(|word| word == "give up") {
            self.leaves(at);
            self.asking.remove(at);
            return;
        }
        self.follow(at, &then);
    }

    fn ends(&mut self) {
        let Some(at) = self.picked() else { return };
        if self.asking[at].going.is_empty() {
            self.asking.remove(at);
            return;
        }
        let first = usize::from(self.asking[at].going.len() > 1 && self.dice.holds(2));
        let (Try { target, since }, wait) = self.asking[at].going.remove(first);
        let (wait, began) = (Some(wait), since.unwrap_or(self.now));
        let trip = self.asking[at].trip;
        let running = self.asking[at].going.len();
        let whole = !self.dice.holds(10);
        let ended = |end| What::Ended { trip, target, end, running, whole };
        let sick = target % 2 == 1 && (self.now / 8_000).is_multiple_of(2);
        if sick || self.dice.holds(6) {
            let (failure, end) = self.dice.of(&[
                (Fails::Refused, Ends::NeverSent),
                (Fails::Unreachable, Ends::NeverSent),
                (Fails::Cut, Ends::Cut),
                (Fails::Cut, Ends::Stale),
                (Fails::Silent, Ends::Cut),
            ]);
            let then = self.step(ended(end));
            self.step(What::Failed { target, wait, failure, why: None });
            return self.follow(at, &then);
        }
        let status = self.dice.of(&[200, 200, 200, 404, 500, 503]);
        let sample = !self.dice.holds(3);
        self.step(What::Answered { target, wait, began, status, sample });
        if status == 503 {
            let then = self.step(ended(Ends::Refusal));
            return self.follow(at, &then);
        }
        self.leaves(at);
        self.asking.remove(at);
    }
}
