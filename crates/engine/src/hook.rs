//! Commands of the user around a rollout, run under the lock.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use linkflow_model::{EventKind, Level, Release};

use crate::{Engine, EngineError, RunKind};

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before anything is changed.
    Before,
    /// After a release became the live one.
    After,
    /// After a release failed.
    Failed,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Failed => "failed",
        })
    }
}

/// Runs hooks.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Runs `hook` with `env` added to its environment, to its end. `Ok(None)`: there is no such hook; `Ok(Some(_))`:
    /// it worked, with the last lines that it wrote; an error: why not, with its last lines.
    async fn run(
        &self,
        hook: Hook,
        env: &BTreeMap<String, String>,
    ) -> Result<Option<String>, String>;
}

/// What a hook is told.
pub(crate) struct HookCall<'a> {
    pub(crate) hook: Hook,
    pub(crate) kind: RunKind,
    pub(crate) release: &'a Release,
    /// The run; `None` before there is one.
    pub(crate) run: Option<&'a str>,
    /// Why it failed.
    pub(crate) why: Option<&'a str>,
}

impl Engine {
    /// Runs the hook `before`; an error when it fails, so that nothing is changed.
    pub(crate) async fn run_before(
        &self,
        kind: RunKind,
        release: &Release,
    ) -> Result<(), EngineError> {
        let call = HookCall { hook: Hook::Before, kind, release, run: None, why: None };
        self.run_hook(&call).await.map_err(|why| {
            EngineError::Refused(format!("the hook `before` failed, so nothing was changed: {why}"))
        })
    }

    /// Runs a hook and tells how it went.
    pub(crate) async fn run_hook(&self, call: &HookCall<'_>) -> Result<(), String> {
        let Some(hooks) = &self.parts.hooks else { return Ok(()) };
        let kind = match call.kind {
            RunKind::Apply => "apply",
            RunKind::Deploy => "deploy",
            RunKind::Rollback => "rollback",
            RunKind::Move => "move",
            RunKind::Swap => "swap",
            RunKind::Tidy => "tidy",
            RunKind::Restart => "restart",
        };
        let mut env = BTreeMap::from([
            ("LINKFLOW_HOOK".to_owned(), call.hook.to_string()),
            ("LINKFLOW_STACK".to_owned(), self.parts.stack.to_string()),
            ("LINKFLOW_RELEASE".to_owned(), call.release.id.to_string()),
            ("LINKFLOW_KIND".to_owned(), kind.to_owned()),
        ]);
        let before = call.release.before.map(|before| before.to_string());
        env.extend(before.map(|before| ("LINKFLOW_BEFORE".to_owned(), before)));
        env.extend(call.run.map(|run| ("LINKFLOW_RUN".to_owned(), run.to_owned())));
        env.extend(call.why.map(|why| ("LINKFLOW_WHY".to_owned(), why.to_owned())));
        let outcome = hooks.run(call.hook, &env).await;
        let (level, said) = match &outcome {
            Ok(None) => return Ok(()),
            Ok(Some(tail)) if tail.is_empty() => {
                (Level::Info, format!("the hook `{}` worked", call.hook))
            }
            Ok(Some(tail)) => (Level::Info, format!("the hook `{}` worked\n{tail}", call.hook)),
            Err(why) => (Level::Warning, format!("the hook `{}` failed: {why}", call.hook)),
        };
        let mut event = self.event(EventKind::Hook, level, said);
        event.release = Some(call.release.id);
        event.run = call.run.map(str::to_owned);
        self.tell(event).await;
        outcome.map(drop)
    }
}
