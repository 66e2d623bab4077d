//! Probes from outside, with the rise and fall counts of the edge's own checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::{Clock, Health, Probe, ProbePicture, ProviderName, Routes, ServiceName};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cloud::{Answer, Cloud};
use crate::stack::POLICY;

/// Probes every target of every route until dropped. `cut` says whether our own network is cut off.
pub(crate) async fn probe(
    clouds: BTreeMap<ProviderName, Arc<Cloud>>,
    routes: watch::Receiver<Arc<Routes>>,
    picture: watch::Sender<Arc<ProbePicture>>,
    cut: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
) {
    let mut streaks: BTreeMap<(ServiceName, ProviderName), (bool, u32)> = BTreeMap::new();
    loop {
        sleep(Duration::from_millis(POLICY.probe_in_doubt_ms)).await;
        let table = Arc::clone(&routes.borrow());
        let mut next = ProbePicture::default();
        for route in &table.services {
            for target in &route.targets {
                let key = (route.service.clone(), target.provider.clone());
                let answer = match clouds.get(&target.provider) {
                    Some(cloud) if !*cut.borrow() => cloud.answer(&route.service),
                    _ => Answer::None,
                };
                let good = answer != Answer::None;
                let streak = streaks.entry(key.clone()).or_insert((good, 0));
                *streak = if streak.0 == good { (good, streak.1 + 1) } else { (good, 1) };
                let before = picture.borrow().get(&key).cloned();
                let now = clock.now();
                let held = before.as_ref().map_or(Health::Unknown, |probe| probe.health);
                let health = match good {
                    true if streak.1 >= POLICY.rise => Health::Up,
                    false if streak.1 >= POLICY.fall => Health::Down,
                    _ => held,
                };
                let since = before.filter(|p| p.health == health).map_or(now, |p| p.since);
                let release = match answer {
                    Answer::Good(release) => Some(release),
                    Answer::None => None,
                };
                let why = (!good).then(|| "no answer".to_owned());
                let probe =
                    Probe { health, since, seen: now, latency_ms: good.then_some(5), release, why };
                next.insert(key, probe);
            }
        }
        // As the edge does: readers are woken by news, not by every probe.
        picture.send_if_modified(|held| {
            let verdicts = |picture: &ProbePicture| -> Vec<Health> {
                picture.values().map(|probe| probe.health).collect()
            };
            let news = verdicts(held) != verdicts(&next);
            *held = Arc::new(next);
            news
        });
    }
}
