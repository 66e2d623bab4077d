//! Makes definitions of releases: follows references, sets addresses, and takes the fingerprint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use linkflow_engine::Render;
use linkflow_model::config::{
    BucketProperty, Config, Reference, ServiceProperty, StackProperty, Template,
};
use linkflow_model::{
    Definition, EnvValue, Fingerprint, ItemName, ProviderName, RegistryLogin, Release, ReleaseId,
    ServiceName, ServiceRelease,
};
use linkflow_providers::registry::Credentials;
use linkflow_store::Document;
use serde_json::json;

use super::OpenOptions;
use super::registry::credentials;
use super::secrets::Secrets;
use super::state::Key;

/// How many hex digits a fingerprint has.
const DIGITS: usize = 32;

/// A service whose environment comes to other values now than its release was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stray {
    /// The service.
    pub(crate) service: ServiceName,
    /// Where.
    pub(crate) providers: Vec<ProviderName>,
    /// What its environment names; one of these has another value.
    pub(crate) names: Vec<String>,
    /// Which of them leads nowhere now, in words.
    pub(crate) unable: Option<String>,
}

/// Makes definitions.
pub(crate) struct Renderer {
    config: Config,
    secrets: std::sync::Arc<Secrets>,
    ports: BTreeMap<ServiceName, SocketAddr>,
    rehearsed: bool,
    /// Who pulls from each registry that the config has a login for.
    logins: BTreeMap<String, RegistryLogin>,
    key: Key,
    /// Every name that any release set in the environment of each service.
    ever_set: Mutex<BTreeMap<ServiceName, BTreeSet<String>>>,
}

impl Renderer {
    pub(super) fn new(
        config: &Config,
        secrets: std::sync::Arc<Secrets>,
        ports: BTreeMap<ServiceName, SocketAddr>,
        options: &OpenOptions,
        key: Key,
    ) -> Self {
        let rehearsed = options.cloud.is_some();
        let ever_set = Mutex::default();
        let held = if rehearsed { BTreeMap::new() } else { credentials(config, &secrets) };
        let login = |(registry, held): (String, Credentials)| {
            let (user, password) = (held.user, held.password);
            (registry.clone(), RegistryLogin { registry, user, password })
        };
        let logins = held.into_iter().map(login).collect();
        Self { config: config.clone(), secrets, ports, rehearsed, logins, key, ever_set }
    }

    /// Remembers what the releases in `held` set, so that it can be taken away again.
    pub(super) fn learn(&self, held: &[Document]) {
        for document in held {
            match serde_json::from_value::<Release>(document.body.clone()) {
                Ok(release) => self.note(&release),
                Err(error) => {
                    tracing::warn!(key = document.key, %error, "a release cannot be read");
                }
            }
        }
    }

    fn note(&self, release: &Release) {
        let mut ever_set = self.ever_set.lock().unwrap_or_else(PoisonError::into_inner);
        for (service, held) in &release.services {
            ever_set.entry(service.clone()).or_default().extend(held.env.keys().cloned());
        }
    }

    /// The fingerprint that `service` has on `provider`.
    ///
    /// # Errors
    /// The reference that leads nowhere, in words.
    pub(crate) fn fingerprint(
        &self,
        service: &ServiceRelease,
        provider: &ProviderName,
    ) -> Result<Fingerprint, String> {
        Ok(self.fingerprint_of(service, provider, &self.env(service)?))
    }

    /// Services of `release` whose environment comes to other values now than the release was made with.
    pub(crate) fn strays(&self, release: &Release) -> Vec<Stray> {
        let each = release.services.values().filter_map(|service| {
            let (mut providers, mut unable) = (Vec::new(), None);
            for (provider, held) in &service.fingerprints {
                match self.fingerprint(service, provider) {
                    Ok(now) if now == *held => continue,
                    Ok(_) => {}
                    Err(why) => unable = Some(why),
                }
                providers.push(provider.clone());
            }
            let (service, names) = (service.spec.name.clone(), references(service));
            (!providers.is_empty()).then_some(Stray { service, providers, names, unable })
        });
        each.collect()
    }

    fn fingerprint_of(
        &self,
        service: &ServiceRelease,
        provider: &ProviderName,
        env: &BTreeMap<String, EnvValue>,
    ) -> Fingerprint {
        let spec = &service.spec;
        let env: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
        let whole = json!([
            self.config.stack.name,
            spec.name,
            provider,
            service.image,
            spec.command,
            spec.kind,
            spec.port,
            spec.health,
            spec.size,
            env,
        ]);
        let mut hash = self.key.hash(whole.to_string().as_bytes());
        hash.truncate(DIGITS);
        Fingerprint(hash)
    }

    /// The environment with every reference followed.
    fn env(&self, service: &ServiceRelease) -> Result<BTreeMap<String, EnvValue>, String> {
        let name = &service.spec.name;
        let mut env = BTreeMap::new();
        for (variable, text) in &service.env {
            let (template, _) = Template::parse(text).map_err(|errors| {
                let what = errors.first().map_or("it cannot be read", |e| e.what.as_str());
                format!("{variable} of {name}: {what}")
            })?;
            let value =
                template.fill(&|reference| self.follow(reference)).map_err(|reference| {
                    format!(
                        "{variable} of {name}: `${{{reference}}}` leads nowhere{}",
                        why(&reference)
                    )
                })?;
            env.insert(variable.clone(), value);
        }
        Ok(env)
    }

    /// `template` with every reference followed.
    ///
    /// # Errors
    /// The reference that leads nowhere, in words.
    pub(super) fn text(&self, template: &Template) -> Result<EnvValue, String> {
        template
            .fill(&|reference| self.follow(reference))
            .map_err(|reference| format!("`${{{reference}}}` leads nowhere{}", why(&reference)))
    }

    fn follow(&self, reference: &Reference) -> Option<EnvValue> {
        let plain = |text: &str| Some(EnvValue::Plain(text.to_owned()));
        match reference {
            Reference::Secret(name) => self.secrets.secret(name).map(EnvValue::Secret),
            Reference::Env(name) => self.secrets.variable(name).map(EnvValue::Secret),
            Reference::Stack(StackProperty::Name) => plain(self.config.stack.name.as_str()),
            Reference::Stack(StackProperty::Domain) => plain(&self.config.stack.domain.as_ref()?.0),
            Reference::Service(name, property) => self.of_service(name, *property),
            Reference::Database(name) => {
                let url = self.config.databases.get(name)?.primary.url.clone();
                self.address(url.as_ref(), "database", name)
            }
            Reference::Cache(name) => {
                let url = self.config.caches.get(name)?.primary.url.clone();
                self.address(url.as_ref(), "cache", name)
            }
            Reference::Bucket(name, property) => self.of_bucket(name, *property),
        }
    }

    fn of_service(&self, name: &ServiceName, property: ServiceProperty) -> Option<EnvValue> {
        let service = self.config.services.get(name)?;
        // A name that visitors can type, if there is one.
        let route = service.route.iter().find(|route| route.is_one_host());
        let route = route.or_else(|| service.route.first());
        let text = match property {
            ServiceProperty::Address => self.address_of(name)?,
            ServiceProperty::Port => service.port?.to_string(),
            ServiceProperty::Host => route?.host.clone(),
            // In a rehearsal nobody resolves public names, and the internal listener leads to the same service.
            ServiceProperty::Url if self.rehearsed => format!("http://{}", self.address_of(name)?),
            ServiceProperty::Url => {
                let route = route?;
                format!("https://{}{}", route.host, route.path.trim_end_matches('/'))
            }
        };
        Some(EnvValue::Plain(text))
    }

    /// Where services call `service`, `host:port`; `None` when it has no port.
    pub(crate) fn address_of(&self, service: &ServiceName) -> Option<String> {
        let at = self.ports.get(service)?;
        let outside = self.config.edge.address.as_ref().filter(|_| !self.rehearsed);
        let host =
            outside.and_then(|url| url.0.parse::<http::Uri>().ok()?.host().map(str::to_owned));
        Some(host.map_or_else(|| at.to_string(), |host| format!("{host}:{}", at.port())))
    }

    fn address(&self, url: Option<&Template>, kind: &str, name: &ItemName) -> Option<EnvValue> {
        match url {
            Some(url) => url.fill(&|reference| self.follow(reference)).ok(),
            None if self.rehearsed => {
                Some(EnvValue::Secret(self.secrets.made_up(kind, name.as_str())))
            }
            None => None,
        }
    }

    fn of_bucket(&self, name: &ItemName, property: BucketProperty) -> Option<EnvValue> {
        let bucket = self.config.buckets.get(name)?;
        if property == BucketProperty::Name {
            let usual = || format!("{}-{name}", self.config.stack.name);
            return Some(EnvValue::Plain(bucket.name.clone().unwrap_or_else(usual)));
        }
        self.rehearsed.then(|| EnvValue::Secret(self.secrets.made_up("bucket", name.as_str())))
    }
}

impl Render for Renderer {
    fn definition(
        &self,
        release: &Release,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
    ) -> Result<Definition, String> {
        self.note(release);
        let missing = || format!("{} has no service `{service}`", release.id);
        let held = release.services.get(service).ok_or_else(missing)?;
        let env = self.env(held)?;
        let ever_set = self.ever_set.lock().unwrap_or_else(PoisonError::into_inner);
        let ever_set = ever_set.get(service).cloned().unwrap_or_default();
        let env_gone = ever_set.into_iter().filter(|name| !env.contains_key(name)).collect();
        let fingerprint = self.fingerprint_of(held, provider, &env);
        Ok(definition(self, held, provider, replicas, release.id, env, env_gone, fingerprint))
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a definition has this many parts, and each is used once"
)]
fn definition(
    renderer: &Renderer,
    held: &ServiceRelease,
    provider: &ProviderName,
    replicas: u32,
    release: ReleaseId,
    env: BTreeMap<String, EnvValue>,
    env_gone: Vec<String>,
    fingerprint: Fingerprint,
) -> Definition {
    let spec = &held.spec;
    Definition {
        stack: renderer.config.stack.name.clone(),
        service: spec.name.clone(),
        provider: provider.clone(),
        release,
        image: held.image.clone(),
        command: spec.command.clone(),
        login: renderer.logins.get(&held.image.registry).cloned(),
        kind: spec.kind,
        port: spec.port,
        health: spec.health.clone(),
        env,
        env_gone,
        replicas,
        size: spec.size,
        fingerprint,
    }
}

/// What the environment of `service` names, each once: `secret.TOKEN`, `database.main.url`.
fn references(service: &ServiceRelease) -> Vec<String> {
    let texts = service.env.values().filter_map(|text| Template::parse(text).ok());
    let named = texts.flat_map(|(template, _)| {
        let may_change = |one: &&Reference| !matches!(one, Reference::Stack(StackProperty::Name));
        template.references().filter(may_change).map(ToString::to_string).collect::<Vec<_>>()
    });
    named.collect::<BTreeSet<String>>().into_iter().collect()
}

/// What would help, after a colon.
fn why(reference: &Reference) -> String {
    match reference {
        Reference::Secret(name) | Reference::Env(name) => {
            format!(": the environment has no variable {name}")
        }
        Reference::Database(_) | Reference::Cache(_) => {
            ": it has no `url`, or one with a secret that is not there".to_owned()
        }
        Reference::Bucket(..) => ": buckets are not acted on yet".to_owned(),
        Reference::Stack(_) | Reference::Service(..) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use linkflow_model::{ReleaseState, Timestamp};

    use super::super::Listen;
    use super::super::state::Home;
    use super::*;

    const TEXT: &str = "[stack]\nname = \"shop\"\ndomain = \"example.com\"\n[services.api]\nimage = \"a\"\nport = 80\n\
        route = \"api.example.com/v1\"\nenv = { T = \"Bearer ${secret.TOKEN}\", U = \"${service.api.url}\", A = \"${service.api.address}\" }\n";

    fn renderer(text: &str, rehearsed: bool) -> (Renderer, ServiceRelease) {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let key = Home::open(dir.path()).unwrap().key();
        let vars = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
        let api = ServiceName::new("api").unwrap();
        let ports = BTreeMap::from([(api.clone(), SocketAddr::from(([127, 0, 0, 1], 4000)))]);
        let options = OpenOptions {
            state: dir.path().to_owned(),
            workdir: dir.path().to_owned(),
            cloud: None,
            record: None,
            vars: vars.clone(),
            what: "test".to_owned(),
            listen: Listen::Nowhere,
            hooks: false,
            crash: Vec::new(),
        };
        let secrets = Arc::new(Secrets::new(vars, key.clone(), rehearsed));
        let mut renderer = Renderer::new(&config, secrets, ports, &options, key);
        renderer.rehearsed = rehearsed;
        let image = format!("docker.io/a@sha256:{}", "0".repeat(64)).parse().unwrap();
        let service = &config.services[&api];
        let env = service.env.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
        let fingerprints = BTreeMap::new();
        (renderer, ServiceRelease { spec: service.spec(&api), image, env, fingerprints })
    }

    fn release(id: u64, service: ServiceRelease) -> Release {
        Release {
            id: ReleaseId(id),
            at: Timestamp(0),
            state: ReleaseState::Rolling,
            why: String::new(),
            before: None,
            services: BTreeMap::from([(service.spec.name.clone(), service)]),
            by: None,
            migrations: BTreeMap::new(),
            took_ms: None,
            failed: None,
        }
    }

    fn fly() -> ProviderName {
        ProviderName::new("fly").unwrap()
    }

    #[test]
    fn references_are_followed_and_what_holds_a_secret_is_one() {
        let (renderer, service) = renderer(TEXT, false);
        let api = service.spec.name.clone();
        let definition = renderer.definition(&release(1, service), &api, &fly(), 2).unwrap();
        assert_eq!(definition.env["U"], EnvValue::Plain("https://api.example.com/v1".to_owned()));
        assert_eq!(definition.env["A"], EnvValue::Plain("127.0.0.1:4000".to_owned()));
        assert_eq!(definition.env["T"].expose(), "Bearer hunter2");
        assert!(!format!("{definition:?}").contains("hunter2"));
    }

    #[test]
    fn a_rehearsal_has_neither_real_secrets_nor_public_names() {
        let (renderer, service) = renderer(TEXT, true);
        let api = service.spec.name.clone();
        let definition = renderer.definition(&release(1, service), &api, &fly(), 1).unwrap();
        assert_eq!(definition.env["U"].expose(), "http://127.0.0.1:4000");
        assert!(!definition.env["T"].expose().contains("hunter2"));
    }

    #[test]
    fn a_fingerprint_follows_from_what_runs_and_from_nothing_else() {
        let (renderer, service) = renderer(TEXT, false);
        let api = service.spec.name.clone();
        let of = |id, service: &ServiceRelease, provider: &str, replicas| {
            let provider = ProviderName::new(provider).unwrap();
            let definition =
                renderer.definition(&release(id, service.clone()), &api, &provider, replicas);
            definition.unwrap().fingerprint
        };
        let first = of(1, &service, "fly", 1);
        assert_eq!(first.0.len(), 32);
        assert_eq!(first, of(2, &service, "fly", 0));
        assert_eq!(first, renderer.fingerprint(&service, &fly()).unwrap());
        assert_ne!(first, of(1, &service, "railway", 1));
        let mut other = service.clone();
        other.env.insert("X".to_owned(), "1".to_owned());
        assert_ne!(first, of(1, &other, "fly", 1));
    }

    #[test]
    fn what_was_deployed_with_another_secret_is_named_without_a_value() {
        let (mut renderer, mut service) = renderer(TEXT, false);
        let held = renderer.fingerprint(&service, &fly()).unwrap();
        service.fingerprints.insert(fly(), held);
        let release = release(1, service);
        assert_eq!(renderer.strays(&release), []);
        let mut now = |vars| {
            renderer.secrets = Arc::new(Secrets::new(vars, renderer.key.clone(), false));
            renderer.strays(&release)
        };
        let found = now(BTreeMap::from([("TOKEN".to_owned(), "hunter3".to_owned())]));
        let names = ["secret.TOKEN", "service.api.address", "service.api.url"];
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].providers[..], &found[0].unable), (&[fly()][..], &None));
        assert_eq!(found[0].names, names);
        assert!(!format!("{found:?}").contains("hunter"), "{found:?}");
        let gone = now(BTreeMap::new());
        assert!(gone[0].unable.as_ref().unwrap().contains("has no variable TOKEN"), "{gone:?}");
    }

    #[test]
    fn a_variable_that_is_gone_is_named_so_that_it_is_taken_away() {
        let (renderer, service) = renderer(TEXT, false);
        let api = service.spec.name.clone();
        let mut second = service.clone();
        second.env.remove("U");
        renderer.definition(&release(1, service.clone()), &api, &fly(), 1).unwrap();
        let definition = renderer.definition(&release(2, second), &api, &fly(), 1).unwrap();
        assert_eq!(definition.env_gone, ["U"]);
        let back = renderer.definition(&release(1, service), &api, &fly(), 1).unwrap();
        assert!(back.env_gone.is_empty());
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let (renderer, service) = renderer(&TEXT.replace("secret.TOKEN", "secret.NONE"), false);
        let error = renderer.fingerprint(&service, &fly()).unwrap_err();
        assert_eq!(
            error,
            "T of api: `${secret.NONE}` leads nowhere: the environment has no variable NONE"
        );
    }
}
