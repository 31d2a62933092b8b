//! What a command that failed says: the error, its causes where they add something, and what to look at.

use std::error::Error;

use cluster::{ApiError, DoorError};

pub fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut advice = advice(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Most of our errors print their cause in their own line.
        if !text.contains(&said) {
            text.push_str(&format!("\n  because: {said}"));
        }
        advice = advice.or_else(|| self::advice(inner));
        cause = inner.source();
    }
    if let Some(advice) = advice {
        text.push_str(&format!("\n  {advice}"));
    }
    text
}

fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(DoorError::NoCluster(_)) = error.downcast_ref() {
        return Some(
            "say which cluster with --kubeconfig FILE or KUBECONFIG; `tidegate up` writes .tidegate/kubeconfig",
        );
    }
    let error: &ApiError = error.downcast_ref()?;
    match (error.code, error.reason.as_str()) {
        (0, "Transport" | "Timeout") => Some(
            "no answer from the API server: does it run, and is it the one of --kubeconfig and --context?",
        ),
        (401, _) => Some("the kubeconfig's credentials are not, or no longer, valid"),
        (403, _) => Some("the kubeconfig's user lacks that right; see `kubectl auth can-i --list`"),
        // An object that is not there is named in the message; a kind that is not there is not.
        (404, _) if error.message.contains("could not find the requested resource") => {
            Some("the cluster does not know SidecarSets: is Tidegate installed there? (`tidegate install`)")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cause_that_is_said_already_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Outer(#[source] DoorError);
        let inner = DoorError::NoCluster("nowhere".to_owned());
        let text = text(&Outer(inner));
        assert_eq!(text.lines().next().unwrap(), "no cluster: nowhere");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
