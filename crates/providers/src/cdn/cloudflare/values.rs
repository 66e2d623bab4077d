//! Values that the Worker reads: one namespace of Workers KV, in which few writes are made and none for nothing.
//!
//! The free plan has 1,000 writes a day for the account and one a second for a key
//! (developers.cloudflare.com/kv/platform/limits). Each value carries what it is and how many writes of today it was, so
//! the count survives this process and is shared with others. Reads are plenty: 100,000 a day.

use std::sync::PoisonError;

use http::Method;
use linkflow_model::role::{Front, FrontChange};
use linkflow_model::{Fault, FaultKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::worker::{Namespace, multipart};
use super::CloudflareFront;
use crate::account::cloudflare::ZoneRow;
use crate::kit::{Call, encode};

/// Writes of a day for one key of ours: the free plan's, less some for people.
const WRITES_A_DAY: u32 = 950;

/// Namespaces on a page.
const PAGE: u32 = 100;

/// What is written beside a value.
#[derive(Default, Serialize, Deserialize)]
struct Beside {
    /// A hash of the value.
    #[serde(default)]
    hash: String,
    /// The day that `writes` counts, in days since 1970: allowances begin anew at midnight UTC.
    #[serde(default)]
    day: u64,
    /// How many writes there were on that day.
    #[serde(default)]
    writes: u32,
}

impl CloudflareFront {
    fn namespaces_path(&self, row: &ZoneRow) -> String {
        format!("/accounts/{}/storage/kv/namespaces", encode(self.api.account(row)))
    }

    /// The id of the stack's namespace, once there is one.
    pub(super) async fn namespace(&self, row: &ZoneRow) -> Result<Option<String>, Fault> {
        let known = self.namespace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let call = Call::read("list the namespaces of", &row.name, self.namespaces_path(row));
        let all: Vec<Namespace> = self.api.list(call, PAGE).await?;
        let own = self.own_name();
        let found = all.into_iter().find(|held| held.title == own).map(|held| held.id);
        self.namespace.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
        Ok(found)
    }

    /// Makes the namespace, when a worker is wanted and there is none.
    pub(super) async fn make_namespace(
        &self,
        row: &ZoneRow,
        wanted: &Front,
    ) -> Result<Vec<FrontChange>, Fault> {
        if wanted.worker.is_none() || self.namespace(row).await?.is_some() {
            return Ok(Vec::new());
        }
        let own = self.own_name();
        let call = Call::write(Method::POST, "make the namespace", &own, self.namespaces_path(row));
        let made: Namespace = self.api.send_for(call.json(json!({ "title": own }))).await?;
        *self.namespace.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.id);
        Ok(vec![FrontChange::new(format!("values {own}"), None, Some("made".to_owned()))])
    }

    pub(super) async fn write_value(&self, key: &str, value: &str) -> Result<(), Fault> {
        let row = self.api.row().await?;
        let Some(namespace) = self.namespace(&row).await? else {
            let said = "there is no namespace for values yet: it comes with the worker";
            return Err(self.api.fault(FaultKind::Missing, "write a value of", said));
        };
        let base = format!("{}/{namespace}", self.namespaces_path(&row));
        let path = format!("{base}/metadata/{}", encode(key));
        let held: Option<Value> = self.api.find(Call::read("read what is said of", key, path)).await?;
        let held: Beside = held.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
        let hash: String =
            Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
        if held.hash == hash {
            return Ok(());
        }
        let day = self.clock.wall().0 / 86_400_000;
        let writes = if held.day == day { held.writes } else { 0 };
        if writes >= WRITES_A_DAY {
            let said = format!("{key} was written {writes} times today; 1,000 are allowed");
            return Err(self.api.fault(FaultKind::Exhausted, "write a value of", &said));
        }
        let beside = Beside { hash, day, writes: writes + 1 };
        let beside = serde_json::to_string(&beside).unwrap_or_default();
        let parts = [
            ("value", None, "", value.to_owned()),
            ("metadata", None, "application/json", beside),
        ];
        let (kind, body) = multipart(&parts);
        let path = format!("{base}/values/{}", encode(key));
        let call = Call::write(Method::PUT, "write the value", key, path);
        self.api.send(call.bytes(kind, body)).await.map(drop)
    }
}
