//! The stack itself, its secrets, what it may cost, and when it moves.

use std::num::NonZeroU32;
use std::time::Duration;

use super::address::Host;
use super::amount::{Bytes, Money, Percent};
use super::macros::{choice, section};
use super::read::Field;
use crate::{Policy, ProviderName, StackName};

section! {
    /// What this file declares.
    pub struct Stack as "stack" {
        /// What the stack is called. Part of names at providers, so it does not change later.
        name: StackName,
        /// The domain that its routes are under. `${stack.domain}` may stand in hosts, routes and addresses.
        domain: Option<Host>,
        /// The folder for what LinkFlow keeps on this machine, beside this file.
        state: String = ".linkflow".to_owned(),
        /// Whether services with a route, databases, caches and domains are watched without a monitor of their own.
        watch: bool = true,
    }
}

section! {
    /// Where secrets are kept. Embedded: an encrypted file beside this one.
    pub struct Secrets as "secrets" {
        /// `embedded`, or a provider that keeps secrets.
        from: ProviderName = <ProviderName as Field>::blank(),
        /// The encrypted file of the embedded keeper, beside this one.
        file: String = "linkflow.secrets".to_owned(),
        /// Providers that every secret is also written to.
        sync_to: Vec<ProviderName>,
        /// How old a secret may become before a reminder.
        rotate_after: Option<Duration>,
    }
}

section! {
    /// When a service is moved to another provider, and when it moves back.
    pub struct Failover as "failover" {
        /// How often each placement is probed while all is well.
        probe_every: Duration = Duration::from_secs(5),
        /// How long a probe may take.
        probe_timeout: Duration = Duration::from_secs(2),
        /// How often a placement is probed from the first doubt until the verdict.
        probe_in_doubt: Duration = Duration::from_millis(250),
        /// Bad probes in a row until a placement counts as down.
        fall: NonZeroU32 = at_least_one(2),
        /// Good probes in a row until it counts as up.
        rise: NonZeroU32 = at_least_one(3),
        /// How long the active placement must be down before the service is moved.
        confirm: Duration = Duration::from_secs(5),
        /// How long a more preferred placement must be up before the service moves back.
        failback_after: Duration = Duration::from_secs(120),
        /// How long a service stays where it was moved to, unless that fails too.
        min_stay: Duration = Duration::from_secs(300),
        /// How often providers are asked for their state.
        look_every: Duration = Duration::from_secs(60),
        /// How old a provider's word may be and still be believed. Three times `look_every` when not said.
        stale_after: Option<Duration>,
    }
}

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

impl Failover {
    /// The timings as the loop wants them.
    pub fn policy(&self) -> Policy {
        Policy {
            probe_every_ms: ms(self.probe_every),
            probe_timeout_ms: ms(self.probe_timeout),
            probe_in_doubt_ms: ms(self.probe_in_doubt),
            fall: self.fall.get(),
            rise: self.rise.get(),
            confirm_ms: ms(self.confirm),
            failback_after_ms: ms(self.failback_after),
            min_stay_ms: ms(self.min_stay),
            look_every_ms: ms(self.look_every),
            stale_after_ms: self.stale_after.map_or(ms(self.look_every) * 3, ms),
        }
    }
}

/// Whole milliseconds. No duration of the config is longer than ten years.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

section! {
    /// What the stack may cost in a month.
    pub struct Budget as "budget" {
        /// The most that a month may cost.
        month: Money,
        /// From which share of it to warn.
        warn_at: Percent = Percent(80),
        /// What to do before it would be exceeded.
        at_limit: AtLimit = AtLimit::Warn,
    }
}

choice! {
    /// What happens when an allowance is about to end.
    pub enum AtLimit {
        /// Say so, and change nothing.
        Warn = "warn",
        /// Prefer other providers.
        Shift = "shift",
        /// Keep only what is marked critical.
        Protect = "protect",
    }
}

section! {
    /// A limit of a provider's plan that differs from what LinkFlow knows of it.
    pub struct Quota as "quota" {
        /// Whose limit it is.
        provider: ProviderName,
        /// What is counted, as `linkflow usage` calls it: `requests`, `mail.recipients`.
        metric: String,
        /// How many there are in a period. Sizes take `size` instead.
        limit: Option<u32>,
        /// How many bytes there are in a period.
        size: Option<Bytes>,
        /// The period.
        per: Period = Period::Month,
        /// The share that is kept back for emergencies.
        reserve: Percent = Percent(10),
        /// What to do before it ends.
        at_limit: AtLimit = AtLimit::Warn,
    }
}

choice! {
    /// After which time an allowance begins anew.
    pub enum Period {
        /// Every minute.
        Minute = "minute",
        /// Every hour.
        Hour = "hour",
        /// Every day.
        Day = "day",
        /// Every month.
        Month = "month",
        /// Never: it is a limit of what may be held.
        Total = "total",
    }
}
