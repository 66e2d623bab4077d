//! The binary, as its users meet it, and the shape of the workspace.
#![cfg(test)]

#[path = "all/access.rs"]
mod access;
#[path = "all/alerts.rs"]
mod alerts;
#[path = "all/asks.rs"]
mod asks;
#[path = "all/beats.rs"]
mod beats;
#[path = "all/board.rs"]
mod board;
#[path = "all/ci.rs"]
mod ci;
#[path = "all/conversations.rs"]
mod conversations;
#[path = "all/dns.rs"]
mod dns;
#[path = "all/handover.rs"]
mod handover;
#[path = "all/here.rs"]
mod here;
#[path = "all/hooked.rs"]
mod hooked;
#[path = "all/kill.rs"]
mod kill;
#[path = "all/monitors.rs"]
mod monitors;
#[path = "all/page.rs"]
mod page;
#[path = "all/rehearsed.rs"]
mod rehearsed;
#[path = "all/request.rs"]
mod request;
#[path = "all/route.rs"]
mod route;
#[path = "all/server.rs"]
mod server;
#[path = "all/signed.rs"]
mod signed;
#[path = "../../providers/tests/pages/sshd.rs"]
mod sshd;
#[path = "all/subscribe.rs"]
mod subscribe;
#[path = "all/tidy.rs"]
mod tidy;
#[path = "all/watchers.rs"]
mod watchers;
