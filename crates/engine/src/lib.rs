//! Runs the loop: observe, decide, act, tell.
