//! Providers that run containers.

mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: fly => Fly, railway => Railway);
