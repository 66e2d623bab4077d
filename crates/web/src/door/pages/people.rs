//! Who may come in: people, links for more of them, and tokens of programs.

use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use linkflow_model::Timestamp;
use linkflow_model::access::Scope;
use serde::Deserialize;

use super::super::audit::{by, noting};
use super::super::refused::{Refused, needs};
use super::super::{AccessError, invites, people, sessions, tokens};
use super::{AGAIN, Asked, on};
use crate::frame::{At, Frame, show};

/// The longest that a token may be good, where it ends at all: ten years.
const DAYS: u64 = 3_650;

#[derive(Template)]
#[template(path = "door/people.html")]
struct People {
    frame: Frame,
    said: Option<&'static str>,
    error: Option<String>,
    stale: Option<&'static str>,
    /// A link or a token, this once.
    new: Option<New>,
    people: Vec<PersonRow>,
    invites: Vec<InviteRow>,
    tokens: Vec<TokenRow>,
    scopes: [(&'static str, &'static str); 3],
}

/// Something that is shown once.
struct New {
    title: String,
    shown: String,
    help: &'static str,
}

struct PersonRow {
    name: String,
    scope: &'static str,
    ways: String,
    sessions: usize,
    seen: Option<At>,
    you: bool,
}

struct InviteRow {
    id: String,
    name: String,
    scope: &'static str,
    by: String,
    until: At,
}

struct TokenRow {
    id: String,
    name: String,
    scope: &'static str,
    by: String,
    until: Option<At>,
    over: bool,
    used: Option<At>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    said: String,
    id: String,
    name: String,
    scope: String,
    days: String,
    why: String,
}

/// What scopes are for, in a line.
const SCOPES: [(&str, &str); 3] = [
    ("read", "read: see how things are"),
    ("operate", "operate: acknowledge, drain, move, deploy, go back"),
    ("admin", "admin: say who may do what"),
];

fn scope_of(word: &str) -> Result<Scope, AccessError> {
    let scope = Scope::ALL.into_iter().find(|scope| scope.word() == word);
    scope.ok_or_else(|| AccessError::no("choose what they may do: read, operate or admin"))
}

fn said(word: &str) -> Option<&'static str> {
    Some(match word {
        "scope" => "What they may do was changed.",
        "removed" => "They cannot come in any more, and their sessions have ended.",
        "withdrawn" => "The link is good no more.",
        "revoked" => "The token is good no more.",
        _ => return None,
    })
}

#[derive(Default)]
struct Besides {
    said: Option<&'static str>,
    error: Option<String>,
    new: Option<New>,
}

async fn people_rows(asked: &Asked, you: &str) -> Result<Vec<PersonRow>, AccessError> {
    let (store, now) = (&*asked.site.store, asked.now());
    let mut rows = Vec::new();
    for person in people::everybody(store).await? {
        let held = sessions::of(store, &person.name, now).await?;
        rows.push(PersonRow {
            scope: person.scope.word(),
            ways: person.ways(),
            sessions: held.len(),
            seen: held.first().map(|held| At::new(held.value.seen)),
            you: person.name == you && asked.signed.is_some(),
            name: person.name,
        });
    }
    Ok(rows)
}

async fn shown(asked: &Asked, besides: Besides) -> Result<Response, Refused> {
    let (store, now) = (&*asked.site.store, asked.now());
    let invites = invites::open(store, now).await?.into_iter().map(|(id, invite)| InviteRow {
        id,
        name: invite.name.unwrap_or_else(|| "whoever has it".to_owned()),
        scope: invite.scope.map_or("as before", Scope::word),
        by: invite.by,
        until: At::new(invite.until),
    });
    let tokens = tokens::every(store).await?.into_iter().map(|token| TokenRow {
        over: token.is_over(now),
        id: token.id,
        name: token.name,
        scope: token.scope.word(),
        by: token.by,
        until: token.until.map(At::new),
        used: token.used.map(At::new),
    });
    let page = People {
        frame: asked.frame.clone(),
        said: besides.said,
        stale: (!asked.is_fresh()).then_some(AGAIN),
        new: besides.new,
        people: people_rows(asked, &asked.caller()?.name).await?,
        invites: invites.collect(),
        tokens: tokens.collect(),
        scopes: SCOPES,
        error: besides.error,
    };
    let status = if page.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(show(status, &page))
}

/// `GET /people`.
pub(super) async fn page(asked: Asked, Query(typed): Query<Typed>) -> Result<Response, Refused> {
    needs(asked.caller()?, Scope::Admin)?;
    shown(&asked, Besides { said: said(&typed.said), ..Besides::default() }).await
}

/// Makes a change: it is noted, and the page says it, or why it was not done.
async fn told(
    asked: &Asked,
    (what, why): (&str, &str),
    act: impl Future<Output = Result<Besides, AccessError>>,
    word: &str,
) -> Result<Response, Refused> {
    match noting(&asked.site, by(asked.caller()?), (what, why), act).await {
        Ok(besides) if besides.new.is_some() => shown(asked, besides).await,
        Ok(_) => Ok(on(HeaderMap::new(), &format!("/people?said={word}"))),
        Err(AccessError::Refused(why)) => {
            shown(asked, Besides { error: Some(why), ..Besides::default() }).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses whoever may not say who may do what, or signed in too long ago for it.
fn admitted(asked: &Asked) -> Result<(), Refused> {
    needs(asked.caller()?, Scope::Admin)?;
    asked.fresh()
}

/// `POST /people/scope`.
pub(super) async fn scope(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let act = async {
        let scope = scope_of(&typed.scope)?;
        people::rescope(&*asked.site.store, &typed.name, scope).await?;
        Ok(Besides::default())
    };
    let what = format!("let {} do `{}`", typed.name, typed.scope);
    told(&asked, (&what, &typed.why), act, "scope").await
}

/// `POST /people/remove`.
pub(super) async fn remove(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let act = async {
        people::remove(&*asked.site.store, &typed.name).await?;
        Ok(Besides::default())
    };
    let what = format!("removed {}", typed.name);
    told(&asked, (&what, &typed.why), act, "removed").await
}

/// `POST /people/invite`.
pub(super) async fn invite(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let act = async {
        let name = Some(typed.name.trim()).filter(|name| !name.is_empty());
        let scope = Some(scope_of(&typed.scope)?);
        let by = &asked.frame.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default();
        let store = &*asked.site.store;
        let (secret, _) = invites::invite(store, (name, scope), by, asked.now()).await?;
        let title = name.map_or_else(
            || "A link for somebody new".to_owned(),
            |name| format!("A link for {name}"),
        );
        let shown = format!("{}/setup/{secret}", asked.origin.origin);
        let help = "Give it to them in a way that only they read. It is good for one hour, and once, and is not shown again.";
        Ok(Besides { new: Some(New { title, shown, help }), ..Besides::default() })
    };
    let who = if typed.name.trim().is_empty() { "somebody new" } else { typed.name.trim() };
    let what = format!("made a link for {who} with `{}`", typed.scope);
    told(&asked, (&what, &typed.why), act, "").await
}

/// `POST /people/invite/withdraw`.
pub(super) async fn withdraw(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let act = async {
        let is_gone = invites::withdraw(&*asked.site.store, &typed.id).await?;
        let none = || AccessError::no("there is no such link any more");
        is_gone.then(Besides::default).ok_or_else(none)
    };
    told(&asked, ("withdrew a link", &typed.why), act, "withdrawn").await
}

/// When a token ends that is good for `days`; never, when nothing is said.
fn until(days: &str, now: Timestamp) -> Result<Option<Timestamp>, AccessError> {
    if days.trim().is_empty() {
        return Ok(None);
    }
    let days = days.trim().parse().ok().filter(|days| (1..=DAYS).contains(days));
    let days: u64 =
        days.ok_or_else(|| AccessError::no(format!("a token is good for 1 to {DAYS} days")))?;
    Ok(Some(Timestamp(now.0.saturating_add(days * 86_400_000))))
}

/// `POST /people/token`.
pub(super) async fn token(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let act = async {
        let (scope, now) = (scope_of(&typed.scope)?, asked.now());
        let until = until(&typed.days, now)?;
        let by = asked.frame.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default();
        let store = &*asked.site.store;
        let (shown, token) = tokens::create(store, (&typed.name, scope), until, &by, now).await?;
        let title = format!("The token {}", token.name);
        let help = "Send it as `Authorization: Bearer lf_…`. It is not shown again.";
        Ok(Besides { new: Some(New { title, shown, help }), ..Besides::default() })
    };
    let what = format!("made the token {} with `{}`", typed.name, typed.scope);
    told(&asked, (&what, &typed.why), act, "").await
}

/// `POST /people/token/revoke`.
pub(super) async fn revoke(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    admitted(&asked)?;
    let store = &*asked.site.store;
    let every = tokens::every(store).await?;
    let token = every.into_iter().find(|token| token.id == typed.id);
    let act = async {
        tokens::revoke(store, &typed.id).await?;
        Ok(Besides::default())
    };
    let what = format!("revoked the token {}", token.map_or(typed.id.clone(), |token| token.name));
    told(&asked, (&what, &typed.why), act, "revoked").await
}
