//! What differs between two texts, line by line.

/// Lines that are shown around what differs.
const AROUND: usize = 3;

/// The lines of `new` against those of `old`: `-` for what goes, `+` for what comes. Empty when they are the same.
pub(crate) fn lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let marked = marked(&old, &new);
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        marked.iter().skip(from).take(at - from + AROUND + 1).any(|(sign, _)| *sign != ' ')
    };
    let mut out = String::new();
    let mut left_out = false;
    for (at, (sign, line)) in marked.iter().enumerate() {
        if near(at) {
            if left_out && !out.is_empty() {
                out.push_str("  …\n");
            }
            left_out = false;
            out.push_str(format!("{sign} {line}").trim_end());
            out.push('\n');
        } else {
            left_out = true;
        }
    }
    out
}

/// Every line with its sign, by the longest lines that both have in order.
fn marked<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = new.len() + 1;
    let mut common = vec![0_usize; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            out.push(('-', old[i]));
            i += 1;
        } else {
            out.push(('+', new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_a_few_lines_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(lines(old, old), "");
        assert_eq!(
            lines(old, &old.replace('5', "five")),
            "  2\n  3\n  4\n- 5\n+ five\n  6\n  7\n  8\n"
        );
        assert_eq!(lines("", "a\n"), "+ a\n");
        let both = old.replace('1', "one").replace('9', "nine");
        assert!(lines(old, &both).contains("  4\n  …\n  6\n"), "{}", lines(old, &both));
    }
}
