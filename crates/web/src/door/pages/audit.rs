//! What was done, month by month.

use askama::Template;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::ToSpan;
use jiff::civil::Date;
use linkflow_model::access::Scope;
use serde::Deserialize;

use super::super::audit::{Deed, deeds, month};
use super::super::refused::{Refused, needs};
use super::Asked;
use crate::frame::{At, Frame, escaped, show};

/// How many deeds one page shows.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "door/audit.html")]
struct Audit {
    frame: Frame,
    month: String,
    wanted: String,
    /// The same, for a link.
    linked: String,
    rows: Vec<(At, Deed)>,
    /// How many there are of the month, with what was looked for.
    all: usize,
    /// The pages before and after this one, where there are any.
    newer: Option<usize>,
    older: Option<usize>,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    month: String,
    q: String,
    page: String,
}

/// The month `by` months from `month`.
fn beside(month: &str, by: i32) -> Option<String> {
    let first: Date = format!("{month}-01").parse().ok()?;
    Some(first.checked_add(by.months()).ok()?.strftime("%Y-%m").to_string())
}

fn has(deed: &Deed, wanted: &str) -> bool {
    let texts = [&deed.who, &deed.what, &deed.why, &deed.from, &deed.outcome];
    texts.iter().any(|text| text.to_lowercase().contains(wanted))
}

/// `GET /audit?month=2026-11&q=ann`.
pub(super) async fn page(asked: Asked, Query(wanted): Query<Wanted>) -> Result<Response, Refused> {
    needs(asked.caller()?, Scope::Admin)?;
    let today = month(asked.now());
    let known = beside(&wanted.month, 0).filter(|month| *month <= today);
    let month = known.unwrap_or_else(|| today.clone());
    let mut found = deeds(&*asked.site.store, &month).await?;
    let text = wanted.q.trim().to_lowercase();
    found.retain(|deed| text.is_empty() || has(deed, &text));
    let all = found.len();
    let page = wanted.page.parse::<usize>().unwrap_or(1).clamp(1, all.div_ceil(ROWS).max(1));
    let rows = found.into_iter().skip((page - 1) * ROWS).take(ROWS);
    let page = Audit {
        frame: asked.frame,
        before: beside(&month, -1),
        after: beside(&month, 1).filter(|after| *after <= today),
        month,
        linked: escaped(wanted.q.trim()),
        wanted: wanted.q.trim().to_owned(),
        rows: rows.map(|deed| (At::new(deed.at), deed)).collect(),
        all,
        newer: (page > 1).then(|| page - 1),
        older: (page * ROWS < all).then_some(page + 1),
    };
    Ok(show(StatusCode::OK, &page))
}
