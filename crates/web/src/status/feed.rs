//! The Atom feeds (RFC 4287): what was said, newest first, of the whole page and of each component.

use linkflow_model::{Incident, IncidentUpdate, Maintenance, Timestamp};

use super::markdown;
use super::page::{Component, Page};
use super::time::utc;
use super::words::Words;

/// How many entries a feed has.
const ENTRIES: usize = 50;

struct Entry<'a> {
    at: Timestamp,
    id: String,
    title: String,
    path: String,
    html: String,
    term: &'a str,
}

/// The feed of the page, or of `component` alone.
pub(super) fn atom(page: &Page, component: Option<&Component>) -> String {
    let w = Words::of(page.languages.first().copied().unwrap_or(super::FALLBACK));
    let about = |subjects: &[String]| component.is_none_or(|component| component.is_in(subjects));
    let incidents = page.incidents.iter().filter(|incident| about(&incident.subjects));
    let updates = incidents.flat_map(|incident| {
        incident.updates.iter().enumerate().map(|(n, update)| said(page, w, incident, n, update))
    });
    let work = page.maintenance.iter().filter(|work| work.is_news() && about(&work.subjects));
    let mut entries: Vec<Entry<'_>> =
        updates.chain(work.map(|work| planned(page, w, work))).collect();
    entries.sort_by(|a, b| b.at.cmp(&a.at).then(b.id.cmp(&a.id)));
    entries.truncate(ENTRIES);
    let title = match component {
        Some(component) => format!("{} – {}", component.name, page.title),
        None => page.title.clone(),
    };
    let name = component.map_or_else(|| "page".to_owned(), |one| format!("component/{}", one.id));
    // A feed without entries has not changed since the beginning of time: it does not change by being made again.
    let updated = entries.first().map_or(Timestamp(0), |entry| entry.at);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"{}\">\n\
         <id>{}</id>\n<title>{}</title>\n<updated>{}</updated>\n<author><name>{}</name></author>\n\
         <generator>LinkFlow</generator>\n",
        w.code,
        escape(&tag(page, &name)),
        escape(&title),
        utc(updated),
        escape(&page.title),
    );
    if let Some(address) = page.address() {
        out.push_str(&format!("<link rel=\"alternate\" href=\"{}/\"/>\n", escape(&address)));
        let path = component
            .map_or_else(|| "feed.atom".to_owned(), |c| format!("component/{}.atom", c.id));
        out.push_str(&format!("<link rel=\"self\" href=\"{}/{path}\"/>\n", escape(&address)));
    }
    for entry in entries {
        let link =
            page.address().map_or_else(|| entry.path.clone(), |a| format!("{a}/{}", entry.path));
        out.push_str(&format!(
            "<entry>\n<id>{}</id>\n<title>{}</title>\n<updated>{}</updated>\n<link href=\"{}\"/>\n\
             <category term=\"{}\"/>\n<content type=\"html\">{}</content>\n</entry>\n",
            escape(&tag(page, &entry.id)),
            escape(&entry.title),
            utc(entry.at),
            escape(&link),
            entry.term,
            escape(&entry.html)
        ));
    }
    out.push_str("</feed>\n");
    out
}

fn said<'a>(
    page: &Page,
    w: &'a Words,
    incident: &Incident,
    n: usize,
    update: &IncidentUpdate,
) -> Entry<'a> {
    let names: Vec<&str> =
        page.affected(&incident.subjects).iter().map(|c| c.name.as_str()).collect();
    let affected = match names.as_slice() {
        [] => String::new(),
        names => format!("<p>{}: {}</p>\n", w.affected, escape(&names.join(", "))),
    };
    Entry {
        at: update.written.unwrap_or(update.at),
        id: format!("incident/{}/{}", incident.id, n + 1),
        title: format!("{} – {}", incident.title, w.stage(update.stage)),
        path: format!("incident/{}.html", incident.id),
        html: format!("{}{affected}", markdown::html(&update.text)),
        term: "incident",
    }
}

fn planned<'a>(page: &Page, w: &'a Words, work: &Maintenance) -> Entry<'a> {
    let (from, to) = (w.moment(work.from, page), w.moment(work.to, page));
    let cancelled = if work.cancelled { format!(" – {}", w.cancelled) } else { String::new() };
    Entry {
        at: work.changed,
        id: format!("maintenance/{}/{}", work.id, work.sequence),
        title: format!("{}{cancelled}", work.title),
        path: format!("maintenance/{}.html", work.id),
        html: format!("<p>{} – {}</p>\n{}", escape(&from), escape(&to), markdown::html(&work.text)),
        term: "maintenance",
    }
}

/// A name that stays the same wherever the feed is (RFC 4151).
fn tag(page: &Page, of: &str) -> String {
    let host = page.host.as_deref().unwrap_or("linkflow.invalid");
    format!("tag:{host},2026:{of}")
}

/// Text for XML: without what its characters cannot be (XML 1.0, 2.2).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
