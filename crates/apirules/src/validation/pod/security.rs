//! Security contexts of pods and containers.

use serde_json::Value;

use super::mounts::descending;
use crate::path::{Errors, Path};
use crate::read::{Read, texts};
use crate::validation::names::in_range;

const MAX_ID: i64 = i32::MAX as i64;

fn validate_id(security: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(id) = security.int(field) {
        for message in in_range(id, 0, MAX_ID) {
            errors.invalid(&path.child(field), id, message);
        }
    }
}

fn validate_one_of(security: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if security.has(field) && !supported.contains(&security.text(field)) {
        errors.not_supported(&path.child(field), security.text(field), supported);
    }
}

pub(super) fn validate_pod_security(spec: &Value, path: &Path, errors: &mut Errors) {
    let security = spec.at("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        validate_id(security, field, path, errors);
    }
    for (i, group) in security
        .list("supplementalGroups")
        .iter()
        .filter_map(Value::as_i64)
        .enumerate()
    {
        for message in in_range(group, 0, MAX_ID) {
            errors.invalid(&path.child("supplementalGroups").index(i), group, message);
        }
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    validate_sysctls(spec, security.list("sysctls"), &path.child("sysctls"), errors);
    validate_one_of(
        security,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        path,
        errors,
    );
    validate_profiles(security, path, errors);
    validate_one_of(
        security,
        "supplementalGroupsPolicy",
        &["Merge", "Strict"],
        path,
        errors,
    );
    validate_one_of(
        security,
        "seLinuxChangePolicy",
        &["MountOption", "Recursive"],
        path,
        errors,
    );
    super::windows::validate_options(security, path, errors);
}

pub(super) fn validate_container_security(
    security: &Value,
    path: &Path,
    host_users: bool,
    errors: &mut Errors,
) {
    if security.is_null() {
        return;
    }
    validate_id(security, "runAsUser", path, errors);
    validate_id(security, "runAsGroup", path, errors);
    validate_one_of(security, "procMount", &["Default", "Unmasked"], path, errors);
    if host_users && security.text("procMount") == "Unmasked" {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.invalid(&path.child("procMount"), "Unmasked", detail);
    }
    validate_seccomp(security, path, errors);
    if security.at("allowPrivilegeEscalation").as_bool() == Some(false) {
        let shown = || super::difference::internal_json(security, "SecurityContext");
        if security.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid_json(path, shown(), detail);
        }
        if texts(security.at("capabilities").list("add")).contains(&"CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid_json(path, shown(), detail);
        }
    }
    super::windows::validate_options(security, path, errors);
    validate_apparmor(security, path, errors);
}

fn validate_profiles(security: &Value, path: &Path, errors: &mut Errors) {
    validate_seccomp(security, path, errors);
    validate_apparmor(security, path, errors);
}

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn validate_seccomp(security: &Value, path: &Path, errors: &mut Errors) {
    let (profile, path) = (security.at("seccompProfile"), path.child("seccompProfile"));
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "type is required when seccompProfile is set");
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &PROFILE_TYPES);
    }
    let local = path.child("localhostProfile");
    match (kind == "Localhost", profile.has("localhostProfile")) {
        (true, false) => errors.required(&local, "must be set when seccomp type is Localhost"),
        (true, true) => descending(profile.text("localhostProfile"), &local, errors),
        (false, true) => {
            let shown = super::difference::internal_json(profile, "SeccompProfile");
            errors.invalid_json(&local, shown, "can only be set when seccomp type is Localhost");
        }
        (false, false) => {}
    }
}

fn validate_apparmor(security: &Value, path: &Path, errors: &mut Errors) {
    let (profile, path) = (security.at("appArmorProfile"), path.child("appArmorProfile"));
    if profile.is_null() {
        return;
    }
    let (kind, local, name) = (
        profile.text("type"),
        path.child("localhostProfile"),
        profile.text("localhostProfile"),
    );
    match kind {
        "Localhost" => {
            if name.trim().is_empty() && name.is_empty() {
                errors.required(&local, "must be set when AppArmor type is Localhost");
            } else if name.trim() != name {
                errors.invalid(&local, name, "must not be padded with whitespace");
            }
            if name.len() > 4095 {
                errors.too_long(&local, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has("localhostProfile") {
                errors.invalid(&local, name, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => errors.required(
            &path.child("type"),
            "type is required when appArmorProfile is set",
        ),
        other => errors.not_supported(&path.child("type"), other, &PROFILE_TYPES),
    }
}

fn validate_sysctls(spec: &Value, sysctls: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let (at, name) = (path.index(i).child("name"), sysctl.text("name"));
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl(name) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.invalid(&at, name, detail);
        } else if seen.contains(&name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        }
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|p| dotted.starts_with(p))
            || dotted == "kernel.sem";
        if spec.flag("hostIPC") && ipc {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
        seen.push(name);
    }
}

const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl(name: &str) -> bool {
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(inner)
                && part.ends_with(inner)
                && part.chars().all(|c| inner(c) || c == '-' || c == '_')
        })
}
