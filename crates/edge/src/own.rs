//! A host that the edge answers for by itself, out of memory: it needs no target, so it is there when all of them are away.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

/// Answers for a host without asking anybody.
pub trait Answers: Send + Sync {
    /// The answer to a request for `path`; of `HEAD` as of `GET`, for the body is left out afterwards.
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Bytes>;
}

/// A host that is answered for here.
#[derive(Clone)]
pub struct OwnHost {
    /// Its name, in small letters.
    pub host: String,
    /// Who answers.
    pub by: Arc<dyn Answers>,
}

impl fmt::Debug for OwnHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnHost").field(&self.host).finish()
    }
}
