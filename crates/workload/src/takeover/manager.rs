//! Kruise's manager as its Deployment shows it: which gates it runs with, and how it is told to leave pods alone.
//!
//! The environment variable CUSTOM_RESOURCE_ENABLE, set and without `SidecarSet` in it, makes the gate PodWebhook
//! off by default, and nothing else (1.9). A gate that is set by name, or all beta gates turned on at once, wins
//! over a default: then the gate must be set by name too.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const DEPLOYMENT: &str = "kruise-controller-manager";
pub const LEASE: &str = "kruise-manager";
const ENV: &str = "CUSTOM_RESOURCE_ENABLE";
const KEPT_KINDS: &str = "AdvancedCronJob,BroadcastJob,CloneSet,ContainerRecreateRequest,DaemonSet,EphemeralJob,\
    ImageListPullJob,ImagePullJob,NodeImage,NodePodProbe,PersistentPodState,PodProbeMarker,PodUnavailableBudget,\
    ResourceDistribution,StatefulSet,UnitedDeployment,WorkloadSpread";
const GATES_FLAG: &str = "--feature-gates";
const POD_WEBHOOK: &str = "PodWebhook";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagerBefore {
    pub replicas: u64,
    /// Of the manager's container; null where absent.
    pub env: Value,
    pub args: Value,
    pub command: Value,
}

pub fn before(deployment: &Value) -> Option<ManagerBefore> {
    let container = container(deployment)?;
    Some(ManagerBefore {
        replicas: replicas(deployment),
        env: container["env"].clone(),
        args: container["args"].clone(),
        command: container["command"].clone(),
    })
}

/// The user Kruise's requests are made by.
pub fn user(deployment: &Value, namespace: &str) -> String {
    let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str();
    let account = account.filter(|a| !a.is_empty());
    let fallback = if deployment.is_null() {
        "kruise-manager"
    } else {
        "default"
    };
    format!(
        "system:serviceaccount:{namespace}:{}",
        account.unwrap_or(fallback)
    )
}

/// Gates that are set, by name.
pub fn gates(deployment: &Value) -> BTreeMap<String, bool> {
    let Some(container) = container(deployment) else {
        return BTreeMap::new();
    };
    let words = ["command", "args"]
        .into_iter()
        .flat_map(|field| words(&container[field]));
    let words: Vec<String> = words.collect();
    let mut gates = BTreeMap::new();
    for (n, word) in words.iter().enumerate() {
        let list = match word.strip_prefix(GATES_FLAG) {
            Some("") => words.get(n + 1).map(String::as_str).unwrap_or_default(),
            Some(rest) => rest.trim_start_matches('='),
            None => continue,
        };
        for pair in list.split(',') {
            if let Some((name, value)) = pair.split_once('=') {
                gates.insert(name.trim().to_owned(), value.trim() == "true");
            }
        }
    }
    gates
}

/// The Deployment told to leave pods alone; with no replicas where it is to stop.
pub fn restricted(deployment: &Value, stop: bool) -> Value {
    let named = gates(deployment);
    let overridden = named.get(POD_WEBHOOK).or_else(|| named.get("AllBeta")) == Some(&true);
    let mut out = deployment.clone();
    if stop {
        out["spec"]["replicas"] = json!(0);
    }
    if let Some(container) = container_mut(&mut out) {
        let mut env: Vec<Value> = container["env"].as_array().cloned().unwrap_or_default();
        let wanted = json!({"name": ENV, "value": kept_kinds(&env)});
        match env.iter_mut().find(|e| e["name"] == ENV) {
            Some(found) => *found = wanted,
            None => env.push(wanted),
        }
        container["env"] = Value::Array(env);
        if overridden {
            for field in ["command", "args"] {
                name_the_gate(&mut container[field]);
            }
        }
        drop_nulls(container);
    }
    out
}

/// The Deployment as it was.
pub fn restored(deployment: &Value, before: &ManagerBefore) -> Value {
    let mut out = deployment.clone();
    if replicas(&out) == 0 {
        out["spec"]["replicas"] = json!(before.replicas.max(1));
    }
    if let Some(container) = container_mut(&mut out) {
        container["env"] = before.env.clone();
        container["args"] = before.args.clone();
        container["command"] = before.command.clone();
        drop_nulls(container);
    }
    out
}

/// Whether every pod of it is of the present template and answers; `Err` says what is missing.
pub fn rolled_out(deployment: &Value) -> Result<(), String> {
    let status = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
    let wanted = replicas(deployment);
    let generation = deployment["metadata"]["generation"].as_u64().unwrap_or(0);
    if status("observedGeneration") < generation {
        return Err("its Deployment was not looked at since it changed".to_owned());
    }
    let (all, updated, ready) = (
        status("replicas"),
        status("updatedReplicas"),
        status("availableReplicas"),
    );
    if (all, updated, ready) != (wanted, wanted, wanted) {
        return Err(format!(
            "{all} pods, {updated} of the new template, {ready} available, {wanted} wanted"
        ));
    }
    Ok(())
}

fn replicas(deployment: &Value) -> u64 {
    deployment["spec"]["replicas"].as_u64().unwrap_or(1)
}

fn container(deployment: &Value) -> Option<&Value> {
    let all = deployment["spec"]["template"]["spec"]["containers"].as_array()?;
    all.iter().find(|c| c["name"] == "manager").or(all.first())
}

fn container_mut(deployment: &mut Value) -> Option<&mut Value> {
    let all = deployment["spec"]["template"]["spec"]["containers"].as_array_mut()?;
    let at = all.iter().position(|c| c["name"] == "manager").unwrap_or(0);
    all.get_mut(at)
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What somebody listed before, less SidecarSet: an empty value would mean all.
fn kept_kinds(env: &[Value]) -> String {
    let listed = env
        .iter()
        .find(|e| e["name"] == ENV)
        .and_then(|e| e["value"].as_str())
        .unwrap_or_default();
    let kept: Vec<&str> = listed
        .split(',')
        .map(str::trim)
        .filter(|k| !k.is_empty() && *k != "SidecarSet")
        .collect();
    if kept.is_empty() {
        KEPT_KINDS.to_owned()
    } else {
        kept.join(",")
    }
}

fn name_the_gate(words: &mut Value) {
    let Some(words) = words.as_array_mut() else {
        return;
    };
    let mut next = false;
    for word in words {
        let Some(text) = word.as_str() else {
            continue;
        };
        let list = match text.strip_prefix(GATES_FLAG) {
            Some("") => {
                next = true;
                continue;
            }
            Some(rest) => Some(rest.trim_start_matches('=')),
            None => next.then_some(text),
        };
        let prefix = if next { "" } else { "--feature-gates=" };
        next = false;
        if let Some(list) = list {
            let others = list
                .split(',')
                .filter(|p| p.split('=').next() != Some(POD_WEBHOOK) && !p.is_empty());
            let all: Vec<&str> = others.chain(["PodWebhook=false"]).collect();
            *word = json!(format!("{prefix}{}", all.join(",")));
        }
    }
}

fn drop_nulls(container: &mut Value) {
    if let Some(fields) = container.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
