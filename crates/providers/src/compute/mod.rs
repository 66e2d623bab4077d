//! Providers that run containers.

mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: embedded => Embedded, fly => Fly, koyeb => Koyeb, railway => Railway);
