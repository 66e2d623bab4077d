//! The embedded provider with real processes: shell scripts, and this test program itself where something must listen.

mod living;
mod once;
mod stage;
mod wanted;
