//! What the provider writes down about a service: what is wanted, and each instance with its process.

use std::collections::BTreeMap;

use linkflow_model::{Fingerprint, PinnedImage, ReleaseId, ServiceKind, Timestamp};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// What was asked to run. It holds the whole environment, secrets included, for a crashed process to be started again
/// by a LinkFlow that knows nothing else; hence no `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub release: ReleaseId,
    pub image: PinnedImage,
    /// The program and its arguments.
    pub line: Vec<String>,
    pub kind: ServiceKind,
    /// The port that was asked for; an instance may get another.
    pub port: Option<u16>,
    pub env: BTreeMap<String, String>,
    pub fingerprint: Fingerprint,
    pub replicas: u32,
}

/// All about one service.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub wanted: Wanted,
    /// Grows by one with each deploy that changed something.
    pub deploys: u64,
    /// Grows by one when what runs has to be replaced: a deploy, a restart.
    pub generation: u64,
    /// Whether it goes away once nothing runs.
    pub deleting: bool,
    pub instances: Vec<Instance>,
}

/// One of the replicas.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Instance {
    /// 0 for the first.
    pub number: u32,
    pub port: Option<u16>,
    pub life: Life,
    /// Crashes in a row.
    pub crashes: u32,
    /// When it may be started again.
    pub not_before: Timestamp,
    /// How its last process ended.
    pub ended: Option<String>,
}

/// How an instance stands.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Life {
    /// No process.
    Down,
    /// A process is being started with this token. Written before it is: should LinkFlow be killed in between, the
    /// token finds the process.
    Launching { token: String, generation: u64 },
    /// A process was started, and has not been seen ended with all its children.
    Up(Running),
}

/// A process and what is done with it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    pub token: String,
    pub generation: u64,
    pub process: Process,
    pub since: Timestamp,
    /// Since when it is being stopped.
    pub stop: Option<Timestamp>,
}

impl State {
    pub(super) fn new(wanted: Wanted) -> Self {
        let instances = Vec::new();
        Self { wanted, deploys: 1, generation: 1, deleting: false, instances }
    }

    /// Wants `wanted` from now on. The number of its release alone is nothing new.
    pub(super) fn deploy(&mut self, wanted: Wanted) {
        let same = wanted.fingerprint == self.wanted.fingerprint && wanted.line == self.wanted.line;
        if same && !self.deleting {
            if wanted.replicas != self.wanted.replicas {
                self.deploys += 1;
                self.wanted.replicas = wanted.replicas;
            }
            return;
        }
        self.deploys += 1;
        self.deleting = false;
        self.generation += 1;
        let same_port = wanted.port == self.wanted.port;
        // What crashed before has no say in what is wanted now.
        for instance in &mut self.instances {
            let port = instance.port.filter(|_| same_port);
            let life = instance.life.clone();
            *instance = Instance { life, port, ..Instance::new(instance.number) };
        }
        self.wanted = wanted;
    }

    /// How many instances are to run.
    pub(super) fn target(&self) -> u32 {
        if self.deleting { 0 } else { self.wanted.replicas }
    }

    /// Instances that have a process, or may have.
    pub(super) fn running(&self) -> u32 {
        let running = self.instances.iter().filter(|instance| !instance.is_down());
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// Whether `instance` runs what is wanted and is not on its way out.
    pub(super) fn is_current(&self, instance: &Instance) -> bool {
        matches!(&instance.life, Life::Up(running)
            if running.generation == self.generation && running.stop.is_none())
    }
}

impl Instance {
    pub(super) fn new(number: u32) -> Self {
        let (life, not_before) = (Life::Down, Timestamp(0));
        Self { number, port: None, life, crashes: 0, not_before, ended: None }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.life, Life::Down)
    }
}
