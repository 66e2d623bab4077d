//! Looks at real servers.

#![cfg(test)]

mod beats;
mod databases;
mod domains;
mod looks;
mod servers;
mod watched;
mod windows;
