//! Accounts that several roles share: how each signs in, and how its API speaks.

pub(crate) mod cloudflare;
