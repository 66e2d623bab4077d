//! Providers that run containers.

mod graphql;
mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(Compute: embedded => Embedded, fly => Fly, railway => Railway, zeabur => Zeabur);
