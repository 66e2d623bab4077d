//! What stands before everything: who may come in, what they may do, and whether a page of ours asked.

use super::*;
use crate::door::AccessError;
use crate::door::audit::noting;

#[tokio::test]
async fn strangers_are_sent_to_sign_in_and_programs_are_told_how() {
    let town = Town::new();
    for path in ["/", "/account", "/people?x=1", "/nothing/here"] {
        let back = town.get(&mut Browser::new(), path).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{path}");
        assert!(back.to().starts_with("/sign-in"), "{path}: {}", back.to());
    }
    let back = town.get(&mut Browser::new(), "/people?x=1&y=//evil").await;
    assert_eq!(back.to(), "/sign-in?next=/people%3Fx%3D1%26y%3D//evil");
    for (path, browser) in [
        ("/api/v1/state", Browser::new()),
        ("/people", Browser::new().with("sec-fetch-mode", "cors")),
        ("/people", Browser::new().with("authorization", "Bearer lf_no-such-token")),
        ("/people", Browser::new().with("authorization", "Basic YTpi")),
    ] {
        let back = town.get(&mut browser.clone(), path).await;
        assert_eq!(back.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(back.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"linkflow\"");
        let body: serde_json::Value = serde_json::from_str(&back.body).unwrap();
        assert_eq!(body["status"], 401);
    }
    for path in ["/healthz", "/readyz", "/sign-in", "/assets/site.css"] {
        assert_eq!(town.get(&mut Browser::new(), path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/p/key/name", "/ping/uuid", "/hooks/x"] {
        let back = town.get(&mut Browser::new(), path).await;
        assert_eq!(back.status, StatusCode::NOT_FOUND, "{path} is not the door's");
    }
    for path in ["/people/", "/peoplex", "/sign-inx", "/p/../people", "/sign-in/../people"] {
        let back = town.get(&mut Browser::new(), path).await;
        assert_ne!(back.status, StatusCode::OK, "{path}");
        assert!(!back.body.contains("People and tokens"), "{path}");
    }
}

#[tokio::test]
async fn a_token_does_what_its_scope_holds_until_it_ends() {
    let town = Town::new();
    let now = town.now();
    let until = Some(Timestamp(now.0 + 86_400_000));
    let make = |scope| super::super::create_token(town.store(), ("ci", scope), until, "ann", now);
    let (read, token) = make(Scope::Read).await.unwrap();
    let (admin, _) = make(Scope::Admin).await.unwrap();
    assert!(read.starts_with("lf_") && read.len() == 46, "{read}");
    for document in town.store().list("access/token/").await.unwrap() {
        assert!(!format!("{}{}", document.key, document.body).contains(&read));
    }
    let with = |token: &str| Browser::new().with("authorization", &format!("Bearer {token}"));
    let back = town.get(&mut with(&read), "/people").await;
    assert_eq!(back.status, StatusCode::FORBIDDEN);
    let body: serde_json::Value = serde_json::from_str(&back.body).unwrap();
    assert_eq!(body["detail"], "this takes the scope `admin`; `ci` has `read`");
    assert_eq!(town.get(&mut with(&admin), "/people").await.status, StatusCode::OK);
    // Nothing but a program sends a token, so it needs no token of a page.
    let fields = [("name", "other"), ("scope", "read")];
    let mut program = with(&admin).without("origin").without("sec-fetch-site");
    assert_eq!(town.send(&mut program, "/people/token", &fields).await.status, StatusCode::OK);
    assert_eq!(
        town.get(&mut with(&admin), "/account").await.status,
        StatusCode::FORBIDDEN,
        "no account"
    );
    super::super::revoke_token(town.store(), &token.id).await.unwrap();
    assert_eq!(town.get(&mut with(&read), "/people").await.status, StatusCode::UNAUTHORIZED);
    town.clock.pass(86_400_000);
    assert_eq!(
        town.get(&mut with(&admin), "/people").await.status,
        StatusCode::UNAUTHORIZED,
        "over"
    );
}

#[tokio::test]
async fn a_page_that_takes_more_says_so_and_the_try_is_kept() {
    let town = Town::new();
    town.let_in("owner", Scope::Admin).await;
    let mut bob = town.let_in("bob", Scope::Operate).await;
    for path in ["/people", "/audit"] {
        let back = town.get(&mut bob, path).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{path}");
        assert!(back.body.contains("this takes the scope"), "{}", back.body);
    }
    for path in [
        "/people/scope",
        "/people/remove",
        "/people/invite",
        "/people/invite/withdraw",
        "/people/token",
        "/people/token/revoke",
    ] {
        let fields = [("name", "owner"), ("scope", "admin"), ("id", "x")];
        let back = town.send(&mut bob, path, &fields).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{path}");
    }
    let heard = town.audited().await;
    let why = "this takes the scope `admin`; `bob` has `operate`";
    assert!(heard.contains(&format!("bob asked for /people/remove: {why}")), "{heard:?}");
}

#[tokio::test]
async fn only_a_page_of_ours_changes_something_by_a_cookie() {
    let town = Town::new();
    let browser = town.let_in("ann", Scope::Admin).await;
    let fields = [("name", "x"), ("scope", "read")];
    let rows = [
        ("it is ours", browser.clone(), true),
        (
            "old browsers say nothing",
            browser.clone().without("origin").without("sec-fetch-site"),
            true,
        ),
        ("another site", browser.clone().with("sec-fetch-site", "cross-site"), false),
        ("a neighbour", browser.clone().with("sec-fetch-site", "same-site"), false),
        (
            "another origin",
            browser.clone().with("origin", "https://evil.example").without("sec-fetch-site"),
            false,
        ),
        (
            "another port",
            browser.clone().with("origin", "http://localhost:1").without("sec-fetch-site"),
            false,
        ),
        (
            "a hidden origin",
            browser.clone().with("origin", "null").without("sec-fetch-site"),
            false,
        ),
        ("no token", Browser { csrf: String::new(), ..browser.clone() }, false),
        ("another token", Browser { csrf: "A".repeat(43), ..browser.clone() }, false),
    ];
    for (what, browser, good) in rows {
        let back = town.send(&mut browser.clone(), "/people/token", &fields).await;
        let wanted = if good { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(back.status, wanted, "{what}");
    }
    let kind = "text/plain";
    let body = format!("csrf={}", browser.csrf);
    let back =
        town.ask(&mut browser.clone(), Method::POST, "/people/token", body.as_bytes(), kind).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "a form that needs no leave of ours");
    let json = serde_json::json!({});
    assert_eq!(
        town.json(&mut browser.clone(), "/account/passkey/options", &json).await.status,
        StatusCode::OK
    );
    let mut other = town.let_in("bob", Scope::Admin).await;
    other.csrf = browser.csrf.clone();
    assert_eq!(
        town.send(&mut other, "/people/token", &fields).await.status,
        StatusCode::FORBIDDEN,
        "it is ann's"
    );
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let back = town.ask(&mut browser.clone(), method, "/api/v1/anything", &[], "").await;
        assert_eq!(back.status, StatusCode::FORBIDDEN);
    }
    let mut evil =
        Browser::new().with("origin", "https://evil.example").with("sec-fetch-site", "cross-site");
    let back = town.sign_in(&mut evil, "ann", PASSWORD).await;
    assert_eq!(
        back.status,
        StatusCode::FORBIDDEN,
        "nobody is signed in as another by a foreign page"
    );
    assert!(evil.cookies.is_empty());
}

#[tokio::test]
async fn over_the_edge_cookies_are_of_the_host_alone_and_its_visitor_is_known() {
    let town = Town::with("[dashboard]\nhost = \"ops.example.com\"\n");
    town.let_in("ann", Scope::Admin).await;
    let edge = Browser::new()
        .with("host", "127.0.0.1:7788")
        .with("x-forwarded-for", "203.0.113.9")
        .with("x-forwarded-host", "ops.example.com")
        .with("x-forwarded-proto", "https")
        .with("origin", "https://ops.example.com");
    let mut browser = edge.clone();
    assert_eq!(town.sign_in(&mut browser, "ann", PASSWORD).await.status, StatusCode::SEE_OTHER);
    assert!(browser.cookies.contains_key("__Host-linkflow"), "{:?}", browser.cookies);
    let page = town.get(&mut browser, "/account").await;
    assert!(page.body.contains("203.0.113.9"), "{}", page.body);
    let made = town.send(&mut browser, "/people/invite", &[("scope", "read")]).await;
    assert!(made.body.contains("https://ops.example.com/setup/"), "{}", made.body);
    // Whoever is not this machine is not believed.
    let mut liar = Browser { peer: SocketAddr::from(([192, 0, 2, 1], 9)), ..edge };
    let back = town.sign_in(&mut liar, "ann", PASSWORD).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "the origin is not that of the request");
}

#[tokio::test]
async fn how_one_signs_in_is_changed_soon_after_signing_in() {
    let town = Town::new();
    let mut browser = town.let_in("ann", Scope::Admin).await;
    town.clock.pass(super::super::sessions::FRESH_MS + 1);
    let page = town.get(&mut browser, "/account").await;
    assert!(page.body.contains("/sign-in?again=1"), "{}", page.body);
    for path in [
        "/account/password",
        "/account/totp/new",
        "/account/totp/off",
        "/account/recovery",
        "/people/token",
        "/people/invite",
    ] {
        let back = town.send(&mut browser, path, &[("scope", "admin"), ("name", "x")]).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{path}");
        assert!(back.body.contains("sign in again"), "{path}");
    }
    assert_eq!(town.get(&mut browser, "/sign-in").await.to(), "/", "who is signed in goes on");
    let again = town.get(&mut browser, "/sign-in?again=1&next=/account").await;
    assert_eq!(again.status, StatusCode::OK);
    town.sign_in(&mut browser, "ann", PASSWORD).await;
    town.get(&mut browser, "/account").await;
    let back = town.send(&mut browser, "/account/totp/new", &[]).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}

#[tokio::test]
async fn people_are_let_in_changed_and_removed_but_never_the_last_admin() {
    let town = Town::new();
    let mut ann = town.let_in("ann", Scope::Admin).await;
    let made =
        town.send(&mut ann, "/people/invite", &[("name", "bob"), ("scope", "operate")]).await;
    let link = made
        .body
        .split("http://localhost:7788")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap()
        .to_owned();
    let mut bob = Browser::new();
    town.send(&mut bob, &link, &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert_eq!(town.get(&mut bob, "/audit").await.status, StatusCode::FORBIDDEN);
    for (path, scope) in [("/people/scope", "read"), ("/people/remove", "")] {
        let back = town.send(&mut ann, path, &[("name", "ann"), ("scope", scope)]).await;
        assert_eq!(back.status, StatusCode::BAD_REQUEST);
        assert!(back.body.contains("is the only admin"), "{}", back.body);
    }
    let back = town.send(&mut ann, "/people/scope", &[("name", "bob"), ("scope", "admin")]).await;
    assert_eq!(back.to(), "/people?said=scope");
    assert_eq!(town.get(&mut bob, "/audit").await.status, StatusCode::OK, "at once");
    let fields = [("name", "bob"), ("why", "left the team")];
    assert_eq!(town.send(&mut ann, "/people/remove", &fields).await.to(), "/people?said=removed");
    assert_eq!(town.get(&mut bob, "/audit").await.status, StatusCode::SEE_OTHER, "at once");
    assert_eq!(
        town.sign_in(&mut Browser::new(), "bob", PASSWORD).await.status,
        StatusCode::FORBIDDEN
    );
    let page = town.get(&mut ann, "/audit?q=left").await.body;
    assert!(
        page.contains("removed bob")
            && page.contains("left the team")
            && page.contains("127.0.0.1"),
        "{page}"
    );
    assert!(page.contains("1 entry with"), "{page}");
    let made = town.send(&mut ann, "/people/invite", &[("name", ""), ("scope", "read")]).await;
    let id = made.body.split("/people/invite/withdraw").nth(1).unwrap();
    let id = id.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let back = town.send(&mut ann, "/people/invite/withdraw", &[("id", &id)]).await;
    assert_eq!(back.to(), "/people?said=withdrawn", "{}", back.body);
    assert_eq!(town.store().list("access/invite/").await.unwrap(), []);
}

#[tokio::test]
async fn what_is_done_to_people_is_in_the_audit_before_it_is_done() {
    let town = Town::new();
    let killed = async {
        // The line is there while it is done.
        assert_eq!(town.audited().await, ["ann removed bob: outcome unknown"]);
        std::future::pending::<Result<(), AccessError>>().await
    };
    let act = noting(&town.site, ("ann", "session"), ("removed bob", ""), killed);
    let ended = tokio::time::timeout(std::time::Duration::from_millis(200), act).await;
    assert!(ended.is_err(), "it is killed over it");
    assert_eq!(town.audited().await, ["ann removed bob: outcome unknown"]);
    let refused = async { Err::<(), _>(AccessError::no("is the only admin")) };
    noting(&town.site, ("ann", "session"), ("removed ann", ""), refused).await.unwrap_err();
    assert_eq!(town.audited().await[1..], ["ann removed ann: is the only admin"]);
}
