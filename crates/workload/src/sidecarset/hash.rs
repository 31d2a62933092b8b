//! The two content hashes and the alphabet they are written in; byte for byte as Kruise, because pods carry them.
use super::{go_json, layout};
use model::sidecarset::{SidecarContainer, SidecarSetSpec};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Over everything of the containers.
pub fn hash(spec: &SidecarSetSpec) -> String {
    hash_of(spec, false)
}

/// Over everything but images: pods with an equal one can be upgraded in place.
pub fn hash_without_image(spec: &SidecarSetSpec) -> String {
    hash_of(spec, true)
}

/// Maps every byte to a letter that forms no words, as Kubernetes' `SafeEncodeString`.
pub fn safe_encode(text: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    text.bytes()
        .map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()]))
        .collect()
}

/// A container as Go would write it: known fields only, canonical quantities.
pub(super) fn canonical_container(container: &SidecarContainer) -> Value {
    let mut out = Vec::new();
    go_json::write(&mut out, &as_value(container), &layout::CONTAINER);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

fn hash_of(spec: &SidecarSetSpec, without_image: bool) -> String {
    let mut text = b"{\"containers\":".to_vec();
    write_list(&mut text, &spec.containers, without_image);
    // Plain init containers have run once and for all: only native sidecars make pods differ.
    if spec.init_containers.iter().any(SidecarContainer::is_native) {
        text.extend(b",\"initContainers\":");
        write_list(&mut text, &spec.init_containers, without_image);
    }
    text.push(b'}');
    safe_encode(&format!("{:x}", Sha256::digest(&text)))
}

fn write_list(out: &mut Vec<u8>, containers: &[SidecarContainer], without_image: bool) {
    if containers.is_empty() {
        out.extend(b"null");
        return;
    }
    out.push(b'[');
    for (i, container) in containers.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut value = as_value(container);
        if without_image && let Some(fields) = value.as_object_mut() {
            fields.remove("image");
        }
        go_json::write(out, &value, &layout::CONTAINER);
    }
    out.push(b']');
}

fn as_value(container: &SidecarContainer) -> Value {
    serde_json::to_value(container).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn spec(value: Value) -> SidecarSetSpec {
        serde_json::from_value(value).unwrap()
    }

    fn go_text(container: Value) -> String {
        let mut out = Vec::new();
        go_json::write(&mut out, &container, &layout::CONTAINER);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_recorded_vector_is_met() {
        let s = spec(json!({"containers": [{"name": "container1", "image": "test-image"}]}));
        assert_eq!(
            hash(&s),
            "w26c4x8fz245642fdv499b464248f974xddx4x55z5dw55bc6x66464fxz77dc78"
        );
        assert_eq!(
            hash_without_image(&s),
            "8wzddb4dvv9c6x8zdc77z4z75987424f457dfv6724ddw6zbdx467wz5x24fc759"
        );
    }

    #[test]
    fn containers_are_written_as_go_writes_them() {
        let text = go_text(json!({
            "unknown": 1, "args": ["<a>&\u{2028}"], "name": "c", "tty": false, "stdin": true,
            "env": [{"value": "", "name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "resources": {"requests": {"memory": "1024Mi", "cpu": 1}, "limits": {}},
            "livenessProbe": {"grpc": {"port": 1}, "periodSeconds": 10, "initialDelaySeconds": 0},
            "securityContext": {"runAsUser": 0, "privileged": false},
            "shareVolumeDevicePolicy": {"type": "enabled"}}));
        assert_eq!(
            text,
            r#"{"name":"c","args":["\u003ca\u003e\u0026\u2028"],"env":[{"name":"E","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"0"}}}],"resources":{"requests":{"cpu":"1","memory":"1Gi"}},"livenessProbe":{"grpc":{"port":1,"service":null},"periodSeconds":10},"securityContext":{"privileged":false,"runAsUser":0},"stdin":true,"upgradeStrategy":{},"shareVolumePolicy":{},"shareVolumeDevicePolicy":{"type":"enabled"}}"#
        );
    }

    #[test]
    fn plain_init_containers_are_not_hashed_and_native_ones_bring_all() {
        let base = json!({"containers": [{"name": "c", "image": "i"}]});
        let with = |init: Value| {
            let mut v = base.clone();
            v["initContainers"] = init;
            hash(&spec(v))
        };
        let plain = json!([{"name": "p", "image": "1"}]);
        assert_eq!(with(plain.clone()), hash(&spec(base.clone())));
        let native = json!({"name": "n", "image": "1", "restartPolicy": "Always"});
        let one = with(json!([{"name": "p", "image": "1"}, native]));
        assert_ne!(one, with(plain));
        assert_ne!(one, with(json!([{"name": "p", "image": "2"}, native])));
    }
}
