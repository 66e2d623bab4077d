//! The objects that many answers hold: who did it, and in which repository.

use linkflow_model::Timestamp;
use serde_json::{Map, Value, json};

use super::{BRANCH, COMMIT, OWNER, REPOSITORY};

/// Where the API is, in addresses that answers hold.
const API: &str = "https://api.github.com";
/// Where people look.
const WEB: &str = "https://github.com";

/// A time as GitHub writes it, in whole seconds.
pub(super) fn time(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}

/// An address of the API within the repository.
pub(super) fn api(rest: &str) -> String {
    format!("{API}/repos/{OWNER}/{REPOSITORY}{rest}")
}

/// An address for people within the repository.
pub(super) fn web(rest: &str) -> String {
    format!("{WEB}/{OWNER}/{REPOSITORY}{rest}")
}

/// The owner of the token, and of the repository.
pub(super) fn user() -> Value {
    let at = |rest: &str| format!("{API}/users/{OWNER}{rest}");
    json!({
        "login": OWNER,
        "id": 1,
        "node_id": "O_kgDOAAAAAQ",
        "avatar_url": "https://avatars.githubusercontent.com/u/1",
        "gravatar_id": "",
        "url": at(""),
        "html_url": format!("{WEB}/{OWNER}"),
        "followers_url": at("/followers"),
        "following_url": at("/following{/other_user}"),
        "gists_url": at("/gists{/gist_id}"),
        "starred_url": at("/starred{/owner}{/repo}"),
        "subscriptions_url": at("/subscriptions"),
        "organizations_url": at("/orgs"),
        "repos_url": at("/repos"),
        "events_url": at("/events{/privacy}"),
        "received_events_url": at("/received_events"),
        "type": "Organization",
        "site_admin": false,
    })
}

/// The addresses that a repository has, by what their names begin with.
const PLACES: [(&str, &str); 37] = [
    ("archive", "/{archive_format}{/ref}"),
    ("assignees", "/assignees{/user}"),
    ("blobs", "/git/blobs{/sha}"),
    ("branches", "/branches{/branch}"),
    ("collaborators", "/collaborators{/collaborator}"),
    ("comments", "/comments{/number}"),
    ("commits", "/commits{/sha}"),
    ("compare", "/compare/{base}...{head}"),
    ("contents", "/contents/{+path}"),
    ("contributors", "/contributors"),
    ("deployments", "/deployments"),
    ("downloads", "/downloads"),
    ("events", "/events"),
    ("forks", "/forks"),
    ("git_commits", "/git/commits{/sha}"),
    ("git_refs", "/git/refs{/sha}"),
    ("git_tags", "/git/tags{/sha}"),
    ("hooks", "/hooks"),
    ("issue_comment", "/issues/comments{/number}"),
    ("issue_events", "/issues/events{/number}"),
    ("issues", "/issues{/number}"),
    ("keys", "/keys{/key_id}"),
    ("labels", "/labels{/name}"),
    ("languages", "/languages"),
    ("merges", "/merges"),
    ("milestones", "/milestones{/number}"),
    ("notifications", "/notifications{?since,all,participating}"),
    ("pulls", "/pulls{/number}"),
    ("releases", "/releases{/id}"),
    ("stargazers", "/stargazers"),
    ("statuses", "/statuses/{sha}"),
    ("subscribers", "/subscribers"),
    ("subscription", "/subscription"),
    ("tags", "/tags"),
    ("teams", "/teams"),
    ("trees", "/git/trees{/sha}"),
    ("svn", ""),
];

/// The repository.
pub(super) fn repository() -> Value {
    let mut fields: Map<String, Value> =
        PLACES.iter().map(|(name, rest)| (format!("{name}_url"), api(rest).into())).collect();
    let own = json!({
        "id": 42,
        "node_id": "R_kgDOAAAAKg",
        "name": REPOSITORY,
        "full_name": format!("{OWNER}/{REPOSITORY}"),
        "owner": user(),
        "private": false,
        "html_url": web(""),
        "description": null,
        "fork": false,
        "url": api(""),
    });
    if let Value::Object(own) = own {
        fields.extend(own);
    }
    Value::Object(fields)
}

/// The repository with all that is told of it when it is asked for by itself.
pub(super) fn whole_repository(made: Timestamp) -> Value {
    let mut whole = repository();
    let more = json!({
        "clone_url": format!("{WEB}/{OWNER}/{REPOSITORY}.git"),
        "default_branch": BRANCH,
        "permissions": { "admin": true, "maintain": true, "push": true, "triage": true, "pull": true },
        "git_url": format!("git://github.com/{OWNER}/{REPOSITORY}.git"),
        "ssh_url": format!("git@github.com:{OWNER}/{REPOSITORY}.git"),
        "svn_url": web(""),
        "mirror_url": null,
        "homepage": null,
        "language": null,
        "license": null,
        "has_issues": true,
        "has_projects": false,
        "has_wiki": false,
        "has_pages": false,
        "has_discussions": false,
        "archived": false,
        "disabled": false,
        "size": 1,
        "forks": 0,
        "forks_count": 0,
        "open_issues": 0,
        "open_issues_count": 0,
        "stargazers_count": 0,
        "subscribers_count": 0,
        "watchers": 0,
        "watchers_count": 0,
        "network_count": 0,
        "created_at": time(made),
        "updated_at": time(made),
        "pushed_at": time(made),
    });
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}

/// The commit that everything is at.
pub(super) fn commit(at: Timestamp) -> Value {
    let who = json!({ "name": "Ada", "email": "ada@example.com" });
    json!({
        "id": COMMIT,
        "tree_id": COMMIT,
        "message": "api: answer sooner",
        "timestamp": time(at),
        "author": who,
        "committer": who,
    })
}
