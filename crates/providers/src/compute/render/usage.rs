//! What was used of the plan this month, from metrics: the API has no billing.
//!
//! Instance hours are counted over every free web service of the workspace, for all of them share the allowance. Both
//! numbers are sums of hourly samples, so the last hour may be missing.

use linkflow_model::role::Usage;
use linkflow_model::{Fault, Timestamp};

use super::wire::{Series, Service};
use super::{Render, moment, timestamp};

/// Hours that the free web services of a workspace may run in a month together (docs: free).
const FREE_HOURS: f64 = 750.0;

/// Services that one request names, so that its path does not grow too long.
const AT_ONCE: usize = 50;

/// Samples an hour apart.
const HOUR_SECONDS: &str = "3600";

impl Render {
    /// What was used since the month began.
    pub(super) async fn used(&self) -> Result<Vec<Usage>, Fault> {
        let Some((start, end)) = month(self.kit.clock().wall()) else { return Ok(Vec::new()) };
        let web: Vec<Service> =
            self.services(None).await?.into_iter().filter(Service::is_web).collect();
        let all: Vec<&str> = web.iter().map(|service| service.id.as_str()).collect();
        let mut used = Vec::new();
        let traffic = self.series("/metrics/bandwidth", start, &all, false).await?;
        let bytes = traffic.iter().map(|row| sum(row) * bytes_in(&row.unit)).sum();
        used.push(Usage {
            what: "egress_bytes".to_owned(),
            used: bytes,
            limit: None,
            unit: "B".to_owned(),
            resets: Some(end),
        });
        if self.is_free() {
            let free: Vec<&str> =
                web.iter().filter(|s| s.is_free()).map(|s| s.id.as_str()).collect();
            let counts = self.series("/metrics/instance-count", start, &free, true).await?;
            used.push(Usage {
                what: "instance_hours".to_owned(),
                used: counts.iter().map(sum).sum(),
                limit: Some(FREE_HOURS),
                unit: "h".to_owned(),
                resets: Some(end),
            });
        }
        Ok(used)
    }

    async fn series(
        &self,
        path: &str,
        start: Timestamp,
        services: &[&str],
        hourly: bool,
    ) -> Result<Vec<Series>, Fault> {
        let mut all = Vec::new();
        for some in services.chunks(AT_ONCE) {
            let mut call =
                Self::look_at("the metrics", path).query("startTime", &moment(start));
            if hourly {
                call = call.query("resolutionSeconds", HOUR_SECONDS);
            }
            call = some.iter().fold(call, |call, id| call.query("resource", id));
            all.extend(self.api.send_for::<Vec<Series>>(call).await?);
        }
        Ok(all)
    }
}

fn sum(series: &Series) -> f64 {
    series.values.iter().map(|point| point.value).sum()
}

/// How many bytes one of `unit` is.
fn bytes_in(unit: &str) -> f64 {
    match unit.to_lowercase().as_str() {
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1_024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => 1.0,
    }
}

/// When the month of `now` began, and when the next one begins, in UTC.
fn month(now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let text = moment(now);
    let year: u32 = text.get(..4)?.parse().ok()?;
    let month: u32 = text.get(5..7)?.parse().ok()?;
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let first = |year: u32, month: u32| timestamp(&format!("{year:04}-{month:02}-01T00:00:00Z"));
    Some((first(year, month)?, first(next_year, next_month)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_on_its_first_and_ends_with_the_next() {
        // 2026-11-24T01:02:03Z lies between the first of November and the first of December.
        let (start, end) = month(Timestamp(1_795_482_123_000)).unwrap();
        assert_eq!(moment(start), "2026-11-01T00:00:00.000Z");
        assert_eq!(moment(end), "2026-12-01T00:00:00.000Z");
        let (start, next) = month(end).unwrap();
        assert_eq!((start, moment(next).as_str()), (end, "2027-01-01T00:00:00.000Z"));
    }

    #[test]
    fn traffic_is_told_in_bytes_whatever_the_unit() {
        assert_eq!(bytes_in("MB").to_string(), "1000000");
        assert_eq!(bytes_in("GiB").to_string(), "1073741824");
        assert_eq!(bytes_in("bytes").to_string(), "1");
    }
}
