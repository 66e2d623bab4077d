//! Why a request cannot be answered: where it is wrong, what, and what helps.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::operator::{Refusal, Why};
use crate::shape::shapes;

shapes! {
    /// Why a request is not answered.
    pub struct Problem {
        /// What is wrong.
        pub error: Wrong,
    }

    /// What is wrong, where, and what helps.
    pub struct Wrong {
        /// Where: `body`, `query`, `path`, `caller`, `stack`.
        pub place: String,
        /// What, in one sentence.
        pub what: String,
        /// What helps; may be empty.
        pub help: String,
    }
}

/// A problem with its status.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    wrong: Wrong,
}

impl Refused {
    pub(crate) fn new(
        status: StatusCode,
        place: &str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let wrong = Wrong { place: place.to_owned(), what: what.into(), help: help.into() };
        Self { status, wrong }
    }

    /// What is wrong, and what helps.
    pub(crate) fn said(&self) -> (&str, &str) {
        (&self.wrong.what, &self.wrong.help)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, place) = match refusal.why {
            Why::Missing => (StatusCode::NOT_FOUND, "path"),
            Why::Wrong | Why::Forbidden => (StatusCode::CONFLICT, "body"),
            Why::Busy => (StatusCode::CONFLICT, "stack"),
            Why::Failed => (StatusCode::SERVICE_UNAVAILABLE, "stack"),
        };
        Self::new(status, place, refusal.what, refusal.help)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(Problem { error: self.wrong })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"linkflow\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
