//! The sentence at the top of the page, by a rule that is written down.

use linkflow_model::monitor::Condition;
use linkflow_model::{Impact, IncidentStage};

use super::page::Page;

/// How bad it is, in the words that status pages share; `unknown` is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indicator {
    /// All works.
    None,
    /// Something is slow or partly away.
    Minor,
    /// Something is away.
    Major,
    /// The product is away.
    Critical,
    /// Announced work is under way, and nothing else is wrong.
    Maintenance,
    /// Nobody can see how it is.
    Unknown,
}

/// What the page says first.
#[derive(Clone, Debug, PartialEq)]
pub struct Banner<'a> {
    /// How bad it is.
    pub indicator: Indicator,
    /// The worst condition of all components.
    pub worst: Condition,
    /// The components that are in it.
    pub names: Vec<&'a str>,
    /// Whether all components are.
    pub all: bool,
}

impl Page {
    /// The banner. The worst condition of any component is what is said, and of whom:
    ///
    /// - down: `critical` when every component is, or when an open incident says so, `major` otherwise;
    /// - partly away or slow: `minor`, or `major` when an open incident says so;
    /// - unknown: `unknown`; green is not what is shown when nobody looks;
    /// - announced work: `maintenance`;
    /// - all up: `none`, or what an open incident says that is about no component.
    pub fn banner(&self) -> Banner<'_> {
        let now: Vec<(&str, Condition)> =
            self.components.iter().map(|one| (one.name.as_str(), self.condition(one))).collect();
        let worst = now.iter().map(|(_, condition)| *condition).max().unwrap_or_default();
        let in_it = now.iter().filter(|(_, condition)| *condition == worst);
        let names: Vec<&str> = in_it.map(|(name, _)| *name).collect();
        let all = names.len() == self.components.len();
        let bad = |stage| matches!(stage, IncidentStage::Investigating | IncidentStage::Identified);
        let said = self.open().filter(|incident| bad(incident.stage)).map(|i| i.impact).max();
        let seen = match worst {
            Condition::Down if all => Indicator::Critical,
            Condition::Down => Indicator::Major,
            Condition::Partial | Condition::Degraded => Indicator::Minor,
            Condition::Unknown => Indicator::Unknown,
            Condition::Maintenance => Indicator::Maintenance,
            Condition::Up => Indicator::None,
        };
        Banner { indicator: seen.with(said), worst, names, all }
    }
}

impl Indicator {
    /// The worse of what is seen and what an open incident says.
    fn with(self, said: Option<Impact>) -> Self {
        let said = match said {
            None | Some(Impact::None) => return self,
            Some(Impact::Minor) => Self::Minor,
            Some(Impact::Major) => Self::Major,
            Some(Impact::Critical) => Self::Critical,
        };
        if said.rank() > self.rank() { said } else { self }
    }

    fn rank(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Maintenance => 1,
            Self::Unknown => 2,
            Self::Minor => 3,
            Self::Major => 4,
            Self::Critical => 5,
        }
    }

    /// The word of the API. Clients of status pages know no `unknown`: they are told `minor`, which is not all well.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minor | Self::Unknown => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{incident, page_of};

    /// Conditions of components, what an incident says, and the banner.
    fn check(now: &str, said: Option<(&str, Impact, IncidentStage)>, expected: &str) {
        let mut page = page_of(now);
        page.incidents
            .extend(said.map(|(subject, impact, stage)| incident(subject, impact, stage)));
        let banner = page.banner();
        let all = if banner.all { " all" } else { "" };
        let told =
            format!("{:?} {:?} {}{all}", banner.indicator, banner.worst, banner.names.join(","));
        assert_eq!(told, expected, "{now}");
    }

    #[test]
    fn the_worst_component_decides() {
        check("api:up web:up", None, "None Up api,web all");
        check("api:down web:up", None, "Major Down api");
        check("api:down web:down", None, "Critical Down api,web all");
        check("api:partial web:degraded", None, "Minor Partial api");
        check("api:degraded web:up", None, "Minor Degraded api");
        check("api:maintenance web:up", None, "Maintenance Maintenance api");
        check("api:maintenance web:down", None, "Major Down web");
    }

    #[test]
    fn what_nobody_sees_is_not_green() {
        check("api:unknown web:up", None, "Unknown Unknown api");
        check("api:unknown web:unknown", None, "Unknown Unknown api,web all");
        check("api:unknown web:maintenance", None, "Unknown Unknown api");
        check("", None, "Unknown Unknown  all");
    }

    #[test]
    fn an_open_incident_says_what_no_look_finds() {
        use IncidentStage::{Identified, Investigating, Monitoring, Resolved};
        let api = |impact, stage| Some(("api", impact, stage));
        check("api:up web:up", api(Impact::Minor, Investigating), "Minor Degraded api");
        check("api:up web:up", api(Impact::Critical, Identified), "Critical Down api");
        check("api:up web:up", api(Impact::Critical, Monitoring), "None Up api,web all");
        check("api:up web:up", api(Impact::Critical, Resolved), "None Up api,web all");
        check("api:down web:up", api(Impact::Minor, Investigating), "Major Down api");
        let elsewhere = Some(("mail", Impact::Major, Investigating));
        check("api:up web:up", elsewhere, "Major Up api,web all");
    }
}
