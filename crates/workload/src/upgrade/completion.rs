//! Whether the kubelet has done what the spec says.
//!
//! Three witnesses, none enough alone: `status.observedGeneration` says that the kubelet has read the spec, the
//! containerID that the container was replaced since, and the imageID what it runs. The image's text in the status
//! is no proof: a runtime that knows an image by two names shows either.
use super::annotations::WaitList;
use super::plan::Sidecar;
use model::pod::{ContainerStatusView, PodView};
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Where the witnesses cannot tell (the same image under another name; a crash at the moment of the patch), a
/// ready container that no kubelet has replaced for this long is what the spec says.
pub const SETTLE_SECONDS: i64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Completion {
    Done,
    /// Done at this time, if nothing changes until then.
    DoneAt(Timestamp),
    NotYet,
}

impl Completion {
    pub fn is_done(self, now: Timestamp) -> bool {
        match self {
            Self::Done => true,
            Self::DoneAt(at) => at <= now,
            Self::NotYet => false,
        }
    }
}

pub(super) struct Records {
    pub images: BTreeMap<String, String>,
    pub replaced: WaitList,
    pub updated: Option<Timestamp>,
}

/// Of all of `sidecars` in the pod: as late as the latest of them.
pub(super) fn completion<'a>(
    pod: &PodView,
    sidecars: impl Iterator<Item = &'a Sidecar>,
    records: &Records,
) -> Completion {
    let unseen = pod.observed_generation != 0 && pod.observed_generation < pod.generation;
    if unseen || pod.containers.len() != pod.container_statuses.len() {
        return Completion::NotYet;
    }
    sidecars
        .map(|s| of_container(pod, &s.name, records))
        .max()
        .unwrap_or(Completion::Done)
}

fn of_container(pod: &PodView, name: &str, records: &Records) -> Completion {
    let spec = pod.container(name).or_else(|| pod.init_container(name));
    let status = pod
        .container_status(name)
        .or_else(|| pod.init_container_status(name));
    let (Some(spec), Some(status)) = (spec, status) else {
        return Completion::NotYet;
    };
    let Some(old_image) = records.images.get(name) else {
        return Completion::Done;
    };
    let same_text = same_reference(&spec.image, &status.image);
    if *old_image != *status.image_id && !status.image_id.is_empty() && !old_image.is_empty() {
        // Another image than the recorded one. Of a digest we can tell that it is the right one.
        return match digest(&spec.image) {
            Some(wanted) if digest(&status.image_id) != Some(wanted) && !same_text => {
                settled(pod, status, records)
            }
            _ => Completion::Done,
        };
    }
    let old_id = records.replaced.get(name).filter(|id| !id.is_empty());
    let replaced = old_id.is_none_or(|old| !status.container_id.is_empty() && **old != *status.container_id);
    match (same_text, replaced, old_id) {
        (true, true, _) => Completion::Done,
        // The old container may go by the new name already, or by its old name for ever.
        (true, false, _) | (false, true, Some(_)) => settled(pod, status, records),
        (false, true, None) if pod.observed_generation != 0 => settled(pod, status, records),
        (false, _, _) => Completion::NotYet,
    }
}

fn settled(pod: &PodView, status: &ContainerStatusView, records: &Records) -> Completion {
    if !status.ready || status.image_id.is_empty() {
        return Completion::NotYet;
    }
    let changed = pod
        .ready
        .and_then(|r| r.last_transition_time)
        .max(records.updated);
    match changed.and_then(|t| {
        t.checked_add(jiff::SignedDuration::from_secs(SETTLE_SECONDS))
            .ok()
    }) {
        Some(at) => Completion::DoneAt(at),
        None => Completion::NotYet,
    }
}

/// `nginx` and `docker.io/library/nginx:latest` are the same text to a runtime.
pub(super) fn same_reference(a: &str, b: &str) -> bool {
    a == b || normal(a) == normal(b)
}

fn normal(image: &str) -> String {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let (host, rest) = match name.split_once('/') {
        Some((h, r)) if h.contains(['.', ':']) || h == "localhost" => (h, r.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    match digest {
        Some(digest) => format!("{host}/{}@{digest}", rest.split(':').next().unwrap_or_default()),
        None if rest.contains(':') => format!("{host}/{rest}"),
        None => format!("{host}/{rest}:latest"),
    }
}

fn digest(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, d)| d).filter(|d| d.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_compared_as_a_runtime_does() {
        assert!(same_reference("nginx", "docker.io/library/nginx:latest"));
        assert!(same_reference("team/x:1", "docker.io/team/x:1"));
        assert!(same_reference("r.io:5000/x", "r.io:5000/x:latest"));
        assert!(!same_reference("nginx:1", "nginx:2"));
        assert!(!same_reference("a.io/nginx:1", "nginx:1"));
    }
}
