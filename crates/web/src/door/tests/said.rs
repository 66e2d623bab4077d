//! Bytes that no page and no authenticator sends, to every address.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Every address that takes a body, and whether it is one for those who are signed in.
const POSTS: &[(&str, bool)] = &[
    ("/sign-in/code", false),
    ("/sign-in/passkey/options", false),
    ("/sign-in/passkey", false),
    ("/setup/SECRET", false),
    ("/setup/SECRET/passkey/options", false),
    ("/setup/SECRET/passkey", false),
    ("/setup/nonsense", false),
    ("/account/totp", true),
    ("/account/passkey/options", true),
    ("/account/passkey", true),
    ("/account/passkey/remove", true),
    ("/account/sessions/end", true),
    ("/people/scope", true),
    ("/people/remove", true),
    ("/people/invite/withdraw", true),
    ("/people/token/revoke", true),
];

/// Bodies that are nearly right, and such that are not at all.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let field = "(name|password|again|next|code|id|scope|days|why|who)=[ -~]{0,30}(&[a-z]{1,8}=[%+a-z0-9äß]{0,12}){0,3}";
    let json = r#"\{"(id|client|attestation|authenticator|signature|handle|who|next|name)":("[A-Za-z0-9_-]{0,80}"|null|[0-9]{1,5}|\[\]|\{\})\}"#;
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        field.prop_map(String::into_bytes),
        json.prop_map(String::into_bytes),
    ]
}

#[test]
fn malformed_bytes_are_refused_everywhere_and_nothing_breaks() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (town, ann, secret) = runtime.block_on(async {
        let town = Town::new();
        let ann = town.let_in("ann", Scope::Admin).await;
        let (secret, _) =
            super::super::invite(town.store(), (None, None), "test", town.now()).await.unwrap();
        (town, ann, secret)
    });
    let kinds = ["application/x-www-form-urlencoded", "application/json", "text/plain", ""];
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 150, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let tried = runner.run(&(bodies(), 0..POSTS.len(), 0..kinds.len()), |(body, post, kind)| {
        let (path, signed) = POSTS[post];
        let path = path.replace("SECRET", &secret);
        let mut browser = if signed { ann.clone() } else { Browser::new() };
        let csrf = browser.csrf.clone();
        browser = browser.with("x-linkflow-csrf", &csrf);
        // Each try is another's, so that none is held up by those before.
        browser.peer = SocketAddr::from(([10, 0, body.len() as u8, post as u8], 1));
        let back =
            runtime.block_on(town.ask(&mut browser, Method::POST, &path, &body, kinds[kind]));
        prop_assert!(!back.status.is_server_error(), "{path}: {back:?}");
        Ok(())
    });
    tried.unwrap();
    runtime.block_on(async {
        let mut ann = ann.clone();
        assert_eq!(
            town.get(&mut ann, "/people").await.status,
            StatusCode::OK,
            "she is still there"
        );
        assert_eq!(
            super::super::everybody(town.store()).await.unwrap().len(),
            1,
            "and nobody else is"
        );
    });
}

#[tokio::test]
async fn what_is_typed_is_shown_as_text() {
    let town = Town::new();
    let mut ann = town.let_in("ann", Scope::Admin).await;
    let evil = "<script>alert(1)</script>\"'";
    let back = town.sign_in(&mut Browser::new(), evil, "x").await;
    assert!(!back.body.contains("<script>alert"), "{}", back.body);
    let agent = Browser::new().with("user-agent", "<b onload=x>\"'");
    town.sign_in(&mut agent.clone(), "ann", PASSWORD).await;
    for (path, fields) in [
        ("/people/remove", [("name", evil), ("why", evil)]),
        ("/people/token", [("name", evil), ("scope", evil)]),
        ("/people/invite", [("name", evil), ("scope", "read")]),
    ] {
        let back = town.send(&mut ann, path, &fields).await;
        assert!(!back.body.contains("<script>alert"), "{path}: {}", back.body);
    }
    for path in [
        "/account",
        "/audit",
        "/people?said=<script>alert",
        "/audit?q=<script>alert(1)",
        "/sign-in?next=<script>alert&again=1",
    ] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let back = town.get(&mut ann, &path).await;
        assert_eq!(back.status, StatusCode::OK, "{path}");
        assert!(!back.body.contains("<script>alert") && !back.body.contains("<b onload"), "{path}");
        let policy = back.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let town = Town::new();
    let ann = town.let_in("ann", Scope::Admin).await;
    let large = vec![b'a'; 100 << 10];
    for (browser, path) in [(Browser::new(), "/sign-in"), (ann, "/account/password")] {
        let mut browser = browser;
        let kind = "application/x-www-form-urlencoded";
        let back = town.ask(&mut browser, Method::POST, path, &large, kind).await;
        assert!(back.status.is_client_error(), "{path}: {}", back.status);
    }
}
