//! Instatus. <https://instatus.com/help/api>
//!
//! It shows the status page, with incidents and announced work. Nothing there has a tag or a place for notes, so what is ours is said where visitors may read
//! it without harm: a component has the mark as its description, and an incident ends its first text with the mark and its
//! id, as a reference that visitors can quote.

mod maintenance;

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{HeldWatch, Said, Watch, WatchSort, Watcher, WatcherLook, Watching};
use linkflow_model::{
    Condition, Fault, FaultKind, IncidentStage, ProviderName, Secret, StackName, Timestamp,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::kit::{Account, Auth, Call, Kit, Limiter, Vendor, encode};

/// The API.
const API: &str = "https://api.instatus.com";

/// How many things a page should have.
const PER_PAGE: usize = 100;

/// What Instatus needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An API key.
    pub token: Secret,
    /// The page's id; needed only where the key may see several.
    pub page: Option<String>,
    /// In place of `https://api.instatus.com`.
    pub api: Option<String>,
}

/// A page at Instatus.
pub struct Instatus {
    api: Vendor,
    page: Option<String>,
    mark: String,
    provider: ProviderName,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> Instatus {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "instatus",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let mark = super::mark(stack);
    Instatus { api, page: settings.page, mark, provider: provider.clone() }
}

#[derive(Deserialize)]
struct Page {
    id: String,
    #[serde(default)]
    subdomain: String,
}

#[derive(Deserialize)]
struct Component {
    id: String,
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    status: String,
    group: Option<String>,
}

#[derive(Deserialize)]
struct Incident {
    id: String,
    name: String,
    status: String,
    started: Option<String>,
    #[serde(default)]
    updates: Vec<Update>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
}

/// What Instatus calls a condition; `None` where it has no word for it.
fn status(condition: Condition) -> Option<&'static str> {
    Some(match condition {
        Condition::Up => "OPERATIONAL",
        Condition::Maintenance => "UNDERMAINTENANCE",
        Condition::Degraded => "DEGRADEDPERFORMANCE",
        Condition::Partial => "PARTIALOUTAGE",
        Condition::Down => "MAJOROUTAGE",
        Condition::Unknown => return None,
    })
}

fn condition(status: &str) -> Option<Condition> {
    Some(match status {
        "OPERATIONAL" => Condition::Up,
        "UNDERMAINTENANCE" => Condition::Maintenance,
        "DEGRADEDPERFORMANCE" => Condition::Degraded,
        "PARTIALOUTAGE" | "MINOROUTAGE" => Condition::Partial,
        "MAJOROUTAGE" => Condition::Down,
        _ => return None,
    })
}

fn word(stage: IncidentStage) -> &'static str {
    match stage {
        IncidentStage::Investigating => "INVESTIGATING",
        IncidentStage::Identified => "IDENTIFIED",
        IncidentStage::Monitoring => "MONITORING",
        IncidentStage::Resolved | IncidentStage::Postmortem => "RESOLVED",
    }
}

fn stage(word: &str) -> IncidentStage {
    match word {
        "IDENTIFIED" => IncidentStage::Identified,
        "MONITORING" => IncidentStage::Monitoring,
        "RESOLVED" => IncidentStage::Resolved,
        _ => IncidentStage::Investigating,
    }
}

fn time(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}

fn moment(text: &str) -> Option<Timestamp> {
    let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    u64::try_from(ms).ok().map(Timestamp)
}

/// The id by which we know what `updates` are of, when it is ours.
fn ours(updates: &[Update], mark: &str) -> Option<String> {
    let last_line = |update: &Update| update.message.trim_end().lines().last().map(str::to_owned);
    let lines = updates.iter().filter_map(last_line);
    let mut ids = lines.filter_map(|line| Some(line.split_once(mark)?.1.trim().to_owned()));
    ids.find(|id| !id.is_empty() && !id.contains(' '))
}

impl Incident {
    fn what(&self, id: &str, mark: &str) -> Watching {
        let mark = reference(mark, id);
        let said = |update: &Update| Said {
            stage: stage(&update.status),
            text: update.message.replace(&mark, "").trim().to_owned(),
        };
        Watching::Incident {
            title: self.name.clone(),
            stage: stage(&self.status),
            began: self.started.as_deref().and_then(moment).unwrap_or_default(),
            components: self.components.iter().map(|component| component.name.clone()).collect(),
            said: self.updates.iter().map(said).collect(),
        }
    }
}

/// The last line of the first text of an incident, and of the text of announced work.
fn reference(mark: &str, id: &str) -> String {
    format!("{mark} {id}")
}

impl Instatus {
    /// The page's id.
    async fn page(&self) -> Result<String, Fault> {
        if let Some(page) = &self.page {
            return Ok(page.clone());
        }
        let pages: Vec<Page> = self.rows("list pages", "/v2/pages").await?;
        match pages.as_slice() {
            [only] => Ok(only.id.clone()),
            [] => Err(self.api.fault(FaultKind::Missing, "list pages", "there is no page")),
            many => {
                let names: Vec<&str> = many.iter().map(|page| page.subdomain.as_str()).collect();
                let said = format!("there are several pages, and `page` says none: {}", names.join(", "));
                Err(self.api.fault(FaultKind::Invalid, "list pages", &said))
            }
        }
    }

    /// Every row of a list, page after page.
    async fn rows<T: DeserializeOwned>(
        &self,
        action: &'static str,
        path: &str,
    ) -> Result<Vec<T>, Fault> {
        let mut rows = Vec::new();
        for page in 1_u32.. {
            let call = Call::read(action, "", path)
                // Instatus wants it with every request.
                .header("content-type", "application/json")
                .query("page", &page.to_string())
                .query("per_page", &PER_PAGE.to_string());
            let some: Vec<T> = self.api.send_for(call).await?;
            let is_last = some.len() < PER_PAGE;
            rows.extend(some);
            if is_last {
                break;
            }
        }
        Ok(rows)
    }

    async fn components(&self, page: &str) -> Result<Vec<Component>, Fault> {
        self.rows("list components", &format!("/v2/{}/components", encode(page))).await
    }

    fn is_ours(&self, component: &Component) -> bool {
        component.description.as_deref() == Some(self.mark.as_str())
    }

    /// The ids of those of our components that are called as `names` say.
    async fn ids(&self, page: &str, names: &[String]) -> Result<Vec<String>, Fault> {
        let shown = self.components(page).await?.into_iter();
        let due = shown.filter(|shown| self.is_ours(shown) && names.contains(&shown.name));
        Ok(due.map(|component| component.id).collect())
    }

    async fn ensure_component(
        &self,
        wanted: &Watch,
        held: Option<&HeldWatch>,
    ) -> Result<(), Fault> {
        let Watching::Component { group, shows } = &wanted.what else { return Ok(()) };
        let page = self.page().await?;
        let mut body = json!({
            "name": wanted.name, "description": self.mark, "showUptime": true,
            "grouped": group.is_some(),
        });
        if let Some(group) = group {
            body["group"] = group.as_str().into();
        }
        match (shows.and_then(status), held) {
            (Some(status), _) => body["status"] = status.into(),
            (None, None) => body["status"] = "OPERATIONAL".into(),
            (None, Some(_)) => {}
        }
        let (name, page) = (&wanted.name, encode(&page));
        let call = match held {
            Some(held) => {
                let path = format!("/v2/{page}/components/{}", encode(&held.id));
                Call::write(Method::PUT, "change component", name, path)
            }
            None => {
                Call::write(Method::POST, "make component", name, format!("/v1/{page}/components"))
            }
        };
        self.api.send(call.json(body)).await.map(drop)
    }

    async fn ensure_incident(
        &self,
        wanted: &Watch,
        held: Option<&HeldWatch>,
    ) -> Result<(), Fault> {
        let Watching::Incident { title, stage, began, components, said } = &wanted.what else {
            return Ok(());
        };
        let page = self.page().await?;
        let ids = self.ids(&page, components).await?;
        let all = all_of(&page);
        let name = &wanted.name;
        let Some(held) = held else {
            let first = said.first();
            let text = first.map_or(title.as_str(), |said| said.text.as_str());
            let body = json!({
                "name": title, "message": format!("{text}\n\n{}", reference(&self.mark, name)),
                "components": ids, "started": time(*began), "notify": true,
                "status": word(first.map_or(*stage, |said| said.stage)),
            });
            let call = Call::write(Method::POST, "open incident", name, all).json(body);
            let made: Incident = self.api.send_for(call).await?;
            let made = HeldWatch {
                id: made.id,
                watch: Watch { name: name.clone(), what: incident(title, *stage, *began, first) },
            };
            return self.follow(&all_of(&page), wanted, &made, &ids).await;
        };
        self.follow(&all, wanted, held, &ids).await
    }

    /// Says what is not said yet, and how far the incident has come.
    async fn follow(
        &self,
        all: &str,
        wanted: &Watch,
        held: &HeldWatch,
        components: &[String],
    ) -> Result<(), Fault> {
        let (
            Watching::Incident { title, stage, said, .. },
            Watching::Incident { title: held_title, stage: held_stage, said: held_said, .. },
        ) = (&wanted.what, &held.watch.what)
        else {
            return Ok(());
        };
        let place = format!("{all}/{}", encode(&held.id));
        let name = &wanted.name;
        let mut shown = *held_stage;
        for due in said.iter().filter(|due| held_said.iter().all(|held| held.text != due.text)) {
            let body = json!({
                "message": due.text, "components": components, "status": word(due.stage), "notify": true,
            });
            let path = format!("{place}/incident-updates");
            let call = Call::write(Method::POST, "update incident", name, path).json(body);
            self.api.send(call).await?;
            shown = due.stage;
        }
        if word(shown) != word(*stage) || title != held_title {
            let body = json!({ "name": title, "status": word(*stage), "components": components });
            let call = Call::write(Method::PUT, "change incident", name, place).json(body);
            self.api.send(call).await?;
        }
        Ok(())
    }
}

fn all_of(page: &str) -> String {
    format!("/v1/{}/incidents", encode(page))
}

/// An incident of which only its first text is said.
fn incident(title: &str, stage: IncidentStage, began: Timestamp, first: Option<&Said>) -> Watching {
    Watching::Incident {
        title: title.to_owned(),
        stage: first.map_or(stage, |said| said.stage),
        began,
        components: Vec::new(),
        said: first.into_iter().cloned().collect(),
    }
}

#[async_trait]
impl WatcherLook for Instatus {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn fit(&self, wanted: &Watch) -> Result<Watch, String> {
        let mut fitted = wanted.clone();
        match &mut fitted.what {
            Watching::Component { shows, .. } => *shows = shows.filter(|c| status(*c).is_some()),
            Watching::Incident { stage: at, said, .. } => {
                *at = stage(word(*at));
                for said in said {
                    said.text = said.text.trim().to_owned();
                }
            }
            Watching::Maintenance { text, components, .. } => {
                *text = text.trim().to_owned();
                components.sort();
            }
            _ => return Err("Instatus shows a status page and looks at nothing".to_owned()),
        }
        Ok(fitted)
    }

    async fn held(&self) -> Result<Vec<HeldWatch>, Fault> {
        let page = self.page().await?;
        let components = self.components(&page).await?;
        let incidents: Vec<Incident> = self.rows("list incidents", &all_of(&page)).await?;
        let components = components.iter().filter(|component| self.is_ours(component));
        let components = components.map(|component| HeldWatch {
            id: component.id.clone(),
            watch: Watch {
                name: component.name.clone(),
                what: Watching::Component {
                    group: component.group.clone(),
                    shows: condition(&component.status),
                },
            },
        });
        let incidents = incidents.iter().filter_map(|incident| {
            let name = ours(&incident.updates, &self.mark)?;
            let what = incident.what(&name, &self.mark);
            Some(HeldWatch { id: incident.id.clone(), watch: Watch { name, what } })
        });
        Ok(components.chain(incidents).chain(self.maintenances(&page).await?).collect())
    }

    async fn reports_to(&self, _: &HeldWatch) -> Result<Option<Secret>, Fault> {
        Ok(None)
    }
}

#[async_trait]
impl Watcher for Instatus {
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault> {
        match wanted.what.sort() {
            WatchSort::Component => self.ensure_component(wanted, held).await,
            WatchSort::Incident => self.ensure_incident(wanted, held).await,
            WatchSort::Maintenance => self.ensure_maintenance(wanted, held).await,
            WatchSort::Monitor | WatchSort::Heartbeat | WatchSort::Hook => {
                Err(self.api.fault(FaultKind::Unsupported, "watch", &wanted.name))
            }
        }
    }

    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault> {
        let page = encode(&self.page().await?);
        let id = encode(&held.id);
        let name = &held.watch.name;
        let call = match held.watch.what.sort() {
            WatchSort::Incident => {
                let path = format!("/v1/{page}/incidents/{id}");
                Call::write(Method::DELETE, "remove incident", name, path)
            }
            WatchSort::Maintenance => {
                let path = format!("/v1/{page}/maintenances/{id}");
                Call::write(Method::DELETE, "remove maintenance", name, path)
            }
            _ => {
                let path = format!("/v1/{page}/components/{id}");
                Call::write(Method::DELETE, "remove component", name, path)
            }
        };
        super::gone(self.api.send(call.header("content-type", "application/json")).await)
    }
}
