//! Databases, caches, buckets, backups, mail, DNS, monitors and the rest.

use std::time::Duration;

use super::Check;
use crate::config::codes;
use crate::config::data::{Primary, thing};
use crate::config::kinds::Settings;
use crate::config::page::{PagePlace, PageSubscribe};
use crate::config::problem::nearest;
use crate::config::provider::{Provider, Role};
use crate::config::template::Template;
use crate::config::watch::{Alert, Domains, Window};
use crate::{ItemName, ProviderName, Timestamp};

/// From when on it is looked whether a window overlaps itself: 2026-01-01.
const LOOKED_FROM: Timestamp = Timestamp(1_767_225_600_000);

/// At how many times of a window it is looked.
const LOOKED_AT: usize = 60;

/// What the sections are called whose things can be named as `kind.name`.
const THINGS: [(&str, &str); 6] = [
    ("service", "services"),
    ("database", "databases"),
    ("cache", "caches"),
    ("bucket", "buckets"),
    ("monitor", "monitors"),
    ("heartbeat", "heartbeats"),
];

/// The keys by which an alert tells somebody.
const WAYS: [&str; 11] = [
    "slack",
    "discord",
    "teams",
    "telegram",
    "ntfy",
    "pagerduty",
    "webhook",
    "command",
    "email",
    "sms",
    "via",
];

/// The keys of a monitor that belong to one kind.
const ASKED_OF: [(&str, &[&str]); 5] = [
    ("http", &["method", "headers", "body", "status", "contains", "lacks", "json", "redirects"]),
    ("dns", &["record", "answer", "server"]),
    ("postgres", &["query"]),
    ("grpc", &["grpc_service", "grpc_tls"]),
    ("domain", &["domain_left"]),
];

impl Check<'_> {
    pub(super) fn data(&mut self) {
        let config = self.config;
        for (name, database) in &config.databases {
            let base = ["databases", name.as_str()];
            self.store(&database.primary, Role::Database, &[base[0], base[1], "primary"]);
            let mut seen = vec![&database.primary.on];
            for (i, copy) in database.copies.iter().enumerate() {
                let index = i.to_string();
                let path = [base[0], base[1], "copies", &index];
                self.place(&copy.on, copy.url.as_ref(), Role::Database, &path);
                self.once(&mut seen, &copy.on, &[base[0], base[1], "copies", &index, "on"]);
                self.rhythm(copy.every.is_zero(), &[base[0], base[1], "copies", &index, "every"]);
            }
        }
        for (name, cache) in &config.caches {
            let base = ["caches", name.as_str()];
            self.store(&cache.primary, Role::Cache, &[base[0], base[1], "primary"]);
            let mut seen = vec![&cache.primary.on];
            for (i, fallback) in cache.fallbacks.iter().enumerate() {
                let index = i.to_string();
                self.store(fallback, Role::Cache, &[base[0], base[1], "fallbacks", &index]);
                self.once(&mut seen, &fallback.on, &[base[0], base[1], "fallbacks", &index, "on"]);
            }
        }
        for (name, bucket) in &config.buckets {
            let base = ["buckets", name.as_str()];
            self.provider(&bucket.on, &[Role::Objects], &[base[0], base[1], "on"]);
            self.providers(&bucket.mirrors, Role::Objects, &[base[0], base[1], "mirrors"], false);
            if let Some(i) = bucket.mirrors.iter().position(|m| *m == bucket.on) {
                let path = [base[0], base[1], "mirrors", &i.to_string()];
                let what = format!("`{}` mirrors itself", bucket.on);
                self.tell(codes::LISTED_TWICE, &path, what, "name another provider");
            }
            self.rhythm(bucket.every.is_zero(), &[base[0], base[1], "every"]);
        }
        for (name, backup) in &config.backups {
            let base = ["backups", name.as_str()];
            self.providers(&backup.to, Role::Objects, &[base[0], base[1], "to"], true);
            for (i, of) in backup.of.iter().enumerate() {
                self.thing(of, &["database", "bucket"], &[base[0], base[1], "of", &i.to_string()]);
            }
            if backup.of.is_empty() && self.has(&[base[0], base[1], "of"]) {
                let path = [base[0], base[1], "of"];
                self.tell(
                    codes::EMPTY,
                    &path,
                    "`of` is empty".to_owned(),
                    "name a `database.NAME` or `bucket.NAME`",
                );
            }
            self.rhythm(backup.every.is_zero(), &[base[0], base[1], "every"]);
        }
    }

    fn store(&mut self, primary: &Primary, role: Role, path: &[&str]) {
        self.place(&primary.on, primary.url.as_ref(), role, path);
    }

    /// A provider that holds something, with the address it is reached at.
    fn place(&mut self, on: &ProviderName, url: Option<&Template>, role: Role, path: &[&str]) {
        let mut key = path.to_vec();
        key.push("on");
        self.provider(on, &[role], &key);
        let kind = self.config.provider(on).map(|p| p.kind().word);
        let by_itself = matches!(kind, None | Some("embedded" | "cloudflare-kv"));
        if url.is_none() && !by_itself {
            let help = "add `url = \"${secret.NAME}\"`, its address with user and password";
            self.missing(codes::MISSING, path, "url", help);
        }
        key.pop();
        key.push("url");
        if url.is_some_and(has_password) {
            self.password(&key);
        }
    }

    pub(super) fn password(&mut self, path: &[&str]) {
        let what = "this address has a password in it".to_owned();
        let help = "run `linkflow secrets set NAME` and write `\"${secret.NAME}\"`";
        self.tell(codes::PASSWORD_IN_URL, path, what, help);
    }

    fn once<'a>(
        &mut self,
        seen: &mut Vec<&'a ProviderName>,
        name: &'a ProviderName,
        path: &[&str],
    ) {
        if seen.contains(&name) {
            let what = format!("`{name}` is listed twice");
            self.tell(
                codes::LISTED_TWICE,
                path,
                what,
                "a copy beside the original protects from nothing",
            );
        }
        seen.push(name);
    }

    pub(super) fn rhythm(&mut self, is_zero: bool, path: &[&str]) {
        if is_zero {
            let key = path.last().copied().unwrap_or_default();
            self.tell(
                codes::TIMINGS,
                path,
                format!("`{key}` cannot be 0"),
                "write a time like `1m`",
            );
        }
    }

    pub(super) fn edge_and_mail(&mut self) {
        let config = self.config;
        self.rhythm(config.edge.timeout.is_some_and(|t| t.is_zero()), &["edge", "timeout"]);
        self.provider(&config.secrets.from, &[Role::Secrets], &["secrets", "from"]);
        self.providers(&config.secrets.sync_to, Role::Secrets, &["secrets", "sync_to"], false);
        if let Some(on) = &config.edge.on {
            self.provider(on, &[Role::Cdn], &["edge", "on"]);
        } else if config.edge.worker || config.edge.tunnel {
            let key = if config.edge.worker { "worker" } else { "tunnel" };
            let what = format!("`edge.{key}` needs a provider in front");
            self.tell(
                codes::DOES_NOT_FIT,
                &["edge", key],
                what,
                "add `on = …`, for example a `cloudflare` provider",
            );
        }
        self.certificates();
        if let Some(dns) = &config.dns {
            self.provider(&dns.on, &[Role::Dns], &["dns", "on"]);
            self.providers(&dns.also_on, Role::Dns, &["dns", "also_on"], false);
            if let Some(at) = dns.also_on.iter().position(|name| *name == dns.on) {
                let path = ["dns", "also_on", &at.to_string()];
                let what = format!("`{}` has the zone already", dns.on);
                self.tell(codes::LISTED_TWICE, &path, what, "name another provider");
            }
            if dns.zone.is_none() && config.stack.domain.is_none() {
                self.missing(
                    codes::MISSING,
                    &["dns"],
                    "zone",
                    "add `zone`, or `domain` to `[stack]`",
                );
            }
        }
        if let Some(mail) = &config.mail {
            self.providers(&mail.via, Role::Mail, &["mail", "via"], true);
        }
        for (name, quota) in &config.quotas {
            let path = ["quotas", name.as_str()];
            self.provider(&quota.provider, &[], &[path[0], path[1], "provider"]);
            self.one_of(&path, &["limit", "size"], &[quota.limit.is_some(), quota.size.is_some()]);
        }
        if let Some(telemetry) = &config.telemetry {
            self.providers(&telemetry.errors_to, Role::Errors, &["telemetry", "errors_to"], false);
            self.providers(&telemetry.logs_to, Role::Logs, &["telemetry", "logs_to"], false);
            self.providers(
                &telemetry.metrics_to,
                Role::Metrics,
                &["telemetry", "metrics_to"],
                false,
            );
        }
    }

    /// Whether there are certificates where TLS is spoken, and the other way round.
    fn certificates(&mut self) {
        let edge = &self.config.edge;
        let named = !edge.certificates.is_empty() || edge.acme.is_some();
        if edge.listen_tls.is_some() && !named {
            let help = "add `[edge.acme]`, or `[edge.certificates.NAME]` with `chain` and `key`";
            let what = "`edge.listen_tls` needs certificates".to_owned();
            self.tell(codes::NO_CERTIFICATE, &["edge", "listen_tls"], what, help);
        }
        if edge.listen_tls.is_none() && named {
            let key = if edge.acme.is_some() { "acme" } else { "certificates" };
            let what = format!("`edge.{key}` is without effect: nobody listens with TLS");
            let help = "add `listen_tls = \"0.0.0.0:443\"` to `[edge]`";
            self.tell(codes::NO_CERTIFICATE, &["edge", key], what, help);
        }
        // What files hold is not known here.
        if edge.listen_tls.is_some() && edge.acme.is_some() && edge.certificates.is_empty() {
            self.uncertified();
        }
        if let Some(acme) = &edge.acme {
            if !acme.agree && self.has(&["edge", "acme", "agree"]) {
                let what = "the CA gives certificates only to those who agree to its terms";
                let help = "read them, and write `agree = true`";
                self.tell(codes::DOES_NOT_FIT, &["edge", "acme", "agree"], what.to_owned(), help);
            }
            if acme.external_id.is_some() != acme.external_key.is_some() {
                let what = "`external_id` and `external_key` belong together".to_owned();
                let help = "the CA tells both of an external account";
                self.tell(codes::DOES_NOT_FIT, &["edge", "acme"], what, help);
            }
        }
        if edge.proxy_protocol && edge.trusted.is_empty() {
            let what = "`edge.proxy_protocol` is without effect: nobody is trusted to speak it";
            let help = "add `trusted = [\"10.0.0.0/8\"]`, the network of the load balancer";
            self.tell(codes::DOES_NOT_FIT, &["edge", "proxy_protocol"], what.to_owned(), help);
        }
    }

    /// Tells of routes whose host no CA is asked for.
    fn uncertified(&mut self) {
        let config = self.config;
        let certified = config.acme_hosts();
        for (name, service) in &config.services {
            let without = service.route.iter().map(|route| &route.host);
            for host in without.filter(|host| *host != "*" && !certified.contains(*host)) {
                let what = format!("nothing gives a certificate for `{host}`");
                let help = match host.starts_with('*') {
                    true => "put one into files: `[edge.certificates.NAME]`",
                    false => "add it to `hosts` in `[edge.acme]`",
                };
                let path = ["services", name.as_str(), "route"];
                self.tell(codes::UNCERTIFIED_HOST, &path, what, help);
            }
        }
    }

    pub(super) fn watchers(&mut self) {
        self.monitors();
        self.domains();
        self.windows();
        let config = self.config;
        for (name, h) in &config.heartbeats {
            let path = ["heartbeats", name.as_str()];
            self.one_of(&path, &["every", "cron"], &[h.every.is_some(), h.cron.is_some()]);
            self.providers(&h.also_on, Role::Heartbeat, &[path[0], path[1], "also_on"], false);
            if let Some(service) = &h.service {
                self.service_named(service, &[path[0], path[1], "service"]);
            }
        }
        let path = ["watchdog", "also_on"];
        self.providers(&config.watchdog.also_on, Role::Heartbeat, &path, false);
        if let Some(page) = &config.status_page {
            self.providers(&page.also_on, Role::StatusPage, &["status_page", "also_on"], false);
            for (i, component) in page.components.iter().enumerate() {
                let index = i.to_string();
                for (j, watch) in component.watch.iter().enumerate() {
                    let path = ["status_page", "components", &index, "watch", &j.to_string()];
                    let path = if self.has(&path) { &path[..] } else { &path[..4] };
                    let kinds: Vec<&str> = THINGS.iter().map(|(k, _)| *k).collect();
                    self.thing(watch, &kinds, path);
                }
            }
        }
        self.page_places();
        self.subscribing();
        self.templates();
        for (name, alert) in &config.alerts {
            let path = ["alerts", name.as_str()];
            self.providers(&alert.via, Role::Notify, &[path[0], path[1], "via"], false);
            self.otherwise(name, alert);
            if !alert.sms.is_empty() {
                self.carrier();
            }
            // What was written and could not be read was told already.
            if !WAYS.iter().any(|way| self.has(&[path[0], path[1], way])) {
                let what = format!("`{}` tells nobody", path.join("."));
                self.tell(
                    codes::EMPTY,
                    &path,
                    what,
                    "add `slack`, `discord`, `teams`, `telegram`, `ntfy`, `pagerduty`, `webhook`, `command`, `email`, `sms` or `via`",
                );
            }
        }
    }

    /// Checks that what is told in the place of an alert is there, and is another one.
    fn otherwise(&mut self, name: &ItemName, alert: &Alert) {
        let path = ["alerts", name.as_str(), "otherwise"];
        if let Some(other) = &alert.otherwise
            && (other == name || !self.config.alerts.contains_key(other))
        {
            let what = format!("`{}` names no other alert: `{other}`", path.join("."));
            self.tell(codes::UNKNOWN_REFERENCE, &path, what, "name one of `[alerts.…]`");
        }
        let path = ["alerts", name.as_str()];
        if alert.telegram.is_some() && alert.telegram_chat.is_none() {
            let what = format!("`{}` names no chat", path.join("."));
            self.tell(codes::MISSING, &path, what, "add `telegram_chat`, an id or `@name`");
        }
    }

    fn monitors(&mut self) {
        let config = self.config;
        for (name, m) in &config.monitors {
            let path = ["monitors", name.as_str()];
            let targets = [
                ("http", m.http.is_some()),
                ("tcp", m.tcp.is_some()),
                ("tls", m.tls.is_some()),
                ("grpc", m.grpc.is_some()),
                ("dns", m.dns.is_some()),
                ("ping", m.ping.is_some()),
                ("postgres", m.postgres.is_some()),
                ("redis", m.redis.is_some()),
                ("domain", m.domain.is_some()),
            ];
            self.one_of(&path, &targets.map(|(key, _)| key), &targets.map(|(_, there)| there));
            let kinds: Vec<&str> =
                targets.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
            if let [kind] = kinds.as_slice() {
                self.asked_in_vain(kind, &path);
            }
            self.providers(&m.also_on, Role::Monitor, &[path[0], path[1], "also_on"], false);
            if let Some(service) = &m.service {
                self.service_named(service, &[path[0], path[1], "service"]);
            }
            for (i, need) in m.needs.iter().enumerate() {
                let whole = [path[0], path[1], "needs", &i.to_string()];
                let at = if self.has(&whole) { &whole[..] } else { &whole[..3] };
                self.thing(need, &["database", "cache", "service", "monitor"], at);
            }
            for (key, url) in [("postgres", &m.postgres), ("redis", &m.redis)] {
                if url.as_ref().is_some_and(has_password) {
                    self.password(&[path[0], path[1], key]);
                }
            }
            if m.every < Duration::from_secs(1) {
                let what = "`every` is less than a second".to_owned();
                self.tell(codes::TIMINGS, &[path[0], path[1], "every"], what, "write `1s` or more");
            }
            let every = [path[0], path[1], "every"];
            if m.domain.is_some() && m.every < Domains::LEAST && self.has(&every) {
                self.seldom(&every);
            }
            self.rhythm(m.timeout.is_zero(), &[path[0], path[1], "timeout"]);
            if m.timeout > m.every {
                let what = "`timeout` is longer than `every`".to_owned();
                let key =
                    if self.has(&[path[0], path[1], "timeout"]) { "timeout" } else { "every" };
                let help = "a look must end before the next begins";
                self.tell(codes::TIMINGS, &[path[0], path[1], key], what, help);
            }
        }
    }

    /// Checks that work that is done again and again takes a while, and is on something.
    fn windows(&mut self) {
        let config = self.config;
        let kinds: Vec<&str> = THINGS.iter().map(|(kind, _)| *kind).collect();
        for (name, window) in &config.maintenance {
            let path = ["maintenance", name.as_str()];
            let lasts = [path[0], path[1], "lasts"];
            self.rhythm(window.lasts.is_zero(), &lasts);
            if begins_again(window) {
                let what = "it begins again before it is over".to_owned();
                let help = "work that never ends would hide every outage: write a shorter `lasts`";
                self.tell(codes::TIMINGS, &lasts, what, help);
            }
            if window.on.is_empty() {
                let what = format!("`{}` is on nothing", path.join("."));
                self.tell(codes::EMPTY, &path, what, "add `on = \"service.NAME\"`");
            }
            for (i, subject) in window.on.iter().enumerate() {
                let whole = [path[0], path[1], "on", &i.to_string()];
                let at = if self.has(&whole) { &whole[..] } else { &whole[..3] };
                self.thing(subject, &kinds, at);
            }
        }
    }

    /// Checks how often registries of domains are asked.
    fn domains(&mut self) {
        if self.config.domains.every < Domains::LEAST {
            self.seldom(&["domains", "every"]);
        }
    }

    fn seldom(&mut self, every: &[&str]) {
        let what = format!("`{}` is less than an hour", every.join("."));
        self.tell(
            codes::TIMINGS,
            every,
            what,
            "registries want to be asked seldom: write `1h` or more",
        );
    }

    /// Checks where copies of the status page are kept.
    fn page_places(&mut self) {
        let Some(page) = &self.config.status_page else { return };
        for (i, place) in page.publish.iter().enumerate() {
            let index = i.to_string();
            let path = ["status_page", "publish", index.as_str()];
            let there = [
                place.folder.is_some(),
                place.bucket.is_some(),
                place.ssh.is_some(),
                place.git.is_some(),
            ];
            self.one_of(&path, &["folder", "bucket", "ssh", "git"], &there);
            let key = ("key", place.key.is_some());
            let bucket =
                [("endpoint", place.endpoint.is_some()), key, ("secret", place.secret.is_some())];
            if place.bucket.is_some() {
                self.due(&path, &bucket, "a bucket takes `endpoint`, `key` and `secret`");
            }
            let ssh = [key, ("host_key", place.host_key.is_some())];
            if let Some(at) = &place.ssh {
                let help = format!(
                    "a folder behind SSH takes `key` and `host_key`; on the machine, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says what {} shows",
                    at.host
                );
                self.due(&path, &ssh, &help);
            }
            if place.host_key.as_ref().is_some_and(|key| !key.starts_with("SHA256:")) {
                let what = "`host_key` is no fingerprint".to_owned();
                let help = "it begins with `SHA256:`, as `ssh-keygen -lf` writes it";
                let at = [path[0], path[1], path[2], "host_key"];
                self.tell(codes::BAD_VALUE, &at, what, help);
            }
            if let Some(url) = &place.git {
                self.due(&path, &[key], "a branch takes `key`, a token that may push to it");
                self.branch(&path, place, &url.0);
            }
        }
    }

    /// Checks the branch of a git repository that shows the status page.
    fn branch(&mut self, path: &[&str; 3], place: &PagePlace, url: &str) {
        let at = |key| [path[0], path[1], path[2], key];
        if !url.starts_with("https://") {
            let what = "a token would go over the network in the clear".to_owned();
            self.tell(codes::BAD_VALUE, &at("git"), what, "write `https://`");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let branch = &place.branch;
        let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']);
        if !branch.chars().all(is_plain) || !branch.split('/').all(is_part) || branch.contains("..")
        {
            let what = format!("`{branch}` is no branch");
            let help = "a branch has letters, digits and `._-/`, like `gh-pages`";
            self.tell(codes::BAD_VALUE, &at("branch"), what, help);
        }
        if place.per_hour == 0 {
            let what = "the branch would never be pushed".to_owned();
            self.tell(codes::BAD_VALUE, &at("per_hour"), what, "write 1 or more");
        }
    }

    /// Tells which of `keys` are not there.
    fn due(&mut self, path: &[&str], keys: &[(&str, bool)], help: &str) {
        for (name, _) in keys.iter().filter(|(_, there)| !there) {
            let what = format!("`{}` has no `{name}`", path.join("."));
            self.tell(codes::MISSING, path, what, help);
        }
    }

    /// Checks that forms of the status page reach somebody who can do something with them.
    fn subscribing(&mut self) {
        let Some(page) = &self.config.status_page else { return };
        let Some(subscribe) = &page.subscribe else { return };
        let path = ["status_page", "subscribe"];
        let own = page.host.as_ref().map(|host| host.0.clone());
        if own.is_some() && own == self.config.subscribe_host() {
            let what = "`status_page.subscribe.at` is the host of the page, which is made of files"
                .to_owned();
            let help = "name another host that leads here, like that of the dashboard";
            self.tell(codes::DOES_NOT_FIT, &[path[0], path[1], "at"], what, help);
        }
        if !self.config.dashboard.on {
            let what = "nobody takes what is posted to `status_page.subscribe.at`".to_owned();
            self.tell(codes::DOES_NOT_FIT, &path, what, "take `dashboard.on = false` away");
        }
        if self.config.mail.is_none() && !subscribe.webhooks && subscribe.sms_per_day == 0 {
            let what = "nobody can subscribe: there is neither `[mail]` nor a webhook".to_owned();
            self.tell(codes::MISSING, &path, what, "add `[mail]` with `from` and `via`");
        }
        self.subscribing_by_phone(subscribe);
    }

    /// Whether somebody carries text messages; who does is used.
    fn carrier(&mut self) -> bool {
        let is_carrier = |provider: &Provider| matches!(provider.settings, Settings::Twilio(_));
        let mut all = self.config.providers.iter();
        let carrier = all.find(|(_, provider)| is_carrier(provider));
        self.used.extend(carrier.map(|(name, _)| name.clone()));
        carrier.is_some()
    }

    /// Checks that somebody carries text messages to subscribers, where there are any, and where to.
    fn subscribing_by_phone(&mut self, subscribe: &PageSubscribe) {
        let path = ["status_page", "subscribe"];
        if subscribe.sms_per_day > 0 && !self.carrier() {
            let what = "nobody carries the text messages of `sms_per_day`".to_owned();
            let help = "declare a provider of the kind `twilio`";
            self.tell(codes::MISSING, &[path[0], path[1], "sms_per_day"], what, help);
        }
        for (i, start) in subscribe.sms_to.iter().enumerate() {
            let digits = start.strip_prefix('+').unwrap_or_default();
            let is_start = (1..=15).contains(&digits.len());
            if !is_start || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let what = format!("`{start}` is not how a phone number begins");
                let at = [path[0], path[1], "sms_to", &i.to_string()];
                self.tell(
                    codes::BAD_VALUE,
                    &at,
                    what,
                    "write it in international form, like `+49`",
                );
            }
        }
    }

    /// Tells keys that say something of another kind of monitor.
    fn asked_in_vain(&mut self, kind: &str, path: &[&str; 2]) {
        for (of, keys) in ASKED_OF {
            for key in keys.iter().filter(|_| of != kind) {
                let whole = [path[0], path[1], key];
                if self.has(&whole) {
                    let what = format!("`{key}` says nothing of a monitor of `{kind}`");
                    self.tell(codes::DOES_NOT_FIT, &whole, what, format!("it belongs to `{of}`"));
                }
            }
        }
    }

    /// Checks what incidents begin with.
    fn templates(&mut self) {
        let Some(page) = &self.config.status_page else { return };
        let kinds: Vec<&str> = THINGS.iter().map(|(kind, _)| *kind).collect();
        for (name, template) in &page.templates {
            for (j, subject) in template.subjects.iter().enumerate() {
                let index = j.to_string();
                let path = ["status_page", "templates", name.as_str(), "subjects", &index];
                self.thing(subject, &kinds, &path);
            }
        }
    }

    /// Checks that exactly one of `keys` is there.
    fn one_of(&mut self, path: &[&str], keys: &[&str], there: &[bool]) {
        let read: Vec<&str> =
            keys.iter().zip(there).filter(|(_, t)| **t).map(|(k, _)| *k).collect();
        let list = keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        let mut key = path.to_vec();
        match read.as_slice() {
            [_] => {}
            [] => {
                let written = keys.iter().any(|k| {
                    let mut whole = path.to_vec();
                    whole.push(k);
                    self.has(&whole)
                });
                if !written {
                    let what = format!("`{}` has none of {list}", path.join("."));
                    self.tell(codes::CHOOSE_ONE, path, what, "exactly one is due");
                }
            }
            [first, again, ..] => {
                key.push(again);
                let what = format!("`{again}` excludes `{first}`");
                self.tell(codes::CHOOSE_ONE, &key, what, format!("exactly one of {list} is due"));
            }
        }
    }

    /// Checks that `text` names something of one of `kinds`: `database.main`, or `mail`.
    fn thing(&mut self, text: &str, kinds: &[&str], path: &[&str]) {
        if text == "mail" && kinds.contains(&"service") {
            if !self.has(&["mail"]) {
                let what = "there is no `[mail]`".to_owned();
                self.tell(codes::NO_SUCH_THING, path, what, "add it, or take this away");
            }
            return;
        }
        match thing(text) {
            Some((kind, name)) if kinds.contains(&kind) => {
                self.thing_named(kind, name.as_str(), path);
            }
            _ => {
                let forms =
                    kinds.iter().map(|k| format!("`{k}.NAME`")).collect::<Vec<_>>().join(", ");
                let kind = text.split('.').next().unwrap_or_default();
                let help = match nearest(kind, kinds.iter().copied()).filter(|n| *n != kind) {
                    Some(near) => format!("did you mean `{near}.…`?"),
                    None => format!("write one of {forms}"),
                };
                self.tell(
                    codes::NO_SUCH_THING,
                    path,
                    format!("`{text}` names nothing that fits here"),
                    help,
                );
            }
        }
    }

    /// Checks that there is a `kind` called `name`.
    pub(super) fn thing_named(&mut self, kind: &str, name: &str, path: &[&str]) {
        let section = section_of(kind);
        if self.has(&[section, name]) {
            return;
        }
        let help = self.near(section, name);
        self.tell(codes::NO_SUCH_THING, path, format!("there is no {kind} `{name}`"), help);
    }

    /// What `name` in `section` was likely meant to be.
    pub(super) fn near(&self, section: &str, name: &str) -> String {
        let table = self.root.get(section).and_then(|n| n.table());
        let names = table.into_iter().flat_map(|t| t.entries.keys()).map(String::as_str);
        match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.clone().next().is_none() => format!("add `[{section}.{name}]`"),
            None => format!("`{section}` has {}", names.collect::<Vec<_>>().join(", ")),
        }
    }

    pub(super) fn timings(&mut self) {
        let (f, section) = (&self.config.failover, "failover");
        let rhythms = [
            ("probe_every", f.probe_every),
            ("probe_timeout", f.probe_timeout),
            ("probe_in_doubt", f.probe_in_doubt),
            ("look_every", f.look_every),
        ];
        for (key, time) in rhythms {
            self.rhythm(time.is_zero(), &[section, key]);
        }
        if f.probe_timeout > f.probe_every {
            let what = "`probe_timeout` is longer than `probe_every`".to_owned();
            let key =
                if self.has(&[section, "probe_timeout"]) { "probe_timeout" } else { "probe_every" };
            self.tell(
                codes::TIMINGS,
                &[section, key],
                what,
                "a probe must end before the next begins",
            );
        }
        if f.stale_after.is_some_and(|s| s <= f.look_every) {
            let what = "`stale_after` is not longer than `look_every`".to_owned();
            let help = "what is looked at so seldom would always be stale";
            self.tell(codes::TIMINGS, &[section, "stale_after"], what, help);
        }
    }

    pub(super) fn accounts(&mut self) {
        let config = self.config;
        for (name, provider) in &config.providers {
            let path = ["providers", name.as_str()];
            if provider.account.token.is_some() && provider.account.credentials.is_some() {
                let what = "`credentials` excludes `token`".to_owned();
                let path = [path[0], path[1], "credentials"];
                self.tell(codes::CHOOSE_ONE, &path, what, "one of them is enough");
            }
            let sends = self.sends_hooks(name);
            // Images name their registry by its host, and checks run where the repository is.
            let by_itself = !provider.plays(Role::Compute)
                && (provider.plays(Role::Registry) || provider.plays(Role::Ci));
            if !by_itself && !sends && !self.used.contains(name) {
                let what = format!("provider `{name}` is used for nothing");
                let roles: Vec<String> =
                    provider.kind().roles.iter().map(Role::to_string).collect();
                let help = format!("it could be used for {}", roles.join(", "));
                self.tell(codes::UNUSED_PROVIDER, &path, what, help);
            }
        }
    }

    /// Whether the provider `name` sends signed webhooks. Tells what is missing then: what they tell of is asked for.
    fn sends_hooks(&mut self, name: &ProviderName) -> bool {
        let Some(provider) = self.config.provider(name) else { return false };
        let Settings::Sentry(own) = &provider.settings else { return false };
        if own.client_secret.is_none() {
            return false;
        }
        let path = ["providers", name.as_str(), "client_secret"];
        let example = name.as_str().to_uppercase().replace('-', "_");
        let token = format!("token = \"${{secret.{example}_TOKEN}}\"");
        let organization = "organization = \"SLUG\"";
        for (key, line) in [("organization", organization), ("token", token.as_str())] {
            if !self.has(&[path[0], path[1], key]) {
                let what = format!(
                    "`client_secret` takes webhooks, and without `{key}` nobody can be asked what they tell of"
                );
                self.tell(codes::MISSING, &path, what, format!("add `{line}`"));
            }
        }
        true
    }
}

/// The section that things of `kind` are declared in.
pub(super) fn section_of(kind: &str) -> &'static str {
    THINGS.iter().find(|(k, _)| *k == kind).map_or("services", |(_, section)| section)
}

/// Whether the text is an address with a password that is written out.
pub(super) fn has_password(template: &Template) -> bool {
    let text = template.to_string();
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    user.split_once(':')
        .is_some_and(|(_, password)| !password.is_empty() && !password.contains("${"))
}

/// Whether one of the next times of `window` begins before the one before is over.
fn begins_again(window: &Window) -> bool {
    let next = |at: &Timestamp| window.begins(*at);
    let times: Vec<Timestamp> =
        std::iter::successors(next(&LOOKED_FROM), next).take(LOOKED_AT).collect();
    times.windows(2).any(|two| two[1].0 - two[0].0 <= window.lasts_ms())
}
