//! Claims and volumes; only on the embedded server, where the provisioner is ours.

use cluster::Propagation;
use cluster::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STATEFUL_SETS};
use serde_json::json;

use crate::player::{Player, wait};

pub async fn tell(player: &Player) {
    let stage = player.stage("storage").await;
    let body = json!({"metadata": {"name": "db"}, "spec": {"replicas": 2, "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "template": {"metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "db", "image": "db:1"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}]}});
    stage.create(&STATEFUL_SETS, body).await;
    stage
        .until(&STATEFUL_SETS, "db", &[("/status/readyReplicas", json!(2))])
        .await;
    for name in ["data-db-0", "data-db-1"] {
        let claim = stage.get(&PERSISTENT_VOLUME_CLAIMS, name).await.unwrap();
        assert_eq!(claim["status"]["phase"], "Bound", "{claim:#}");
        assert_eq!(claim["spec"]["storageClassName"], "simulated");
        let volume = claim["spec"]["volumeName"].as_str().unwrap();
        let volume = player.door.get(&PERSISTENT_VOLUMES, None, volume).await.unwrap();
        assert_eq!(volume["status"]["phase"], "Bound");
        assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    }
    stage
        .patch(&STATEFUL_SETS, "db", json!({"spec": {"replicas": 1}}))
        .await;
    wait("the second claim and its volume to go", || async {
        let volumes = player
            .door
            .list(&PERSISTENT_VOLUMES, None, &Default::default())
            .await
            .unwrap();
        stage.list(&PERSISTENT_VOLUME_CLAIMS).await.len() == 1 && volumes.items.len() == 1
    })
    .await;
    stage.delete(&STATEFUL_SETS, "db", Propagation::Background).await;
    wait("everything to go", || async {
        let volumes = player
            .door
            .list(&PERSISTENT_VOLUMES, None, &Default::default())
            .await
            .unwrap();
        stage.list(&PODS).await.is_empty() && volumes.items.is_empty()
    })
    .await;
    waits_for_its_claim(player).await;
}

async fn waits_for_its_claim(player: &Player) {
    let stage = player.stage("waiting").await;
    let pod = json!({"metadata": {"name": "late"}, "spec": {"containers": [{"name": "main", "image": "shop:1"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    stage.create(&PODS, pod).await;
    let message = "0/3 nodes are available: persistentvolumeclaim \"data\" not found.";
    stage
        .until(&PODS, "late", &[("/status/conditions/0/message", json!(message))])
        .await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    stage.create(&PERSISTENT_VOLUME_CLAIMS, claim).await;
    stage
        .until(&PODS, "late", &[("/status/phase", json!("Running"))])
        .await;
}
