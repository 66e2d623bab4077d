//! Places that show files to people.

pub mod bucket;
pub mod embedded;
