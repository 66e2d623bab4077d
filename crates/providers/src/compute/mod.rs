//! Providers that run containers.

mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: embedded => Embedded, fly => Fly, railway => Railway, server => Server, docker => Docker);
