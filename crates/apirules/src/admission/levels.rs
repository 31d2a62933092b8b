//! The checks of the Pod Security Standards, each with its own words, as the version asked for has them.

use serde_json::Value;

use super::seccomp;
use crate::path::go_quote;
use crate::read::{Read, texts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// `reason (detail)` of every check of Kubernetes 1.`minor` that `pod` fails, in the order a real server lists them.
pub(super) fn violations(level: Level, minor: u32, pod: &Value) -> Vec<String> {
    let mut view = View::of(pod);
    view.spares_windows = minor >= 25;
    let mut out = Vec::new();
    let mut put = |found: Option<String>| out.extend(found);
    if level >= Level::Baseline {
        put(host_namespaces(&view));
        put(host_paths(&view));
        put(host_ports(&view));
        put(privileged(&view));
        put(proc_mount(&view));
        put(selinux(&view));
        put(sysctls(&view));
        put(windows(&view));
    }
    if level == Level::Baseline {
        put(capabilities_baseline(&view));
        put(seccomp::baseline(&view));
    }
    if level == Level::Restricted {
        put(escalation(&view));
        match minor >= 22 {
            true => put(capabilities_restricted(&view)),
            false => put(capabilities_baseline(&view)),
        }
        put(volume_types(&view));
        put(non_root(&view));
        if minor >= 23 {
            put(root_user(&view));
        }
        put(seccomp::restricted(&view));
    }
    out
}

pub(super) struct View<'a> {
    spec: &'a Value,
    pub security: &'a Value,
    /// Init, regular and ephemeral.
    pub containers: Vec<&'a Value>,
    /// Windows has no Linux security; older checks did not know that.
    spares_windows: bool,
}

impl<'a> View<'a> {
    fn of(pod: &'a Value) -> Self {
        let spec = pod.at("spec");
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|l| spec.list(l)).collect();
        Self {
            spec,
            security: spec.at("securityContext"),
            containers,
            spares_windows: true,
        }
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spares_windows && self.spec.at("os").text("name") == "windows"
    }

    /// Names of the containers whose security context fails `test`.
    pub(super) fn bad(&self, test: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        let failing = self.containers.iter().filter(|c| test(c.at("securityContext")));
        failing.map(|c| c.text("name")).collect()
    }
}

pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|n| go_quote(n)).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

pub(super) fn containers(names: &[&str]) -> String {
    format!(
        "{} {}",
        plural("container", "containers", names.len()),
        quoted(names)
    )
}

pub(super) fn found(reason: &str, detail: &str) -> Option<String> {
    Some(format!("{reason} ({detail})"))
}

pub(super) fn sorted<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out: Vec<&str> = items.collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn host_namespaces(view: &View<'_>) -> Option<String> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let used: Vec<String> = fields
        .iter()
        .filter(|f| view.spec.flag(f))
        .map(|f| format!("{f}=true"))
        .collect();
    if used.is_empty() {
        None
    } else {
        found("host namespaces", &used.join(", "))
    }
}

fn host_paths(view: &View<'_>) -> Option<String> {
    let volumes = view.spec.list("volumes").iter().filter(|v| v.has("hostPath"));
    let names: Vec<&str> = volumes.map(|v| v.text("name")).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    found("hostPath volumes", &detail)
}

fn host_ports(view: &View<'_>) -> Option<String> {
    let uses = |c: &&&Value| {
        c.list("ports")
            .iter()
            .any(|p| p.int("hostPort").unwrap_or(0) != 0)
    };
    let names: Vec<&str> = view
        .containers
        .iter()
        .filter(uses)
        .map(|c| c.text("name"))
        .collect();
    if names.is_empty() {
        return None;
    }
    let ports = view
        .containers
        .iter()
        .flat_map(|c| c.list("ports"))
        .filter_map(|p| p.int("hostPort"));
    let mut ports: Vec<String> = ports.filter(|p| *p != 0).map(|p| p.to_string()).collect();
    ports.sort_unstable();
    ports.dedup();
    let uses = plural("uses", "use", names.len());
    let word = plural("hostPort", "hostPorts", ports.len());
    found(
        "hostPort",
        &format!("{} {uses} {word} {}", containers(&names), ports.join(", ")),
    )
}

fn privileged(view: &View<'_>) -> Option<String> {
    let names = view.bad(|s| s.flag("privileged"));
    if names.is_empty() {
        return None;
    }
    found(
        "privileged",
        &format!(
            "{} must not set securityContext.privileged=true",
            containers(&names)
        ),
    )
}

fn proc_mount(view: &View<'_>) -> Option<String> {
    if view.spec.at("hostUsers").as_bool() == Some(false) {
        return None;
    }
    let bad = |s: &Value| s.has("procMount") && s.text("procMount") != "Default";
    let names = view.bad(bad);
    if names.is_empty() {
        return None;
    }
    let values = view
        .containers
        .iter()
        .map(|c| c.at("securityContext"))
        .filter(|s| bad(s));
    let values = sorted(values.map(|s| s.text("procMount")));
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        containers(&names),
        quoted(&values)
    );
    found("procMount", &detail)
}

fn selinux(view: &View<'_>) -> Option<String> {
    const TYPES: [&str; 5] = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    let options = |s: &Value| {
        let o = s.at("seLinuxOptions");
        !TYPES.contains(&o.text("type")) || !o.text("user").is_empty() || !o.text("role").is_empty()
    };
    let names = view.bad(options);
    let pod = options(view.security);
    if names.is_empty() && !pod {
        return None;
    }
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    let all = std::iter::once(view.security).chain(view.containers.iter().map(|c| c.at("securityContext")));
    let all: Vec<&Value> = all.map(|s| s.at("seLinuxOptions")).collect();
    let mut data = Vec::new();
    let types = sorted(all.iter().map(|o| o.text("type")).filter(|t| !TYPES.contains(t)));
    if !types.is_empty() {
        data.push(format!(
            "{} {}",
            plural("type", "types", types.len()),
            quoted(&types)
        ));
    }
    for field in ["user", "role"] {
        if all.iter().any(|o| !o.text(field).is_empty()) {
            data.push(format!("{field} may not be set"));
        }
    }
    let verb = plural("set", "set", setters.len());
    found(
        "seLinuxOptions",
        &format!(
            "{} {verb} forbidden securityContext.seLinuxOptions: {}",
            setters.join(" and "),
            data.join("; ")
        ),
    )
}

fn sysctls(view: &View<'_>) -> Option<String> {
    const SAFE: [&str; 12] = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ];
    let names = view.security.list("sysctls").iter().map(|s| s.text("name"));
    let bad: Vec<&str> = names.filter(|n| !SAFE.contains(n)).collect();
    if bad.is_empty() {
        None
    } else {
        found("forbidden sysctls", &bad.join(", "))
    }
}

fn windows(view: &View<'_>) -> Option<String> {
    let host = |s: &Value| s.at("windowsOptions").flag("hostProcess");
    let names = view.bad(host);
    let mut setters = Vec::new();
    if host(view.security) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    if setters.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.windowsOptions.hostProcess=true",
        setters.join(" and ")
    );
    found("hostProcess", &detail)
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn added<'a>(security: &'a Value, allowed: &[&str]) -> Vec<&'a str> {
    let add = texts(security.at("capabilities").list("add"));
    add.into_iter().filter(|c| !allowed.contains(c)).collect()
}

fn adding(view: &View<'_>, allowed: &[&str]) -> Option<String> {
    let names = view.bad(|s| !added(s, allowed).is_empty());
    if names.is_empty() {
        return None;
    }
    let all = view
        .containers
        .iter()
        .flat_map(|c| added(c.at("securityContext"), allowed));
    let all = sorted(all);
    Some(format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&names),
        quoted(&all)
    ))
}

fn capabilities_baseline(view: &View<'_>) -> Option<String> {
    found("non-default capabilities", &adding(view, &DEFAULT_CAPABILITIES)?)
}

fn capabilities_restricted(view: &View<'_>) -> Option<String> {
    if view.is_windows() {
        return None;
    }
    let keeps = |s: &Value| !texts(s.at("capabilities").list("drop")).contains(&"ALL");
    let names = view.bad(keeps);
    let mut details = Vec::new();
    if !names.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&names)
        ));
    }
    details.extend(adding(view, &["NET_BIND_SERVICE"]));
    if details.is_empty() {
        None
    } else {
        found("unrestricted capabilities", &details.join("; "))
    }
}

fn escalation(view: &View<'_>) -> Option<String> {
    if view.is_windows() {
        return None;
    }
    let names = view.bad(|s| s.at("allowPrivilegeEscalation").as_bool() != Some(false));
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must set securityContext.allowPrivilegeEscalation=false",
        containers(&names)
    );
    found("allowPrivilegeEscalation != false", &detail)
}

fn volume_types(view: &View<'_>) -> Option<String> {
    const ALLOWED: [&str; 8] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
    ];
    let kind = |v: &Value| -> Option<String> {
        let mut keys = v.as_object()?.keys().filter(|k| *k != "name");
        let bad = keys.find(|k| !ALLOWED.contains(&k.as_str()) && *k != "secret")?;
        Some(bad.clone())
    };
    let bad: Vec<(&str, String)> = view
        .spec
        .list("volumes")
        .iter()
        .filter_map(|v| Some((v.text("name"), kind(v)?)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|(n, _)| *n).collect();
    let kinds = sorted(bad.iter().map(|(_, k)| k.as_str()));
    let (uses, volumes) = (
        plural("uses", "use", names.len()),
        plural("volume", "volumes", names.len()),
    );
    let word = plural("restricted volume type", "restricted volume types", kinds.len());
    found(
        "restricted volume types",
        &format!("{volumes} {} {uses} {word} {}", quoted(&names), quoted(&kinds)),
    )
}

fn non_root(view: &View<'_>) -> Option<String> {
    let explicit = view.bad(|s| s.at("runAsNonRoot").as_bool() == Some(false));
    let pod = view.security.at("runAsNonRoot").as_bool();
    let reason = "runAsNonRoot != true";
    if pod == Some(false) || !explicit.is_empty() {
        let mut setters = Vec::new();
        if pod == Some(false) {
            setters.push("pod".to_owned());
        }
        if !explicit.is_empty() {
            setters.push(containers(&explicit));
        }
        return found(
            reason,
            &format!(
                "{} must not set securityContext.runAsNonRoot=false",
                setters.join(" and ")
            ),
        );
    }
    let implicit = view.bad(|s| s.at("runAsNonRoot").is_null());
    if pod == Some(true) || implicit.is_empty() {
        return None;
    }
    found(
        reason,
        &format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            containers(&implicit)
        ),
    )
}

fn root_user(view: &View<'_>) -> Option<String> {
    let root = |s: &Value| s.int("runAsUser") == Some(0);
    let names = view.bad(root);
    let mut setters = Vec::new();
    if root(view.security) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    if setters.is_empty() {
        return None;
    }
    found(
        "runAsUser=0",
        &format!("{} must not set runAsUser=0", setters.join(" and ")),
    )
}
