//! The words every other crate shares: what the user asked for, what was seen, what to do, what happened.

pub mod access;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod cron;
pub mod definition;
pub mod domain;
pub mod drain;
pub mod event;
pub mod failover_order;
pub mod fault;
pub mod health;
pub mod heartbeat;
pub mod image;
pub mod incident;
pub mod monitor;
pub mod name;
pub mod plan;
pub mod pulse;
pub mod release;
pub mod role;
pub mod rollout;
pub mod route;
pub mod secret;
pub mod service;
pub mod worker;
pub mod world;

pub use clock::{Clock, Moment, Timestamp};
pub use cron::CronTable;
pub use definition::{Definition, EnvValue, Fingerprint, RegistryLogin, Size};
pub use domain::{DomainState, DomainWord, Registration};
pub use drain::Drain;
pub use event::{Event, EventKind, Level};
pub use failover_order::FailoverOrder;
pub use fault::{Fault, FaultKind};
pub use health::{Health, Probe, ProbePicture};
pub use heartbeat::{Beat, HeartbeatState, OpenRun, Output, Paused, Rhythm, Says};
pub use image::{Digest, ImageRef, PinnedImage};
pub use incident::{
    Acknowledged, Impact, Incident, IncidentStage, IncidentUpdate, Maintenance, Recurs,
};
pub use monitor::{Condition, Looked, StateSpan};
pub use name::{ItemName, ProviderName, ServiceName, StackName};
pub use plan::{Action, Change, Finding, Placement, Plan, Stage, Step};
pub use pulse::Pulse;
pub use release::{Author, Migration, Release, ReleaseId, ReleaseState, ServiceRelease};
pub use rollout::{Allowed, OnFailure, RolloutPolicy};
pub use route::{HostRoute, Queue, Routes, ServiceRoute, Sleeps, Target, Timeouts};
pub use secret::Secret;
pub use service::{Concurrency, Policy, ServiceKind, ServiceSpec};
pub use world::{Asked, Lifecycle, PlacementView, ServiceView, World};
