//! The checks of the Pod Security Standards, each with its own words, as the version asked for has them.

use serde_json::Value;

use super::{apparmor, host, root, seccomp};
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

/// A check that a pod fails.
pub(super) struct Violation {
    pub reason: &'static str,
    detail: String,
}

impl Violation {
    /// `reason (detail)`.
    pub fn explained(&self) -> String {
        format!("{} ({})", self.reason, self.detail)
    }
}

/// Every check of Kubernetes 1.`minor` that `pod` fails, in the order a real server lists them: those of the baseline
/// by name, then those that only the restricted level has.
pub(super) fn violations(level: Level, minor: u32, pod: &Value) -> Vec<Violation> {
    let view = View::of(pod, minor);
    let restricted = level == Level::Restricted;
    // A stricter check takes the place of a baseline one.
    let checks: [(bool, Check); 12] = [
        (true, apparmor::profiles),
        (!restricted || minor < 22, capabilities_baseline),
        (true, host::namespaces),
        (!restricted, host::paths),
        (true, host::ports),
        (minor >= 34, host::handlers),
        (true, privileged),
        (!restricted || minor < 35, proc_mount_baseline),
        (true, selinux),
        (!restricted || minor < 19, seccomp::baseline),
        (true, sysctls),
        (true, windows),
    ];
    let stricter: [(bool, Check); 7] = [
        (minor >= 8, escalation),
        (minor >= 22, capabilities_restricted),
        (minor >= 35, proc_mount),
        (true, volume_types),
        (true, root::non_root),
        (minor >= 23, root::root_user),
        (minor >= 19, seccomp::restricted),
    ];
    let stricter = stricter.into_iter().filter(|_| restricted);
    let all = checks.into_iter().filter(|_| level >= Level::Baseline);
    all.chain(stricter)
        .filter(|(applies, _)| *applies)
        .filter_map(|(_, check)| check(&view))
        .collect()
}

type Check = fn(&View<'_>) -> Option<Violation>;

pub(super) struct View<'a> {
    pub spec: &'a Value,
    pub annotations: &'a Value,
    pub security: &'a Value,
    /// Init, regular and ephemeral.
    pub containers: Vec<&'a Value>,
    /// Of the version that is asked for.
    pub minor: u32,
}

impl<'a> View<'a> {
    fn of(pod: &'a Value, minor: u32) -> Self {
        let spec = pod.at("spec");
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|l| spec.list(l)).collect();
        Self {
            spec,
            annotations: pod.at("metadata").at("annotations"),
            security: spec.at("securityContext"),
            containers,
            minor,
        }
    }

    /// Windows has no Linux security; older checks did not know that.
    pub fn is_windows(&self) -> bool {
        self.minor >= 25 && self.spec.at("os").text("name") == "windows"
    }

    /// Root in a user namespace is nobody outside of it; older checks did not know that.
    pub fn has_own_users(&self) -> bool {
        self.minor >= 35 && self.spec.at("hostUsers").as_bool() == Some(false)
    }

    /// Names of the containers whose security context fails `test`.
    pub fn bad(&self, test: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        let failing = self.containers.iter().filter(|c| test(c.at("securityContext")));
        failing.map(|c| c.text("name")).collect()
    }
}

pub(super) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let quoted = names.iter().map(|n| format!("\"{}\"", n.as_ref()));
    quoted.collect::<Vec<_>>().join(", ")
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

pub(super) fn containers(names: &[&str]) -> String {
    format!(
        "{} {}",
        plural("container", "containers", names.len()),
        quoted(names)
    )
}

pub(super) fn found(reason: &'static str, detail: &str) -> Option<Violation> {
    let detail = detail.to_owned();
    Some(Violation { reason, detail })
}

/// `pod`, the containers, or both, by what fails `test`.
pub(super) fn setters(view: &View<'_>, test: impl Fn(&Value) -> bool) -> Vec<String> {
    let pod = test(view.security).then(|| "pod".to_owned());
    let names = view.bad(test);
    let named = (!names.is_empty()).then(|| containers(&names));
    pod.into_iter().chain(named).collect()
}

pub(super) fn sorted<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out: Vec<&str> = items.collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn privileged(view: &View<'_>) -> Option<Violation> {
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

fn proc_mount_baseline(view: &View<'_>) -> Option<Violation> {
    match view.has_own_users() {
        true => None,
        false => proc_mount(view),
    }
}

fn proc_mount(view: &View<'_>) -> Option<Violation> {
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

fn selinux(view: &View<'_>) -> Option<Violation> {
    const TYPES: [&str; 5] = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    let types = if view.minor >= 31 { &TYPES[..] } else { &TYPES[..4] };
    let options = |s: &Value| {
        let o = s.at("seLinuxOptions");
        !types.contains(&o.text("type")) || !o.text("user").is_empty() || !o.text("role").is_empty()
    };
    let setters = setters(view, options);
    if setters.is_empty() {
        return None;
    }
    let all = std::iter::once(view.security).chain(view.containers.iter().map(|c| c.at("securityContext")));
    let all: Vec<&Value> = all.map(|s| s.at("seLinuxOptions")).collect();
    let mut data = Vec::new();
    let bad = sorted(all.iter().map(|o| o.text("type")).filter(|t| !types.contains(t)));
    if !bad.is_empty() {
        data.push(format!("{} {}", plural("type", "types", bad.len()), quoted(&bad)));
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

fn sysctls(view: &View<'_>) -> Option<Violation> {
    // In the order in which versions came to know them.
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
    let known = match view.minor {
        0..27 => 5,
        27..29 => 6,
        29..32 => 10,
        _ => SAFE.len(),
    };
    let names = view.security.list("sysctls").iter().map(|s| s.text("name"));
    let bad: Vec<&str> = names.filter(|n| !SAFE[..known].contains(n)).collect();
    if bad.is_empty() {
        None
    } else {
        found("forbidden sysctls", &bad.join(", "))
    }
}

fn windows(view: &View<'_>) -> Option<Violation> {
    let host = |s: &Value| s.at("windowsOptions").flag("hostProcess");
    let setters = setters(view, host);
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

fn capabilities_baseline(view: &View<'_>) -> Option<Violation> {
    found("non-default capabilities", &adding(view, &DEFAULT_CAPABILITIES)?)
}

fn capabilities_restricted(view: &View<'_>) -> Option<Violation> {
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

fn escalation(view: &View<'_>) -> Option<Violation> {
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

fn volume_types(view: &View<'_>) -> Option<Violation> {
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
