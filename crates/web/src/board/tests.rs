//! The pages as people and browsers meet them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use linkflow_model::Condition;
use linkflow_model::access::Scope;
use linkflow_model::{Event, EventKind, Level, Maintenance, Recurs, Timestamp};
use linkflow_store::Store;
use serde_json::json;
use tower::ServiceExt;

use crate::operator::{PlacementState, Tried};
use crate::scripted::{NOW, Stage, watched};

const PAGES: [&str; 22] = [
    "/",
    "/services/api",
    "/routes",
    "/monitors",
    "/monitors/monitor.api",
    "/monitors/api?days=90",
    "/incidents",
    "/maintenance",
    "/events",
    "/releases",
    "/runs/run-000001",
    "/usage",
    "/certificates",
    "/addresses",
    "/drift",
    "/alerts",
    "/search?q=api",
    "/do/rollback?release=r1",
    "/do/drain?provider=a",
    "/do/failover?to=b&service=api",
    "/do/rotate?sort=hook&name=sentry",
    "/do/try?alert=team",
];

#[tokio::test]
async fn every_page_is_there_for_those_who_may_see_it_and_for_nobody_else() {
    let stage = Stage::new().await;
    for path in PAGES {
        let page = stage.ask("GET", path, None).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.contains("<h1"), "{path}");
        assert!(!page.text.contains("<script>"), "{path}: no script within the page");
        assert!(page.header("content-security-policy").contains("script-src 'self'"), "{path}");
        let nobody = stage.ask_as(None, "GET", path, None).await;
        assert_eq!(nobody.status, StatusCode::SEE_OTHER, "{path}: to the sign-in");
        let reader = stage.ask_as(Some(Scope::Read), "GET", path, None).await;
        let expected = if path.starts_with("/do/") { 403 } else { 200 };
        assert_eq!(reader.status.as_u16(), expected, "{path}");
    }
    let missing = stage.ask("GET", "/services/nothing", None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text.contains("there is no service `nothing`"), "{}", missing.text);
}

#[tokio::test]
async fn who_only_reads_is_shown_no_form() {
    let stage = Stage::new().await;
    *stage.operator.drifts.lock().unwrap() = true;
    for path in [
        "/",
        "/services/api",
        "/incidents",
        "/releases",
        "/maintenance",
        "/addresses",
        "/drift",
        "/alerts",
    ] {
        let page = stage.ask_as(Some(Scope::Read), "GET", path, None).await.text;
        let own = page.replace("action=\"/sign-out\"", "");
        assert!(!own.contains("method=\"post\" action"), "{path}");
        assert!(!page.contains("/do/"), "{path}");
    }
}

#[tokio::test]
async fn what_people_wrote_is_text_and_no_markup() {
    let stage = Stage::new().await;
    let opened = stage
        .form("/incidents", "title=%3Cb%3EBad%3C%2Fb%3E&text=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        .await;
    assert_eq!(opened.status, StatusCode::SEE_OTHER, "{}", opened.text);
    let page = stage.ask("GET", opened.header("location"), None).await.text;
    assert!(page.contains("&lt;b&gt;Bad") || page.contains("&#60;b&#62;Bad"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<b>Bad"), "{page}");
    let events = stage.ask("GET", "/events?q=%3Capi", None).await.text;
    assert!(!events.contains("of <api>"), "{events}");
}

#[tokio::test]
async fn an_order_is_shown_first_and_carried_out_with_its_reason() {
    let stage = Stage::new().await;
    let plan = stage.ask("GET", "/do/rollback?release=r1", None).await.text;
    for part in
        ["roll back to r1", "serve api from a", "name=\"release\" value=\"r1\"", "name=\"reason\""]
    {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let without = stage.form("/do/rollback", "release=r1&reason=").await;
    assert_eq!(without.status, StatusCode::CONFLICT);
    let done = stage.form("/do/rollback", "release=r1&reason=it+is+slow").await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/runs/run-000001"));
    let images = stage.form("/do/deploy", "image-api=%3A1.1&image-web=&reason=new").await;
    assert_eq!(images.status, StatusCode::SEE_OTHER);
    let orders = stage.operator.orders.lock().unwrap().clone();
    let said: Vec<&str> = orders.iter().map(|(what, ..)| what.as_str()).collect();
    assert_eq!(said, ["roll back to r1", "deploy api:1.1"]);
}

#[tokio::test]
async fn a_drain_is_shown_and_lifted_on_the_pages() {
    let stage = Stage::new().await;
    let done = stage.form("/do/drain", "provider=a&reason=it+is+rebuilt").await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let page = stage.ask("GET", "/", None).await.text;
    assert!(page.contains("a is drained") && page.contains("/do/undrain?provider=a"), "{page}");
    let lifted = stage.form("/do/undrain", "provider=a&reason=done").await;
    assert_eq!(lifted.status, StatusCode::SEE_OTHER);
    assert!(!stage.ask("GET", "/", None).await.text.contains("a is drained"));
}

#[tokio::test]
async fn addresses_are_shown_to_who_operates_and_made_anew_with_a_reason() {
    let stage = Stage::new().await;
    let begins = "https://ops.example.com/hooks/sentry/";
    let address = |page: &str| {
        let (_, rest) = page.split_once(begins).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let page = stage.ask("GET", "/addresses", None).await;
    assert_eq!(page.header("cache-control"), "no-store");
    let before = address(&page.text);
    assert!(page.text.contains("/do/rotate?sort=hook&#38;name=sentry"), "{}", page.text);
    assert!(page.text.contains("nothing has come yet"), "{}", page.text);
    let reader = stage.ask_as(Some(Scope::Read), "GET", "/addresses", None).await.text;
    assert!(reader.contains(">sentry<") && !reader.contains("/hooks/"), "{reader}");

    let asked = stage.ask("GET", "/do/rotate?sort=hook&name=sentry", None).await.text;
    assert!(asked.contains("To make the address for webhooks of sentry anew"), "{asked}");
    assert!(asked.contains("name=\"name\" value=\"sentry\""), "{asked}");
    for (fields, status) in [
        ("sort=hook&name=sentry&reason=", 409),
        ("sort=hook&name=robot&reason=x", 404),
        ("sort=hook&reason=x", 409),
        ("sort=none&name=sentry&reason=x", 409),
        ("sort=key&name=sentry&reason=x", 409),
    ] {
        assert_eq!(stage.form("/do/rotate", fields).await.status.as_u16(), status, "{fields}");
    }
    assert_eq!(address(&stage.ask("GET", "/addresses", None).await.text), before);
    let came = json!({ "at": NOW - 60_000 });
    stage.put("hook/came/sentry", came).await;
    let done = stage.form("/do/rotate", "sort=hook&name=sentry&reason=it+leaked").await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/addresses"));
    let page = stage.ask("GET", "/addresses", None).await.text;
    assert_ne!(address(&page), before);
    assert!(page.contains("30 Nov 2026, 02:40 UTC"), "{page}");
}

#[tokio::test]
async fn a_failover_is_ordered_with_a_time_and_forced_where_there_is_doubt() {
    let stage = Stage::new().await;
    let page = stage.ask("GET", "/do/failover?to=b&service=api", None).await.text;
    assert!(page.contains("To fail api over to b") && !page.contains("name=\"force\""), "{page}");
    let done = stage.form("/do/failover", "to=b&service=api&minutes=60&reason=they+rebuild").await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let page = stage.ask("GET", "/", None).await.text;
    for part in ["api was failed over to b", "they rebuild", "until", "/do/failback?service=api"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let ended = stage.form("/do/failback", "service=api&reason=done").await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER, "{}", ended.text);
    assert!(!stage.ask("GET", "/", None).await.text.contains("was failed over"));

    *stage.operator.state.lock().unwrap() = PlacementState::Down;
    let page = stage.ask("GET", "/do/failover?to=a", None).await.text;
    assert!(page.contains("api is down on a") && page.contains("name=\"force\""), "{page}");
    let refused = stage.form("/do/failover", "to=a&minutes=&reason=x").await;
    assert!(refused.text.contains("api is down on a"), "{}", refused.text);
    let forced = stage.form("/do/failover", "to=a&minutes=&force=on&reason=we+know").await;
    assert_eq!(forced.status, StatusCode::SEE_OTHER, "{}", forced.text);
    let nowhere = stage.ask("GET", "/do/failover?to=c", None).await;
    assert!(nowhere.text.contains("no service may run on `c`"), "{}", nowhere.text);
    let long = stage.form("/do/failover", "to=b&minutes=99999999&reason=x").await;
    assert_ne!(long.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn incidents_and_work_are_told_by_forms() {
    let stage = Stage::new().await;
    let opened = stage.form("/incidents", "title=Slow&text=We+look.&subjects=monitor.api").await;
    let at = opened.header("location").to_owned();
    for (what, fields) in [
        ("acknowledge", ""),
        ("update", "text=Known.&stage=identified&impact="),
        ("resolve", "text="),
    ] {
        let answer = stage.form(&format!("{at}/{what}"), fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}: {}", answer.text);
    }
    let page = stage.ask("GET", &at, None).await.text;
    assert!(page.contains("It is over.") && page.contains("identified"), "{page}");
    let fields = "title=Disk&text=New+disk.&from=2026-12-01T10%3A00&minutes=30&subjects=";
    assert_eq!(stage.form("/maintenance", fields).await.status, StatusCode::SEE_OTHER);
    let page = stage.ask("GET", "/maintenance", None).await.text;
    assert!(page.contains("1 Dec 2026, 10:00 UTC") && page.contains("Call it off"), "{page}");
    let id = "20261201-disk";
    let off = stage.form(&format!("/maintenance/{id}/cancel"), "").await;
    assert_eq!(off.status, StatusCode::SEE_OTHER);
    let wrong = stage.form("/maintenance", "title=x&text=y&from=soon&minutes=30").await;
    assert!(wrong.text.contains("`soon` is no date and time"), "{}", wrong.text);
}

#[tokio::test]
async fn work_that_comes_again_is_shown_with_its_next_time_and_can_be_called_off_once() {
    let stage = Stage::new().await;
    let page = stage.ask("GET", "/maintenance", None).await.text;
    for part in
        ["Comes again", "30 2 * * 0", "Europe/Berlin", "6 Dec 2026, 01:30 UTC", "not announced yet"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let from = Timestamp(1_796_520_600_000);
    let work = one_time("backup-20261206-0130", from);
    stage.store.write(&work.key(), None, &json!(work), None).await.unwrap();
    let page = stage.ask("GET", "/maintenance", None).await.text;
    assert!(page.contains("one time of backup") && page.contains(">announced<"), "{page}");
    let off = stage.form("/maintenance/backup-20261206-0130/cancel", "").await;
    assert_eq!(off.status, StatusCode::SEE_OTHER);
    let api = stage.ask("GET", "/api/v1/maintenance", None).await.text;
    let api: serde_json::Value = serde_json::from_str(&api).unwrap();
    assert_eq!(api["maintenance"][0]["cancelled"], true);
    assert_eq!(
        (&api["windows"][0]["name"], &api["windows"][0]["next"]),
        (&json!("backup"), &json!(from))
    );
}

#[tokio::test]
async fn what_differs_from_the_live_release_is_named_with_the_way_to_put_it_right() {
    let stage = Stage::new().await;
    let page = stage.ask("GET", "/drift", None).await.text;
    assert!(page.contains("Everything is as <a href=\"/releases#r2\">r2</a> asks."), "{page}");
    let first = stage.ask("GET", "/", None).await.text;
    assert!(!first.contains("differs from what is live"), "{first}");
    *stage.operator.drifts.lock().unwrap() = true;
    let page = stage.ask("GET", "/drift", None).await.text;
    for part in [
        ">api</a>",
        "<td>b</td><td>replicas</td><td>1</td><td>3</td>",
        "<td>a, b</td><td><code>secret.DB, secret.TOKEN</code>",
        "T of api: `${secret.TOKEN}` leads nowhere",
        "/do/apply",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let first = stage.ask("GET", "/", None).await.text;
    assert!(first.contains("2 things differ from what is live:"), "{first}");
    let api = stage.ask("GET", "/api/v1/drift", None).await.text;
    let api: serde_json::Value = serde_json::from_str(&api).unwrap();
    assert_eq!((&api["release"], &api["rows"][0]["found"]), (&json!("r2"), &json!("3")));
}

#[tokio::test]
async fn who_is_told_what_waits_and_what_did_not_arrive_is_seen_and_tried() {
    let stage = Stage::new().await;
    let page = stage.ask("GET", "/alerts", None).await.text;
    for part in [
        "its token is missing",
        "By slack, sms-1; where that does not arrive, boss is told.",
        "/do/try?alert=team",
        "m2 is down &#60;b&#62;",
        "waits for another try",
        "failed 2 times · slack: token_revoked · may have come twice · others were told instead",
        "given up",
        "22 before",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("/do/try?alert=boss"), "it cannot be tried: {page}");
    let failed = Some("slack: token_revoked".to_owned());
    let untold = Tried { alert: "team".to_owned(), way: "slack".to_owned(), failed };
    *stage.operator.untold.lock().unwrap() = vec![untold];
    let first = stage.ask("GET", "/", None).await.text;
    assert!(
        first.contains("Nobody is told by team, slack:</strong> slack: token_revoked"),
        "{first}"
    );
    let tried = stage.form("/do/try", "alert=team&reason=after+the+new+token").await;
    assert_eq!(tried.status, StatusCode::OK, "{}", tried.text);
    assert!(tried.text.contains("failed") && tried.text.contains("arrived"), "{}", tried.text);
    let nobody = stage.form("/do/try", "alert=nobody&reason=x").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND, "{}", nobody.text);
    let ask = json!({ "alert": "team", "reason": "once more" });
    let api = stage.ask("POST", "/api/v1/actions/try-alert", Some(ask)).await;
    let api: serde_json::Value = serde_json::from_str(&api.text).unwrap();
    assert_eq!(api["tried"][1], json!({ "alert": "team", "way": "sms-1", "failed": null }));
    let api = stage.ask("GET", "/api/v1/alerts?limit=1", None).await.text;
    let api: serde_json::Value = serde_json::from_str(&api).unwrap();
    assert_eq!((&api["total"], &api["next"]), (&json!(122), &json!(1)));
    assert_eq!(api["messages"][0]["state"], "waiting");
}

#[tokio::test]
async fn the_overview_names_work_the_soonest_first_and_each_window_once() {
    let stage = Stage::new().await;
    for (id, hours) in [("third", 50), ("first", 2), ("second", 26)] {
        let work = one_time(id, Timestamp(NOW + hours * 3_600_000));
        stage.store.write(&work.key(), None, &json!(work), None).await.unwrap();
    }
    let fields = "title=Disk&text=New+disk.&from=2026-12-01T10%3A00&minutes=30&subjects=";
    assert_eq!(stage.form("/maintenance", fields).await.status, StatusCode::SEE_OTHER);
    let named = async || {
        let said = stage.ask("GET", "/api/v1/status", None).await.text;
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let works = said["maintenance"].as_array().unwrap().clone();
        let id = |work: &serde_json::Value| work["id"].as_str().unwrap().to_owned();
        works.iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(named().await, ["first", "20261201-disk"]);
    stage.form("/maintenance/first/cancel", "").await;
    assert_eq!(named().await, ["second", "20261201-disk"]);
    let page = stage.ask("GET", "/", None).await.text;
    assert_eq!(page.matches("Work to come").count(), 2, "{page}");
}

/// One time of the window `backup`, an hour long.
fn one_time(id: &str, from: Timestamp) -> Maintenance {
    Maintenance {
        id: id.to_owned(),
        title: "Backups".to_owned(),
        text: String::new(),
        from,
        to: Timestamp(from.0 + 3_600_000),
        subjects: vec!["service.api".to_owned()],
        cancelled: false,
        sequence: 0,
        changed: Timestamp(NOW),
        recurs: Some(Recurs { name: "backup".to_owned(), quiet: false, withdrawn: false }),
    }
}

#[tokio::test]
async fn a_storm_of_incidents_and_years_of_them_are_shown_in_parts() {
    let stage = Stage::new().await;
    for n in 0..75 {
        let opened = stage.form("/incidents", &format!("title=No+{n}&text=x&subjects=")).await;
        let at = opened.header("location").to_owned();
        assert_eq!(opened.status, StatusCode::SEE_OTHER, "{}", opened.text);
        if n < 53 {
            stage.form(&format!("{at}/resolve"), "text=Over.").await;
        }
    }
    let links = |page: &str| page.matches("<a href=\"/incidents/").count();
    let first = stage.ask("GET", "/", None).await.text;
    assert!(first.contains("<title>(22) Overview"), "{first}");
    assert!(links(&first) <= 20 && first.contains("more</a>"), "{first}");
    let page = stage.ask("GET", "/incidents", None).await.text;
    let (_, older) = page.split_once("/incidents?before=").unwrap();
    let older = older.split('#').next().unwrap();
    let next = stage.ask("GET", &format!("/incidents?before={older}"), None).await.text;
    assert!(!next.contains("Older ones"), "{next}");
    let over = |page: &str| page.split("id=\"over\"").nth(1).map(links).unwrap();
    assert_eq!((over(&page), over(&next)), (50, 3));
}

/// The next whole event of a stream.
async fn next(body: &mut Body) -> String {
    let frame = body.frame().await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_said_to_who_listens_and_the_stream_is_kept_alive_and_ended() {
    let stage = Stage::new().await;
    let router = stage.router(Some(Scope::Read));
    let open = |last: Option<&str>| {
        let mut request = Request::get("/events/stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let asking = async {
        let mut body = open(None).await.unwrap().into_body();
        let hello = next(&mut body).await;
        assert!(hello.contains("event: hello") && hello.contains("retry: 2000"), "{hello}");
        assert!(hello.contains("id: 30"), "{hello}");
        let mut late = open(Some("12")).await.unwrap().into_body();
        assert!(next(&mut late).await.contains("event: change"), "what was missed is said at once");
        // Silence is broken by a comment.
        assert_eq!(next(&mut body).await, ":\n\n");
        *stage.operator.state.lock().unwrap() = PlacementState::Down;
        assert!(next(&mut body).await.contains("event: change"));
        let event = Event::new(Timestamp(NOW), EventKind::Control, Level::Info, "something");
        stage.store.append(&event).await.unwrap();
        let said = next(&mut body).await;
        assert!(said.contains("event: change") && said.contains("id: 31"), "{said}");
        stage.site.live.close();
        assert!(body.frame().await.is_none(), "it ends");
    };
    tokio::join!(stage.site.clone().watch(), asking);
}

#[tokio::test]
async fn nine_hundred_monitors_are_one_page() {
    let stage = Stage::new().await;
    let more = (0..900).map(|n| watched(&format!("monitor.shop-{n}"), Condition::Up));
    stage.operator.more.lock().unwrap().extend(more);
    let page = stage.ask("GET", "/monitors", None).await.text;
    assert_eq!(page.matches("<th scope=\"row\">").count(), 901);
    // In parts that are laid out when they come into view; each says which it is.
    assert_eq!(page.matches("<table aria-label=").count(), 10);
    assert!(page.contains("<table aria-label=\"901 to 901 of 901\">"), "{page}");
    let some = stage.ask("GET", "/monitors?q=shop-89&condition=up&tag=shop", None).await.text;
    assert_eq!(some.matches("<th scope=\"row\">").count(), 11);
    // The search finds what stands far down.
    let found = stage.ask("GET", "/api/v1/search?q=shop-899", None).await.json();
    assert_eq!(found["found"][0]["href"], json!("/monitors/monitor.shop-899"));
}
