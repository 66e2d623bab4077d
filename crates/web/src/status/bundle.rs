//! The page as files: the same bytes wherever they are shown.

use linkflow_model::role::Files;
use serde_json::Value;

use super::badge::Badge;
use super::html::Writer;
use super::page::Page;
use super::time::Month;
use super::uptime::WINDOWS;
use super::{api, calendar, feed};

/// All files of a page, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(pub Files);

impl Bundle {
    /// Renders `page`. The same page gives the same bytes.
    ///
    /// # Errors
    /// When a template cannot be filled in.
    pub fn render(page: &Page) -> Result<Self, askama::Error> {
        let mut bundle = Self::default();
        for language in &page.languages {
            bundle.pages(&Writer::new(page, *language))?;
        }
        bundle.machines(page);
        Ok(bundle)
    }

    fn pages(&mut self, writer: &Writer<'_>) -> Result<(), askama::Error> {
        let page = writer.page;
        self.put(&writer.path("index.html"), writer.index()?);
        self.put(&writer.path("404.html"), writer.missing()?);
        for component in &page.components {
            let path = format!("component/{}.html", component.id);
            self.put(&writer.path(&path), writer.component(component)?);
        }
        for incident in &page.incidents {
            let path = format!("incident/{}.html", incident.id);
            self.put(&writer.path(&path), writer.incident(incident)?);
        }
        for work in &page.maintenance {
            let path = format!("maintenance/{}.html", work.id);
            self.put(&writer.path(&path), writer.work(work)?);
        }
        let months = months(page);
        for (i, month) in months.iter().enumerate() {
            let earlier = i.checked_sub(1).and_then(|i| months.get(i)).copied();
            let later = months.get(i + 1).copied();
            let path = format!("history/{}.html", month.id());
            self.put(&writer.path(&path), writer.month(*month, earlier, later)?);
        }
        Ok(())
    }

    fn machines(&mut self, page: &Page) {
        self.put("feed.atom", feed::atom(page, None));
        self.put("maintenance.ics", calendar::ics(page));
        for (name, value) in api::files(page) {
            self.json(&format!("api/v2/{name}"), &value);
        }
        let words =
            super::words::Words::of(page.languages.first().copied().unwrap_or(super::FALLBACK));
        let mut badge = |name: &str, badge: &Badge| {
            self.put(&format!("{name}.svg"), badge.svg());
            self.json(&format!("{name}.json"), &badge.json());
        };
        badge("badge", &Badge::of_page(page, words));
        for one in &page.components {
            let of_one = Badge::of(&one.name, page.condition(one), words);
            badge(&format!("badge/{}", one.id), &of_one);
        }
        for (window, days) in WINDOWS {
            let least = page.uptime_of(&page.components, days).map(|all| all.least);
            let of_page = Badge::of_uptime(&page.title, window, least, words);
            badge(&format!("badge-{window}"), &of_page);
            for one in &page.components {
                let of_one = Badge::of_uptime(&one.name, window, page.uptime(one, days), words);
                badge(&format!("badge/{window}/{}", one.id), &of_one);
            }
        }
        for one in &page.components {
            self.put(&format!("component/{}.atom", one.id), feed::atom(page, Some(one)));
        }
    }

    fn json(&mut self, path: &str, value: &Value) {
        self.put(path, format!("{value}\n"));
    }

    fn put(&mut self, path: &str, text: String) {
        self.0.insert(path.to_owned(), text.into_bytes());
    }
}

/// The months that have a page: those in which something was said, and this one; the earliest first.
fn months(page: &Page) -> Vec<Month> {
    let incidents = page.incidents.iter().map(|incident| incident.began);
    let work = page.maintenance.iter().map(|work| work.from);
    let mut months: Vec<Month> =
        incidents.chain(work).chain([page.now]).map(|at| page.month(at)).collect();
    months.sort_unstable();
    months.dedup();
    months
}
