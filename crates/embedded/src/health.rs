//! `/healthz`, `/livez`, `/readyz`, `/version`.

use serde_json::json;

use crate::answer::Answer;
use crate::service::Call;

pub(crate) fn answer(call: &Call) -> Option<Answer> {
    let path = call.path.trim_end_matches('/');
    match path {
        "/version" => Answer::json(200, &version()).ok(),
        "/healthz" | "/livez" | "/readyz" => Some(health(call, path.trim_start_matches('/'))),
        _ => {
            let check = path.strip_prefix("/healthz/").or(path.strip_prefix("/livez/"));
            let check = check.or(path.strip_prefix("/readyz/"))?;
            matches!(check, "ping" | "etcd" | "log").then(|| Answer::text(200, "ok"))
        }
    }
}

/// What this server claims to be: the Kubernetes whose behaviour it has.
pub(crate) fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": "v1.36.3+tidegate",
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn health(call: &Call, endpoint: &str) -> Answer {
    let failure = call.store().failure();
    let verbose = call.query.get("verbose").is_some();
    match failure {
        None if !verbose => Answer::text(200, "ok"),
        None => Answer::text(200, format!("[+]ping ok\n[+]etcd ok\n{endpoint} check passed\n")),
        Some(why) => {
            tracing::warn!(why, "the store has failed");
            Answer::text(
                500,
                format!("[+]ping ok\n[-]etcd failed: reason withheld\n{endpoint} check failed\n"),
            )
        }
    }
}
