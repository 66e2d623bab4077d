//! A small GraphQL server: reads documents, holds them against a schema, and asks a vendor's objects for the answers.

mod document;
mod execute;
mod schema;

pub(super) use execute::{Found, Page, Request, Resolver, answer, text};
pub(super) use schema::Schema;
