//! Whether our own network is there, asked only when something far away is silent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an anchor may take to take a connection.
const WITHIN: Duration = Duration::from_secs(1);

/// For how long an answer counts.
const FRESH: Duration = Duration::from_millis(500);

/// Places that have nothing in common but our own network on the way.
pub struct Guard {
    anchors: Vec<(SocketAddr, AtomicBool)>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Guard {
    /// A guard that asks `anchors`. One that has never taken a connection says nothing: perhaps a firewall is in the way.
    pub fn new(anchors: Vec<SocketAddr>) -> Self {
        let anchors = anchors.into_iter().map(|at| (at, AtomicBool::new(false))).collect();
        Self { anchors, last: Mutex::default() }
    }

    /// Public resolvers of three companies, by address.
    pub fn usual_anchors() -> Vec<SocketAddr> {
        [[1, 1, 1, 1], [8, 8, 8, 8], [9, 9, 9, 9]].map(|ip| SocketAddr::from((ip, 53))).into()
    }

    /// Finds out which anchors can be asked at all.
    pub async fn learn(&self) {
        self.ask().await;
    }

    /// Whether more than half of the anchors that ever answered do not, and there are two of them at least.
    pub async fn is_blind(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, blind)) = *last
            && at.elapsed() < FRESH
        {
            return blind;
        }
        let blind = self.ask().await;
        *last = Some((Instant::now(), blind));
        blind
    }

    async fn ask(&self) -> bool {
        let answers = join_all(self.anchors.iter().map(|(at, known)| async move {
            let answers = matches!(timeout(WITHIN, TcpStream::connect(at)).await, Ok(Ok(_)));
            known.fetch_or(answers, Relaxed);
            answers
        }));
        let answering = answers.await.into_iter().filter(|answers| *answers).count();
        let known = self.anchors.iter().filter(|(_, known)| known.load(Relaxed)).count();
        known >= 2 && answering * 2 < known
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    #[tokio::test]
    async fn anchors_that_stop_answering_say_that_we_are_blind() {
        let ((a, at_a), (b, at_b)) = (listening().await, listening().await);
        // Nobody was ever met at the third: it says nothing.
        let guard = Guard::new(vec![at_a, at_b, "127.0.0.1:1".parse().unwrap()]);
        assert!(!guard.ask().await);
        drop(a);
        assert!(!guard.ask().await, "one of two still answers");
        drop(b);
        assert!(guard.is_blind().await);
    }

    #[tokio::test]
    async fn who_never_met_an_anchor_is_not_blind() {
        let guard =
            Guard::new(vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()]);
        guard.learn().await;
        assert!(!guard.is_blind().await);
        assert!(!Guard::new(Vec::new()).is_blind().await);
    }
}
