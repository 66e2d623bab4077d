//! Providers that rent machines.

pub mod first_boot;
pub mod hetzner;
pub mod keys;
