//! The binary, as its users meet it, and the shape of the workspace.
#![cfg(test)]

#[path = "all/tidy.rs"]
mod tidy;
