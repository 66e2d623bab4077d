//! The config as its users meet it.
#![cfg(test)]

mod config;
