//! What the page says, in each of its languages.

use linkflow_model::config::Language;
use linkflow_model::monitor::Condition;
use linkflow_model::{Impact, IncidentStage, Timestamp};

use super::banner::{Banner, Indicator};
use super::page::Page;
use super::time::{Month, in_zone};
use super::uptime::Share;

mod english;
mod french;
mod german;
mod spanish;
mod telling;

pub(crate) use telling::Telling;

/// The texts of one language. `{}` stands for what the page puts in.
pub(crate) struct Words {
    pub(crate) code: &'static str,
    /// Its name, in itself.
    pub(crate) own_name: &'static str,
    pub(crate) decimal: char,
    pub(crate) months: [&'static str; 12],
    /// Day, month and year: `{d}`, `{m}`, `{y}`.
    pub(crate) date: &'static str,
    /// Month and year: `{m}`, `{y}`.
    pub(crate) month_of: &'static str,
    pub(crate) and: &'static str,

    pub(crate) status: &'static str,
    pub(crate) all_up: &'static str,
    pub(crate) one_down: &'static str,
    pub(crate) many_down: &'static str,
    pub(crate) all_down: &'static str,
    pub(crate) one_partial: &'static str,
    pub(crate) many_partial: &'static str,
    pub(crate) one_degraded: &'static str,
    pub(crate) many_degraded: &'static str,
    pub(crate) one_unknown: &'static str,
    pub(crate) many_unknown: &'static str,
    pub(crate) all_unknown: &'static str,
    pub(crate) one_maintenance: &'static str,
    pub(crate) many_maintenance: &'static str,
    pub(crate) some_of: &'static str,
    pub(crate) incident_open: &'static str,

    /// Up, maintenance, unknown, degraded, partial, down.
    pub(crate) conditions: [&'static str; 6],
    /// Investigating, identified, monitoring, resolved, postmortem.
    pub(crate) stages: [&'static str; 5],
    /// None, minor, major, critical.
    pub(crate) impacts: [&'static str; 4],

    pub(crate) skip: &'static str,
    pub(crate) languages: &'static str,
    pub(crate) links: &'static str,
    pub(crate) checked: &'static str,
    pub(crate) stale: &'static str,
    pub(crate) no_script: &'static str,
    pub(crate) local: &'static str,
    pub(crate) components: &'static str,
    pub(crate) uptime: &'static str,
    pub(crate) days_span: &'static str,
    /// The mean uptime of a group: the share, how many days.
    pub(crate) mean_uptime: &'static str,
    /// All components: how many days, the least, the mean.
    pub(crate) together: &'static str,
    pub(crate) no_data: &'static str,
    pub(crate) bars: &'static str,
    pub(crate) bars_good: &'static str,
    pub(crate) bars_worst: &'static str,
    pub(crate) days_ago: &'static str,
    pub(crate) today: &'static str,
    pub(crate) days_list: &'static str,
    pub(crate) other_days: &'static str,
    pub(crate) day: &'static str,
    pub(crate) month: &'static str,
    pub(crate) state: &'static str,
    pub(crate) downtime: &'static str,
    pub(crate) watched: &'static str,
    pub(crate) incidents: &'static str,
    pub(crate) legend: &'static str,
    pub(crate) definition: &'static str,
    pub(crate) open_incidents: &'static str,
    pub(crate) past: &'static str,
    pub(crate) none_past: &'static str,
    pub(crate) none_month: &'static str,
    pub(crate) history: &'static str,
    pub(crate) maintenance: &'static str,
    pub(crate) cancelled: &'static str,
    pub(crate) affected: &'static str,
    pub(crate) impact: &'static str,
    pub(crate) began: &'static str,
    pub(crate) ended: &'static str,
    pub(crate) lasted: &'static str,
    pub(crate) backdated: &'static str,
    pub(crate) next_word: &'static str,
    pub(crate) latency: &'static str,
    pub(crate) latency_told: &'static str,
    pub(crate) back: &'static str,
    pub(crate) earlier: &'static str,
    pub(crate) later: &'static str,
    pub(crate) subscribe: &'static str,
    pub(crate) calendar: &'static str,
    pub(crate) made_by: &'static str,
    pub(crate) not_found: &'static str,
    pub(crate) not_found_text: &'static str,

    /// What is said to those who want to be told.
    pub(crate) telling: &'static Telling,
}

impl Words {
    /// Those of `language`.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &english::WORDS,
            Language::German => &german::WORDS,
            Language::French => &french::WORDS,
            Language::Spanish => &spanish::WORDS,
        }
    }

    pub(crate) fn condition(&self, condition: Condition) -> &'static str {
        let [up, maintenance, unknown, degraded, partial, down] = self.conditions;
        match condition {
            Condition::Up => up,
            Condition::Maintenance => maintenance,
            Condition::Unknown => unknown,
            Condition::Degraded => degraded,
            Condition::Partial => partial,
            Condition::Down => down,
        }
    }

    pub(crate) fn stage(&self, stage: IncidentStage) -> &'static str {
        let [investigating, identified, monitoring, resolved, postmortem] = self.stages;
        match stage {
            IncidentStage::Investigating => investigating,
            IncidentStage::Identified => identified,
            IncidentStage::Monitoring => monitoring,
            IncidentStage::Resolved => resolved,
            IncidentStage::Postmortem => postmortem,
        }
    }

    pub(crate) fn impact_of(&self, impact: Impact) -> &'static str {
        let [none, minor, major, critical] = self.impacts;
        match impact {
            Impact::None => none,
            Impact::Minor => minor,
            Impact::Major => major,
            Impact::Critical => critical,
        }
    }

    /// The banner as one sentence.
    pub(crate) fn sentence(&self, banner: &Banner<'_>, page: &Page) -> String {
        let many = banner.names.len() != 1;
        let choose = |one, of_many: &'static str| if many { of_many } else { one };
        let text = match banner.worst {
            Condition::Up if banner.indicator == Indicator::None => return self.all_up.to_owned(),
            Condition::Up => {
                let worst = page.open().max_by_key(|incident| incident.impact);
                let title = worst.map_or("", |incident| incident.title.as_str());
                return fill(self.incident_open, &[title]);
            }
            Condition::Down if banner.all && many => return self.all_down.to_owned(),
            Condition::Unknown if banner.all => return self.all_unknown.to_owned(),
            Condition::Down => choose(self.one_down, self.many_down),
            Condition::Partial => choose(self.one_partial, self.many_partial),
            Condition::Degraded => choose(self.one_degraded, self.many_degraded),
            Condition::Unknown => choose(self.one_unknown, self.many_unknown),
            Condition::Maintenance => choose(self.one_maintenance, self.many_maintenance),
        };
        fill(text, &[&self.named(&banner.names, page.components.len())])
    }

    /// `API, Web and Mail`; of more than three how many there are.
    fn named(&self, names: &[&str], all: usize) -> String {
        match names {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [first @ .., last] if names.len() <= 3 => {
                format!("{} {} {last}", first.join(", "), self.and)
            }
            _ => fill(self.some_of, &[&names.len().to_string(), &all.to_string()]),
        }
    }

    /// A day as this language writes it.
    pub(crate) fn day_of(&self, date: jiff::civil::Date) -> String {
        let month = self.months.get(usize::from(date.month().unsigned_abs()) - 1);
        self.date
            .replace("{d}", &date.day().to_string())
            .replace("{m}", month.unwrap_or(&""))
            .replace("{y}", &date.year().to_string())
    }

    /// A month as this language writes it.
    pub(crate) fn month_name(&self, month: Month) -> String {
        let name = self.months.get(usize::from(month.month.unsigned_abs()) - 1);
        self.month_of.replace("{m}", name.unwrap_or(&"")).replace("{y}", &month.year.to_string())
    }

    /// A moment: day, time and zone.
    pub(crate) fn moment(&self, at: Timestamp, page: &Page) -> String {
        let at = in_zone(at, &page.zone);
        format!(
            "{}, {:02}:{:02} {}",
            self.day_of(at.date()),
            at.hour(),
            at.minute(),
            at.strftime("%Z")
        )
    }

    /// A share with its sign.
    pub(crate) fn percent(&self, share: Share) -> String {
        format!("{}\u{a0}%", share.written(self.decimal))
    }
}

/// `text` with each `{}` replaced in turn.
pub(crate) fn fill(text: &str, with: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    for value in with {
        let Some((before, after)) = rest.split_once("{}") else { break };
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `41 min`, `2 h 5 min`, `3 d 4 h`: the units are those of every language here.
pub(crate) fn lasted(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{}\u{a0}s", ms / 1_000),
        (0, 0, minutes) => format!("{minutes}\u{a0}min"),
        (0, hours, 0) => format!("{hours}\u{a0}h"),
        (0, hours, minutes) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        (days, 0, _) => format!("{days}\u{a0}d"),
        (days, hours, _) => format!("{days}\u{a0}d {hours}\u{a0}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{incident, page_of};

    fn check(language: Language, now: &str, expected: &str) {
        let page = page_of(now);
        assert_eq!(Words::of(language).sentence(&page.banner(), &page), expected, "{now}");
    }

    #[test]
    fn the_banner_is_one_sentence() {
        check(Language::English, "API:up Web:up", "All systems work");
        check(Language::English, "API:down Web:up", "API is down");
        check(Language::English, "API:down Web:down Mail:up", "API and Web are down");
        check(Language::English, "a:down b:down c:down d:down e:up", "4 of 5 components are down");
        check(Language::English, "API:down Web:down", "Everything is down");
        check(Language::English, "API:unknown Web:up", "We cannot see how API is");
        check(Language::German, "API:partial Web:up", "API ist nur teilweise erreichbar");
        check(Language::French, "API:degraded Web:degraded", "API et Web sont ralentis");
        check(Language::Spanish, "API:maintenance Web:up", "API está en mantenimiento");
    }

    #[test]
    fn an_incident_about_no_component_is_the_sentence() {
        let mut page = page_of("API:up");
        page.incidents.push(incident("dns", Impact::Major, IncidentStage::Investigating));
        let said = Words::of(Language::English).sentence(&page.banner(), &page);
        assert_eq!(said, "Open incident: dns is away");
    }

    #[test]
    fn each_language_has_the_places_that_the_page_fills() {
        let texts = |w: &Words| {
            [
                w.one_down,
                w.many_down,
                w.one_partial,
                w.many_partial,
                w.one_degraded,
                w.many_degraded,
                w.one_unknown,
                w.many_unknown,
                w.one_maintenance,
                w.many_maintenance,
                w.some_of,
                w.incident_open,
                w.stale,
                w.days_span,
                w.mean_uptime,
                w.together,
                w.bars,
                w.bars_good,
                w.bars_worst,
                w.days_ago,
                w.other_days,
                w.watched,
                w.definition,
                w.backdated,
                w.next_word,
                w.latency_told,
                w.local,
                w.checked,
            ]
            .map(|text| text.matches("{}").count())
        };
        let english = texts(Words::of(Language::English));
        for language in [Language::German, Language::French, Language::Spanish] {
            assert_eq!(texts(Words::of(language)), english, "{}", language.word());
        }
    }

    #[test]
    fn spans_of_time_are_short() {
        let said = [4_000, 2_460_000, 7_500_000, 273_600_000].map(lasted);
        assert_eq!(said, ["4\u{a0}s", "41\u{a0}min", "2\u{a0}h 5\u{a0}min", "3\u{a0}d 4\u{a0}h"]);
    }
}
