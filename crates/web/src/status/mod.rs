//! The status page: gathered from the store as one plain value ([`Page`]), and rendered into files ([`Bundle`]).

mod api;
mod badge;
mod banner;
mod bundle;
mod calendar;
mod draw;
mod feed;
pub(crate) mod gather;
mod html;
pub(crate) mod markdown;
mod merge;
mod page;
pub(crate) mod time;
mod uptime;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub use banner::{Banner, Indicator};
pub use bundle::Bundle;
pub use gather::{GatherError, Look, gather};
pub use page::{Component, Latency, Page, Stretch, Subscribing};
pub use uptime::{Share, Tally};

/// What a page without a language of its own is written in.
pub(crate) const FALLBACK: linkflow_model::config::Language =
    linkflow_model::config::Language::English;
