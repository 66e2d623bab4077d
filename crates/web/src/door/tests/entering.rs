//! Coming in: by a link, by a password, by a code; and going out.

use super::super::totp::code;
use super::super::{documents, people, sessions};
use super::*;

#[tokio::test]
async fn the_first_person_comes_in_by_a_link_that_is_good_once() {
    let town = Town::new();
    let secret = super::super::first(town.store(), town.now()).await.unwrap().unwrap();
    let path = format!("/setup/{secret}");
    let mut browser = Browser::new();
    let page = town.get(&mut browser, &path).await;
    assert!(page.body.contains("You will have the scope <strong>admin</strong>"), "{}", page.body);
    let fields = [("name", "Ann"), ("password", PASSWORD), ("again", PASSWORD)];
    let back = town.send(&mut browser, &path, &fields).await;
    assert_eq!(back.to(), "/account?said=welcome", "{}", back.body);
    let account = town.get(&mut browser, back.to()).await;
    assert!(account.body.contains("<h1>Ann</h1>"));
    let again =
        town.send(&mut Browser::new(), &path, &[("name", "Eve"), fields[1], fields[2]]).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert!(again.body.contains("each is good for one hour, and once"));
    assert_eq!(
        super::super::first(town.store(), town.now()).await.unwrap(),
        None,
        "there is an owner"
    );
    let heard = town.audited().await;
    assert_eq!(
        heard,
        ["Ann came in for the first time by a link: done", "Ann signed in by password: done"]
    );
}

#[tokio::test]
async fn a_link_is_good_for_an_hour_and_the_store_has_only_its_hash() {
    let town = Town::new();
    let secret = super::super::first(town.store(), town.now()).await.unwrap().unwrap();
    for document in town.store().list("access/").await.unwrap() {
        let held = format!("{} {}", document.key, document.body);
        assert!(!held.contains(&secret), "{held}");
    }
    town.clock.pass(super::super::INVITE_MS);
    let path = format!("/setup/{secret}");
    assert_eq!(town.get(&mut Browser::new(), &path).await.status, StatusCode::OK);
    town.clock.pass(1);
    assert_eq!(town.get(&mut Browser::new(), &path).await.status, StatusCode::NOT_FOUND);
    super::super::tidy(town.store(), town.now()).await.unwrap();
    assert_eq!(town.store().list("access/invite/").await.unwrap(), []);
}

#[tokio::test]
async fn of_two_first_links_one_makes_the_owner() {
    let town = Town::new();
    let mut links = Vec::new();
    for _ in 0..2 {
        links.push(super::super::first(town.store(), town.now()).await.unwrap().unwrap());
    }
    let fields = [("name", "Ann"), ("password", PASSWORD), ("again", PASSWORD)];
    let back = town.send(&mut Browser::new(), &format!("/setup/{}", links[0]), &fields).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    let other = town.get(&mut Browser::new(), &format!("/setup/{}", links[1])).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND, "the owner is there");
}

#[tokio::test]
async fn what_is_typed_wrong_leaves_the_link_good_and_says_why() {
    let town = Town::new();
    town.let_in("bob", Scope::Read).await;
    let (secret, _) =
        super::super::invite(town.store(), (None, None), "test", town.now()).await.unwrap();
    let path = format!("/setup/{secret}");
    let rows = [
        ("", PASSWORD, PASSWORD, "a name has 1 to 40"),
        ("a/b", PASSWORD, PASSWORD, "a name has 1 to 40"),
        ("BOB", PASSWORD, PASSWORD, "somebody is called `BOB` already"),
        ("ann", "short", "short", "at least 15 characters"),
        ("ann", PASSWORD, "another one than that", "not the same"),
    ];
    for (name, password, again, why) in rows {
        let fields = [("name", name), ("password", password), ("again", again)];
        let back = town.send(&mut Browser::new(), &path, &fields).await;
        assert_eq!(back.status, StatusCode::BAD_REQUEST);
        assert!(
            back.body.contains(&why.replace('`', "&#96;")) || back.body.contains(why),
            "{why}: {}",
            back.body
        );
        assert!(!back.body.contains(password), "a password is not sent back");
    }
    let fields = [("name", "ann"), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(town.send(&mut Browser::new(), &path, &fields).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn who_lost_their_way_in_begins_anew_and_old_ways_end() {
    let town = Town::new();
    let mut old = town.let_in("ann", Scope::Admin).await;
    let who = (Some("Ann"), None);
    let (secret, _) = super::super::invite(town.store(), who, "test", town.now()).await.unwrap();
    let mut browser = Browser::new();
    let path = format!("/setup/{secret}");
    assert!(town.get(&mut browser, &path).await.body.contains("Begin anew"));
    let other = "another password entirely";
    town.send(&mut browser, &path, &[("password", other), ("again", other)]).await;
    assert_eq!(town.get(&mut browser, "/people").await.status, StatusCode::OK, "still an admin");
    assert_eq!(town.get(&mut old, "/people").await.to(), "/sign-in?next=/people");
    assert_eq!(
        town.sign_in(&mut Browser::new(), "ann", PASSWORD).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_told_alike() {
    let town = Town::new();
    town.let_in("ann", Scope::Read).await;
    let wrong = town.sign_in(&mut Browser::at(1), "ann", "not the password at all").await;
    let unknown = town.sign_in(&mut Browser::at(2), "eve", "not the password at all").await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(wrong.body.replace("ann", "NAME"), unknown.body.replace("eve", "NAME"));
    let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&wrong.headers), names(&unknown.headers));
    let heard = town.audited().await;
    let tried = "tried to sign in: the name or the password was wrong";
    assert_eq!(heard[2..], [format!("ann {tried}"), format!("somebody unknown {tried}")]);
}

#[tokio::test]
async fn tries_are_slowed_down_for_an_address_and_for_an_account() {
    let town = Town::new();
    town.let_in("ann", Scope::Read).await;
    for _ in 0..5 {
        let back = town.sign_in(&mut Browser::at(1), "ann", "wrong").await;
        assert_eq!(back.status, StatusCode::FORBIDDEN);
    }
    let back = town.sign_in(&mut Browser::at(2), "ann", PASSWORD).await;
    assert_eq!(back.status, StatusCode::TOO_MANY_REQUESTS, "from everywhere, right or not");
    assert_eq!(back.headers[header::RETRY_AFTER], "1");
    assert!(back.body.contains("the next one may come in 1 s"), "{}", back.body);
    town.clock.pass(1_000);
    assert_eq!(
        town.sign_in(&mut Browser::at(2), "ann", PASSWORD).await.status,
        StatusCode::SEE_OTHER
    );
    for name in ["a", "b", "c", "d", "e"] {
        town.sign_in(&mut Browser::at(1), name, "wrong").await;
    }
    let back = town.sign_in(&mut Browser::at(1), "somebody else", "wrong").await;
    assert_eq!(back.status, StatusCode::TOO_MANY_REQUESTS, "whatever the name");
    let back = town.sign_in(&mut Browser::at(3), "somebody else", "wrong").await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "another address is not held up");
}

#[tokio::test]
async fn a_sign_in_has_a_new_id_and_ends_what_the_browser_had() {
    let town = Town::new();
    let mut browser = town.let_in("ann", Scope::Read).await;
    let before = browser.clone();
    let back = town.sign_in(&mut browser, "ANN", PASSWORD).await;
    assert_eq!((back.status, back.to()), (StatusCode::SEE_OTHER, "/"));
    assert_ne!(before.cookies, browser.cookies);
    assert_eq!(town.get(&mut before.clone(), "/account").await.status, StatusCode::SEE_OTHER);
    assert_eq!(town.get(&mut browser, "/account").await.status, StatusCode::OK);
    let forged = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut fixed = Browser::new();
    fixed.cookies.insert("linkflow".to_owned(), forged.to_owned());
    town.sign_in(&mut fixed, "ann", PASSWORD).await;
    assert_ne!(fixed.cookies["linkflow"], forged, "an id is never taken from outside");
}

#[tokio::test]
async fn after_signing_in_only_a_page_of_ours_is_gone_to() {
    let town = Town::new();
    town.let_in("ann", Scope::Read).await;
    let rows = [
        ("/people?x=1", "/people?x=1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil", "/"),
    ];
    for (next, wanted) in rows {
        let page = town.get(&mut Browser::new(), &format!("/sign-in?next={}", query(next))).await;
        assert!(!page.body.contains("evil"), "{}", page.body);
        let fields = [("name", "ann"), ("password", PASSWORD), ("next", next)];
        assert_eq!(town.send(&mut Browser::new(), "/sign-in", &fields).await.to(), wanted);
    }
}

/// Switches an authenticator app on for `ann`; gives its secret and the page with the recovery codes.
async fn with_app(town: &Town, browser: &mut Browser) -> (String, String) {
    town.send(browser, "/account/totp/new", &[]).await;
    let page = town.get(browser, "/account").await.body;
    let key = page.split("<code>").nth(1).unwrap().split('<').next().unwrap();
    let secret = key.replace(' ', "").to_uppercase();
    let wrong = town.send(browser, "/account/totp", &[("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let shown = town.send(browser, "/account/totp", &[("code", &code(&secret, town.now()))]).await;
    assert!(shown.body.contains("Your recovery codes"), "{}", shown.body);
    (secret, shown.body)
}

#[tokio::test]
async fn a_code_is_asked_after_the_password_and_is_good_once() {
    let town = Town::new();
    let mut first = town.let_in("ann", Scope::Read).await;
    let (secret, _) = with_app(&town, &mut first).await;
    town.clock.pass(60_000);
    let mut browser = Browser::new();
    assert_eq!(town.sign_in(&mut browser, "ann", PASSWORD).await.to(), "/sign-in/code");
    assert_eq!(town.get(&mut browser, "/account").await.status, StatusCode::SEE_OTHER, "not yet");
    let shown = code(&secret, town.now());
    let back = town.send(&mut browser, "/sign-in/code", &[("code", &shown)]).await;
    assert_eq!((back.status, back.to()), (StatusCode::SEE_OTHER, "/"), "{}", back.body);
    assert_eq!(town.get(&mut browser, "/account").await.status, StatusCode::OK);
    let mut thief = Browser::at(9);
    town.sign_in(&mut thief, "ann", PASSWORD).await;
    let back = town.send(&mut thief, "/sign-in/code", &[("code", &shown)]).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "a code that was used is no code");
}

#[tokio::test]
async fn codes_can_not_be_guessed_on_and_on_with_one_password() {
    let town = Town::new();
    let mut first = town.let_in("ann", Scope::Read).await;
    with_app(&town, &mut first).await;
    let mut thief = Browser::at(9);
    town.sign_in(&mut thief, "ann", PASSWORD).await;
    for _ in 0..5 {
        town.clock.pass(50_000);
        let back = town.send(&mut thief, "/sign-in/code", &[("code", "123456")]).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{}", back.body);
    }
    town.clock.pass(1);
    let back = town.send(&mut thief, "/sign-in/code", &[("code", "123456")]).await;
    assert_eq!(back.to(), "/sign-in", "the password is asked again");
}

#[tokio::test]
async fn a_recovery_code_stands_in_once_and_is_kept_as_a_hash() {
    let town = Town::new();
    let mut first = town.let_in("ann", Scope::Read).await;
    let (_, page) = with_app(&town, &mut first).await;
    let list = page.split("<ul class=\"codes mono\">").nth(1).unwrap();
    let recovery = list.split("<li>").nth(1).unwrap().split('<').next().unwrap();
    for document in town.store().list("access/").await.unwrap() {
        assert!(!document.body.to_string().contains(recovery));
    }
    for wanted in [StatusCode::SEE_OTHER, StatusCode::FORBIDDEN] {
        let mut browser = Browser::new();
        town.sign_in(&mut browser, "ann", PASSWORD).await;
        let back = town.send(&mut browser, "/sign-in/code", &[("code", recovery)]).await;
        assert_eq!(back.status, wanted, "{}", back.body);
    }
    assert!(town.get(&mut first, "/account").await.body.contains("9 recovery codes are left"));
}

#[tokio::test]
async fn sessions_end_when_idle_when_old_and_when_they_are_told_to() {
    let town = Town::new();
    let mut browser = town.let_in("ann", Scope::Read).await;
    for _ in 0..14 {
        town.clock.pass(sessions::IDLE_MS - 1);
        assert_eq!(town.get(&mut browser, "/account").await.status, StatusCode::OK, "it is used");
    }
    town.clock.pass(100);
    let back = town.get(&mut browser, "/account").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "a week is over");
    let mut idle = Browser::new();
    town.sign_in(&mut idle, "ann", PASSWORD).await;
    town.clock.pass(sessions::IDLE_MS + 60_001);
    assert_eq!(
        town.get(&mut idle, "/account").await.status,
        StatusCode::SEE_OTHER,
        "it was not used"
    );
    let (mut one, mut other) = (Browser::new(), Browser::new());
    town.sign_in(&mut one, "ann", PASSWORD).await;
    town.sign_in(&mut other, "ann", PASSWORD).await;
    let page = town.get(&mut one, "/account").await;
    assert_eq!(page.body.matches("aria-label=\"End the session").count(), 1);
    let id = page
        .body
        .split("name=\"id\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    town.send(&mut one, "/account/sessions/end", &[("id", &id)]).await;
    assert_eq!(town.get(&mut other, "/account").await.status, StatusCode::SEE_OTHER);
    let out = town.send(&mut one, "/sign-out", &[]).await;
    assert_eq!(out.to(), "/sign-in");
    assert!(one.cookies.is_empty());
    assert_eq!(town.store().list("access/session/").await.unwrap(), [], "nothing is left");
}

#[tokio::test]
async fn what_is_over_is_removed() {
    let town = Town::new();
    town.let_in("ann", Scope::Read).await;
    let made = (("ci", Scope::Read), Some(Timestamp(town.now().0 + 1_000)));
    super::super::create_token(town.store(), made.0, made.1, "ann", town.now()).await.unwrap();
    town.clock.pass(500 * 86_400_000);
    super::super::tidy(town.store(), town.now()).await.unwrap();
    for prefix in ["access/session/", "access/token/", "access/invite/", "audit/"] {
        assert_eq!(town.store().list(prefix).await.unwrap(), [], "{prefix}");
    }
    assert_eq!(people::everybody(town.store()).await.unwrap().len(), 1, "people stay");
}

#[tokio::test]
async fn somebody_who_comes_after_with_the_same_name_is_another() {
    let town = Town::new();
    town.let_in("owner", Scope::Admin).await;
    let browser = town.let_in("ann", Scope::Read).await;
    let key = town.store().list("access/session/").await.unwrap().remove(1);
    super::super::remove_person(town.store(), "ann").await.unwrap();
    town.let_in("ann", Scope::Admin).await;
    // The old session, as a copy of the store would have it.
    let kept = documents::create(town.store(), &key.key, &key.body).await;
    assert!(kept.is_ok());
    assert_eq!(town.get(&mut browser.clone(), "/people").await.status, StatusCode::SEE_OTHER);
}
