//! The windows of `[maintenance]`, whose times a task of `up` announces.

use std::sync::Arc;

use linkflow_monitor::Windows;
use tokio::sync::mpsc;

use super::Stack;
use super::watched::telling;

/// Announces in a task of `stack`. What was announced of a window that the config has no more is withdrawn, so the task is there
/// without any, too.
pub(crate) fn start(stack: &Stack) {
    let (tell, told) = mpsc::channel(64);
    let (store, clock) = (Arc::clone(&stack.store), Arc::clone(&stack.clock));
    let windows = Windows { all: stack.config.maintenance.clone(), store, clock, tell };
    telling(stack, "maintenance windows", told, |stop| windows.run(stop));
}
