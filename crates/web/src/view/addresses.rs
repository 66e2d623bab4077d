//! At which addresses others report: which there are, and how people have one made anew. An address is a secret, shown only to those
//! who may have it made anew.

use linkflow_model::access::{Caller, Scope};
use serde_json::{Value, json};

use crate::Site;
use crate::operator::{Refusal, Why};
use crate::order::Hand;
use crate::order::address::{self, Reporter, Which};
use crate::shape::{Book, Reason, Shape, shapes};

/// What sort of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressSort {
    /// That of all heartbeats, with a name behind it.
    Key,
    /// That of one heartbeat.
    Heartbeat,
    /// That for webhooks of a provider.
    Hook,
}

impl Shape for AddressSort {
    fn schema(book: &mut Book) -> Value {
        let all = [Self::Key, Self::Heartbeat, Self::Hook];
        book.named("AddressSort", |_| json!({ "type": "string", "enum": all }))
    }
}

shapes! {
    /// Where somebody reports.
    pub struct Address {
        /// What sort of address it is.
        pub sort: AddressSort,
        /// Whose: a heartbeat's or a provider's name; none of `key`, behind which any heartbeat's name may stand.
        pub name: Option<String>,
        /// The address, a secret; none for whoever may only read.
        pub address: Option<String>,
        /// When something came there last, in milliseconds since 1970; of `key` it is not known.
        pub last: Option<u64>,
        /// The key of the config that says which it is, where one does: then it is not made anew here.
        pub given: Option<String>,
        /// Who enters it at the vendor, in words; of a webhook.
        pub entered: Option<String>,
    }

    /// An address is to be made anew.
    pub struct RotateAsk {
        /// Why.
        pub reason: Reason,
        /// What sort of address it is.
        pub sort: AddressSort,
        /// Whose; none of `key`.
        pub name: Option<String>,
    }
}

impl Address {
    fn of(reporter: Reporter, is_shown: bool) -> Self {
        let (sort, name) = match reporter.which {
            Which::Key => (AddressSort::Key, None),
            Which::Heartbeat(name) => (AddressSort::Heartbeat, Some(name)),
            Which::Hook(name) => (AddressSort::Hook, Some(name)),
        };
        Self {
            sort,
            name,
            address: is_shown.then_some(reporter.address),
            last: reporter.last.map(|at| at.0),
            given: reporter.given,
            entered: reporter.entered.map(str::to_owned),
        }
    }
}

/// Which address is meant by `sort` and `name`.
pub(crate) fn which(sort: AddressSort, name: Option<String>) -> Result<Which, Refusal> {
    match (sort, name) {
        (AddressSort::Key, None) => Ok(Which::Key),
        (AddressSort::Heartbeat, Some(name)) => Ok(Which::Heartbeat(name)),
        (AddressSort::Hook, Some(name)) => Ok(Which::Hook(name)),
        (AddressSort::Key, Some(_)) => Err(Refusal::new(
            Why::Wrong,
            "the key of all heartbeats has no name",
            "leave `name` out",
        )),
        (AddressSort::Heartbeat | AddressSort::Hook, None) => {
            Err(Refusal::new(Why::Wrong, "it is not said whose address is meant", "add `name`"))
        }
    }
}

/// Where everybody reports, as `caller` may see it.
pub(crate) async fn addresses(
    site: &Site,
    caller: Option<&Caller>,
) -> Result<Vec<Address>, Refusal> {
    let is_shown = caller.is_some_and(|caller| caller.may(Scope::Operate));
    let all = address::all(&*site.store, &site.config, &site.addresses).await?;
    Ok(all.into_iter().map(|one| Address::of(one, is_shown)).collect())
}

/// Makes an address anew.
pub(crate) async fn rotate(
    site: &Site,
    by: &str,
    which: &Which,
    why: &str,
) -> Result<Address, Refusal> {
    let hand = Hand::of(site, by);
    let fresh = address::rotate(hand, &site.config, &site.addresses, which, why).await?;
    Ok(Address::of(fresh, true))
}
