//! Adapters against the rehearsal cloud, and against servers that answer what a test tells them to.

#![cfg(test)]

mod canned;
mod contract;
mod embedded;
mod faults;
mod fly;
mod kit;
mod lossy;
mod promises;
mod railway;
mod registry;
mod server;
mod stage;
