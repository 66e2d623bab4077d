//! Shows how things are: the status page, made of what the store holds, as files that stand anywhere.

mod shelf;
pub mod status;

pub use shelf::Shelf;
