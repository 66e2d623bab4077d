//! Places that show files to people.

mod archive;
pub mod bucket;
pub mod embedded;
pub mod git;
pub mod ssh;
