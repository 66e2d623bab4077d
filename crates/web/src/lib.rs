//! Shows how things are: the status page, made of what the store holds, as files that stand anywhere; and the site of the
//! operators, with the API.

pub mod beat;
mod shelf;
mod site;
pub mod status;

pub use shelf::Shelf;
pub use site::Site;
