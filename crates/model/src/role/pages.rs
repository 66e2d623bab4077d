//! Keeping files where people read them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::Fault;

/// Files by path; `index.html` is the one that people come to.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What putting files somewhere came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// How many were written, because they were not there or differed.
    pub written: usize,
    /// How many were taken away, because they had been put there and are no longer wanted.
    pub removed: usize,
}

/// A place that shows files to people.
#[async_trait]
pub trait Pages: Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// Makes the place hold `files`. It can be repeated: what is there already is left as it is. Each file is replaced as a
    /// whole, and what others lead to comes first, so that whoever reads meanwhile finds no broken page.
    ///
    /// What was not put there by this is never taken away, and a place that shows something else is refused
    /// ([`FaultKind::Conflict`](crate::FaultKind::Conflict)).
    async fn put(&self, files: &Files) -> Result<Put, Fault>;
}

/// What HTTP calls the type of the file at `path`.
pub fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "atom" => "application/atom+xml; charset=utf-8",
        "ics" => "text/calendar; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
