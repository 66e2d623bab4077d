//! Tokens that bound how much extra load retries and hedges make.

use linkflow_model::Moment;

/// Thousandths of a token: earned by requests and by time, spent whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    held: u64,
    most: u64,
    per_request: u64,
    per_second: u64,
    earned: Moment,
}

impl Budget {
    /// Full at first: `burst` tokens. `per_request` and `per_second` are thousandths.
    pub(super) fn new(burst: u64, per_request: u64, per_second: u64) -> Self {
        let most = burst * 1_000;
        Self { held: most, most, per_request, per_second, earned: Moment(0) }
    }

    /// A request began.
    pub(super) fn earn(&mut self, now: Moment) {
        let by_time = now.since(self.earned).saturating_mul(self.per_second) / 1_000;
        self.earned = self.earned.max(now);
        self.held = self.held.saturating_add(by_time + self.per_request).min(self.most);
    }

    /// Takes one token, if there is one.
    pub(super) fn spend(&mut self) -> bool {
        let enough = self.held >= 1_000;
        if enough {
            self.held -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_lent_then_one_for_five_requests() {
        let mut budget = Budget::new(3, 200, 0);
        let burst = (0..10).filter(|_| budget.spend()).count();
        assert_eq!(burst, 3);
        let later = (0..100).filter(|n| {
            budget.earn(Moment(*n));
            budget.spend()
        });
        assert_eq!(later.count(), 20);
    }

    #[test]
    fn time_alone_fills_it_again() {
        let mut budget = Budget::new(5, 0, 10_000);
        while budget.spend() {}
        budget.earn(Moment(300));
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 3);
    }
}
