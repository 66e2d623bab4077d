//! Looks at things from outside, again and again, and keeps what it saw.

mod beats;
mod domains;
mod eyes;
mod guard;
mod keeper;
pub mod probe;
mod rdap;
mod spans;
pub mod target;
mod usual;
mod vantage;
mod watcher;
mod windows;

pub use beats::{Awaited, Listening};
pub use domains::{Domain, Domains};
pub use eyes::Eyes;
pub use guard::Guard;
pub use keeper::{Noted, word};
pub use probe::{CertificateSeen, Phases, Prober, Saw};
pub use rdap::Registries;
pub use target::{
    Authority, DnsRecord, DnsTarget, GrpcTarget, HttpTarget, JsonRule, Target, Trust,
};
pub use vantage::Here;
pub use watcher::{Watched, Watching, Witness};
pub use windows::Windows;
