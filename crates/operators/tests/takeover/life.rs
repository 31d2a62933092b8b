//! What goes on in the cluster meanwhile: kubelets, and pods that come all the time.
use crate::kruise::settled;
use crate::world::{World, injected, pod};
use cluster::resource::{PODS, SIDECAR_SETS};
use cluster::{Door, PatchKind};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// What the containers of each pod went through.
#[derive(Default)]
pub struct Kubelet {
    /// By pod and container: the images run, one after the other.
    pub ran: BTreeMap<(String, String), Vec<String>>,
}

#[derive(Default)]
pub struct Admissions {
    pub created: usize,
    pub refused: Vec<String>,
    pub without_sidecar: Vec<String>,
}

impl World {
    /// Kubelets that take their time, and somebody who creates pods all the while (and deletes them).
    pub fn live(&mut self) {
        let (door, kubelet) = (self.door.clone(), self.kubelet.clone());
        self.tasks.push(tokio::spawn(async move {
            loop {
                let _ = run_pods(&door, &kubelet).await;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }));
        let (door, seen) = (self.door.clone(), self.admissions.clone());
        self.tasks.push(tokio::spawn(async move {
            while door.get(&SIDECAR_SETS, None, "log").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Kruise's cache follows.
            while injected(&door.rehearse_create(&PODS, Some("apps"), &pod("p")).await) != Some(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for n in 0.. {
                admit_one(&door, &seen, &format!("passing-{n}")).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }));
    }

    /// As [`World::live`], from the moment Kruise admits pods on.
    pub async fn live_once_admitted(&mut self) {
        self.until("Kruise admits pods", async |w| {
            w.door.rehearse_create(&PODS, Some("apps"), &pod("p")).await.ok()
        })
        .await;
        self.live();
    }

    /// No application restarted; each sidecar went through exactly these images.
    pub async fn went_through(&self, images: &[&str]) {
        let names: Vec<String> = self
            .pods()
            .await
            .iter()
            .map(|p| p["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        let kubelet = self.kubelet.lock().unwrap();
        for name in names {
            assert_eq!(
                kubelet.ran[&(name.clone(), "app".to_owned())],
                ["app:1"],
                "{name}"
            );
            assert_eq!(kubelet.ran[&(name.clone(), "log".to_owned())], images, "{name}");
        }
    }

    pub fn nobody_was_refused(&self) -> usize {
        let seen = self.admissions.lock().unwrap();
        assert!(seen.refused.is_empty(), "of {}: {:?}", seen.created, seen.refused);
        assert!(
            seen.without_sidecar.is_empty(),
            "of {}: {:?}",
            seen.created,
            seen.without_sidecar
        );
        seen.created
    }
}

async fn admit_one(door: &Door, seen: &Mutex<Admissions>, name: &str) {
    let made = door.create(&PODS, Some("apps"), &pod(name)).await;
    {
        let mut seen = seen.lock().unwrap();
        seen.created += 1;
        match &made {
            Err(error) => seen.refused.push(error.to_string()),
            Ok(_) if injected(&made) == Some(true) => {}
            Ok(made) => seen
                .without_sidecar
                .push(made["metadata"]["creationTimestamp"].to_string()),
        }
    }
    let now = cluster::DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    let _ = door.delete(&PODS, Some("apps"), name, &now).await;
}

async fn run_pods(door: &Door, kubelet: &Mutex<Kubelet>) -> Result<(), cluster::ApiError> {
    for pod in door.list(&PODS, Some("apps"), &Default::default()).await?.items {
        let name = pod["metadata"]["name"].as_str().unwrap();
        if settled(&pod) || name.starts_with("passing-") {
            continue;
        }
        let mut statuses = Vec::new();
        for container in pod["spec"]["containers"].as_array().unwrap() {
            let (image, own) = (
                container["image"].as_str().unwrap(),
                container["name"].as_str().unwrap(),
            );
            let mut kubelet = kubelet.lock().unwrap();
            let ran = kubelet.ran.entry((name.to_owned(), own.to_owned())).or_default();
            if ran.last().is_none_or(|last| last != image) {
                ran.push(image.to_owned());
            }
            statuses.push(json!({"name": own, "image": image, "imageID": format!("{image}@sha256:{image}"),
                "containerID": format!("containerd://{name}-{own}-{}", ran.len()), "ready": true, "started": true,
                "restartCount": ran.len() - 1, "state": {"running": {}}}));
        }
        let status = json!({"status": {"phase": "Running", "observedGeneration": pod["metadata"]["generation"],
            "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let _ = door
            .patch(
                &PODS,
                Some("apps"),
                name,
                PatchKind::Strategic,
                &status,
                Some("status"),
            )
            .await;
    }
    Ok(())
}
