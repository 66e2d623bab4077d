//! Text in lines that fit into a terminal of 80 columns.

const WIDTH: usize = 80;

/// `text` in lines that have room behind `indent` columns, broken at blanks. A longer word stands by itself.
pub(crate) fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let room = WIDTH.saturating_sub(indent);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_full_and_never_too_long() {
        let text = "eight by ten and more ".repeat(8);
        let lines = wrapped(&text, 4);
        assert!(lines.iter().all(|line| line.chars().count() <= 76), "{lines:#?}");
        assert!(lines[0].chars().count() > 70, "{lines:#?}");
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped(&"x".repeat(100), 4).len(), 1);
        assert!(wrapped("", 4).is_empty());
    }
}
