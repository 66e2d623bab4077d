//! Cloudflare and deSEC, asked by hand.

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};

use crate::stage::{Stage, call};

#[tokio::test]
async fn whoever_asks_cloudflare_too_often_is_blocked_for_five_minutes() {
    let stage = Stage::start(&[]).await;
    let there = &stage.endpoints.cloudflare;
    let url = format!("{}/user/tokens/verify", there.api);
    let ask = async || call(Method::GET, &url, Some(&there.token), None).await;
    let mut asked = 0;
    let refused = loop {
        let told = ask().await;
        if told.status == 429 {
            break told;
        }
        assert_eq!((told.status, &told.json["success"]), (200, &json!(true)));
        asked += 1;
    };
    assert!((1_200..1_400).contains(&asked), "{asked}");
    assert_eq!(refused.header("retry-after"), "300");
    assert_eq!(refused.json["success"], false);
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(ask().await.status, 429, "a token is back, and it is blocked all the same");
    stage.stop().await;
}

#[tokio::test]
async fn cloudflare_says_what_is_wrong_with_a_record_and_a_batch_is_whole_or_nothing() {
    let stage = Stage::start(&[]).await;
    let there = &stage.endpoints.cloudflare;
    let url = format!("{}/zones/{}/dns_records", there.api, there.zone_id);
    let post = async |path: &str, body: Value| {
        call(Method::POST, &format!("{url}{path}"), Some(&there.token), Some(&body)).await
    };
    let a = |name: &str, content: &str| json!({ "name": name, "type": "A", "content": content, "ttl": 1 });
    assert_eq!(post("", a("www", "192.0.2.1")).await.status, 200);
    let codes = [
        (a("www", "192.0.2.1"), 81_058),
        (a("x", "192.0.2"), 9_005),
        (json!({ "name": "www", "type": "CNAME", "content": "example.net" }), 81_053),
        (json!({ "name": "x", "type": "TXT", "content": "x", "proxied": true }), 9_004),
        (json!({ "name": "x", "type": "A", "content": "192.0.2.1", "ttl": 30 }), 9_021),
    ];
    for (body, code) in codes {
        let told = post("", body).await;
        assert_eq!((told.status, &told.json["errors"][0]["code"]), (400, &json!(code)));
    }
    let batch = json!({ "posts": [a("one", "192.0.2.1"), a("two", "wrong")] });
    assert_eq!(post("/batch", batch).await.status, 400);
    let all = call(Method::GET, &url, Some(&there.token), None).await;
    assert_eq!(all.json["result_info"]["total_count"], 1, "{}", all.json);
    let wrong = call(Method::GET, &url, Some("wrong"), None).await;
    assert_eq!((wrong.status, &wrong.json["errors"][0]["code"]), (401, &json!(10_000)));
    stage.fault("cloudflare", Trouble::OutOfQuota);
    assert_eq!(post("", a("more", "192.0.2.1")).await.json["errors"][0]["code"], 81_045);
    stage.stop().await;
}
