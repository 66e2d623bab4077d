//! Adapters against the rehearsal cloud, and against servers that answer what a test tells them to.

#![cfg(test)]

mod azure;
mod canned;
mod cdn;
mod contract;
mod copy;
mod dns;
mod embedded;
mod errors;
mod faults;
mod fly;
mod github;
mod hetzner;
mod kit;
mod koyeb;
mod lossy;
mod mail;
mod notify;
mod pages;
mod promises;
mod railway;
mod registry;
mod render;
mod server;
mod slack;
mod slack_bot;
mod smtp;
mod stage;
mod watcher;
mod zeabur;
