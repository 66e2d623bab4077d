//! What phones are told: as short as it may be, for each part of a message is paid for.

use super::desk::Desk;
use super::letter::News;
use super::subscriber::Subscriber;
use crate::status::words::{Words, fill};

/// Two parts of a message in the letters of GSM 03.38.
const MOST: usize = 306;

/// The longest title of a page or of news in it.
const TITLE: usize = 60;

impl Desk {
    /// The code for `to`. It says nothing that a stranger typed.
    pub(super) fn code_text(&self, to: &Subscriber) -> String {
        let t = Words::of(to.language()).telling;
        let code = self.signer.code(&to.id, to.at);
        fill(t.text_code, &[&cut(&self.title, TITLE), &code])
    }

    /// `news` for `to`, and where it ends. That it may have come before is not said: it would cost more than to see it twice.
    pub(super) fn news_text(&self, to: &Subscriber, news: &News) -> String {
        let w = Words::of(to.language());
        let end = fill(w.telling.text_end, &[&self.end_link(to)]);
        let (page, title) = (cut(&self.title, TITLE), cut(&news.title, TITLE));
        let said = format!("{page}: {title}: {}", news.step(w));
        let link = self.page.as_ref().map(|page| format!("{page}/{}", news.path));
        let length =
            |parts: &[&str]| parts.iter().map(|part| part.chars().count() + 1).sum::<usize>();
        match link.filter(|link| length(&[&said, link, &end]) <= MOST) {
            Some(link) => format!("{said} {link} {end}"),
            None => format!("{said} {end}"),
        }
    }
}

/// `text` in one line, of `most` characters at most.
fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let kept: String = line.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line_and_ends_in_time() {
        assert_eq!(cut(" The\n API  is away ", 20), "The API is away");
        assert_eq!(cut("The API is away", 10), "The API...");
        assert_eq!(cut(&"é".repeat(90), TITLE).chars().count(), TITLE);
    }
}
