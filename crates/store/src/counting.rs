//! A store that counts what is asked of it: what is cheap is shown by counts, which a slow machine does not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use linkflow_model::{Event, Timestamp};
use serde_json::Value;

use crate::methods::all_methods;
use crate::{Bucket, Document, Fence, Job, Lease, Reading, Rollup, Step, Store, StoreError};

/// Counts the calls that a store is asked and the documents that it hands out. For tests.
pub struct Counting {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    documents: AtomicU64,
}

impl Counting {
    /// Counts what is asked of `inner`.
    pub fn of(inner: Arc<dyn Store>) -> Self {
        Self { inner, calls: AtomicU64::new(0), documents: AtomicU64::new(0) }
    }

    /// How many calls and how many documents there were since this was asked last.
    pub fn take(&self) -> (u64, u64) {
        (self.calls.swap(0, Ordering::Relaxed), self.documents.swap(0, Ordering::Relaxed))
    }
}

/// How many documents an answer has.
trait Handed {
    fn documents(&self) -> usize {
        0
    }
}

impl Handed for Vec<Document> {
    fn documents(&self) -> usize {
        self.len()
    }
}

impl Handed for (u64, Vec<Document>) {
    fn documents(&self) -> usize {
        self.1.len()
    }
}

impl Handed for Option<Document> {
    fn documents(&self) -> usize {
        usize::from(self.is_some())
    }
}

macro_rules! without_documents {
    ($($type:ty),+ $(,)?) => { $(impl Handed for $type {})+ };
}

without_documents!(
    u64,
    bool,
    (),
    Fence,
    Option<Lease>,
    Option<Job>,
    Vec<Bucket>,
    Vec<Reading>,
    Vec<Rollup>,
    Vec<(u64, Event)>,
);

macro_rules! counted {
    ($(fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Store for Counting {$(
            async fn $name(&self $(, $arg: $type)*) -> Result<$answer, StoreError> {
                let answer = self.inner.$name($($arg),*).await?;
                self.calls.fetch_add(1, Ordering::Relaxed);
                let documents = u64::try_from(answer.documents()).unwrap_or(u64::MAX);
                self.documents.fetch_add(documents, Ordering::Relaxed);
                Ok(answer)
            }
        )+}
    };
}

all_methods!(counted);
