//! Who looks from where: this machine for others, and others for this one.

use std::sync::{Arc, OnceLock};

use linkflow_model::ProviderName;
use linkflow_model::config::Config;
use linkflow_model::role::Vantage;
use linkflow_providers::kit::Kit;
use linkflow_providers::vantage::{self, Settings};

use super::secrets::Secrets;
use super::{OpenError, OpenOptions};

/// The places from which it is looked.
#[derive(Clone, Default)]
pub(crate) struct Places {
    /// This machine, once it looks at anything.
    pub(crate) here: Arc<OnceLock<Arc<dyn Vantage>>>,
    /// Others that look for this one.
    pub(crate) others: Vec<Arc<dyn Vantage>>,
}

impl Places {
    /// The places of `config`. In a rehearsal nobody real is asked.
    ///
    /// # Errors
    /// When the token of one is not there.
    pub(super) fn open(
        config: &Config,
        options: &OpenOptions,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Result<Self, OpenError> {
        let mut places = Self::default();
        for (name, place) in config.vantages.iter().filter(|_| options.cloud.is_none()) {
            let token = secrets.follow(&place.token).ok_or_else(|| OpenError::Missing {
                what: format!("the `token` of `vantages.{name}` is not there"),
                help: "put it into the environment; `linkflow access token create` on the other machine makes one"
                    .to_owned(),
            })?;
            let Some(provider) = ProviderName::new(name.as_str()) else { continue };
            let other = vantage::open(Settings { url: place.url.0.clone(), token }, kit, &provider);
            places.others.push(Arc::from(other));
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
    use std::time::Duration;

    use linkflow_decide::watch::Manner;
    use linkflow_model::access::Scope;
    use linkflow_model::clock::SystemClock;
    use linkflow_model::{Looked, Secret};
    use linkflow_monitor::{Eyes, Guard, Here, HttpTarget, Prober, Target, Watched};
    use linkflow_providers::kit::KitOptions;
    use linkflow_web::door;

    use super::super::{Listen, Stack, dashboard};
    use super::*;

    /// A server of HTTP whose status can be changed. It ends with the process of the tests.
    fn server() -> (SocketAddr, Arc<AtomicU16>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, status) = (listener.local_addr().unwrap(), Arc::new(AtomicU16::new(200)));
        let says = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), [0; 4_096]);
                if stream.read(&mut request).is_ok_and(|length| length > 0) {
                    let status = says.load(Relaxed);
                    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(text.as_bytes()).unwrap();
                }
            }
        });
        (at, status)
    }

    fn watched(subject: &str, at: SocketAddr, elsewhere: bool) -> Watched {
        let url = format!("http://{at}/").parse().unwrap();
        Watched {
            subject: subject.to_owned(),
            also: Vec::new(),
            target: Target::Http(Box::new(HttpTarget::get(url))),
            elsewhere,
            manner: Manner {
                every_ms: 1_000,
                limit_ms: 1_000,
                hold_ms: 100,
                slow_ms: None,
                learn_ms: None,
            },
            needs: Vec::new(),
            service: None,
            certificate_days: 14,
        }
    }

    /// Another LinkFlow at work, as `linkflow up` begins it.
    async fn other(folder: &std::path::Path) -> Stack {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), "[stack]\nname = \"other\"\n")]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let public = "127.0.0.1:0".parse().unwrap();
        let options = OpenOptions {
            state: folder.to_owned(),
            workdir: folder.to_owned(),
            cloud: None,
            record: None,
            vars: BTreeMap::new(),
            what: "a test".to_owned(),
            listen: Listen::At { public, tls: None, takes_over: false },
            hooks: false,
            crash: Vec::new(),
        };
        Stack::open(config, options).await.unwrap()
    }

    #[tokio::test]
    async fn another_looks_at_what_it_watches_itself_for_whoever_has_its_token() {
        let ((at, status), dir) = (server(), tempfile::tempdir().unwrap());
        let stack = other(dir.path()).await;
        let eyes = Eyes::new(Prober::trusting(&[]).unwrap(), Guard::new(Vec::new()));
        let all = [watched("monitor.web", at, true), watched("monitor.inside", at, false)];
        assert!(stack.places.here.set(Arc::new(Here::new(eyes, &all))).is_ok());
        let site = dashboard::start(&stack, false).await.unwrap().unwrap();
        let made = door::create_token(
            &*stack.store,
            ("home", Scope::Read),
            None,
            "a test",
            stack.clock.wall(),
        );
        let kit = Kit::new(KitOptions {
            record: None,
            clock: Arc::new(SystemClock::start()),
            user_agent: "test".to_owned(),
            limits: None,
        });
        let (token, kit) = (made.await.unwrap().0, kit.unwrap());
        let asked = |token: &str| {
            let settings = Settings { url: format!("http://{site}/"), token: Secret::new(token) };
            vantage::open(settings, &kit, &ProviderName::new("other").unwrap())
        };
        let (good, stranger) = (asked(&token), asked("lf_nobody"));
        let limit = Duration::from_secs(5);
        let look = |subject: &'static str| good.look(subject, limit);

        assert!(matches!(look("monitor.web").await, Looked::Well { .. }));
        status.store(503, Relaxed);
        let wrong = Looked::Wrong { why: "answered 503".to_owned() };
        assert_eq!(look("monitor.web").await, wrong);
        assert_eq!(look("monitor.inside").await, Looked::Blind, "it is not seen from elsewhere");
        assert_eq!(look("monitor.unknown").await, Looked::Blind);
        assert_eq!(stranger.look("monitor.web", limit).await, Looked::Blind);
        stack.close(Duration::from_secs(5)).await;
        assert_eq!(look("monitor.web").await, Looked::Blind, "it is away");
    }
}
