//! Every state the pods were ever in, in the server's order: what the budget is judged by, and what kubelets act on.
use bytes::Bytes;
use cluster::resource::PODS;
use cluster::{Door, PatchKind};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a kubelet takes to follow.
const FOLLOWS_AFTER: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Seen {
    /// By pod: the image wanted, the one running.
    pods: BTreeMap<String, (String, String)>,
    /// Pods and the images their spec was changed to, in order.
    changes: Vec<(String, String)>,
    most: usize,
    broken: Option<String>,
}

#[derive(Clone)]
pub struct History {
    seen: Arc<Mutex<Seen>>,
    budget: usize,
}

impl History {
    /// Follows the pods of a namespace from now on; their kubelets are simulated with it.
    pub async fn follow(api: SocketAddr, door: Door, namespace: &str, budget: usize) -> History {
        let history = History {
            seen: Arc::default(),
            budget,
        };
        let listed = door
            .list(&PODS, Some(namespace), &Default::default())
            .await
            .unwrap();
        let path = format!(
            "http://{api}/api/v1/namespaces/{namespace}/pods?watch=true&resourceVersion={}",
            listed.resource_version
        );
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut stream = client.get(path.parse().unwrap()).await.unwrap().into_body();
        let told = history.clone();
        tokio::spawn(async move {
            let mut rest = Vec::new();
            while let Some(frame) = stream.frame().await {
                let Ok(frame) = frame else { break };
                rest.extend_from_slice(frame.data_ref().unwrap());
                while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).unwrap();
                    assert_ne!(event["type"], "ERROR", "{event}");
                    told.take(&event["object"], &door);
                }
            }
            // What nobody saw may have broken the budget.
            told.seen.lock().unwrap().broken = Some("the watch ended".to_owned());
        });
        history
    }

    fn take(&self, pod: &Value, door: &Door) {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let image = |list: &Value| {
            let side = list
                .as_array()
                .and_then(|all| all.iter().find(|c| c["name"] == "side"));
            side.map(|c| text(&c["image"])).unwrap_or_default()
        };
        let name = text(&pod["metadata"]["name"]);
        let wanted = image(&pod["spec"]["containers"]);
        let running = image(&pod["status"]["containerStatuses"]);
        let mut seen = self.seen.lock().unwrap();
        let before = seen.pods.insert(name.clone(), (wanted.clone(), running.clone()));
        if before.is_some_and(|(was, _)| was != wanted) {
            seen.changes.push((name, wanted.clone()));
        }
        // A pod that never ran is nobody's loss.
        let disturbed = |(wanted, running): &(String, String)| !running.is_empty() && wanted != running;
        let down = seen.pods.values().filter(|p| disturbed(p)).count();
        seen.most = seen.most.max(down);
        if down > self.budget && seen.broken.is_none() {
            seen.broken = Some(format!("{:?} after {:?}", seen.pods, seen.changes));
        }
        drop(seen);
        if wanted != running {
            let (door, pod) = (door.clone(), pod.clone());
            tokio::spawn(async move {
                tokio::time::sleep(FOLLOWS_AFTER).await;
                kubelet(&door, &pod).await;
            });
        }
    }

    /// Panics where more pods were down at once than the budget allows.
    pub fn judge(&self, when: &str) {
        let broken = self.seen.lock().unwrap().broken.clone();
        assert!(broken.is_none(), "{when}: {broken:?}");
    }

    pub fn most_down(&self) -> usize {
        self.seen.lock().unwrap().most
    }

    /// Pods that run `image`.
    pub fn running(&self, image: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.pods.values().filter(|(_, running)| running == image).count()
    }

    /// Pods whose spec was changed to `image`, once for each time.
    pub fn changes_to(&self, image: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let to = seen.changes.iter().filter(|(_, to)| to == image);
        to.map(|(pod, _)| pod.clone()).collect()
    }
}

/// Every container runs what the spec said, and is ready.
async fn kubelet(door: &Door, pod: &Value) {
    let patch = crate::kubelet::runs_its_spec(pod, true);
    let (namespace, name) = (
        pod["metadata"]["namespace"].as_str(),
        pod["metadata"]["name"].as_str().unwrap(),
    );
    let kind = PatchKind::Strategic;
    // A pod deleted meanwhile needs no status.
    let _ = door
        .patch(&PODS, namespace, name, kind, &patch, Some("status"))
        .await;
}
