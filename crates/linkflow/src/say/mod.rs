//! What the user reads.

pub(crate) mod answer;
pub(crate) mod output;
pub(crate) mod problem;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod wrap;
