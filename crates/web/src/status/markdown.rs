//! What people write, as safe HTML: no HTML of their own, no picture, and links to the web and to mail only.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// `text` as HTML.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH).map(safe));
    out
}

/// `text` without its marks, on one line, for feeds' titles and JSON.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for event in Parser::new(text) {
        match event {
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                out.push_str(&text);
            }
            Event::SoftBreak | Event::HardBreak => out.push(' '),
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_)) => out.push(' '),
            _ => {}
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn safe(event: Event<'_>) -> Event<'_> {
    match event {
        // HTML is shown as it is written.
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = if may_lead_to(&dest_url) { dest_url } else { CowStr::Borrowed("#") };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        // A page has one heading of the first rank, and the title of an update stands above its text.
        Event::Start(Tag::Heading { .. }) => Event::Start(Tag::Strong),
        Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Strong),
        // A picture from elsewhere would tell others who reads the page: its text stands for it.
        Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(TagEnd::Image) => Event::End(TagEnd::Emphasis),
        other => other,
    }
}

fn may_lead_to(address: &str) -> bool {
    let address = address.to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| address.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_laid_out() {
        assert_eq!(
            html("We **see** [it](https://a.example/?a=1&b=2)."),
            "<p>We <strong>see</strong> <a href=\"https://a.example/?a=1&amp;b=2\">it</a>.</p>\n"
        );
        assert_eq!(html("- one\n- two"), "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n");
        assert_eq!(plain("We **see** it.\n\n- one\n- `two`"), "We see it. one two");
    }

    #[test]
    fn nothing_that_is_written_does_more_than_say() {
        for (text, must_not) in [
            ("<script>alert(1)</script>", "<script"),
            ("a <img src=x onerror=alert(1)> b", "<img"),
            ("[x](javascript:alert(1))", "javascript"),
            ("[x](JaVaScript:alert(1))", "alert"),
            ("[x](data:text/html,<script>)", "data:"),
            ("[x](vbscript:x)", "vbscript"),
            ("<javascript:alert(1)>", "href=\"javascript"),
            ("![x](https://spy.example/p.png)", "spy.example"),
            ("[x](https://a.example/\"onmouseover=\"alert(1))", "\"onmouseover"),
            ("# big", "<h1"),
            ("<style>*{display:none}</style>", "<style"),
        ] {
            let made = html(text);
            assert!(!made.contains(must_not), "{text}: {made}");
        }
    }
}
