//! Sentry: one organization, whose issues a rehearsal or a test makes. It is asked, and changes nothing.
//!
//! Facts: Sentry's own OpenAPI description (paths, shapes, 401, 403, 404) and docs.sentry.io/api (refusals are `detail`).

use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::SentryEndpoint;
use super::watcher::{Shelf, merge, time};

/// The only organization.
const ORGANIZATION: &str = "acme";

/// The vendor.
pub(crate) struct Sentry {
    ground: Ground,
    token: String,
    client_secret: String,
    issues: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "detail": text }))
}

impl Sentry {
    pub(crate) fn new(ground: Ground) -> Self {
        let (token, client_secret) = (ground.dice.hex(64), ground.dice.hex(64));
        Self { ground, token, client_secret, issues: Shelf::default() }
    }

    pub(crate) fn endpoint(&self, api: String) -> SentryEndpoint {
        SentryEndpoint {
            api,
            token: self.token.clone(),
            organization: ORGANIZATION.to_owned(),
            client_secret: self.client_secret.clone(),
        }
    }

    /// The newest, as many as are asked for. Only those that nobody has resolved, as long as no `query` is said.
    fn list(&self, call: &Call) -> Answer {
        let most = call.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(100);
        let mut rows = self.issues.all();
        rows.retain(|row| row["status"] == "unresolved");
        rows.reverse();
        rows.truncate(most);
        for row in &mut rows {
            // Only lists have these, and an issue by itself has others of the same names.
            let since = row["firstSeen"].clone();
            row["inbox"] = json!({ "reason": 0, "reason_details": null, "date_added": since });
            row["owners"] =
                json!({ "type": "ownershipRule", "owner": "team:1", "date_added": since });
        }
        Answer::json(200, &rows.into())
    }

    /// Makes an issue that was seen now; gives its id.
    pub(crate) fn make(&self, title: &str, status: &str) -> String {
        let now = time(self.ground.clock.wall());
        let issue = self.issues.add(|number| issue(number, title, status, &now));
        issue["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Gives an issue another status; says whether there is such an issue.
    pub(crate) fn change(&self, id: &str, status: &str) -> bool {
        self.issues.change("id", id, |issue| issue["status"] = json!(status)).is_some()
    }
}

/// An issue with every field that the description promises of one in a list or by itself.
fn issue(number: u64, title: &str, status: &str, now: &str) -> Value {
    let id = (number + 1_117_540_000).to_string();
    let link = format!("https://{ORGANIZATION}.sentry.io/issues/{id}/");
    let mut issue = json!({
        "id": id, "shortId": format!("SHOP-{number}"), "shareId": null, "title": title, "culprit": "app.pay",
        "permalink": link, "logger": null, "level": "error", "status": status, "statusDetails": {},
        "substatus": "new", "isPublic": false, "platform": "python", "priority": "high",
        "priorityLockedAt": null, "seerFixabilityScore": null, "seerAutofixLastTriggered": null,
        "seerExplorerAutofixLastTriggered": null,
        "project": { "id": "1", "name": "shop", "slug": "shop", "platform": "python" },
        "type": "error", "issueType": "error", "issueCategory": "error", "metadata": {}, "numComments": 0,
        "assignedTo": null, "isBookmarked": false, "isSubscribed": false, "subscriptionDetails": null,
        "hasSeen": false, "annotations": [], "firstSeen": now, "lastSeen": now, "count": "1", "userCount": 1,
    });
    let rest = json!({
        "activity": [], "participants": [], "seenBy": [], "userReportCount": 0, "firstRelease": null,
        "lastRelease": null, "tags": [], "stats": {}, "filtered": null, "integrationIssues": [],
        "isUnhandled": true, "latestEventHasAttachments": false, "lifetime": {},
        "matchingEventEnvironment": null, "matchingEventId": null, "sentryAppIssues": [], "sessionCount": 0,
        "derivedData": {
            "blocker": "none", "progress": "none", "status": "new", "viewCount": 0, "hasOpenFixPr": false,
            "isAssigned": false, "hasRootCause": false, "lastCompletedAutofixStep": "none", "lastProgressedAt": null,
        },
    });
    if let Value::Object(rest) = &rest {
        merge(&mut issue, rest);
    }
    issue
}

impl Beside for Sentry {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.bearer() != Some(self.token.as_str()) {
            return refused(401, "Invalid token");
        }
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let ["api", "0", "organizations", ORGANIZATION, "issues", rest @ ..] = parts.as_slice()
        else {
            return refused(404, "The requested resource does not exist");
        };
        match (call.method.as_str(), rest) {
            ("GET", [] | [""]) => self.list(call),
            ("GET", [id] | [id, ""]) => match self.issues.find("id", id) {
                Some(issue) => Answer::json(200, &issue),
                None => refused(404, "The requested resource does not exist"),
            },
            _ => refused(404, "The requested resource does not exist"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "You are attempting to use this endpoint too frequently")
            .with("retry-after", "40")
    }
}
