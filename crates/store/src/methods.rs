//! What a store can be asked, once, for those that stand before another store.

/// Gives every method of [`Store`](crate::Store) to the macro `$of`, as `fn name(&self, argument: Type) -> Answer;`.
macro_rules! all_methods {
    ($of:ident) => {
        $of! {
            fn append(&self, event: &Event) -> u64;
            fn events(&self, after: u64, limit: usize) -> Vec<(u64, Event)>;
            fn newest_event(&self) -> u64;
            fn read(&self, key: &str) -> Option<Document>;
            fn list(&self, prefix: &str) -> Vec<Document>;
            fn last(&self, prefix: &str) -> Option<Document>;
            fn changed(&self, prefix: &str, after: Option<u64>) -> (u64, Vec<Document>);
            fn write(&self, key: &str, expected: Option<u64>, body: &Value, fence: Option<&Fence>) -> u64;
            fn remove(&self, key: &str, expected: u64) -> ();
            fn put_job(&self, queue: &str, id: &str, body: &Value, due: Timestamp) -> bool;
            fn claim_job(&self, queue: &str, now: Timestamp, until: Timestamp) -> Option<Job>;
            fn finish_job(&self, job: &Job) -> ();
            fn return_job(&self, job: &Job, due: Timestamp) -> ();
            fn open_jobs(&self, queue: &str) -> u64;
            fn record(&self, name: &str, at: Timestamp, value: f64) -> ();
            fn series(&self, name: &str, from: Timestamp, to: Timestamp, step_ms: u64) -> Vec<Bucket>;
            fn forget(&self, before: Timestamp) -> u64;
            fn keep_readings(&self, readings: &[Reading]) -> ();
            fn readings(&self, subject: &str, from: Timestamp, to: Timestamp, most: usize) -> Vec<Reading>;
            fn add_up(&self, now: Timestamp) -> ();
            fn rollups(&self, subject: &str, step: Step, from: Timestamp, to: Timestamp) -> Vec<Rollup>;
            fn thin_out(&self, now: Timestamp) -> bool;
            fn lease(&self, name: &str) -> Option<Lease>;
            fn take_lease(&self, name: &str, owner: &str, replacing: Option<(u64, u64)>) -> Fence;
            fn beat_lease(&self, fence: &Fence) -> ();
            fn free_lease(&self, fence: &Fence) -> ();
        }
    };
}

pub(crate) use all_methods;
