//! Where images come from.

mod access;
mod challenge;
mod copy;
mod explain;
mod manifest;
mod oci;

pub use oci::{Credentials, Oci, Settings};
