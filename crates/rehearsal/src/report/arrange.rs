//! Places the words of a chart's marks: each at one side of its line, in a lane above the plot.

/// The lane of a mark's words (0: next to the plot), and whether they stand left of its line.
pub(super) type Place = (usize, bool);

/// More marks than these are not arranged: the ways to do so are too many. A scenario has five.
const MOST: usize = 6;

/// The place for the words of each mark, which has its line at `x` and words so wide.
///
/// No words meet others, or the line of another mark, which comes down from its own words' lane.
/// Of all ways the one with the fewest lanes, and then the fewest words at the left; there are few marks.
pub(super) fn arrange(marks: &[(f64, f64)], right: f64) -> Vec<Place> {
    let all = marks.len();
    // Words that fit nowhere get a lane of their own each, and so do too many to try every order of.
    let stairs = || (0..all).map(|n| (all - 1 - n, false)).collect();
    if all > MOST {
        return stairs();
    }
    let mut orders = Vec::new();
    permute(&mut (0..all).collect(), all, &mut orders);
    let mut best: Option<(usize, u32, Vec<Place>)> = None;
    for sides in 0..1_u32 << all {
        let is_before = |n: usize| sides & (1 << n) != 0;
        let spans: Vec<(f64, f64)> = marks
            .iter()
            .enumerate()
            .map(|(n, (x, width))| if is_before(n) { (x - width, *x) } else { (*x, x + width) })
            .collect();
        if spans.iter().any(|(from, to)| *from < 0.0 || *to > right) {
            continue;
        }
        for order in &orders {
            let Some(lanes) = lanes(marks, &spans, order) else { continue };
            let cost = (lanes.iter().copied().max().unwrap_or(0), sides.count_ones());
            if best.as_ref().is_none_or(|(lanes, lefts, _)| cost < (*lanes, *lefts)) {
                let places = lanes.into_iter().enumerate().map(|(n, lane)| (lane, is_before(n)));
                best = Some((cost.0, cost.1, places.collect()));
            }
        }
    }
    best.map_or_else(stairs, |(_, _, places)| places)
}

/// The lowest lane for each, when they are placed in `order`; none if that cannot be.
fn lanes(marks: &[(f64, f64)], spans: &[(f64, f64)], order: &[usize]) -> Option<Vec<usize>> {
    let crosses = |words: usize, line: usize| {
        let (x, _) = marks[line];
        words != line && spans[words].0 + 0.5 < x && x < spans[words].1
    };
    let meets = |a: usize, b: usize| spans[a].0 < spans[b].1 && spans[b].0 < spans[a].1;
    let mut lanes = vec![0; marks.len()];
    for (place, this) in order.iter().enumerate() {
        let below =
            order[..place].iter().filter(|other| meets(*this, **other) || crosses(*this, **other));
        lanes[*this] = below.map(|other| lanes[*other] + 1).max().unwrap_or(0);
    }
    let clashes = |this: usize, other: usize| {
        (crosses(this, other) && lanes[this] <= lanes[other])
            || (this != other && meets(this, other) && lanes[this] == lanes[other])
    };
    let all = 0..marks.len();
    (!all.clone().any(|this| all.clone().any(|other| clashes(this, other)))).then_some(lanes)
}

/// Every order of `items` (Heap's algorithm).
fn permute(items: &mut Vec<usize>, first: usize, orders: &mut Vec<Vec<usize>>) {
    if first <= 1 {
        orders.push(items.clone());
        return;
    }
    for n in 0..first {
        permute(items, first - 1, orders);
        items.swap(if first.is_multiple_of(2) { n } else { 0 }, first - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Mark = (f64, f64);

    #[test]
    fn words_get_the_fewest_lanes_and_meet_nothing() {
        let rows: [(&[Mark], &[Place]); 5] = [
            (&[], &[]),
            // Far apart: one lane.
            (&[(10.0, 50.0), (100.0, 50.0)], &[(0, false), (0, false)]),
            // The second line comes down through where the first one's words are: those go above, or to the left.
            (&[(10.0, 50.0), (30.0, 50.0)], &[(1, false), (0, false)]),
            (&[(60.0, 50.0), (80.0, 50.0)], &[(0, true), (0, false)]),
            // At the right edge words go to the left of the line, above the line and the words that they cross.
            (&[(100.0, 60.0), (180.0, 90.0)], &[(0, false), (1, true)]),
        ];
        for (marks, wanted) in rows {
            assert_eq!(arrange(marks, 200.0), wanted, "{marks:?}");
        }
    }

    #[test]
    fn words_that_fit_nowhere_are_still_placed() {
        assert_eq!(arrange(&[(50.0, 300.0), (60.0, 300.0)], 100.0), [(1, false), (0, false)]);
        assert_eq!(arrange(&[(1.0, 1.0); 40], 100.0).len(), 40);
    }
}
