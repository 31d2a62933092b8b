//! What counts as on its way to a pod, and until when.
use super::super::sight::Sight;
use super::super::tracker::Tracker;
use super::super::views::Caches;
use super::world::World;
use cluster::ObjectKey;
use model::sidecarset::SidecarSet;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_mark_says_nothing_of_an_upgrade_of_the_same_pod() {
    let world = World::empty().await;
    let caches = Caches::start(&world.door, &world.options.namespace);
    let set = Arc::new(SidecarSet::default());
    let sight = Sight::new(&world.door, &caches.sets, "web");
    let mut tracker = Tracker::new(set, sight, BTreeMap::new(), &caches, &world.options).await;
    let key = ObjectKey::new("apps", "a");
    tracker.departs(&key);
    tracker.arrived(&key, false);
    tracker.settle_flights(&caches, &world.options);
    assert!(tracker.has_flight(&key), "the upgrade was not answered");
    tracker.refused(&key, false, "busy".to_owned(), Timestamp::UNIX_EPOCH);
    assert!(tracker.has_flight(&key), "the upgrade was not refused");
    tracker.refused(&key, true, "busy".to_owned(), Timestamp::UNIX_EPOCH);
    assert!(!tracker.has_flight(&key));
}
