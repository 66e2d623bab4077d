//! Where images come from.

mod challenge;
mod oci;

pub use oci::{Credentials, Oci, Settings};
