//! Rollouts and alerts through the engine, over a pretend town of providers, in pretend time.
#![cfg(test)]

#[path = "all/alerts.rs"]
mod alerts;
#[path = "all/around.rs"]
mod around;
#[path = "all/before.rs"]
mod before;
#[path = "all/lock.rs"]
mod lock;
#[path = "all/migrations.rs"]
mod migrations;
#[path = "all/restarts.rs"]
mod restarts;
#[path = "all/rollouts.rs"]
mod rollouts;
#[path = "all/town.rs"]
mod town;
