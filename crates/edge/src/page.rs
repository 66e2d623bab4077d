//! The page that a person sees when there is no other answer: small, without scripts, fit for a phone and for the dark.

use http::StatusCode;

/// What the page says of each status, for whoever did not make it.
fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 => ("Bad request", "The address or the request cannot be understood."),
        404 => ("Not found", "There is nothing at this address."),
        408 => ("Too slow", "The request did not arrive in time. Please try again."),
        413 => ("Too large", "The request is larger than what is taken here."),
        429 => ("Too many requests", "Please wait a moment before you try again."),
        403 => ("Not allowed", "This address may not be reached from where you are."),
        502 | 504 => (
            "No answer",
            "The service did not answer in time. If you were sending something, look whether it \
             arrived before you send it again.",
        ),
        _ => (
            "We will be right back",
            "The service cannot be reached at the moment. It is being looked after.",
        ),
    }
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;margin:0;min-height:100vh;\
display:grid;place-items:center;background:Canvas;color:CanvasText}main{max-width:32rem;padding:2rem}\
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .75rem}p{margin:0 0 1rem}small{opacity:.75}\
a{color:LinkText;text-underline-offset:.2em}a:focus-visible{outline:2px solid currentcolor;outline-offset:3px}";

/// The page for `status`. `why` is for whoever runs the service; `status_page` is where more is told.
pub(crate) fn page(
    status: StatusCode,
    why: &str,
    status_page: Option<&str>,
    retry_after: Option<u64>,
) -> String {
    let (title, text) = words(status);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n"
    );
    if let Some(seconds) = retry_after {
        let unit = if seconds == 1 { "second" } else { "seconds" };
        page += &format!("<p><a href=\"\">Try again</a> in {seconds} {unit}.</p>\n");
    }
    if let Some(address) = status_page {
        page += &format!("<p><a href=\"{}\">How things stand</a></p>\n", escaped(address));
    }
    page += &format!("<p><small>{} {}</small></p>\n", status.as_u16(), escaped(why));
    page += "</main>\n</body>\n</html>\n";
    page
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_helps_and_where_more_is_told() {
        let at = Some("https://status.example.com");
        let page = page(StatusCode::SERVICE_UNAVAILABLE, "api: all are away", at, Some(5));
        for part in [
            "<html lang=\"en\">",
            "<h1>We will be right back</h1>",
            "<a href=\"\">Try again</a> in 5 seconds",
            "<a href=\"https://status.example.com\">How things stand</a>",
            "503 api: all are away",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(page.len() < 2_000, "{}", page.len());
    }

    #[test]
    fn nothing_that_was_asked_for_becomes_a_part_of_the_page() {
        let page = page(StatusCode::NOT_FOUND, "<script>\"'&", Some("https://a/\"><b"), None);
        assert!(page.contains("404 &lt;script&gt;&quot;&#39;&amp;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("\"><b"), "{page}");
    }
}
