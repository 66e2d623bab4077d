//! Whether people can be told.

use crate::Site;
use crate::door::doing;
use crate::operator::{Refusal, Tried};
use crate::shape::shapes;

shapes! {
    /// What became of a test.
    pub struct Trial {
        /// Each way with what became of it.
        pub tried: Vec<Tried>,
    }
}

/// What trying an alert is called.
pub(crate) fn trial(alert: &str) -> String {
    format!("try whether {alert} is told")
}

/// Tells a test by every way of `alert`; says what became of it.
pub(crate) async fn try_out(site: &Site, alert: &str, why: &str) -> Result<Vec<Tried>, Refusal> {
    doing(trial(alert), why).await;
    site.operator.try_alert(alert).await
}
