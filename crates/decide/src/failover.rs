//! Where each service should run: away from what failed, and back when it has recovered for long enough.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::plan::Held;
use linkflow_model::{
    Action, Asked, Health, Lifecycle, Moment, PlacementView, Plan, Policy, ProviderName,
    ServiceName, ServiceSpec, ServiceView, World,
};

use crate::judge::{Verdict, is_cut_off, judge};

#[cfg(test)]
mod tests;

/// What failover decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The moves to make, one service each; they do not depend on one another.
    pub moves: Vec<Move>,
    /// What ought to be done and waits.
    pub held: Vec<Held>,
}

/// One service's way from one provider to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The service.
    pub service: ServiceName,
    /// Why it moves, in one word.
    pub kind: MoveKind,
    /// Where it will run.
    pub to: ProviderName,
    /// The steps.
    pub plan: Plan,
}

/// Why a service moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveKind {
    /// It had no place yet.
    Settle,
    /// Its place failed.
    Failover,
    /// A more preferred place has recovered.
    Failback,
    /// Its place is drained: somebody wants nothing to serve there.
    Drain,
    /// Somebody wants it to serve from there.
    Asked,
    /// It runs where it should, and somewhere else too, or its own place was stopped.
    Tidy,
}

/// Decides for every service. `world` is what is known at `now`.
pub fn failover(services: &[ServiceSpec], policy: &Policy, world: &World, now: Moment) -> Decision {
    let mut decision = Decision::default();
    if is_cut_off(world) {
        let why = "every probe of every provider fails: it is our own network, so nothing is moved";
        decision.held.push(Held { service: None, why: why.into() });
        return decision;
    }
    for spec in services {
        if let Some(view) = world.services.get(&spec.name) {
            let scene = Scene { spec, view, policy, world, now };
            scene.decide(&mut decision);
        }
    }
    decision
}

/// One service with everything that its decision looks at.
struct Scene<'a> {
    spec: &'a ServiceSpec,
    view: &'a ServiceView,
    policy: &'a Policy,
    world: &'a World,
    now: Moment,
}

impl Scene<'_> {
    fn decide(&self, decision: &mut Decision) {
        let Some(active) = &self.view.active else { return self.settle(decision) };
        if self.spec.rank(active).is_none() {
            let reason = format!("{active}: it is no longer in the cascade");
            return self.leave(active, MoveKind::Failover, reason, decision);
        }
        match (self.judge(active), self.view.drained.get(active)) {
            (Verdict::Down { since, why }, _)
                if self.now.since(since) >= self.policy.confirm_ms =>
            {
                let down = seconds(self.now.since(since));
                let reason = format!("{active} has been down for {down}: {why}");
                self.leave(active, MoveKind::Failover, reason, decision);
            }
            (_, Some(why)) => {
                let reason = format!("{active} is drained: {why}");
                self.leave(active, MoveKind::Drain, reason, decision);
            }
            _ if self.newly_asked(active).is_some() => self.go_where_asked(active, decision),
            (Verdict::Up { .. }, None) => {
                if !self.go_back(active, decision) {
                    self.tidy(active, decision);
                }
            }
            (Verdict::Down { .. } | Verdict::Unknown, None) => {}
        }
    }

    /// Where it may run: the place that somebody asked for, and then its cascade.
    fn preferred(&self) -> impl Iterator<Item = &ProviderName> {
        let asked = self.view.asked.as_ref().map(|asked| &asked.to);
        let asked = asked.filter(|to| self.spec.rank(to).is_some());
        let others = self.spec.runs_on.iter().filter(move |p| Some(*p) != asked);
        asked.into_iter().chain(others)
    }

    /// What somebody asked for since it came to `active`, unless that is where it is.
    fn newly_asked(&self, active: &ProviderName) -> Option<&Asked> {
        let asked = self.view.asked.as_ref().filter(|asked| asked.is_new && asked.to != *active);
        asked.filter(|asked| self.spec.rank(&asked.to).is_some())
    }

    /// Goes at once where somebody asked for it, once it is known to work there.
    fn go_where_asked(&self, active: &ProviderName, decision: &mut Decision) {
        let Some(Asked { to, why, .. }) = self.newly_asked(active) else { return };
        let reason = format!("{to} is asked for: {why}");
        if self.is_proven(to) {
            return self.move_to(to, active, MoveKind::Asked, reason, decision);
        }
        let awaited = if self.is_waking(to) {
            format!("it waits for {to}, which is being woken")
        } else if self.is_drained(to) {
            format!("{to} is drained")
        } else {
            format!("it is not known to work there, so {active} goes on")
        };
        self.hold(decision, format!("{reason}; {awaited}"));
    }

    /// Gives a service without a place its most preferred one that works.
    fn settle(&self, decision: &mut Decision) {
        let Some(to) = self.preferred().find(|p| self.is_proven(p)) else { return };
        let running: Vec<_> = self.running_elsewhere(to).collect();
        if self.spec.exclusive
            && let Some(at) = running.first()
        {
            // It already runs: that is its place.
            let mut plan = Plan::default();
            plan.then("switch", self.activate(at), format!("it runs on {at}"));
            return self.push(decision, MoveKind::Settle, at, plan);
        }
        if self.spec.exclusive
            && let Some(at) = self.spec.runs_on.iter().find(|p| *p != to && !self.has_stopped(p))
        {
            let why = format!(
                "it may run on {at}, which does not say that it has stopped, and it must never run twice"
            );
            return self.hold(decision, why);
        }
        let mut plan = Plan::default();
        if let Err(silent) = self.fence(&mut plan, to, None, "it starts elsewhere") {
            let why = format!("it may still run on {silent}, which does not answer");
            return self.hold(decision, why);
        }
        self.start(&mut plan, to);
        plan.then("switch", self.activate(to), format!("{to} is the most preferred that works"));
        self.push(decision, MoveKind::Settle, to, plan);
    }

    /// Leaves a place that failed or is drained, as `reason` says.
    fn leave(&self, from: &ProviderName, kind: MoveKind, reason: String, decision: &mut Decision) {
        let best = self.preferred().find(|p| *p != from && self.is_proven(p));
        if let Some(waking) = self.preferred_and_waking(from, best) {
            return self
                .hold(decision, format!("{reason}; it waits for {waking}, which is being woken"));
        }
        let Some(to) = best else {
            return self.hold(decision, format!("{reason}; no other provider can take it"));
        };
        self.move_to(to, from, kind, reason, decision);
    }

    /// Has it serve from `to` in place of `from`, unless it must never run twice and may.
    fn move_to(
        &self,
        to: &ProviderName,
        from: &ProviderName,
        kind: MoveKind,
        reason: String,
        decision: &mut Decision,
    ) {
        let mut plan = Plan::default();
        if let Err(silent) = self.fence(&mut plan, to, Some(from), &reason) {
            let why = format!(
                "{reason}; its stop cannot be proven while {silent} does not answer, and it must never run twice"
            );
            return self.hold(decision, why);
        }
        self.start(&mut plan, to);
        plan.then("switch", self.activate(to), reason);
        self.push(decision, kind, to, plan);
    }

    /// A place before `best` whose cold start is not over: what it is worth is known in a moment. Visitors do not wait
    /// for that, as the edge leads them to what is awake. Where its provider does not answer either, nothing is awaited.
    fn preferred_and_waking(
        &self,
        from: &ProviderName,
        best: Option<&ProviderName>,
    ) -> Option<&ProviderName> {
        let mut before = self.preferred().take_while(|p| Some(*p) != best).filter(|p| *p != from);
        before.find(|provider| self.is_waking(provider))
    }

    /// Whether it sleeps on `provider`, or is being woken there, and may serve from there.
    fn is_waking(&self, provider: &ProviderName) -> bool {
        let is_down = matches!(self.judge(provider), Verdict::Down { .. });
        let usable = !is_down && !self.is_drained(provider) && self.can_prove(provider);
        usable && self.view.on(provider).is_some_and(may_sleep)
    }

    /// Goes back to a more preferred place that has been up for long enough. Says whether it does.
    fn go_back(&self, active: &ProviderName, decision: &mut Decision) -> bool {
        if self.now.since(self.view.active_since) < self.policy.min_stay_ms {
            return false;
        }
        let mut before = self.preferred().take_while(|p| *p != active);
        let recovered = |p: &&ProviderName| {
            let verdict = self.judge(p);
            let up_ms = verdict.up_since().map(|since| self.now.since(since));
            up_ms.is_some_and(|ms| ms >= self.policy.failback_after_ms) && self.is_ready(p)
        };
        let Some(to) = before.find(recovered) else { return false };
        let asked = self.view.asked.as_ref().filter(|asked| asked.to == *to);
        let reason = match asked {
            Some(Asked { why, .. }) => format!("{to} is asked for and has recovered: {why}"),
            None => format!("{to} is preferred and has recovered"),
        };
        let mut plan = Plan::default();
        if self.fence(&mut plan, to, Some(active), &reason).is_err() {
            return false;
        }
        self.start(&mut plan, to);
        plan.then("switch", self.activate(to), reason);
        self.push(decision, MoveKind::Failback, to, plan);
        true
    }

    /// Stops workers that run where they are not due.
    fn tidy(&self, active: &ProviderName, decision: &mut Decision) {
        if self.spec.keeps_standby_warm() {
            return;
        }
        let mut plan = Plan::default();
        for provider in self.running_elsewhere(active) {
            let action = Action::Scale {
                service: self.spec.name.clone(),
                provider: provider.clone(),
                replicas: 0,
            };
            plan.then("tidy", action, format!("it runs on {active}"));
        }
        let remains = self.view.may_run.iter().filter(|p| *p != active && self.can_prove(p));
        for provider in remains.filter(|_| self.spec.exclusive) {
            self.stop_and_prove(&mut plan, provider, &format!("it runs on {active}"));
        }
        if !plan.is_empty() {
            self.push(decision, MoveKind::Tidy, active, plan);
        }
    }

    /// Providers, other than `but`, on which a worker is known to run now.
    fn running_elsewhere(&self, but: &ProviderName) -> impl Iterator<Item = &ProviderName> {
        let runs = |p: &&PlacementView| p.lifecycle == Lifecycle::Running && self.is_fresh(p);
        let others = self.view.placements.iter().filter(move |p| p.provider != *but);
        others.filter(runs).map(|p| &p.provider)
    }

    /// Whether `provider` says, and may be believed, that no instance runs there.
    fn has_stopped(&self, provider: &ProviderName) -> bool {
        self.view.on(provider).is_some_and(|p| {
            matches!(p.lifecycle, Lifecycle::Absent | Lifecycle::Stopped) && self.is_fresh(p)
        })
    }

    /// Whether what its provider said of a placement is recent enough to be believed.
    fn is_fresh(&self, placement: &PlacementView) -> bool {
        placement.looked.is_some_and(|at| self.now.since(at) <= self.policy.stale_after_ms)
    }

    fn judge(&self, provider: &ProviderName) -> Verdict {
        let Some(placement) = self.view.on(provider) else { return Verdict::Unknown };
        let is_active = self.view.active.as_ref() == Some(provider);
        judge(self.spec, placement, is_active, self.world, self.policy, self.now)
    }

    /// Whether somebody wants the service kept away from `provider`.
    fn is_drained(&self, provider: &ProviderName) -> bool {
        self.view.drained.contains_key(provider)
    }

    /// Whether the service could run on `provider` now, and may.
    fn is_ready(&self, provider: &ProviderName) -> bool {
        if self.is_drained(provider) {
            return false;
        }
        let deployed = self.view.on(provider).is_some_and(|p| p.lifecycle != Lifecycle::Absent);
        deployed && self.judge(provider).up_since().is_some()
    }

    /// Whether the service could run on `provider` now, and is known not to sleep there.
    fn is_proven(&self, provider: &ProviderName) -> bool {
        self.is_ready(provider) && !self.view.on(provider).is_some_and(may_sleep)
    }

    /// Whether `provider` answers, so that it could say that an instance has stopped.
    fn can_prove(&self, provider: &ProviderName) -> bool {
        let looked = self.view.on(provider).and_then(|p| p.looked);
        let patience = self.policy.look_every_ms.saturating_mul(2).saturating_add(1_000);
        looked.is_some_and(|at| self.now.since(at) <= patience.min(self.policy.stale_after_ms))
    }

    /// Stops an exclusive service wherever it may run but on `to`, and has that proven. Names a provider that cannot
    /// prove it now.
    fn fence(
        &self,
        plan: &mut Plan,
        to: &ProviderName,
        from: Option<&ProviderName>,
        why: &str,
    ) -> Result<(), ProviderName> {
        if !self.spec.exclusive {
            return Ok(());
        }
        let mut may_run: BTreeSet<&ProviderName> = self.view.may_run.iter().collect();
        may_run.extend(from);
        may_run.remove(to);
        if let Some(silent) = may_run.iter().find(|p| !self.can_prove(p)) {
            return Err((*silent).clone());
        }
        for provider in may_run {
            self.stop_and_prove(plan, provider, why);
        }
        Ok(())
    }

    fn stop_and_prove(&self, plan: &mut Plan, from: &ProviderName, why: &str) {
        let service = &self.spec.name;
        let stop = Action::Scale { service: service.clone(), provider: from.clone(), replicas: 0 };
        plan.then("fence", stop, why);
        let prove = Action::ProveStopped { service: service.clone(), provider: from.clone() };
        plan.then("prove", prove, format!("{service} must never run twice"));
    }

    /// Starts the service on `to` unless its standby is kept running anyway.
    fn start(&self, plan: &mut Plan, to: &ProviderName) {
        if self.spec.keeps_standby_warm() {
            return;
        }
        let action = Action::Scale {
            service: self.spec.name.clone(),
            provider: to.clone(),
            replicas: self.spec.replicas.max(1),
        };
        plan.then("start", action, "its standby is kept stopped");
    }

    fn activate(&self, to: &ProviderName) -> Action {
        Action::Activate { service: self.spec.name.clone(), provider: to.clone() }
    }

    fn hold(&self, decision: &mut Decision, why: String) {
        decision.held.push(Held { service: Some(self.spec.name.clone()), why });
    }

    fn push(&self, decision: &mut Decision, kind: MoveKind, to: &ProviderName, plan: Plan) {
        let service = self.spec.name.clone();
        decision.moves.push(Move { service, kind, to: to.clone(), plan });
    }
}

/// Whether it has to be woken before it can be judged.
fn may_sleep(placement: &PlacementView) -> bool {
    placement.sleeps.is_some() && matches!(placement.health, Health::Resting | Health::Waking)
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
