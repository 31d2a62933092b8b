//! ReplicaSets: as many pods as asked for.
use cluster::resource::REPLICA_SETS;
use serde_json::json;

use super::pods::{Counts, dispensable_first, pod_of};
use super::{Next, Object, Outcome, World};
use crate::pod::Pod;

pub(super) async fn reconcile(world: &World, set: &Object) -> Outcome {
    let Some(mut active) = world.claim_pods(set, |pod| !pod.is_finished()).await? else {
        return Ok(Next::Stale);
    };
    let leaving =
        |pod: &&std::sync::Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !pod.is_finished();
    let terminating = active.iter().filter(leaving).count();
    active.retain(|pod| pod.is_active());
    let wanted = set.replicas();
    if active.len() < wanted {
        let template = &set.spec()["template"];
        let make = |_| {
            pod_of(
                set,
                template,
                &format!("{}-{}", set.meta.name, world.suffix()),
                &[],
            )
        };
        let missing = (active.len()..wanted).map(make).collect();
        // Its status is written when the new pods show.
        world.create_pods(set, missing).await?;
    } else if active.len() > wanted {
        dispensable_first(&mut active);
        let surplus = active.drain(..active.len() - wanted).collect();
        world.delete_pods(surplus).await?;
    }
    let counts = Counts::of(&active, set.count("minReadySeconds", 0), world.clock.now());
    let labels = set.spec()["template"]["metadata"]["labels"].as_object();
    let labelled = active.iter().filter(|pod| {
        labels.is_none_or(|labels| {
            labels
                .iter()
                .all(|(k, v)| pod.metadata.labels.get(k).map(String::as_str) == v.as_str())
        })
    });
    let status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": labelled.count(),
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "terminatingReplicas": terminating,
        "observedGeneration": set.meta.generation,
    });
    world
        .write_status(&world.replica_sets, &REPLICA_SETS, set, status)
        .await?;
    Ok(counts.next.map_or(Next::Quiet, Next::At))
}
