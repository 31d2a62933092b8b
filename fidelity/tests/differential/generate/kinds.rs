//! The kinds that traces are made of.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{chance, pick, pods};

#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub prefix: &'static str,
    pub plural: &'static str,
    pub gvk: (&'static str, &'static str, &'static str),
    pub namespaced: bool,
    /// Every field of it is checked as a real server checks it: any change of it is tried.
    pub validated: bool,
    /// All but apiVersion, kind and metadata.
    pub make: fn(&mut StdRng) -> Value,
    pub change: fn(&mut StdRng) -> Value,
    pub subresources: &'static [&'static str],
}

type Make = fn(&mut StdRng) -> Value;

const fn kind(
    prefix: &'static str,
    plural: &'static str,
    gvk: (&'static str, &'static str, &'static str),
    make: Make,
    change: Make,
) -> Kind {
    Kind {
        prefix,
        plural,
        gvk,
        namespaced: true,
        validated: true,
        make,
        change,
        subresources: &[],
    }
}

impl Kind {
    const fn with(self, subresources: &'static [&'static str]) -> Self {
        Self { subresources, ..self }
    }

    const fn of_cluster(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }

    const fn only_stored(self) -> Self {
        Self {
            validated: false,
            ..self
        }
    }
}

const CORE: &str = "/api/v1";
const APPS: &str = "/apis/apps/v1";
const BATCH: &str = "/apis/batch/v1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// What the traces care most for stands more than once.
pub(super) const KINDS: [Kind; 33] = [
    kind(
        CORE,
        "configmaps",
        ("", "v1", "ConfigMap"),
        config_map,
        config_map_change,
    ),
    POD,
    POD,
    POD,
    kind(CORE, "secrets", ("", "v1", "Secret"), secret, config_map_change),
    kind(CORE, "services", ("", "v1", "Service"), service, service_change).with(&["status"]),
    kind(
        CORE,
        "serviceaccounts",
        ("", "v1", "ServiceAccount"),
        service_account,
        service_account_change,
    ),
    kind(
        CORE,
        "limitranges",
        ("", "v1", "LimitRange"),
        limit_range,
        labels_change,
    )
    .only_stored(),
    kind(CORE, "nodes", ("", "v1", "Node"), node, node_change)
        .of_cluster()
        .with(&["status"]),
    kind(
        CORE,
        "persistentvolumeclaims",
        ("", "v1", "PersistentVolumeClaim"),
        claim,
        labels_change,
    )
    .only_stored(),
    kind(CORE, "events", ("", "v1", "Event"), event, labels_change).only_stored(),
    DEPLOYMENT,
    DEPLOYMENT,
    kind(
        APPS,
        "replicasets",
        ("apps", "v1", "ReplicaSet"),
        pods::replica_set,
        pods::replica_set_change,
    )
    .with(&["status", "scale"]),
    kind(
        APPS,
        "statefulsets",
        ("apps", "v1", "StatefulSet"),
        pods::stateful_set,
        pods::stateful_set_change,
    )
    .with(&["status", "scale"]),
    kind(
        APPS,
        "daemonsets",
        ("apps", "v1", "DaemonSet"),
        pods::daemon_set,
        pods::daemon_set_change,
    )
    .with(&["status"]),
    kind(
        APPS,
        "controllerrevisions",
        ("apps", "v1", "ControllerRevision"),
        revision,
        revision_change,
    ),
    kind(BATCH, "jobs", ("batch", "v1", "Job"), pods::job, pods::job_change).with(&["status"]),
    kind(
        BATCH,
        "cronjobs",
        ("batch", "v1", "CronJob"),
        pods::cron_job,
        pods::cron_job_change,
    )
    .with(&["status"]),
    kind(
        "/apis/coordination.k8s.io/v1",
        "leases",
        ("coordination.k8s.io", "v1", "Lease"),
        lease,
        lease_change,
    ),
    kind(
        "/apis/policy/v1",
        "poddisruptionbudgets",
        ("policy", "v1", "PodDisruptionBudget"),
        budget,
        budget_change,
    )
    .with(&["status"]),
    GADGET,
    GADGET,
    Kind {
        prefix: "/apis/differential.example/v1beta1",
        gvk: ("differential.example", "v1beta1", "Gadget"),
        ..GADGET
    },
    kind(RBAC, "roles", (RBAC_GROUP, "v1", "Role"), role, role_change),
    kind(
        RBAC,
        "rolebindings",
        (RBAC_GROUP, "v1", "RoleBinding"),
        role_binding,
        role_binding_change,
    ),
    kind(
        RBAC,
        "clusterroles",
        (RBAC_GROUP, "v1", "ClusterRole"),
        role,
        role_change,
    )
    .of_cluster(),
    kind(
        "/apis/scheduling.k8s.io/v1",
        "priorityclasses",
        ("scheduling.k8s.io", "v1", "PriorityClass"),
        priority_class,
        priority_class_change,
    )
    .of_cluster(),
    kind(
        "/apis/networking.k8s.io/v1",
        "networkpolicies",
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        network_policy,
        labels_change,
    )
    .only_stored(),
    kind(
        "/apis/networking.k8s.io/v1",
        "ingresses",
        ("networking.k8s.io", "v1", "Ingress"),
        ingress,
        labels_change,
    )
    .only_stored(),
    kind(
        "/apis/autoscaling/v2",
        "horizontalpodautoscalers",
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        autoscaler,
        labels_change,
    )
    .only_stored(),
    kind(
        "/apis/autoscaling/v1",
        "horizontalpodautoscalers",
        ("autoscaling", "v1", "HorizontalPodAutoscaler"),
        autoscaler_v1,
        autoscaler_v1_change,
    )
    .only_stored(),
    kind(
        "/apis/storage.k8s.io/v1",
        "storageclasses",
        ("storage.k8s.io", "v1", "StorageClass"),
        storage_class,
        labels_change,
    )
    .of_cluster()
    .only_stored(),
];

const POD: Kind = kind(CORE, "pods", ("", "v1", "Pod"), pods::pod, pods::pod_change).with(&[
    "status",
    "ephemeralcontainers",
    "resize",
]);
const DEPLOYMENT: Kind = kind(
    APPS,
    "deployments",
    ("apps", "v1", "Deployment"),
    pods::deployment,
    pods::deployment_change,
)
.with(&["status", "scale"]);
const GADGET: Kind = kind(
    "/apis/differential.example/v1",
    "gadgets",
    ("differential.example", "v1", "Gadget"),
    gadget,
    gadget_change,
)
.only_stored()
.with(&["status", "scale"]);

fn labels_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
        1 => json!({"metadata": {"annotations": {"note": pick(rng, &["a", "b"])}}}),
        _ => json!({"metadata": {"finalizers": ["differential.example/hold"]}}),
    }
}

fn config_map(rng: &mut StdRng) -> Value {
    json!({"data": {"k": pick(rng, &["1", "2"]), pick(rng, &["x", "y", "bad key/"]): "v"}})
}

fn config_map_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"data": {"k": pick(rng, &["1", "2", "3"])}}),
        1 => json!({"data": null}),
        2 => json!({"immutable": true}),
        _ => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
    }
}

fn secret(rng: &mut StdRng) -> Value {
    json!({"type": pick(rng, &["Opaque", "kubernetes.io/basic-auth", "kubernetes.io/tls", "kubernetes.io/dockerconfigjson"]),
        "data": {"password": pick(rng, &["cGFzcw==", "not base64!"])}})
}

fn service(rng: &mut StdRng) -> Value {
    let mut spec =
        json!({"selector": {"app": "x"}, "ports": [{"port": pick(rng, &[80, 443, 0]), "name": "http"}]});
    if chance(rng, 40) {
        spec["type"] = json!(pick(
            rng,
            &["NodePort", "LoadBalancer", "ClusterIP", "ExternalName", "Other"]
        ));
    }
    if chance(rng, 15) {
        spec["clusterIP"] = json!(pick(rng, &["None", "not-an-ip"]));
    }
    if chance(rng, 30) {
        let more = json!({"port": pick(rng, &[80, 81]), "name": pick(rng, &["http", "more", ""]),
            "protocol": pick(rng, &["TCP", "UDP"])});
        if let Some(ports) = spec["ports"].as_array_mut() {
            ports.push(more);
        }
    }
    json!({"spec": spec})
}

fn service_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"spec": {"type": pick(rng, &["NodePort", "ClusterIP", "LoadBalancer"])}}),
        1 => json!({"spec": {"ports": [{"port": pick(rng, &[8080, 80])}]}}),
        2 => json!({"spec": {"type": "ExternalName", "externalName": pick(rng, &["example.com", ""])}}),
        3 => json!({"spec": {"clusterIP": pick(rng, &["None", "10.0.0.77"])}}),
        4 => json!({"spec": {"selector": {"app": "y"}, "sessionAffinity": "ClientIP"}}),
        _ => json!({"status": {"loadBalancer": {"ingress": [{"ip": pick(rng, &["1.2.3.4", "bad"])}]}}}),
    }
}

fn service_account(rng: &mut StdRng) -> Value {
    json!({"automountServiceAccountToken": chance(rng, 50), "secrets": [{"name": "s"}]})
}

fn service_account_change(rng: &mut StdRng) -> Value {
    json!({"imagePullSecrets": [{"name": pick(rng, &["p", "q"])}]})
}

fn limit_range(rng: &mut StdRng) -> Value {
    // Wide: what it does to pods that come at once is not certain on a real server.
    json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": pick(rng, &["1Ti", "2Ti"])}}]}})
}

fn node(rng: &mut StdRng) -> Value {
    let mut spec = json!({"podCIDR": pick(rng, &["10.1.0.0/24", "not-a-cidr", "10.2.0.0/24"])});
    if chance(rng, 30) {
        spec["taints"] =
            json!([{"key": "dedicated", "value": "x", "effect": pick(rng, &["NoSchedule", "Never"])}]);
    }
    json!({"spec": spec, "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}}})
}

fn node_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"spec": {"unschedulable": chance(rng, 50)}}),
        1 => json!({"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}}),
        2 => json!({"spec": {"providerID": pick(rng, &["a://1", "b://2"])}}),
        _ => {
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "3"}}})
        }
    }
}

fn claim(_: &mut StdRng) -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

fn event(_: &mut StdRng) -> Value {
    json!({"involvedObject": {"kind": "Pod", "namespace": "{ns}", "name": "a"}, "reason": "Tested", "type": "Normal",
        "message": "m", "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1})
}

fn revision(rng: &mut StdRng) -> Value {
    json!({"data": {"spec": {"any": pick(rng, &[1, 2])}}, "revision": pick(rng, &[1, -1])})
}

fn revision_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..2) {
        0 => json!({"revision": pick(rng, &[2, 3])}),
        _ => json!({"data": {"spec": {"any": 9}}}),
    }
}

fn lease(rng: &mut StdRng) -> Value {
    json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": pick(rng, &[15, 0])}})
}

fn lease_change(rng: &mut StdRng) -> Value {
    json!({"spec": {"holderIdentity": pick(rng, &["me", "you"]), "renewTime": pick(rng, &["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "now"])}})
}

fn budget(rng: &mut StdRng) -> Value {
    json!({"spec": {"minAvailable": pick(rng, &[json!(1), json!("50%"), json!("x"), json!(-1)]), "selector": {"matchLabels": {"app": "x"}}}})
}

fn budget_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"spec": {"minAvailable": null, "maxUnavailable": pick(rng, &[json!(1), json!("10%")])}}),
        1 => json!({"spec": {"selector": {}}}),
        _ => {
            json!({"status": {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1}})
        }
    }
}

fn gadget(rng: &mut StdRng) -> Value {
    let mut spec = json!({
        "size": pick(rng, &[json!(1), json!(5), json!(0), json!("large")]),
        "parts": [{"name": "p", "count": 1}, {"name": "q", "count": pick(rng, &[1, 2])}],
        "tags": pick(rng, &[json!(["a"]), json!(["a", "b"])])});
    // One mistake at a time: which of two a real server names first is chance.
    match rng.random_range(0..9) {
        0 => spec["parts"][0]["name"] = json!("q"),
        1 => spec["tags"] = json!(["a", "a"]),
        2 => {
            spec["extra"] = json!(1);
            spec["size"] = json!(1);
        }
        3 => spec["quantity"] = pick(rng, &[json!("1Gi"), json!(5), json!("much")]),
        4 => spec["when"] = pick(rng, &[json!("2026-01-01T00:00:00Z"), json!("soon")]),
        5 => {
            spec["mode"] = pick(
                rng,
                &[json!({"fast": {}}), json!({"fast": {}, "slow": {}}), json!({})],
            )
        }
        _ => {}
    }
    json!({"spec": spec})
}

fn gadget_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..8) {
        0 => json!({"spec": {"size": pick(rng, &[1, 2, 9, 101])}}),
        1 => json!({"spec": {"colour": pick(rng, &["red", "blue", "loud"])}}),
        2 => json!({"spec": {"parts": [{"name": "p", "count": 3}]}}),
        3 => json!({"status": {"ready": true, "replicas": 1}}),
        4 => json!({"spec": {"replicas": pick(rng, &[1, 2])}}),
        5 => json!({"spec": {"fixed": pick(rng, &["one", "two"])}}),
        6 => json!({"status": {"conditions": [{"type": "Ready", "status": pick(rng, &["True", "False"])}]}}),
        _ => json!({"spec": {"free": {"any": ["thing", 1]}}}),
    }
}

fn role(rng: &mut StdRng) -> Value {
    json!({"rules": [{"apiGroups": [""], "resources": [pick(rng, &["pods", "secrets"])], "verbs": ["get"]}]})
}

fn role_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}]}),
        1 => json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]}),
        _ => json!({"rules": null}),
    }
}

fn role_binding(rng: &mut StdRng) -> Value {
    json!({"subjects": [{"kind": pick(rng, &["User", "Group", "ServiceAccount", "Robot"]), "name": "x"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": pick(rng, &["Role", "ClusterRole"]),
            "name": pick(rng, &["view", "absent"])}})
}

fn role_binding_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..2) {
        0 => json!({"roleRef": {"name": "edit"}}),
        _ => json!({"subjects": [{"kind": "User", "name": pick(rng, &["y", "z"])}]}),
    }
}

fn priority_class(rng: &mut StdRng) -> Value {
    json!({"value": pick(rng, &[1, 1000, 2_000_000_000]), "description": "d"})
}

fn priority_class_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"value": 7}),
        1 => json!({"description": "other"}),
        _ => json!({"preemptionPolicy": "Never"}),
    }
}

fn network_policy(_: &mut StdRng) -> Value {
    json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}]}})
}

fn ingress(_: &mut StdRng) -> Value {
    json!({"spec": {"rules": [{"host": "example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}})
}

fn autoscaler(_: &mut StdRng) -> Value {
    json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
        "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 60}}}]}})
}

fn autoscaler_v1(_: &mut StdRng) -> Value {
    json!({"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}})
}

fn autoscaler_v1_change(rng: &mut StdRng) -> Value {
    json!({"spec": {"minReplicas": pick(rng, &[1, 2]), "targetCPUUtilizationPercentage": pick(rng, &[50, 80])}})
}

fn storage_class(_: &mut StdRng) -> Value {
    json!({"provisioner": "example.com/none", "parameters": {"a": "b"}})
}
