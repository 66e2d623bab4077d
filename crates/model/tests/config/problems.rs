//! What is told of mistakes: all of them at once, each with its place and what helps.

use super::{parse, told, with};

#[track_caller]
fn check(more: &str, expected: &str) {
    assert_eq!(told(&parse(&with(more), None)).trim_end(), expected);
}

#[test]
fn many_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = r#"
[stack]
nmae = "shop"

[providers.fly]
kind = "fly"
token = "fo1_secret"
regoin = "ams"

[services.api]
image = "ghcr.io/Acme/api"
port = "8000"
helth = "/health"
runs_on = ["fyl", "resend"]
start_within = 20
size = { cpu = "0.25", memory = "256" }
env = { A = "${service.que.address}", B = "x ${sercet.B}", PORT = "1" }

[services.queue]
image = "api:1"
kind = "wrker"

[providers.resend]
kind = "resend"

[monitorz]
"#;
    insta::assert_snapshot!(told(&parse(text, None)));
}

#[test]
fn a_secret_in_the_file_is_told_and_not_repeated() {
    let text = with("[providers.fly]\nkind = \"fly\"\ntoken = \"fo1_hunter2\"\n");
    let said = told(&parse(&text, None));
    assert!(said.contains("LF0117") && !said.contains("hunter2"), "{said}");
    let text = with(
        "[databases.main]\nprimary = { url = \"postgres://app:hunter2@db.example.com/app\" }\n",
    );
    let said = told(&parse(&text, None));
    assert!(said.contains("LF0404") && !said.contains("hunter2"), "{said}");
    let text = with("[edge]\naddress = \"https://me:hunter2@example.com\"\n");
    let said = told(&parse(&text, None));
    assert!(said.contains("LF0113") && !said.contains("hunter2"), "{said}");
}

#[test]
fn services_that_wait_for_each_other_are_told_in_a_circle() {
    check(
        "env = { A = \"${service.b.address}\" }\n\
         [services.b]\nimage = \"b\"\nport = 1\nneeds = [\"c\"]\n\
         [services.c]\nimage = \"c\"\nport = 2\nenv = { A = \"http://${service.api.address}/\" }\n",
        "linkflow.toml:8:14 LF0205 these wait for each other: service.api → service.b → service.c → service.api; \
         let one of them do without the next",
    );
}

#[test]
fn a_public_address_is_known_beforehand_and_makes_no_circle() {
    check(
        "env = { SELF = \"${service.api.url}\", ME = \"${service.api.address}\", B = \"${service.b.address}\" }\n\
         [services.b]\nimage = \"b\"\nport = 1\nenv = { A = \"${service.api.url}\" }\n",
        "",
    );
}

#[test]
fn secrets_kept_at_a_provider_cannot_open_that_provider() {
    let doppler = "[secrets]\nfrom = \"doppler\"\n[providers.doppler]\nkind = \"doppler\"\n";
    check(
        &format!("{doppler}token = \"${{secret.DOPPLER}}\"\n"),
        "linkflow.toml:12:10 LF0205 these wait for each other: provider.doppler → secrets → provider.doppler; \
         give the provider that keeps the secrets its token by `${env.NAME}`",
    );
    check(&format!("{doppler}token = \"${{env.DOPPLER}}\"\n"), "");
}

#[test]
fn what_a_reference_asks_for_must_be_there() {
    check(
        "env = { A = \"${service.w.address}\", B = \"${service.w.url}\", C = \"${cache.main.url}\" }\n\
         [services.w]\nimage = \"w\"\nkind = \"worker\"\n",
        "linkflow.toml:8:14 LF0206 service `w` has no `address`, because it has no `port`; add `port = …` to `[services.w]`\n\
         linkflow.toml:8:42 LF0206 service `w` has no `url`, because it has no `route`; add `route = …` to `[services.w]`\n\
         linkflow.toml:8:66 LF0203 there is no cache `main`; add `[caches.main]`",
    );
}

#[test]
fn a_cascade_names_providers_that_are_there_and_run_containers() {
    check(
        "runs_on = [\"fyl\", \"resend\", \"fly\", \"fly\"]\n[providers.fly]\nkind = \"fly\"\n[providers.resend]\nkind = \"resend\"\n",
        "linkflow.toml:8:12 LF0301 there is no provider `fyl`; did you mean `fly`?\n\
         linkflow.toml:8:19 LF0302 `resend` is Resend, which cannot be used for compute; it is for mail; for compute there are here: docker, embedded, fly\n\
         linkflow.toml:8:36 LF0307 `fly` is listed twice; take one away",
    );
}

#[test]
fn webhooks_of_sentry_are_taken_where_sentry_can_be_asked_what_they_tell_of() {
    let sentry = "[providers.bugs-eu]\nkind = \"sentry\"\n";
    let signed = format!("{sentry}client_secret = \"${{secret.SIGNING}}\"\n");
    check(
        &signed,
        "linkflow.toml:10:17 LF0104 `client_secret` takes webhooks, and without `organization` nobody can be asked what they tell of; add `organization = \"SLUG\"`\n\
         linkflow.toml:10:17 LF0104 `client_secret` takes webhooks, and without `token` nobody can be asked what they tell of; add `token = \"${secret.BUGS_EU_TOKEN}\"`",
    );
    let asked = "organization = \"acme\"\ntoken = \"${secret.TOKEN}\"\n";
    check(&format!("{signed}{asked}"), "");
    check(
        &format!("{sentry}{asked}"),
        "linkflow.toml:8:12 LF0403 provider `bugs-eu` is used for nothing; it could be used for errors",
    );
}

#[test]
fn two_services_cannot_share_a_route() {
    check(
        "[services.b]\nimage = \"b\"\nport = 1\nroute = [\"b.example.com\", \"API.example.com/\"]\n",
        "linkflow.toml:11:27 LF0303 `api.example.com/` leads to `api` already; give one of them another host, a longer path, or conditions",
    );
    check("[services.b]\nimage = \"b\"\nport = 1\nroute = \"api.example.com/b\"\n", "");
}

#[test]
fn keys_must_fit_the_kind_of_service() {
    check(
        "[services.b]\nimage = \"b\"\nkind = \"worker\"\nroute = \"b.example.com\"\nhealth = \"/\"\n\
         [services.c]\nimage = \"c\"\nkind = \"grpc\"\nhealth = \"/\"\n\
         [services.d]\nimage = \"d\"\nport = 1\nexclusive = true\nreplicas = 2\nhealth = \"well\"\n",
        "linkflow.toml:11:9 LF0305 `b` is a worker, and a worker has no `route`; take it away, or make the service `web`\n\
         linkflow.toml:12:10 LF0305 `b` is not a web service and has no `health` path; take it away; a worker lives by its provider's word\n\
         linkflow.toml:13:11 LF0304 `port` is missing in `services.c`; add `port = …`, where the container listens\n\
         linkflow.toml:16:10 LF0305 `c` is not a web service and has no `health` path; take it away; the gRPC health protocol is used\n\
         linkflow.toml:21:12 LF0305 `d` is exclusive and has 2 replicas; an exclusive service has one instance\n\
         linkflow.toml:22:10 LF0118 `well` is not a path; write `health = \"/well\"`",
    );
}

#[test]
fn what_is_backed_up_or_watched_must_be_there() {
    check(
        "[backups.main]\nof = [\"database.main\", \"buckets.uploads\", \"service.api\"]\n\
         [status_page]\ncomponents = [{ name = \"API\", watch = [\"service.apj\", \"monitor.x\"] }, { name = \"Mail\", watch = \"mail\" }]\n",
        "linkflow.toml:9:7 LF0308 there is no database `main`; add `[databases.main]`\n\
         linkflow.toml:9:24 LF0308 `buckets.uploads` names nothing that fits here; did you mean `bucket.…`?\n\
         linkflow.toml:9:43 LF0308 `service.api` names nothing that fits here; write one of `database.NAME`, `bucket.NAME`\n\
         linkflow.toml:11:40 LF0308 there is no service `apj`; did you mean `api`?\n\
         linkflow.toml:11:55 LF0308 there is no monitor `x`; add `[monitors.x]`\n\
         linkflow.toml:11:96 LF0308 there is no `[mail]`; add it, or take this away",
    );
}

#[test]
fn registries_are_asked_seldom() {
    check(
        "[monitors.d]\ndomain = \"shop.net\"\nevery = \"5m\"\n\
         [monitors.e]\ntcp = \"shop.net:25\"\ndomain_left = \"60d\"\n\
         [domains]\nevery = \"1m\"\n",
        "linkflow.toml:10:9 LF0309 `monitors.d.every` is less than an hour; registries want to be asked seldom: write `1h` or more\n\
         linkflow.toml:13:15 LF0305 `domain_left` says nothing of a monitor of `tcp`; it belongs to `domain`\n\
         linkflow.toml:15:9 LF0309 `domains.every` is less than an hour; registries want to be asked seldom: write `1h` or more",
    );
    check(
        "[monitors.d]\ndomain = \"shop.net\"\n[monitors.e]\ndomain = \"shop.org\"\nevery = \"6h\"\n",
        "",
    );
}

#[test]
fn phones_are_told_by_somebody_and_numbers_begin_with_a_country() {
    let page = "[status_page]\ncomponents = [{ name = \"API\", watch = \"service.api\" }]\n[status_page.subscribe]\nat = \"https://ops.example.com\"\n";
    check(
        &format!("{page}sms_per_day = 20\nsms_to = [\"49\"]\n"),
        "linkflow.toml:12:15 LF0104 nobody carries the text messages of `sms_per_day`; declare a provider of the kind `twilio`\n\
         linkflow.toml:13:11 LF0118 `49` is not how a phone number begins; write it in international form, like `+49`",
    );
    let twilio =
        "[providers.twilio]\nkind = \"twilio\"\naccount_sid = \"AC0\"\nfrom = \"+15005550006\"\n";
    check(&format!("{page}sms_per_day = 20\nsms_to = [\"+49\"]\n{twilio}"), "");
}

#[test]
fn a_window_takes_a_while_and_is_on_something() {
    check(
        "[maintenance.backup]\ntitle = \"Backup\"\ncron = \"0 2 * * 0\"\nlasts = \"0s\"\non = [\"service.apj\"]\n\
         [maintenance.empty]\ntitle = \"Nothing\"\ncron = \"61 2 * * 0\"\nlasts = \"1h\"\non = []\n",
        "linkflow.toml:11:9 LF0309 `lasts` cannot be 0; write a time like `1m`\n\
         linkflow.toml:12:7 LF0308 there is no service `apj`; did you mean `api`?\n\
         linkflow.toml:13:14 LF0115 `maintenance.empty` is on nothing; add `on = \"service.NAME\"`\n\
         linkflow.toml:15:8 LF0118 `61 2 * * 0` is not five cron fields that name a time; write five cron fields, like `0 3 * * *`, or `@hourly`",
    );
    check(
        "[maintenance.always]\ntitle = \"Always\"\ncron = \"0 2,3 * * *\"\nlasts = \"1h\"\non = \"service.api\"\n",
        "linkflow.toml:11:9 LF0309 it begins again before it is over; work that never ends would hide every outage: write a shorter `lasts`",
    );
    check(
        "[maintenance.backup]\ntitle = \"Backup\"\ncron = \"0 2 * * 0\"\ntime_zone = \"Europe/Berlin\"\nlasts = \"1h\"\non = \"service.api\"\n",
        "",
    );
}

#[test]
fn a_copy_stands_beside_its_original_nowhere() {
    check(
        "[providers.neon]\nkind = \"neon\"\n[databases.main]\nprimary = { on = \"neon\" }\n\
         copies = [{ on = \"neon\", url = \"${secret.N}\", every = \"0s\" }]\n",
        "linkflow.toml:11:1 LF0104 `url` is missing in `databases.main.primary`; add `url = \"${secret.NAME}\"`, its address with user and password\n\
         linkflow.toml:12:18 LF0307 `neon` is listed twice; a copy beside the original protects from nothing\n\
         linkflow.toml:12:55 LF0309 `every` cannot be 0; write a time like `1m`",
    );
}

#[test]
fn waits_of_nothing_and_logs_on_stdout_are_refused() {
    check(
        "[edge]\ntimeout = \"0s\"\naccess_log = \"stdout\"\naccess_log_sample = \"200%\"\n\
         [services.b]\nimage = \"b\"\nport = 1\ntimeouts = { connect = \"0s\", idle = \"1m\", first = \"1s\" }\n",
        "linkflow.toml:9:11 LF0309 `timeout` cannot be 0; write a time like `1m`\n\
         linkflow.toml:10:14 LF0118 the access log cannot go to `stdout`; write `stderr`, or the path of a file, like `log/access.log`; stdout is for answers of commands\n\
         linkflow.toml:11:21 LF0118 `200%` is not a share; write `80%`; 100% is the most\n\
         linkflow.toml:15:24 LF0309 `connect` cannot be 0; write a time like `1m`\n\
         linkflow.toml:15:43 LF0102 unknown key `first` in `services.b.timeouts`; did you mean `first_byte`?",
    );
}

#[test]
fn a_limit_at_a_place_that_the_service_does_not_have_is_refused() {
    check(
        "[services.b]\nimage = \"b\"\nport = 1\n[services.b.concurrency]\nmost = 0\non = { fly = 5 }\n",
        "linkflow.toml:12:8 LF0107 `most` is out of range; it takes an integer from 1 to 1000000\n\
         linkflow.toml:13:14 LF0305 `b` does not run on `fly`; name a provider of its `runs_on`",
    );
}

#[test]
fn what_could_not_be_read_is_told_once() {
    // Neither a missing port nor an unknown provider is told of values that are there and wrong.
    check(
        "[providers.fly]\nkind = \"flly\"\n[services.b]\nimage = \"b\"\nport = \"x\"\nruns_on = [\"fly\"]\nenv = { A = \"${service.b.address}\" }\n",
        "linkflow.toml:9:8 LF0105 `kind` cannot be `flly`; did you mean `fly`?\n\
         linkflow.toml:12:8 LF0103 `port` takes an integer from 1 to 65535, and this is a string; -",
    );
}

#[test]
fn nothing_else_is_told_of_a_file_that_is_no_toml() {
    let said = told(&parse("[stack]\nname = \"shop\nx = 1\n[services.api\n", None));
    assert!(said.lines().count() >= 2 && said.lines().all(|l| l.contains("LF0101")), "{said}");
}

#[test]
fn a_mistake_that_only_an_environment_has_says_which() {
    check(
        "[env.staging.services.api]\nport = \"\"\n[env.staging.failover]\nconfirm = 1\n[env.rehearsal.stack]\nnam = \"x\"\n",
        "linkflow.toml:4:11 LF0304 `port` is missing in `services.api` (in env.staging); add `port = …`, or `kind = \"worker\"` when it answers nobody\n\
         linkflow.toml:11:11 LF0108 `confirm` needs a unit (in env.staging); write `confirm = \"1s\"` for seconds, `\"1m\"` for minutes\n\
         linkflow.toml:13:1 LF0102 unknown key `nam` in `stack` (in env.rehearsal); did you mean `name`?",
    );
}

#[test]
fn visitors_are_not_led_past_the_edge_and_the_worker_does_not_fail_closed() {
    let front = "[providers.cf]\nkind = \"cloudflare\"\n[edge]\non = \"cf\"\nworker = true\naddress = \"https://edge.example.com\"\n";
    let dns = |records: &str| {
        format!(
            "{front}[dns]\non = \"cf\"\nproxied = true\nrecords = [\n  {{ name = \"edge\", type = \"A\", value = \"192.0.2.1\" }},\n{records}]\n"
        )
    };
    check(
        &dns(
            "  { name = \"api\", type = \"CNAME\", value = \"shop-api.fly.dev\" },\n  { name = \"old\", type = \"CNAME\", value = \"shop.onrender.com.\" },\n",
        ),
        "linkflow.toml:19:43 LF0312 the proxied record of `api.example.com` leads to `shop-api.fly.dev` and not to the edge; take it away: LinkFlow makes one that leads to `edge.example.com`\n\
         linkflow.toml:20:43 LF0312 the proxied record of `old.example.com` leads to `shop.onrender.com` and not to the edge; let it lead to `edge.example.com`, or write `proxied = false`",
    );
    // To the edge by its name or its address, past the proxy, or to somewhere that is no placement: all fine.
    let fine = "  { name = \"api\", type = \"CNAME\", value = \"edge.example.com\" },\n  { name = \"@\", type = \"A\", value = \"192.0.2.1\" },\n\
                { name = \"raw\", type = \"CNAME\", value = \"shop.fly.dev\", proxied = false },\n  { name = \"blog\", type = \"CNAME\", value = \"blog.example.net\" },\n";
    check(&dns(fine), "");
    check(
        &format!(
            "{front}fail_open = false\n[dns]\non = \"cf\"\nleads_to = \"placement\"\nalso_on = [\"cf\"]\n"
        ),
        "linkflow.toml:14:13 LF0313 the worker's routes would fail closed; take `fail_open` away: over its allowance requests then go to the edge\n\
         linkflow.toml:17:12 LF0312 with a worker, names cannot lead to a placement; take `leads_to` away: the records of routes then lead to the edge\n\
         linkflow.toml:18:12 LF0307 `cf` has the zone already; name another provider",
    );
}

#[test]
fn the_dashboard_has_a_host_of_its_own() {
    check(
        "[dashboard]\nhost = \"api.example.com\"\n",
        "linkflow.toml:9:8 LF0303 `api.example.com` leads to `api` already, and the dashboard needs a host of its own; \
         give it another one: `ops.` before your domain, for one",
    );
    check(
        "[status_page]\nhost = \"ops.example.com\"\n[dashboard]\nhost = \"ops.example.com\"\n",
        "linkflow.toml:11:8 LF0303 `ops.example.com` is that of the status page already, and the dashboard needs a host of \
         its own; give it another one: `ops.` before your domain, for one",
    );
    check("[dashboard]\non = false\nhost = \"api.example.com\"\n", "");
    check("[dashboard]\nhost = \"ops.example.com\"\n", "");
}

#[test]
fn a_branch_takes_a_token_over_https() {
    let told = |place: &str| {
        told(&parse(&with(&format!("[status_page]\npublish = [{{ {place} }}]\n")), None))
    };
    let good = "git = \"https://github.com/shop/status.git\", key = \"${secret.KEY}\"";
    assert_eq!(told(good), "");
    assert_eq!(told(&format!("{good}, branch = \"pages/status\", per_hour = 1")), "");
    let check = |place: &str, part: &str| {
        let told = told(place);
        assert!(told.contains(part) && told.lines().count() == 1, "{place}: {told}");
    };
    check("git = \"https://github.com/shop/status.git\"", "has no `key`");
    check(&good.replace("https", "http"), "in the clear");
    check(&format!("{good}, branch = \"-f\""), "`-f` is no branch");
    check(&format!("{good}, branch = \"a..b\""), "`a..b` is no branch");
    check(&format!("{good}, per_hour = 0"), "never be pushed");
    check(&format!("{good}, folder = \"x\""), "LF");
}

#[test]
fn a_place_behind_ssh_names_its_key_and_the_machines() {
    let told = |place: &str| {
        told(&parse(&with(&format!("[status_page]\npublish = [{{ {place} }}]\n")), None))
    };
    let at = "ssh = \"ssh://deploy@web.example/srv/status\"";
    let good = format!("{at}, key = \"${{secret.KEY}}\", host_key = \"SHA256:abc\"");
    assert_eq!(told(&good), "");
    let without = told(at);
    for part in ["has no `key`", "has no `host_key`", "what web.example shows"] {
        assert!(without.contains(part), "{part}: {without}");
    }
    let wrong = good.replace("SHA256:abc", "ssh-ed25519 AAAA");
    assert!(told(&wrong).contains("`host_key` is no fingerprint"), "{}", told(&wrong));
    assert!(told(&format!("{good}, folder = \"x\"")).contains("LF"), "one place is one");
    let password = told("ssh = \"ssh://deploy:hunter2@web.example/srv\"");
    assert!(
        password.contains("a password must not stand") && !password.contains("hunter2"),
        "{password}"
    );
}
