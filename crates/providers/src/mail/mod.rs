//! Who sends mail: several for one letter, the next where one is out of quota or away.

pub mod brevo;
pub mod embedded;
mod mime;
pub mod resend;
pub mod smtp;

use std::sync::Arc;

use async_trait::async_trait;
use linkflow_model::role::{Letter, Mail};
use linkflow_model::{Fault, FaultKind, ProviderName};
use serde_json::{Map, Value, json};

use crate::kit::Kit;

/// What is being tried, for people.
const SEND: &str = "send mail";

/// The headers of `letter` as an object, which both APIs take; `None` without any.
fn headers(letter: &Letter) -> Option<Value> {
    let each = letter.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    let all: Map<String, Value> = each.collect();
    (!all.is_empty()).then(|| all.into())
}

/// What one provider needs, by its kind. Every reference is already followed.
#[derive(Clone, Debug)]
pub enum Settings {
    /// For the kind `embedded`.
    Embedded(embedded::Settings),
    /// For the kind `resend`.
    Resend(resend::Settings),
    /// For the kind `brevo`.
    Brevo(brevo::Settings),
    /// For the kind `smtp`.
    Smtp(smtp::Settings),
}

/// Opens the provider that is called `provider`.
pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Arc<dyn Mail> {
    match settings {
        Settings::Embedded(own) => Arc::new(embedded::open(own, kit, provider)),
        Settings::Resend(own) => Arc::new(resend::open(own, kit, provider)),
        Settings::Brevo(own) => Arc::new(brevo::open(&own, kit, provider)),
        Settings::Smtp(own) => Arc::new(smtp::open(own, kit, provider)),
    }
}

/// The providers of one who sends mail.
#[derive(Clone, Debug)]
pub struct Via {
    /// The most preferred.
    pub first: (ProviderName, Settings),
    /// Those that are asked when it cannot, in order.
    pub others: Vec<(ProviderName, Settings)>,
}

/// Several providers for the same letters.
pub struct Several {
    first: Arc<dyn Mail>,
    others: Vec<Arc<dyn Mail>>,
}

impl Several {
    /// Those of `via`, opened.
    pub fn open(via: Via, kit: &Kit) -> Self {
        let one = |(name, settings): (ProviderName, Settings)| open(settings, kit, &name);
        Self { first: one(via.first), others: via.others.into_iter().map(one).collect() }
    }
}

/// Whether another provider may have the same letter: never when it may have gone out, and not when it is the letter that
/// is wrong.
fn may_go_elsewhere(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::Unclear | FaultKind::Conflict | FaultKind::Invalid)
}

#[async_trait]
impl Mail for Several {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        let mut last = self.first.send(letter).await;
        let mut passing: Option<Fault> = None;
        for other in &self.others {
            match last {
                Err(fault) if may_go_elsewhere(fault.kind) => {
                    passing = passing.or(Some(fault).filter(|fault| fault.kind.is_passing()));
                    last = other.send(letter).await;
                }
                done => return done,
            }
        }
        // What passes by itself is told before what does not: another try may work then.
        last.map_err(|fault| match passing {
            Some(before) if may_go_elsewhere(fault.kind) => before,
            _ => fault,
        })
    }
}
