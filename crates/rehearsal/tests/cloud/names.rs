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

#[tokio::test]
async fn cloudflare_counts_requests_to_workers_and_refuses_a_query_that_it_does_not_know() {
    let stage = Stage::start(&[]).await;
    let there = &stage.endpoints.cloudflare;
    let url = format!("{}/graphql", there.api);
    let control = format!("{}/v1/cloudflare", stage.endpoints.control);
    let told = json!({ "worker_requests": { "ours": 7, "theirs": 5 } });
    assert_eq!(call(Method::PUT, &control, None, Some(&told)).await.status, 204);
    assert_eq!(call(Method::PUT, &control, None, Some(&json!({ "x": 1 }))).await.status, 400);
    let ask = async |account: &str, filter: &str, fields: &str, token: &str| {
        let query = format!(
            "query A($a: string) {{ viewer {{ accounts(filter: {{ accountTag: $a }}) {{ \
             workersInvocationsAdaptive(limit: 100, filter: {{ {filter} }}) {{ {fields} }} }} }} }}"
        );
        let body = json!({ "query": query, "variables": { "a": account } });
        call(Method::POST, &url, Some(token), Some(&body)).await
    };
    let (account, token) = (there.account.as_str(), there.token.as_str());
    let (old, sum) = ("datetime_geq: \"2020-05-04T00:00:00Z\"", "sum { requests }");
    let well = ask(account, old, "sum { requests } dimensions { scriptName }", token).await;
    let rows = json!([
        { "sum": { "requests": 7 }, "dimensions": { "scriptName": "ours" } },
        { "sum": { "requests": 5 }, "dimensions": { "scriptName": "theirs" } },
    ]);
    let accounts = json!([{ "workersInvocationsAdaptive": rows }]);
    let whole = json!({ "data": { "viewer": { "accounts": accounts } }, "errors": null });
    assert_eq!((well.status, &well.json), (200, &whole));
    let requests = async |filter: &str| {
        let told = ask(account, filter, sum, token).await;
        let rows = told.json["data"]["viewer"]["accounts"][0]["workersInvocationsAdaptive"].clone();
        let rows = rows.as_array().cloned().unwrap();
        rows.iter().map(|row| row["sum"]["requests"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(requests("scriptName: \"ours\"").await, 7);
    assert_eq!(requests("datetime_leq: \"2020-05-04T00:00:00Z\"").await, 0);
    let wrong = [
        (ask(account, old, "sum { bytes }", token).await, 400, "Cannot query field \"bytes\""),
        (ask(account, "date: 1", sum, token).await, 400, "Field \"date\" is not defined"),
        (ask("another", old, sum, token).await, 403, "not authorized for that account"),
        (ask(account, old, sum, "wrong").await, 401, "Unauthorized"),
    ];
    for (told, status, begin) in wrong {
        let error = &told.json["errors"][0];
        assert_eq!((told.status, &told.json["data"]), (status, &Value::Null), "{}", told.json);
        assert!(error["message"].as_str().unwrap().starts_with(begin), "{error}");
        assert!(error["extensions"]["timestamp"].is_string(), "{error}");
    }
    stage.stop().await;
}
