//! What one LinkFlow sees for another.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use linkflow_decide::watch::Seen;
use linkflow_model::Looked;
use linkflow_model::role::Vantage;
use tokio::sync::Semaphore;

use crate::eyes::Eyes;
use crate::probe::{Phases, Saw};
use crate::target::Target;
use crate::watcher::Watched;

/// How many looks are made for others at once.
const AT_ONCE: usize = 64;

/// This machine, as it looks for others: at what it watches itself and nothing else.
pub struct Here {
    eyes: Eyes,
    targets: HashMap<String, Target>,
    free: Semaphore,
}

impl Here {
    /// Looks with `eyes` at whatever of `all` can be seen from anywhere.
    pub fn new(eyes: Eyes, all: &[Watched]) -> Self {
        let far = all.iter().filter(|watched| watched.elsewhere);
        let targets = far.map(|watched| (watched.subject.clone(), watched.target.clone()));
        Self { eyes, targets: targets.collect(), free: Semaphore::new(AT_ONCE) }
    }
}

#[async_trait]
impl Vantage for Here {
    async fn look(&self, subject: &str, limit: Duration) -> Looked {
        let Some(target) = self.targets.get(subject) else { return Looked::Blind };
        let Ok(_place) = self.free.try_acquire() else { return Looked::Blind };
        match self.eyes.look(target, limit).await.seen {
            Seen::Well { took_ms } => Looked::Well { took_ms },
            Seen::Silent(why) => Looked::Silent { why },
            Seen::Wrong(why) => Looked::Wrong { why },
            Seen::Blind => Looked::Blind,
        }
    }
}

/// What another place saw.
pub(crate) fn saw(looked: Looked) -> Saw {
    let seen = match looked {
        Looked::Well { took_ms } => Seen::Well { took_ms },
        Looked::Silent { why } => Seen::Silent(why),
        Looked::Wrong { why } => Seen::Wrong(why),
        Looked::Blind => Seen::Blind,
    };
    Saw { seen, phases: Phases::default(), address: None, certificate: None }
}
