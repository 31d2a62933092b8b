//! What pods say to Windows nodes.

use serde_json::Value;

use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::names::dns_subdomain;

const MAX_CREDENTIAL_KIB: usize = 64;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;
const NOT_IN_USER: &str = r#""/\:;|=,+*?<>@[]"#;

/// Containers that run as processes of the host: all of a pod's or none.
pub(super) fn validate_host_process(spec: &Value, path: &Path, errors: &mut Errors) {
    let host_process = |holder: &Value| {
        let options = holder.at("securityContext").at("windowsOptions");
        options.at("hostProcess").as_bool()
    };
    let of_pod = host_process(spec);
    let (mut all, mut on_host) = (0, 0);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            let own = host_process(container);
            if let (Some(pod), Some(own)) = (of_pod, own)
                && pod != own
            {
                let at = path.child(list).index(i).child("securityContext");
                let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
                errors.invalid(&at.child("windowsOptions").child("hostProcess"), own, why);
            }
            all += 1;
            on_host += usize::from(own.or(of_pod).unwrap_or(false));
        }
    }
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", why);
    }
    if !spec.flag("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, why);
    }
}

/// `windowsOptions` of a pod's or a container's security context.
pub(super) fn validate_options(security: &Value, path: &Path, errors: &mut Errors) {
    let (options, path) = (security.at("windowsOptions"), path.child("windowsOptions"));
    let at = path.child("gmsaCredentialSpecName");
    if let Some(name) = options.at("gmsaCredentialSpecName").as_str() {
        errors.invalid_each(&at, name, dns_subdomain(name));
    }
    let at = path.child("gmsaCredentialSpec");
    match options.at("gmsaCredentialSpec").as_str() {
        Some("") => errors.invalid(&at, "", "gmsaCredentialSpec cannot be an empty string"),
        Some(text) if text.len() > MAX_CREDENTIAL_KIB * 1024 => {
            let why = format!("gmsaCredentialSpec size must be under {MAX_CREDENTIAL_KIB} KiB");
            errors.invalid(&at, text, why);
        }
        _ => {}
    }
    if let Some(name) = options.at("runAsUserName").as_str() {
        errors.invalid_each(&path.child("runAsUserName"), name, user_name(name));
    }
}

/// `DOMAIN\USER`, the domain being optional.
fn user_name(name: &str) -> Vec<String> {
    let only = |why: &str| vec![format!("runAsUserName {why}")];
    if name.is_empty() {
        return only("cannot be an empty string");
    }
    if name.bytes().any(|b| b.is_ascii_control()) {
        return only("cannot contain control characters");
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => return only("cannot contain more than one backslash"),
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|d| d.len() >= MAX_DOMAIN) {
        wrong.push(format!("Domain length must be under {MAX_DOMAIN} characters"));
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_dns(d)) {
        wrong.push("Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("User cannot be empty".to_owned());
    } else if user.len() > MAX_USER {
        wrong.push(format!(
            "User length must not be longer than {MAX_USER} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong.push("User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|c| NOT_IN_USER.contains(c)) {
        wrong.push(format!(
            "User cannot contain the following characters: {NOT_IN_USER}"
        ));
    }
    let said = wrong.into_iter();
    said.map(|why| format!("runAsUserName's {why}")).collect()
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn user_names_are_domain_and_user() {
        assert!(user_name("ContainerAdministrator").is_empty());
        assert!(user_name("NT AUTHORITY\\SYSTEM").is_empty());
        assert_eq!(
            user_name("a\\b\\c"),
            ["runAsUserName cannot contain more than one backslash"]
        );
        assert_eq!(
            user_name(". ."),
            ["runAsUserName's User cannot contain only periods or spaces"]
        );
        assert_eq!(user_name("do|main\\").len(), 2);
    }

    #[test]
    fn processes_of_the_host_are_all_of_a_pod_and_on_its_network() {
        let found = |spec: Value| {
            let mut errors = Errors::default();
            validate_host_process(&spec, &Path::new("spec"), &mut errors);
            errors.0.into_iter().map(|e| e.path).collect::<Vec<_>>()
        };
        let on = json!({"windowsOptions": {"hostProcess": true}});
        let inherited = json!({"securityContext": on, "containers": [{"name": "a"}]});
        assert_eq!(found(inherited), ["spec.hostNetwork"]);
        let mixed = json!({"hostNetwork": true, "containers": [{"securityContext": on}, {"name": "b"}]});
        assert_eq!(found(mixed), ["spec"]);
        assert!(found(json!({"containers": [{"name": "a"}]})).is_empty());
    }
}
