//! The part of Kruise's manager: a simulated one, which keeps its configurations, admits and upgrades in Kruise's
//! forms; or, where TIDEGATE_KRUISE names a directory with `manager`, `crds/` and `webhooks.yaml`, a real one.
//! A supervisor plays the Deployment controller and the kubelet for it.
use crate::server::free_port;
use crate::world::{KRUISE, metadata_hash, status_of};
use bytes::Bytes;
use cluster::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, PODS,
    SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{
    AdmissionServer, AdmissionServerOptions, CertificateKeeper, Clocks, Door, KeeperOptions, Leader,
    LeaderOptions, PatchKind, Reviewer, RotationOptions, ServerIdentity, SystemClock,
};
use model::sidecarset::{SidecarSet, keys};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use workload::sidecarset::prepare::PreparedSidecarSet;
use workload::sidecarset::review::{PodWorld, SidecarSetWorld, review};
use workload::takeover::{entries, manager};

pub struct Access {
    /// As Kruise's service account.
    pub door: Door,
    pub kubeconfig: PathBuf,
    pub dir: PathBuf,
}

/// Starts and stops the manager as its Deployment says, and says so in its status. Never ends.
pub async fn supervise(admin: Door, access: Arc<Access>) {
    let mut running: Option<(Value, Running)> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(deployment) = admin.get(&DEPLOYMENTS, Some(KRUISE), manager::DEPLOYMENT).await else {
            continue;
        };
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let template = deployment["spec"]["template"].clone();
        if running
            .as_ref()
            .is_some_and(|(t, _)| replicas == 0 || *t != template)
        {
            running = None;
        }
        if running.is_none() && replicas > 0 {
            let manager = Running::start(&access, &deployment).await;
            running = Some((template, manager));
            eprintln!("Kruise's manager starts");
        }
        let generation = &deployment["metadata"]["generation"];
        let status = json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas});
        if deployment["status"] != status {
            let status = json!({"status": status});
            let name = manager::DEPLOYMENT;
            let _ = admin
                .patch(
                    &DEPLOYMENTS,
                    Some(KRUISE),
                    name,
                    PatchKind::Merge,
                    &status,
                    Some("status"),
                )
                .await;
        }
    }
}

enum Running {
    Simulated(Vec<JoinHandle<()>>),
    Real(Child),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Simulated(tasks) => tasks.iter().for_each(JoinHandle::abort),
            Self::Real(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl Running {
    async fn start(access: &Access, deployment: &Value) -> Self {
        match std::env::var_os("TIDEGATE_KRUISE") {
            Some(dir) => Self::real(access, deployment, &PathBuf::from(dir)).await,
            None => Self::simulated(access, deployment).await,
        }
    }

    async fn real(access: &Access, deployment: &Value, dir: &std::path::Path) -> Self {
        let health = free_port();
        let mut command = Command::new(dir.join("manager"));
        command.args(
            deployment["spec"]["template"]["spec"]["containers"][0]["args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a.as_str().unwrap()),
        );
        command.arg(format!("--kubeconfig={}", access.kubeconfig.display()));
        command.arg(format!("--health-probe-addr=127.0.0.1:{health}"));
        command.args(["--metrics-addr=127.0.0.1:0", "--enable-pprof=false", "-v=3"]);
        command
            .env("POD_NAMESPACE", KRUISE)
            .env("WEBHOOK_HOST", "localhost");
        command
            .env("WEBHOOK_PORT", free_port().to_string())
            .env("WEBHOOK_CERT_DIR", access.dir.join("kruise-certs"));
        for env in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            .as_array()
            .into_iter()
            .flatten()
        {
            command.env(env["name"].as_str().unwrap(), env["value"].as_str().unwrap());
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(access.dir.join("kruise.log"))
            .unwrap();
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Self::Real(child);
        let url = format!("127.0.0.1:{health}");
        while status_of(&url, "/readyz").await != Some(200) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        running
    }

    async fn simulated(access: &Access, deployment: &Value) -> Self {
        let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
        let env = env
            .as_array()
            .and_then(|all| all.iter().find(|e| e["name"] == "CUSTOM_RESOURCE_ENABLE"));
        let pods = env.is_none_or(|e| e["value"].as_str().unwrap().contains("SidecarSet"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let identity = ServerIdentity::default();
        let keeper = KeeperOptions {
            namespace: KRUISE.to_owned(),
            secret: "kruise-webhook-certs".to_owned(),
            targets: Vec::new(),
            rotation: RotationOptions::for_names(vec!["127.0.0.1".to_owned()]),
        };
        let keeper = CertificateKeeper::new(&access.door, keeper, Arc::new(SystemClock), identity.clone());
        let bundle = keeper.bundle();
        let webhook = Arc::new(Webhook(access.door.clone()));
        let server = AdmissionServer::new(webhook, identity, AdmissionServerOptions::default()).unwrap();
        Self::Simulated(vec![
            tokio::spawn(keeper.run(std::future::pending())),
            tokio::spawn(server.serve(listener, std::future::pending())),
            tokio::spawn(keep_entries(access.door.clone(), url, bundle, pods)),
            tokio::spawn(lead(access.door.clone())),
        ])
    }
}

/// Rebuilds the configurations from the copy in their annotation, and takes the CRD's conversion.
async fn keep_entries(door: Door, url: String, mut bundle: watch::Receiver<String>, pods: bool) {
    use base64::Engine as _;
    let bundle = bundle.wait_for(|b| !b.is_empty()).await.unwrap().clone();
    let authority = base64::engine::general_purpose::STANDARD.encode(bundle);
    loop {
        for (resource, name) in [
            (&MUTATING_WEBHOOK_CONFIGURATIONS, entries::MUTATING),
            (&VALIDATING_WEBHOOK_CONFIGURATIONS, entries::VALIDATING),
        ] {
            let Ok(found) = door.get(resource, None, name).await else {
                continue;
            };
            let mut changed = found.clone();
            let copy = match found["metadata"]["annotations"]["template"].as_str() {
                Some(copy) => copy.to_owned(),
                None => found["webhooks"].to_string(),
            };
            changed["metadata"]["annotations"]["template"] = json!(copy);
            let mut all: Vec<Value> = serde_json::from_str(&copy).unwrap();
            all.retain(|e| pods || e["clientConfig"]["service"]["path"] != "/mutate-pod");
            for entry in &mut all {
                let path = entry["clientConfig"]["service"]["path"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                entry["clientConfig"] = json!({"url": format!("{url}{path}"), "caBundle": authority});
            }
            changed["webhooks"] = Value::Array(all);
            if changed != found
                && let Err(error) = door.replace(resource, None, name, &changed, None).await
            {
                eprintln!("simulated Kruise: {error}");
            }
        }
        let crd = "sidecarsets.apps.kruise.io";
        let client = json!({"url": format!("{url}/convert"), "caBundle": authority});
        if let Ok(mut found) = door.get(&CUSTOM_RESOURCE_DEFINITIONS, None, crd).await
            && found["spec"]["conversion"]["webhook"]["clientConfig"] != client
        {
            found["spec"]["conversion"]["webhook"]["clientConfig"] = client;
            let _ = door
                .replace(&CUSTOM_RESOURCE_DEFINITIONS, None, crd, &found, None)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Upgrades one pod after the other, in Kruise's forms, while it leads.
async fn lead(door: Door) {
    let unique = format!("{}", free_port());
    let who = LeaderOptions::new(KRUISE, manager::LEASE, "kruise", &unique);
    let leader = Leader::acquire(&door, who, Clocks::system()).await;
    let work = async {
        loop {
            // Refused by the fence, it tries again, as the real one does.
            let _ = upgrade_one(&door).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! { _ = leader.lost() => {}, () = work => {} }
}

async fn upgrade_one(door: &Door) -> Result<(), cluster::ApiError> {
    for set in door.list(&SIDECAR_SETS, None, &Default::default()).await?.items {
        let (name, hash) = (set["metadata"]["name"].as_str().unwrap(), metadata_hash(&set));
        let image = &set["spec"]["containers"][0]["image"];
        let partition = set["spec"]["updateStrategy"]["partition"].as_u64().unwrap_or(0) as usize;
        let pods = door.list(&PODS, Some("apps"), &Default::default()).await?.items;
        let of = |pod: &Value| -> Value {
            serde_json::from_str(
                pod["metadata"]["annotations"][keys::HASH]
                    .as_str()
                    .unwrap_or("{}"),
            )
            .unwrap()
        };
        let pods: Vec<&Value> = pods.iter().filter(|p| of(p)[name].is_object()).collect();
        let old: Vec<&&Value> = pods
            .iter()
            .filter(|p| of(p)[name]["hash"] != json!(hash))
            .collect();
        if old.len() <= partition || !pods.iter().all(|p| settled(p)) {
            continue;
        }
        let mut pod = (*old[0]).clone();
        let mut hashes = of(&pod);
        hashes[name]["hash"] = json!(hash);
        hashes[name]["updateTimestamp"] = json!("2026-01-01T00:00:00Z");
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap().clone();
        let before = &statuses.iter().find(|s| s["name"] == "log").unwrap()["imageID"];
        let state = json!({name: {"revision": hash, "updateTimestamp": "2026-01-01T00:00:00Z",
            "lastContainerStatuses": {"log": {"imageID": before}}}});
        pod["metadata"]["annotations"][keys::HASH] = json!(hashes.to_string());
        pod["metadata"]["annotations"][keys::INPLACE_UPDATE_STATE] = json!(state.to_string());
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        containers.iter_mut().find(|c| c["name"] == "log").unwrap()["image"] = image.clone();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        door.replace(&PODS, Some("apps"), &name, &pod, None).await?;
    }
    Ok(())
}

/// Runs what the spec says, and is ready.
pub fn settled(pod: &Value) -> bool {
    let Some(statuses) = pod["status"]["containerStatuses"].as_array() else {
        return false;
    };
    pod["spec"]["containers"].as_array().unwrap().iter().all(|c| {
        statuses
            .iter()
            .any(|s| s["name"] == c["name"] && s["image"] == c["image"] && s["ready"] == true)
    })
}

/// Injects and defaults as Kruise does, from what it reads at that moment; and refuses what only Kruise refuses.
struct Webhook(Door);

impl Reviewer for Webhook {
    async fn review(&self, path: &str, body: Bytes) -> Result<Bytes, u16> {
        let path = path.split('?').next().unwrap();
        let listed = self
            .0
            .list(&SIDECAR_SETS, None, &Default::default())
            .await
            .map_err(|_| 500u16)?;
        let sets: Vec<Arc<SidecarSet>> = listed
            .items
            .into_iter()
            .map(|s| Arc::new(SidecarSet::deserialize(s).unwrap()))
            .collect();
        let prepared: Vec<_> = sets
            .iter()
            .map(|s| Arc::new(PreparedSidecarSet::new(s, &[])))
            .collect();
        let request: Value = serde_json::from_slice(&body).map_err(|_| 400u16)?;
        let set = &request["request"]["object"]["spec"];
        let homeless = set["containers"][0]["volumeMounts"].is_array() && set["volumes"].is_null();
        if path.starts_with("/validate-") && homeless {
            let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                "uid": request["request"]["uid"], "allowed": false,
                "status": {"code": 500, "message": "volumeMounts[0].name: Not found: \"nowhere\""}}});
            return Ok(Bytes::from(answer.to_string()));
        }
        let namespace = request["request"]["namespace"].as_str().unwrap_or_default();
        let labels = match self.0.get(&NAMESPACES, None, namespace).await {
            Ok(found) => BTreeMap::deserialize(&found["metadata"]["labels"]).unwrap_or_default(),
            Err(_) => BTreeMap::new(),
        };
        let labels = Arc::new(labels);
        let pods = PodWorld {
            sets: &prepared,
            namespace_labels: &|_| Some(labels.clone()),
            excluded_namespaces: &BTreeSet::new(),
            asked_for: &[],
            now: model::time::Clock::now(&SystemClock),
            draw: 0,
        };
        let world = SidecarSetWorld {
            fresh: true,
            others: &sets,
            revisions: &[],
            whitelist: None,
            metadata_allowed_by_default: false,
        };
        review(path, &body, &pods, &world)
            .map(|r| Bytes::from(r.body))
            .ok_or(404)
    }
}
