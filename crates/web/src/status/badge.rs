//! Badges for readmes: drawn, and as the JSON that shields.io reads.

use linkflow_model::monitor::Condition;
use serde_json::{Value, json};

use super::feed::escape;
use super::page::Page;
use super::uptime::Share;
use super::words::Words;

/// What a badge says.
pub(super) struct Badge {
    label: String,
    word: String,
    condition: Condition,
}

impl Badge {
    /// How all of the page is.
    pub(super) fn of_page(page: &Page, w: &Words) -> Self {
        let condition = page.banner().worst;
        Self { label: page.title.clone(), word: w.condition(condition).to_lowercase(), condition }
    }

    /// How one component is.
    pub(super) fn of(name: &str, condition: Condition, w: &Words) -> Self {
        Self { label: name.to_owned(), word: w.condition(condition).to_lowercase(), condition }
    }

    /// How much of a span of time something worked: `API 30d`, `99.95 %`. `None`: nobody looked.
    pub(super) fn of_uptime(name: &str, window: &str, share: Option<Share>, w: &Words) -> Self {
        let condition = match share.map(Share::percent) {
            None => Condition::Unknown,
            Some(percent) if percent >= 99.9 => Condition::Up,
            Some(percent) if percent >= 99.0 => Condition::Degraded,
            Some(percent) if percent >= 95.0 => Condition::Partial,
            Some(_) => Condition::Down,
        };
        let word = share.map_or_else(|| w.no_data.to_owned(), |share| w.percent(share));
        Self { label: format!("{name} {window}"), word, condition }
    }

    /// As a picture.
    pub(super) fn svg(&self) -> String {
        let (left, right) = (width(&self.label), width(&self.word));
        let all = left + right;
        let (label, word) = (escape(&self.label), escape(&self.word));
        let colour = self.colour();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" role=\"img\" aria-label=\"{label}: {word}\">\
             <title>{label}: {word}</title><clipPath id=\"r\"><rect width=\"{all}\" height=\"20\" rx=\"3\"/></clipPath>\
             <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"20\" fill=\"#3b434d\"/>\
             <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"#{colour}\"/></g>\
             <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
             <text x=\"{}\" y=\"14\" textLength=\"{}\">{label}</text>\
             <text x=\"{}\" y=\"14\" textLength=\"{}\">{word}</text></g></svg>\n",
            left / 2,
            left - 12,
            left + right / 2,
            right - 12,
        )
    }

    /// As shields.io reads it.
    pub(super) fn json(&self) -> Value {
        json!({
            "schemaVersion": 1, "label": self.label, "message": self.word, "color": self.colour(),
            "isError": self.condition == Condition::Down, "cacheSeconds": 60,
        })
    }

    /// White text on each of them has a contrast of 4.5 at least.
    fn colour(&self) -> &'static str {
        match self.condition {
            Condition::Up => "00785f",
            Condition::Degraded => "6f6b04",
            Condition::Partial => "8a542b",
            Condition::Down => "b3101f",
            Condition::Maintenance => "135fff",
            Condition::Unknown => "4f596e",
        }
    }
}

/// How wide a text is drawn: 6.5 for each letter, and a margin.
fn width(text: &str) -> usize {
    text.chars().count() * 13 / 2 + 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::draw::ALL;

    /// The relative luminance of a colour (WCAG 2.2).
    fn luminance(hex: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    #[test]
    fn white_text_can_be_read_on_every_colour() {
        for condition in ALL {
            let badge = Badge { label: String::new(), word: String::new(), condition };
            let contrast = 1.05 / (luminance(badge.colour()) + 0.05);
            assert!(contrast >= 4.5, "{condition:?}: {contrast}");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_picture() {
        let badge = Badge::of("<b>\"&", Condition::Up, Words::of(crate::status::FALLBACK));
        assert!(badge.svg().contains("&lt;b&gt;&quot;&amp;") && !badge.svg().contains("<b>"));
    }
}
