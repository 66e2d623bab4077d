//! Passkeys, with an authenticator of ours in place of a real one: what it signs is made by the same rules.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

fn text(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// An authenticator with one passkey, and every way for it to lie.
struct Authenticator {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    counter: u32,
    flags: u8,
    host: &'static str,
    origin: &'static str,
    /// The type in what the browser says, when it is not the right one.
    kind: Option<&'static str>,
}

impl Authenticator {
    fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &SystemRandom::new()).unwrap();
        let id = Sha256::digest(pair.public_key().as_ref())[..16].to_vec();
        let (host, origin) = ("localhost", "http://localhost:7788");
        Self { pair, id, counter: 0, flags: 0b101, host, origin, kind: None }
    }

    fn client(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        let kind = self.kind.unwrap_or(kind);
        let said = json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false });
        said.to_string().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.host.as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// The answer to options for a new passkey.
    fn make(&self, options: &Value) -> Value {
        let point = self.pair.public_key().as_ref();
        let mut data = self.data(self.flags | 0x40);
        data.extend([0; 16]);
        data.extend([0, 16]);
        data.extend(&self.id);
        // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        data.extend([0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 32]);
        data.extend(&point[33..]);
        let mut object = vec![0xa3, 0x63];
        object.extend(b"fmt");
        object.extend([0x64]);
        object.extend(b"none");
        object.extend([0x67]);
        object.extend(b"attStmt");
        object.extend([0xa0, 0x68]);
        object.extend(b"authData");
        object.extend([0x58, u8::try_from(data.len()).unwrap()]);
        object.extend(&data);
        let client = self.client("webauthn.create", &options["publicKey"]["challenge"]);
        json!({ "id": text(&self.id), "client": text(&client), "attestation": text(&object), "name": "Phone", "handle": options["handle"].as_str().unwrap_or_default() })
    }

    /// The answer to options for signing in.
    fn sign(&mut self, options: &Value, handle: &str) -> Value {
        self.counter += 1;
        let client = self.client("webauthn.get", &options["publicKey"]["challenge"]);
        let data = self.data(self.flags);
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        json!({ "id": text(&self.id), "client": text(&client), "authenticator": text(&data), "signature": text(signature.as_ref()), "handle": handle, "next": "/people" })
    }
}

async fn options(town: &Town, browser: &mut Browser, path: &str, body: &Value) -> Value {
    let back = town.json(browser, &format!("{path}/options"), body).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    serde_json::from_str(&back.body).unwrap()
}

/// Adds a passkey to the account of `browser`; gives the handle.
async fn add(town: &Town, browser: &mut Browser, key: &Authenticator) -> String {
    let asked = options(town, browser, "/account/passkey", &json!({})).await;
    let back = town.json(browser, "/account/passkey", &key.make(&asked)).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    asked["publicKey"]["user"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_first_person_comes_in_with_a_passkey_alone() {
    let town = Town::new();
    let secret = super::super::first(town.store(), town.now()).await.unwrap().unwrap();
    let path = format!("/setup/{secret}/passkey");
    let (mut browser, mut key) = (Browser::new(), Authenticator::new());
    let asked = options(&town, &mut browser, &path, &json!({ "who": "ann" })).await;
    assert_eq!(asked["publicKey"]["authenticatorSelection"]["userVerification"], "required");
    let mut made = key.make(&asked);
    made["who"] = json!("ann");
    let back = town.json(&mut browser, &path, &made).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    assert_eq!(town.get(&mut browser, "/people").await.status, StatusCode::OK);
    let handle = asked["handle"].as_str().unwrap();
    let mut other = Browser::new();
    let asked = options(&town, &mut other, "/sign-in/passkey", &json!({})).await;
    assert_eq!(asked["publicKey"]["allowCredentials"], json!([]), "nobody learns whose there are");
    let back = town.json(&mut other, "/sign-in/passkey", &key.sign(&asked, handle)).await;
    assert_eq!(back.body, "{\"to\":\"/people\"}");
    assert_eq!(town.get(&mut other, "/people").await.status, StatusCode::OK);
    town.get(&mut other, "/account").await;
    let id = text(&key.id);
    let back = town.send(&mut other, "/account/passkey/remove", &[("id", &id)]).await;
    assert!(back.body.contains("this is your only way in"), "{}", back.body);
}

#[tokio::test]
async fn a_passkey_needs_no_code_and_an_answer_is_good_once() {
    let town = Town::new();
    let mut ann = town.let_in("ann", Scope::Admin).await;
    let mut key = Authenticator::new();
    let handle = add(&town, &mut ann, &key).await;
    let mut browser = Browser::new();
    let asked = options(&town, &mut browser, "/sign-in/passkey", &json!({})).await;
    let answer = key.sign(&asked, &handle);
    assert_eq!(town.json(&mut browser, "/sign-in/passkey", &answer).await.status, StatusCode::OK);
    let again = town.json(&mut Browser::new(), "/sign-in/passkey", &answer).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.body.contains("answered already"), "{}", again.body);
    town.get(&mut browser, "/account").await;
    let second = options(&town, &mut browser, "/account/passkey", &json!({})).await;
    assert_eq!(second["publicKey"]["excludeCredentials"][0]["id"], text(&key.id));
}

#[tokio::test]
async fn what_does_not_hold_lets_nobody_in() {
    let town = Town::new();
    let mut ann = town.let_in("ann", Scope::Admin).await;
    let mut key = Authenticator::new();
    let handle = add(&town, &mut ann, &key).await;
    let bob = Authenticator::new();
    let bobs = add(&town, &mut town.let_in("bob", Scope::Read).await, &bob).await;
    type Lie = fn(&mut Authenticator);
    let lies: [(&str, Lie); 6] = [
        ("another address", |key| key.origin = "https://evil.example"),
        ("another host", |key| key.host = "evil.example"),
        ("nobody was there", |key| key.flags = 0b100),
        ("nobody was asked who they are", |key| key.flags = 0b001),
        ("for something else", |key| key.kind = Some("webauthn.create")),
        ("its count does not grow", |key| key.counter = 0),
    ];
    // It counts: what is signed next must count on.
    for _ in 0..2 {
        let asked = options(&town, &mut Browser::new(), "/sign-in/passkey", &json!({})).await;
        let back =
            town.json(&mut Browser::new(), "/sign-in/passkey", &key.sign(&asked, &handle)).await;
        assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    }
    let told = |key: &Authenticator| (key.counter, key.flags, key.host, key.origin, key.kind);
    for (number, (what, lie)) in lies.into_iter().enumerate() {
        let honest = told(&key);
        lie(&mut key);
        let mut browser = Browser::at(number as u8);
        let asked = options(&town, &mut browser, "/sign-in/passkey", &json!({})).await;
        let back = town.json(&mut browser, "/sign-in/passkey", &key.sign(&asked, &handle)).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{what}: {}", back.body);
        assert!(browser.cookies.is_empty(), "{what}");
        (key.counter, key.flags, key.host, key.origin, key.kind) =
            (honest.0 + 2, honest.1, honest.2, honest.3, honest.4);
    }
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("a challenge of its own", |answer| {
            answer["client"] = json!(text(b"{\"type\":\"webauthn.get\",\"challenge\":\"AAAA\",\"origin\":\"http://localhost:7788\"}"));
        }),
        ("another signature", |answer| {
            answer["signature"] = json!(text(&[0x30, 6, 2, 1, 1, 2, 1, 1]));
        }),
        ("no signature", |answer| answer["signature"] = json!("")),
        ("nobody's", |answer| answer["handle"] = json!("")),
        ("an id that is not there", |answer| answer["id"] = json!("AAAA")),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let mut browser = Browser::at(100 + number as u8);
        let asked = options(&town, &mut browser, "/sign-in/passkey", &json!({})).await;
        let mut answer = key.sign(&asked, &handle);
        change(&mut answer);
        let back = town.json(&mut browser, "/sign-in/passkey", &answer).await;
        assert_eq!(back.status, StatusCode::FORBIDDEN, "{what}: {}", back.body);
    }
    let asked = options(&town, &mut Browser::new(), "/sign-in/passkey", &json!({})).await;
    let back = town.json(&mut Browser::new(), "/sign-in/passkey", &key.sign(&asked, &bobs)).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "hers is not his");
    let asked = options(&town, &mut Browser::new(), "/sign-in/passkey", &json!({})).await;
    town.clock.pass(super::super::challenge::GOOD_MS + 1);
    let back = town.json(&mut Browser::new(), "/sign-in/passkey", &key.sign(&asked, &handle)).await;
    assert!(back.body.contains("took too long"), "{}", back.body);
}

#[tokio::test]
async fn a_new_passkey_is_held_against_what_was_asked() {
    let town = Town::new();
    let mut ann = town.let_in("ann", Scope::Admin).await;
    let mut bob = town.let_in("bob", Scope::Read).await;
    let key = Authenticator::new();
    let asked = options(&town, &mut ann, "/account/passkey", &json!({})).await;
    let made = key.make(&asked);
    let back = town.json(&mut bob, "/account/passkey", &made).await;
    assert_eq!(
        back.status,
        StatusCode::BAD_REQUEST,
        "it was asked of somebody else: {}",
        back.body
    );
    let back = town.json(&mut ann, "/account/passkey", &made).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    let back = town.json(&mut ann, "/account/passkey", &made).await;
    assert_eq!(back.status, StatusCode::BAD_REQUEST, "not twice");
    let asked = options(&town, &mut bob, "/account/passkey", &json!({})).await;
    let back = town.json(&mut bob, "/account/passkey", &key.make(&asked)).await;
    assert!(back.body.contains("known already"), "{}", back.body);
    let weak = Authenticator { flags: 0b001, ..Authenticator::new() };
    let asked = options(&town, &mut bob, "/account/passkey", &json!({})).await;
    let back = town.json(&mut bob, "/account/passkey", &weak.make(&asked)).await;
    assert!(back.body.contains("did not ask who you are"), "{}", back.body);
    let asked = options(&town, &mut bob, "/account/passkey", &json!({})).await;
    let whole = Authenticator::new().make(&asked);
    let object = BASE64_URL_SAFE_NO_PAD.decode(whole["attestation"].as_str().unwrap()).unwrap();
    for end in 0..object.len() {
        let mut cut = whole.clone();
        cut["attestation"] = json!(text(&object[..end]));
        let back = town.json(&mut bob, "/account/passkey", &cut).await;
        assert_eq!(back.status, StatusCode::BAD_REQUEST, "cut at {end}");
    }
    let foreign = town.json(&mut bob, "/setup/x/passkey", &whole).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
}
