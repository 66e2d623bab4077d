//! Providers that run containers.

mod settle;
pub(crate) mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: embedded => Embedded, fly => Fly, railway => Railway);
