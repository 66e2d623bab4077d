//! Cloudflare in front: zone settings, rules, a Worker with its routes and values, a Tunnel.
//!
//! A look makes a list of what differs, each with the call that would put it right. `put` sends those calls; whoever only
//! looks throws them away. What the stack made is known by its marker: rules by their `ref`, the script by a tag, the
//! namespace and the tunnel by their names, which hold the stack's. Nothing else is replaced or removed.

mod rules;
mod settings;
mod tunnel;
mod usage;
mod values;
mod worker;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use linkflow_model::role::{Cdn, CdnLook, Front, FrontChange, Tunnel, TunnelKey, Usage};
use linkflow_model::{Clock, Fault, FaultKind, ProviderName, StackName};

use crate::account::cloudflare::{self as account, Cloudflare, ZoneRow};
use crate::kit::{Call, Kit};

/// What Cloudflare in front needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account, for the zone that the edge is in.
    pub account: account::Settings,
    /// The name of the Worker.
    pub worker: String,
    /// The id of a Tunnel that a person made, in place of one of the stack's own.
    pub tunnel: Option<String>,
}

/// Cloudflare in front of one zone.
pub struct CloudflareFront {
    api: Cloudflare,
    kit: Kit,
    clock: Arc<dyn Clock>,
    stack: StackName,
    worker: String,
    tunnel: Option<String>,
    /// The namespace of the values, once it is known.
    namespace: Mutex<Option<String>>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> CloudflareFront {
    CloudflareFront {
        api: account::open(settings.account, kit, provider),
        kit: kit.clone(),
        clock: kit.clock(),
        stack: stack.clone(),
        worker: settings.worker,
        tunnel: settings.tunnel,
        namespace: Mutex::default(),
    }
}

/// Something that differs, and what puts it right.
struct Due {
    change: FrontChange,
    /// `None` when it is left as it is, or comes with another one's call.
    call: Option<Call>,
}

/// What stands in front, cut as permissions are.
#[derive(Clone, Copy)]
enum Part {
    Settings,
    Bots,
    Rates,
    Cache,
    Firewall,
    Worker,
    Tunnel,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Settings,
        Self::Bots,
        Self::Rates,
        Self::Cache,
        Self::Firewall,
        Self::Worker,
        Self::Tunnel,
    ];
}

impl Due {
    fn new(change: FrontChange, call: Call) -> Self {
        Self { change, call: Some(call) }
    }

    fn told(change: FrontChange) -> Self {
        Self { change, call: None }
    }
}

impl CloudflareFront {
    /// The name of what the account holds for this stack: `linkflow-shop`.
    fn own_name(&self) -> String {
        format!("linkflow-{}", self.stack)
    }

    /// What the plan does not have, or the vendor will not take, is told and keeps nothing else back.
    async fn carry_out(&self, due: Due) -> Result<FrontChange, Fault> {
        let Due { change, call } = due;
        let Some(call) = call else { return Ok(change) };
        match self.api.send(call).await {
            Ok(_) => Ok(change),
            Err(fault) if matches!(fault.kind, FaultKind::Exhausted | FaultKind::Invalid) => {
                Ok(change.blocked(fault.said))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn due(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        let mut due = Vec::new();
        for part in Part::ALL {
            due.extend(self.due_of(part, row, wanted).await?);
        }
        Ok(due)
    }

    async fn due_of(&self, part: Part, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        match part {
            Part::Settings => self.due_settings(row, wanted).await,
            Part::Bots => self.due_bots(row, wanted).await,
            Part::Rates => self.due_rates(row, wanted).await,
            Part::Cache => self.due_cache(row, wanted).await,
            Part::Firewall => self.due_firewall(row, wanted).await,
            Part::Worker => self.due_worker(row, wanted).await,
            Part::Tunnel => self.due_tunnel(row, wanted).await,
        }
    }
}

#[async_trait]
impl CdnLook for CloudflareFront {
    fn name(&self) -> &ProviderName {
        &self.api.provider
    }

    async fn differences(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault> {
        let row = self.api.row().await?;
        Ok(self.due(&row, wanted).await?.into_iter().map(|due| due.change).collect())
    }

    async fn tunnel(&self) -> Result<Option<Tunnel>, Fault> {
        let row = self.api.row().await?;
        Ok(self.find_tunnel(&row).await?.map(tunnel::Row::told))
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        let row = self.api.row().await?;
        self.used(&row).await
    }

    async fn refused(&self, wanted: &Front) -> Result<Vec<Fault>, Fault> {
        let row = self.api.row().await?;
        let mut refused = Vec::new();
        for part in Part::ALL {
            match self.due_of(part, &row, wanted).await {
                Ok(_) => {}
                Err(fault) if fault.kind == FaultKind::Denied => refused.push(fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(refused)
    }
}

#[async_trait]
impl Cdn for CloudflareFront {
    async fn put(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault> {
        let row = self.api.row().await?;
        // What others refer to by an id that only Cloudflare gives comes first.
        let mut told = self.make_namespace(&row, wanted).await?;
        told.extend(self.make_tunnel(&row, wanted).await?);
        for due in self.due(&row, wanted).await? {
            told.push(self.carry_out(due).await?);
        }
        if wanted.worker.is_some() {
            // Nobody documents whether a new route takes at once that it fails open; a changed one does.
            for due in self.due_worker(&row, wanted).await? {
                self.carry_out(due).await?;
            }
        }
        Ok(told)
    }

    async fn put_value(&self, key: &str, value: &str) -> Result<(), Fault> {
        self.write_value(key, value).await
    }

    async fn tunnel_key(&self) -> Result<TunnelKey, Fault> {
        let row = self.api.row().await?;
        self.read_key(&row).await
    }
}
