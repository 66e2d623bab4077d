//! One provider in another's place, from the first look to the last word in the config.

pub(crate) mod compare;
pub(crate) mod edit;

use std::collections::BTreeMap;
use std::time::Duration;

use linkflow_engine::{EngineError, RunEnd, RunKind, RunState, StepRecord, Swapping};
use linkflow_model::{Plan, ProviderName, Release, ServiceName};

use crate::wire::Stack;
use crate::wire::releases::ReleaseError;

/// Why a swap did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    /// The engine says no.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The release cannot be made.
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Release(Vec<ReleaseError>),
    /// Nothing runs yet.
    #[error("nothing is live yet, so there is nothing to lead over")]
    NothingLive,
    /// It would not be safe.
    #[error("{0}")]
    Refused(String),
    /// The new placement did not come up, or did not stay well. What ran before serves again.
    #[error("{why}")]
    Back {
        /// Which step, and why.
        why: String,
    },
    /// The config could not be changed.
    #[error("the services run on their new provider, and the config could not be changed: {0}")]
    Config(String),
}

/// How a swap ended.
#[derive(Debug)]
pub(crate) struct Swapped {
    /// The release in which the old provider is gone.
    pub(crate) release: RunEnd,
    /// What was to be done at the old provider and did not work.
    pub(crate) left: Vec<StepRecord>,
}

/// What will be done.
#[derive(Debug)]
pub(crate) struct Drafted {
    /// Both providers in the cascade.
    pub(crate) provision: Plan,
    /// Over to the new one.
    pub(crate) forth: Plan,
    /// What is done with the old placements.
    pub(crate) after: Plan,
}

/// One swap.
pub(crate) struct Swap<'a> {
    stack: &'a Stack,
    wish: Swapping,
    wait: Duration,
    live: Release,
}

impl<'a> Swap<'a> {
    /// A swap of what is live now.
    ///
    /// # Errors
    /// [`SwapError::NothingLive`], or what the store says.
    pub(crate) async fn of(
        stack: &'a Stack,
        wish: Swapping,
        wait: Duration,
    ) -> Result<Self, SwapError> {
        let live = stack.engine.live().await?.ok_or(SwapError::NothingLive)?;
        Ok(Self { stack, wish, wait, live })
    }

    /// What would be done. Changes nothing.
    ///
    /// # Errors
    /// [`SwapError::Refused`] when it would not be safe.
    pub(crate) async fn draft(&self) -> Result<Drafted, SwapError> {
        let both = self.release(with_both)?;
        let draft = self.stack.releases.draft(both, &self.why("is provisioned")).await?;
        let swap = self.stack.engine.plan_swap(&draft.release, &self.wish).await?;
        if let Some(held) = swap.forth.held.first() {
            return Err(SwapError::Refused(held.why.clone()));
        }
        let mut forth = swap.forth;
        // The rollout of the release provisions it.
        forth.stages.retain(|stage| stage.name != "provision");
        Ok(Drafted { provision: draft.plan, forth, after: swap.after })
    }

    /// Carries it out. `edit` changes the config once the new placements have proven themselves.
    ///
    /// # Errors
    /// Why not. With [`SwapError::Back`] everything is as it was.
    pub(crate) async fn carry_out(
        &self,
        edit: impl FnOnce() -> Result<(), String>,
    ) -> Result<Swapped, SwapError> {
        let engine = &self.stack.engine;
        let both = self.release(with_both)?;
        let draft = self.stack.releases.draft(both, &self.why("is provisioned")).await?;
        let before = engine.plan_swap(&draft.release, &self.wish).await?;
        if let Some(held) = before.forth.held.first() {
            return Err(SwapError::Refused(held.why.clone()));
        }
        let provisioned = engine.carry_out(&draft, RunKind::Deploy, self.wait).await?;
        if provisioned.state != RunState::Done {
            return Err(SwapError::Back { why: said(&provisioned) });
        }

        let now = engine.plan_swap(&draft.release, &self.wish).await?;
        let led = self.plan(&now.forth, RunKind::Swap, "is led over").await?;
        if led.state != RunState::Done {
            self.go_back(&before.back).await?;
            return Err(SwapError::Back { why: said(&led) });
        }
        edit().map_err(SwapError::Config)?;
        let only = self.release(with_new_only)?;
        let draft = self.stack.releases.draft(only, &self.why("is left")).await?;
        let release = engine.carry_out(&draft, RunKind::Deploy, self.wait).await?;

        let mut left = Vec::new();
        if !now.after.is_empty() {
            left = self.plan(&before.after, RunKind::Tidy, "is let go").await?.failed;
        }
        Ok(Swapped { release, left })
    }

    /// Leads everything back, and makes the release that was live so again.
    async fn go_back(&self, back: &Plan) -> Result<(), SwapError> {
        self.plan(back, RunKind::Rollback, "did not hold").await?;
        let draft = self.stack.engine.draft_back(self.live.id, None).await?;
        self.stack.engine.carry_out(&draft, RunKind::Rollback, self.wait).await?;
        Ok(())
    }

    async fn plan(&self, plan: &Plan, kind: RunKind, what: &str) -> Result<RunEnd, SwapError> {
        Ok(self.stack.engine.carry_out_plan(plan, kind, &self.why(what), self.wait).await?)
    }

    fn why(&self, what: &str) -> String {
        let (old, new) = (&self.wish.old, &self.wish.new);
        match what {
            "is provisioned" | "is led over" => format!("swap {old} for {new}: {new} {what}"),
            _ => format!("swap {old} for {new}: {old} {what}"),
        }
    }

    /// The services as they are live, with other cascades for those that are swapped.
    fn release(
        &self,
        cascade: fn(&[ProviderName], &ProviderName, &ProviderName) -> Vec<ProviderName>,
    ) -> Result<BTreeMap<ServiceName, linkflow_model::ServiceRelease>, SwapError> {
        let chosen =
            self.live.services.iter().filter(|(name, _)| self.wish.services.contains(name));
        let cascades = chosen.map(|(name, held)| {
            (name.clone(), cascade(&held.spec.runs_on, &self.wish.old, &self.wish.new))
        });
        let cascades = cascades.collect();
        self.stack.releases.releases_with(&self.live, &cascades).map_err(SwapError::Release)
    }
}

fn said(end: &RunEnd) -> String {
    let failed = end.failed.first();
    failed.map_or_else(
        || format!("{} did not end well", end.run),
        |record| {
            format!(
                "{}: {}",
                record.step.action,
                record.said.as_deref().unwrap_or("no reason given")
            )
        },
    )
}

/// `cascade` with `new` right before `old`.
fn with_both(
    cascade: &[ProviderName],
    old: &ProviderName,
    new: &ProviderName,
) -> Vec<ProviderName> {
    let kept = cascade.iter().filter(|provider| *provider != new);
    kept.flat_map(|provider| {
        let first = (provider == old).then(|| new.clone());
        first.into_iter().chain([provider.clone()])
    })
    .collect()
}

/// `cascade` with `new` in the place of `old`.
pub(crate) fn with_new_only(
    cascade: &[ProviderName],
    old: &ProviderName,
    new: &ProviderName,
) -> Vec<ProviderName> {
    let mut both = with_both(cascade, old, new);
    both.retain(|provider| provider != old);
    if !both.contains(new) {
        both.insert(0, new.clone());
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cascade: &str, both: &str, only: &str) {
        let names = |text: &str| -> Vec<ProviderName> {
            text.split_whitespace().map(|name| name.parse().unwrap()).collect()
        };
        let (old, new) = ("fly".parse().unwrap(), "koyeb".parse().unwrap());
        assert_eq!(with_both(&names(cascade), &old, &new), names(both));
        assert_eq!(with_new_only(&names(cascade), &old, &new), names(only));
    }

    #[test]
    fn the_new_provider_takes_the_old_ones_rank() {
        check("fly railway hetzner", "koyeb fly railway hetzner", "koyeb railway hetzner");
        check("railway fly", "railway koyeb fly", "railway koyeb");
        check("koyeb fly hetzner", "koyeb fly hetzner", "koyeb hetzner");
        check("fly hetzner koyeb", "koyeb fly hetzner", "koyeb hetzner");
    }
}
