//! The example stack: what others build on.

use linkflow_model::config::{Config, Reference, ServiceProperty};
use linkflow_model::{ServiceKind, ServiceName};

use super::{EXAMPLE, sound};

fn table(config: &Config) -> String {
    let row = |s: linkflow_model::ServiceSpec| {
        let on: Vec<&str> = s.runs_on.iter().map(linkflow_model::ProviderName::as_str).collect();
        let kind = match s.kind {
            ServiceKind::Web => "web",
            ServiceKind::Grpc => "grpc",
            ServiceKind::Worker => "worker",
        };
        let exclusive = if s.exclusive { " exclusive" } else { "" };
        format!("{} {} {} {kind}{exclusive}\n", s.name, s.port.unwrap_or(0), on.join(">"))
    };
    config.services().into_iter().map(row).collect()
}

#[test]
fn it_has_no_problem_in_any_environment() {
    sound(EXAMPLE, None);
    sound(EXAMPLE, Some("rehearsal"));
}

#[test]
fn its_services_are_those_of_the_design() {
    insta::assert_snapshot!(table(&sound(EXAMPLE, None)), @r"
    api 8000 azure>render>hetzner web
    engine-frontend 8080 fly>railway>hetzner web
    engine-history 7234 koyeb>zeabur>hetzner grpc
    engine-matching 7235 railway>fly>hetzner grpc
    engine-timer 7238 azure>fly>hetzner worker exclusive
    engine-worker 0 zeabur>koyeb>hetzner worker
    queue 0 render>azure>hetzner worker
    ");
}

#[test]
fn the_rehearsal_is_quick_and_has_no_database_address() {
    let config = sound(EXAMPLE, Some("rehearsal"));
    let policy = config.policy();
    assert_eq!(
        (policy.probe_every_ms, policy.confirm_ms, policy.stale_after_ms),
        (1_000, 1_000, 6_000)
    );
    for spec in config.services() {
        assert_eq!(spec.start_within_ms, 10_000, "{}", spec.name);
        assert!(!config.env_of(&spec.name).contains_key("DATABASE_URL"), "{}", spec.name);
    }
    let real = sound(EXAMPLE, None);
    let history = ServiceName::new("engine-history").unwrap();
    assert!(real.env_of(&history).contains_key("DATABASE_URL"));
    assert_eq!(real.policy(), linkflow_model::Policy::default());
}

#[test]
fn what_a_service_is_told_of_another_makes_it_need_that_one() {
    let config = sound(EXAMPLE, None);
    let frontend = ServiceName::new("engine-frontend").unwrap();
    let needs: Vec<String> = config.needs(&frontend).iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["engine-history", "engine-matching"]);
    let worker = ServiceName::new("engine-worker").unwrap();
    let api = ServiceName::new("api").unwrap();
    let told = &config.env_of(&worker)["API_BASE_URL"];
    let references: Vec<_> = told.references().cloned().collect();
    assert_eq!(references, [Reference::Service(api, ServiceProperty::Url)]);
}

#[test]
fn printed_and_parsed_again_it_is_the_same() {
    for env in [None, Some("rehearsal")] {
        let config = sound(EXAMPLE, env);
        let printed = config.to_toml();
        assert_eq!(sound(&printed, None), config, "{printed}");
    }
}

#[test]
fn the_least_that_runs_needs_no_account() {
    let config =
        sound("[stack]\nname = \"shop\"\n[services.api]\nimage = \"shop:1\"\nport = 80\n", None);
    let spec = config.services().remove(0);
    assert_eq!(spec.runs_on, [linkflow_model::ProviderName::new("embedded").unwrap()]);
    assert_eq!((spec.health.as_deref(), spec.replicas, spec.size.memory_mb), (Some("/"), 1, 256));
    assert_eq!(config.compute().len(), 1);
    assert_eq!(config.to_toml().lines().count(), 6, "what is as usual is not printed");
}

#[test]
fn one_machine_may_hold_a_copy_of_everything() {
    let providers = ["cockroachdb", "neon", "supabase", "upstash", "resend", "brevo"];
    let providers: String =
        providers.iter().map(|p| format!("[providers.{p}]\nkind = \"{p}\"\n")).collect();
    sound(
        &format!(
            r#"
[stack]
name = "linkflow"
domain = "example.com"

{providers}
[providers.hetzner]
kind = "server"
address = "2001:db8::7"
last_resort = true

[services.timer]
image = "ghcr.io/acme/linkflow/engine-timer"
kind = "worker"
exclusive = true
runs_on = ["hetzner"]
env = {{ DATABASE_URL = "${{database.main.url}}", REDIS_URL = "${{cache.main.url}}" }}

[databases.main]
primary = {{ on = "cockroachdb", url = "${{secret.COCKROACH_URL}}" }}
copies = [
  {{ on = "neon", url = "${{secret.NEON_URL}}", every = "1m" }},
  {{ on = "supabase", url = "${{secret.SUPABASE_URL}}", every = "1h" }},
  {{ on = "hetzner", url = "${{secret.HETZNER_PG}}", every = "1m" }},
]
promote = "auto"

[caches.main]
primary = {{ on = "upstash", url = "${{secret.UPSTASH_URL}}" }}
fallbacks = [{{ on = "hetzner", url = "${{secret.HETZNER_REDIS}}" }}]

[mail]
from = "LinkFlow <noreply@example.com>"
via = ["resend", "brevo"]
"#
        ),
        None,
    );
}
