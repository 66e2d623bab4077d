//! What the templates are given: texts, already in the page's language.

use linkflow_model::monitor::Condition;
use linkflow_model::{Incident, Maintenance};

use super::super::draw;
use super::super::markdown;
use super::super::page::{Component, Page, Stretch};
use super::super::time::{Day, Month};
use super::super::uptime::Tally;
use super::super::words::{fill, lasted};
use super::{DAYS, Writer};

/// A moment, for `<time>`.
pub(super) struct At {
    pub(super) utc: String,
    pub(super) text: String,
}

/// What stands before and after the moment of the last look.
pub(super) struct Checked(pub(super) &'static str, pub(super) At, pub(super) &'static str);

/// A condition: its mark, its word, its colour.
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) glyph: &'static str,
    pub(super) word: &'static str,
    /// As a bar.
    pub(super) bar: String,
}

pub(super) struct ComponentView {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) uptime: String,
    pub(super) told: String,
    pub(super) bars: String,
    pub(super) days: Vec<DayView>,
    pub(super) others: Option<String>,
    pub(super) watched: Option<String>,
    pub(super) ago90: String,
    pub(super) ago30: String,
    /// How fast it answered during the last day, where that is known.
    pub(super) spark: Option<Chart>,
}

pub(super) struct DayView {
    pub(super) date: String,
    pub(super) mark: Mark,
    pub(super) downtime: String,
    pub(super) uptime: String,
    pub(super) incidents: Vec<(String, String)>,
}

pub(super) struct MonthView {
    pub(super) name: String,
    pub(super) uptime: String,
    pub(super) downtime: String,
}

pub(super) struct Chart {
    pub(super) path: String,
    pub(super) told: String,
}

pub(super) struct IncidentView {
    pub(super) href: String,
    pub(super) title: String,
    pub(super) class: &'static str,
    pub(super) stage: &'static str,
    pub(super) impact: &'static str,
    pub(super) began: At,
    pub(super) ended: Option<At>,
    pub(super) lasted: Option<String>,
    pub(super) affected: String,
    pub(super) updates: Vec<UpdateView>,
}

pub(super) struct UpdateView {
    pub(super) stage: &'static str,
    pub(super) at: At,
    pub(super) late: Option<String>,
    pub(super) html: String,
    pub(super) next: Option<String>,
}

pub(super) struct WorkView {
    pub(super) href: String,
    pub(super) title: String,
    pub(super) from: At,
    pub(super) to: At,
    pub(super) cancelled: bool,
    pub(super) affected: String,
    pub(super) html: String,
}

/// A day of a component.
struct Counted {
    day: Day,
    tally: Tally,
}

impl Writer<'_> {
    pub(super) fn mark(&self, condition: Condition) -> Mark {
        Mark {
            class: draw::class(condition),
            glyph: draw::glyph(condition),
            word: self.w.condition(condition),
            bar: draw::bars(&[condition]),
        }
    }

    /// `component` with its bars. `to` leads to the folder of components' pages; `every` day has its row, or only those on
    /// which something was wrong.
    pub(super) fn component_view(
        &self,
        component: &Component,
        to: &str,
        every: bool,
    ) -> ComponentView {
        let page = self.page;
        let counted = page.counted(component);
        let all = counted.iter().fold(Tally::default(), |sum, one| sum.with(one.tally));
        let uptime = self.uptime(all);
        let conditions: Vec<Condition> = counted.iter().map(|one| one.tally.worst()).collect();
        let good = conditions.iter().filter(|condition| **condition == Condition::Up).count();
        let wrong = |one: &&Counted| {
            every || !matches!(one.tally.worst(), Condition::Up | Condition::Unknown)
        };
        let to_incident = if every { "../incident/" } else { "incident/" };
        let rows = counted.iter().rev().filter(wrong);
        let days = rows.map(|one| self.day_view(component, one, to_incident)).collect();
        let others = (good > 0).then(|| fill(self.w.other_days, &[&good.to_string()]));
        let watched = all.watched().filter(|_| all.unknown > 0 && all.unknown < all.all());
        let (ago90, ago30) = self.ago();
        ComponentView {
            id: component.id.clone(),
            href: format!("{to}{}.html", component.id),
            name: component.name.clone(),
            mark: self.mark(page.condition(component)),
            told: self.told(component, &counted, &uptime),
            bars: draw::bars(&conditions),
            uptime,
            days,
            others,
            watched: watched.map(|share| fill(self.w.watched, &[&self.w.percent(share)])),
            ago90,
            ago30,
            spark: self.line(component, (96.0, 20.0)),
        }
    }

    fn uptime(&self, tally: Tally) -> String {
        let share = tally.uptime(self.page.partial_counts);
        share.map_or_else(|| self.w.no_data.to_owned(), |share| self.w.percent(share))
    }

    /// The bars in one sentence.
    fn told(&self, component: &Component, counted: &[Counted], uptime: &str) -> String {
        let bad = |one: &&Counted| one.tally.worst() > Condition::Unknown;
        let troubled = counted.iter().filter(bad).count();
        let worst = counted.iter().filter(bad).max_by_key(|one| (one.tally.lost(), one.day.from));
        let rest = match worst {
            None => self.w.bars_good.to_owned(),
            Some(worst) => {
                let date = self.w.day_of(worst.day.date);
                let lost = lasted(worst.tally.lost());
                fill(self.w.bars_worst, &[&troubled.to_string(), &date, &lost])
            }
        };
        fill(self.w.bars, &[&component.name, uptime, &DAYS.to_string(), &rest])
    }

    fn day_view(&self, component: &Component, one: &Counted, to: &str) -> DayView {
        let within = |incident: &&Incident| {
            let ended = incident.ended.unwrap_or(self.page.now);
            component.is_in(&incident.subjects)
                && incident.began < one.day.to
                && ended >= one.day.from
        };
        let incidents = self.page.incidents.iter().filter(within);
        DayView {
            date: self.w.day_of(one.day.date),
            mark: self.mark(one.tally.worst()),
            downtime: if one.tally.lost() == 0 {
                "–".to_owned()
            } else {
                lasted(one.tally.lost())
            },
            uptime: self.uptime(one.tally),
            incidents: incidents
                .map(|incident| (format!("{to}{}.html", incident.id), incident.title.clone()))
                .collect(),
        }
    }

    /// The uptime of the last `days` days, and what to call it.
    pub(super) fn window(&self, component: &Component, days: i64) -> (String, String) {
        let from = self.page.days(days).first().map_or(self.page.now, |day| day.from);
        let tally = Tally::of(&component.stretches, from, self.page.now);
        let name = match days {
            1 => self.w.today.to_owned(),
            days => fill(self.w.days_span, &[&days.to_string()]),
        };
        (self.uptime(tally), name)
    }

    pub(super) fn month_view(&self, component: &Component, month: Month) -> MonthView {
        let (from, to) = self.page.span(month);
        let tally = Tally::of(&component.stretches, from, to.min(self.page.now));
        let lost = tally.lost();
        MonthView {
            name: self.w.month_name(month),
            uptime: self.uptime(tally),
            downtime: if lost == 0 { "–".to_owned() } else { lasted(lost) },
        }
    }

    pub(super) fn chart(&self, component: &Component) -> Option<Chart> {
        self.line(component, (600.0, 80.0))
    }

    /// How fast `component` answered, as a line in so many points.
    fn line(&self, component: &Component, (width, height): (f64, f64)) -> Option<Chart> {
        let (path, _) = draw::line(&component.latency, width, height)?;
        let count = component.latency.len() as f64;
        let mean = component.latency.iter().map(|one| one.mean).sum::<f64>() / count;
        let longest = component.latency.iter().map(|one| one.longest).fold(0.0, f64::max);
        let told = fill(self.w.latency_told, &[&format!("{mean:.0}"), &format!("{longest:.0}")]);
        Some(Chart { path, told })
    }

    pub(super) fn incident_view(&self, incident: &Incident, to: &str) -> IncidentView {
        let update = |update: &linkflow_model::IncidentUpdate| UpdateView {
            stage: self.w.stage(update.stage),
            at: self.at(update.at),
            late: update.written.map(|at| fill(self.w.backdated, &[&self.w.moment(at, self.page)])),
            html: markdown::html(&update.text),
            next: update
                .next
                .filter(|_| incident.is_open())
                .map(|at| fill(self.w.next_word, &[&self.w.moment(at, self.page)])),
        };
        IncidentView {
            href: format!("{to}{}.html", incident.id),
            title: incident.title.clone(),
            class: if incident.is_open() { "p" } else { "u" },
            stage: self.w.stage(incident.stage),
            impact: self.w.impact_of(incident.impact),
            began: self.at(incident.began),
            ended: incident.ended.map(|at| self.at(at)),
            lasted: incident.ended.map(|at| lasted(at.0.saturating_sub(incident.began.0))),
            affected: self.affected(&incident.subjects),
            updates: incident.updates.iter().rev().map(update).collect(),
        }
    }

    pub(super) fn work_view(&self, work: &Maintenance, to: &str) -> WorkView {
        WorkView {
            href: format!("{to}{}.html", work.id),
            title: work.title.clone(),
            from: self.at(work.from),
            to: self.at(work.to),
            cancelled: work.cancelled,
            affected: self.affected(&work.subjects),
            html: markdown::html(&work.text),
        }
    }

    fn affected(&self, subjects: &[String]) -> String {
        let names: Vec<&str> =
            self.page.affected(subjects).iter().map(|component| component.name.as_str()).collect();
        names.join(", ")
    }
}

impl Page {
    fn counted(&self, component: &Component) -> Vec<Counted> {
        let tally =
            |stretches: &[Stretch], day: &Day| Tally::of(stretches, day.from, day.to.min(self.now));
        let days = self.days(DAYS).into_iter();
        days.map(|day| Counted { tally: tally(&component.stretches, &day), day }).collect()
    }
}
