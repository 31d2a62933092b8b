//! Random objects as Kubernetes' own code decodes, defaults and stores them, against ours.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;

use serde::Deserialize;
use serde_json::Value;
use tidegate_apischema as apischema;
use tidegate_apischema::{GroupVersionKind, builtin};

#[derive(Deserialize)]
struct Pair {
    group: String,
    version: String,
    kind: String,
    before: Value,
    after: Value,
}

fn corpus() -> Vec<Pair> {
    let mut text = String::new();
    let packed = &include_bytes!("data/defaulting.json.deflate")[..];
    flate2::read::DeflateDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn objects_are_decoded_and_defaulted_as_kubernetes_does() {
    let mut failures = Vec::new();
    let pairs = corpus();
    assert!(pairs.len() > 300);
    for (number, pair) in pairs.iter().enumerate() {
        let gvk = GroupVersionKind {
            group: pair.group.clone(),
            version: pair.version.clone(),
            kind: pair.kind.clone(),
        };
        let table = &builtin().table;
        let ty = table.kind(&gvk).unwrap();
        let mut ours = pair.before.clone();
        let decoded = apischema::decode::decode(table, ty, &mut ours);
        assert_eq!(decoded.errors, Vec::<String>::new(), "{gvk:?} {number}");
        assert_eq!(decoded.unknown, Vec::<String>::new(), "{gvk:?} {number}");
        apischema::defaults::apply(&gvk, &mut ours);
        if gvk.kind == "HorizontalPodAutoscaler" && gvk.version == "v1" {
            let stored = GroupVersionKind {
                version: "v2".to_owned(),
                ..gvk.clone()
            };
            let kept = apischema::convert::convert(&gvk, &stored, ours).unwrap();
            ours = apischema::convert::convert(&stored, &gvk, kept).unwrap();
        }
        let before = failures.len();
        differences(
            &format!("{}#{number}", pair.kind),
            &ours,
            &pair.after,
            &mut failures,
        );
        // What v1 autoscalers carry of v2's status is for the way back alone; its text is our own.
        failures.retain(|failure| !failure.contains("autoscaling.alpha.kubernetes.io/current-metrics"));
        if failures.len() > before {
            failures.push(format!("  from {}", pair.before["spec"]));
        }
    }
    let shown: Vec<_> = failures.iter().take(60).cloned().collect();
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        shown.join("\n")
    );
}

fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                match (a.get(name), b.get(name)) {
                    (Some(x), Some(y)) => differences(&format!("{path}.{name}"), x, y, out),
                    (x, y) => out.push(format!("{path}.{name}: ours {x:?}, theirs {y:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}
