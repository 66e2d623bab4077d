//! Providers that run containers.

mod copies;
mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: embedded => Embedded, fly => Fly, railway => Railway);
