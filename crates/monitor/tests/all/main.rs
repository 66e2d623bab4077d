//! Looks at real servers.

#![cfg(test)]

mod databases;
mod looks;
mod servers;
mod watched;
