//! Shows how things are: the status page, made of what the store holds, as files that stand anywhere; and the site of the
//! operators, with the API.

pub mod api;
mod assets;
pub mod beat;
mod board;
pub mod door;
mod frame;
mod gate;
pub mod hook;
mod live;
mod metrics;
pub mod operator;
pub mod order;
#[cfg(test)]
mod scripted;
pub mod shape;
mod shelf;
mod site;
pub mod status;
pub mod subscribe;
pub mod view;

pub use live::Live;
pub use shelf::Shelf;
pub use site::{KEYED_PATHS, PLAIN_PATHS, Site};
