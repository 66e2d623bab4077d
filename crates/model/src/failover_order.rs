//! Services that serve from a provider somebody named, whatever their cascade prefers.

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ServiceName, Timestamp};

/// That somebody wants a service, or every one, to serve from the provider that they name. A document of the store under
/// [`FailoverOrder::key`], which goes when it is ended or its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverOrder {
    /// The provider that serves.
    pub to: ProviderName,
    /// The one service that is meant; every one that may run there when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Who wanted it.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when; until it is ended when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl FailoverOrder {
    /// The prefix of the keys of all of them.
    pub const PREFIX: &'static str = "failover/";

    /// The key of the order for `service`, or for every one. No service is called `*`.
    pub fn key(service: Option<&ServiceName>) -> String {
        format!("{}{}", Self::PREFIX, service.map_or("*", ServiceName::as_str))
    }

    /// Whether it still holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The one of `orders` that `service` goes by at `now`: its own before that of all.
    pub fn of<'a>(orders: &'a [Self], service: &ServiceName, now: Timestamp) -> Option<&'a Self> {
        let held = orders.iter().filter(|order| order.holds(now));
        let own = held.clone().find(|order| order.service.as_ref() == Some(service));
        own.or_else(|| held.clone().find(|order| order.service.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_own_order_counts_before_that_of_all_and_neither_after_its_time() {
        let order = |to: &str, service: Option<&str>, until: Option<u64>| FailoverOrder {
            to: to.parse().unwrap(),
            service: service.map(|name| name.parse().unwrap()),
            by: "ann".to_owned(),
            why: "they rebuild".to_owned(),
            at: Timestamp(0),
            until: until.map(Timestamp),
        };
        let orders = [order("a", None, None), order("b", Some("api"), Some(10))];
        let to = |service: &str, now: u64| {
            let held = FailoverOrder::of(&orders, &service.parse().unwrap(), Timestamp(now));
            held.map(|order| order.to.to_string()).unwrap()
        };
        assert_eq!(
            (to("api", 9), to("api", 10), to("web", 0)),
            ("b".into(), "a".into(), "a".into())
        );
        assert_eq!(FailoverOrder::of(&[], &"api".parse().unwrap(), Timestamp(0)), None);
        assert_eq!(FailoverOrder::key(None), "failover/*");
    }
}
