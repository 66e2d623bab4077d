//! The timeline of a scenario as an SVG: requests stacked by who answered, failures on top, a line for each mark.

use super::arrange::arrange;
use super::words::{marks, providers, told};
use super::{BUCKET_MS, Bucket, Mark, MarkKind, ScenarioResult};

/// How many providers have a colour and a hatch of their own; further ones share.
pub(super) const LOOKS: usize = 7;

/// For which screen a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// A table's: 960 units wide.
    Wide,
    /// A phone's: 360 units wide.
    Narrow,
}

impl Screen {
    fn width(self) -> f64 {
        if self == Self::Wide { 960.0 } else { 360.0 }
    }

    fn plot(self) -> f64 {
        if self == Self::Wide { 150.0 } else { 130.0 }
    }

    fn name(self) -> &'static str {
        if self == Self::Wide { "wide" } else { "narrow" }
    }
}

const LEFT: f64 = 34.0;
const RIGHT: f64 = 8.0;
const LANE: f64 = 19.0;
const STRIP: f64 = 12.0;
const FOOT: f64 = 40.0;

/// One letter of a label is about so wide.
const LETTER: f64 = 6.3;

/// Writes `text` so that HTML and SVG take it for text.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

/// Where things are on one chart.
struct Canvas<'a> {
    scenario: &'a ScenarioResult,
    screen: Screen,
    buckets: Vec<Bucket>,
    bucket_ms: u64,
    end_ms: u64,
    most: u32,
    top: f64,
}

/// The chart of `scenario`; `look` gives each provider's place among the colours.
pub(super) fn chart(
    scenario: &ScenarioResult,
    screen: Screen,
    look: &dyn Fn(&str) -> usize,
) -> String {
    let width = screen.width() - LEFT - RIGHT;
    let most_buckets = if screen == Screen::Wide { width / 1.5 } else { width / 2.0 };
    let (buckets, bucket_ms) = merged(&scenario.timeline, most_buckets as usize);
    let end_ms = buckets.last().map_or(1_000, |bucket| bucket.t_ms + bucket_ms);
    let sum = |bucket: &Bucket| bucket.failed + bucket.providers.values().sum::<u32>();
    let most = ceiling(buckets.iter().map(sum).max().unwrap_or(0));
    let mut canvas = Canvas { scenario, screen, buckets, bucket_ms, end_ms, most, top: 0.0 };
    let labels = canvas.labels();
    let lanes = labels.iter().map(|label| label.lane + 1).max().unwrap_or(0);
    canvas.top = lanes as f64 * LANE + STRIP + 6.0;

    let (w, h) = (screen.width(), canvas.bottom() + FOOT);
    let id = format!("{}-{}", slug(&scenario.name), screen.name());
    let mut out = format!(
        "<svg class=\"chart {}\" viewBox=\"0 0 {w} {h:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
         <title id=\"{id}-t\">Who answered: {}</title>\n<desc id=\"{id}-d\">{}</desc>\n",
        screen.name(),
        escape(&scenario.title),
        escape(&told(scenario)),
    );
    out.push_str(&canvas.ground());
    out.push_str(&canvas.stack(look));
    out.push_str(&canvas.failures());
    out.push_str(&canvas.marks(&labels));
    out.push_str("</svg>\n");
    out
}

/// A name as part of an id.
pub(super) fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The least round number that is not less than `most`.
fn ceiling(most: u32) -> u32 {
    let steps = [4, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 600, 800, 1_000];
    steps.into_iter().find(|step| *step >= most).unwrap_or_else(|| most.next_multiple_of(1_000))
}

/// Neighbouring buckets put together until there are at most `at_most`, and how wide they are then.
fn merged(timeline: &[Bucket], at_most: usize) -> (Vec<Bucket>, u64) {
    let together = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000]
        .into_iter()
        .find(|together| timeline.len().div_ceil(*together) <= at_most.max(1))
        .unwrap_or(2_000);
    let merge = |buckets: &[Bucket]| {
        let mut sum = Bucket { t_ms: buckets.first().map_or(0, |b| b.t_ms), ..Bucket::default() };
        for bucket in buckets {
            sum.failed += bucket.failed;
            for (provider, how_many) in &bucket.providers {
                *sum.providers.entry(provider.clone()).or_default() += how_many;
            }
        }
        sum
    };
    (timeline.chunks(together).map(merge).collect(), BUCKET_MS * together as u64)
}

/// A mark's words, and the lane above the plot in which they meet no others.
struct Label {
    kind: MarkKind,
    words: String,
    x: f64,
    lane: usize,
    before: bool,
}

impl Canvas<'_> {
    fn x(&self, t_ms: u64) -> f64 {
        let width = self.screen.width() - LEFT - RIGHT;
        LEFT + width * t_ms.min(self.end_ms) as f64 / self.end_ms as f64
    }

    fn y(&self, how_many: u32) -> f64 {
        let height = self.screen.plot();
        self.top + height - height * f64::from(how_many) / f64::from(self.most)
    }

    fn bottom(&self) -> f64 {
        self.top + self.screen.plot()
    }

    /// The time of the fault as a band, the grid and the axes.
    fn ground(&self) -> String {
        let of = |kind| self.scenario.marks.iter().find(|mark| mark.kind == kind).map(|m| m.t_ms);
        let mut out = String::new();
        if let Some(from) = of(MarkKind::Fault) {
            let (x, to) = (self.x(from), self.x(of(MarkKind::Cleared).unwrap_or(self.end_ms)));
            let (y, height) = (self.top - STRIP, self.screen.plot() + STRIP);
            out.push_str(&format!(
                "<rect class=\"under\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\n",
                to - x
            ));
        }
        let (left, right) = (LEFT, self.screen.width() - RIGHT);
        for how_many in [0, self.most / 2, self.most] {
            let y = self.y(how_many);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{how_many}</text>\n",
                left - 5.0,
                y + 4.0
            ));
        }
        let steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800];
        let most = if self.screen == Screen::Wide { 12 } else { 6 };
        let step = steps.into_iter().find(|step| self.end_ms / (step * 1_000) <= most);
        let step = step.unwrap_or(3_600);
        for second in (0..=self.end_ms / 1_000).step_by(usize::try_from(step).unwrap_or(1)) {
            let (x, y) = (self.x(second * 1_000), self.bottom());
            // The last one is held back from the edge.
            let anchor = if x > right - 14.0 { "end" } else { "middle" };
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{second} s</text>\n",
                y + 4.0,
                y + 16.0
            ));
        }
        out.push_str(&format!(
            "<text class=\"tick\" x=\"{left}\" y=\"{:.1}\">requests per {} s, by when they were due</text>\n",
            self.bottom() + 33.0,
            self.bucket_ms as f64 / 1_000.0
        ));
        out
    }

    /// The answers of each provider, one upon the other, and the failures upon them.
    fn stack(&self, look: &dyn Fn(&str) -> usize) -> String {
        let mut names = providers(self.scenario);
        names.sort_by_key(|name| look(name));
        let mut floor = vec![0_u32; self.buckets.len()];
        let mut out = String::new();
        for name in &names {
            let of = |bucket: &Bucket| bucket.providers.get(name).copied().unwrap_or(0);
            let counts: Vec<u32> = self.buckets.iter().map(of).collect();
            let class = format!("p{}", look(name) % LOOKS);
            out.push_str(&self.area(&class, &floor, &counts));
            floor.iter_mut().zip(&counts).for_each(|(floor, count)| *floor += count);
        }
        let failed: Vec<u32> = self.buckets.iter().map(|bucket| bucket.failed).collect();
        out.push_str(&self.area("failed", &floor, &failed));
        out
    }

    /// Stairs of `counts` upon `floor`, a shape for each stretch in which there are any; a second time for the hatch.
    fn area(&self, class: &str, floor: &[u32], counts: &[u32]) -> String {
        let mut path = String::new();
        let mut at = 0;
        while at < counts.len() {
            if counts[at] == 0 {
                at += 1;
                continue;
            }
            let end = (at..counts.len()).find(|n| counts[*n] == 0).unwrap_or(counts.len());
            path.push_str(&self.stairs(at..end, floor, counts));
            at = end;
        }
        if path.is_empty() {
            return path;
        }
        format!(
            "<path class=\"{class}\" d=\"{path}\"/><path class=\"{class} hatch\" d=\"{path}\"/>\n"
        )
    }

    fn stairs(&self, span: std::ops::Range<usize>, floor: &[u32], counts: &[u32]) -> String {
        let edge = |n: usize| self.x(n as u64 * self.bucket_ms);
        let mut path = format!("M{:.1} {:.1}", edge(span.start), self.y(floor[span.start]));
        for n in span.clone() {
            path.push_str(&format!("V{:.1}H{:.1}", self.y(floor[n] + counts[n]), edge(n + 1)));
        }
        for n in span.rev() {
            path.push_str(&format!("V{:.1}H{:.1}", self.y(floor[n]), edge(n)));
        }
        path.push('Z');
        path
    }

    /// A tick above the plot wherever a request failed, so that a single one is not overlooked.
    fn failures(&self) -> String {
        let mut path = String::new();
        let width = (self.x(self.bucket_ms) - LEFT).max(2.0);
        for bucket in self.buckets.iter().filter(|bucket| bucket.failed > 0) {
            let (x, y) = (self.x(bucket.t_ms), self.top - STRIP + 1.0);
            path.push_str(&format!("M{x:.1} {y:.1}h{width:.1}v8h-{width:.1}Z"));
        }
        if path.is_empty() { path } else { format!("<path class=\"failed\" d=\"{path}\"/>\n") }
    }

    /// Each mark's words, placed so that they meet neither each other nor another mark's line.
    fn labels(&self) -> Vec<Label> {
        let told = marks(self.scenario);
        let width = |words: &str| words.chars().count() as f64 * LETTER + 10.0;
        let wanted: Vec<(f64, f64)> =
            told.iter().map(|(mark, words)| (self.x(mark.t_ms), width(words))).collect();
        let places = arrange(&wanted, self.screen.width());
        let labels = told.into_iter().zip(wanted).zip(places);
        let label =
            |(((mark, words), (x, _)), (lane, before)): ((_, (f64, f64)), (usize, bool))| {
                let mark: Mark = mark;
                Label { kind: mark.kind, words, x, lane, before }
            };
        labels.map(label).collect()
    }

    fn marks(&self, labels: &[Label]) -> String {
        let mut out = String::new();
        for Label { kind, words, x, lane, before } in labels {
            let class = kind.name();
            let y = self.top - STRIP - 6.0 - *lane as f64 * LANE;
            let (from, bottom) = (y - 11.0, self.bottom());
            let (at, anchor) = if *before { (x - 5.0, "end") } else { (x + 5.0, "start") };
            out.push_str(&format!(
                "<line class=\"halo\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\
                 <line class=\"mark {class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"label {class}\" x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
                self.top,
                escape(words)
            ));
        }
        out
    }
}
