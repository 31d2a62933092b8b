//! Problems are found in v1beta1 and told in the version that was written.
use model::field::{FieldError, FieldErrorKind};
use model::sidecarset::{V1ALPHA1, keys};
use serde_json::Value;

pub(super) fn tell_in_the_words_of(object: &Value, errors: &mut [FieldError]) {
    if object["apiVersion"] != V1ALPHA1 {
        return;
    }
    let namespace = &object["spec"]["namespace"];
    let by_name = namespace.as_str().is_some_and(|n| !n.is_empty());
    for error in errors {
        if by_name && error.path.starts_with("spec.namespaceSelector") {
            error.path = "spec.namespace".to_owned();
            if error.kind == FieldErrorKind::Invalid {
                error.bad_value = namespace.to_string();
            }
        } else if error.path == "spec.customVersion" {
            error.path = format!("metadata.labels[{}]", keys::CUSTOM_VERSION);
        }
    }
}
