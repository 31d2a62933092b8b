//! The end of a pod: because its object is being deleted, or because all its containers are done.
use super::plan::Act;
use super::{Around, Life, PodState, Sandbox};

impl PodState {
    /// The object is being deleted: what was being done is dropped, everything is stopped.
    pub(super) fn begin_to_stop(&mut self, around: &mut Around<'_>) {
        self.sync_at = None;
        self.observe_and_publish(around);
        self.stop_all(around);
    }

    /// All is done, or failed for good: what still runs beside it is stopped.
    pub(super) fn finish_by_itself(&mut self, around: &mut Around<'_>) {
        self.stop_all(around);
    }

    fn stop_all(&mut self, around: &mut Around<'_>) {
        self.life = Life::Stopping;
        self.busy_until = None;
        self.plan.clear();
        let pod = around.pod;
        let runs = |name: &str| self.running().any(|(n, _)| n == name);
        let main = pod.spec.containers.iter();
        let plain_init = pod.spec.init_containers.iter().filter(|c| !c.is_native_sidecar());
        let first: Vec<_> = main
            .chain(plain_init)
            .map(|c| c.name.clone())
            .filter(|n| runs(n))
            .collect();
        let sidecars = pod.spec.init_containers.iter().rev();
        let sidecars: Vec<_> = sidecars
            .filter(|c| c.is_native_sidecar() && runs(&c.name))
            .map(|c| c.name.clone())
            .collect();
        if !first.is_empty() {
            self.plan.push_back(Act::KillAll { containers: first });
        }
        // Sidecars go after the containers they serve, in reverse order.
        for container in sidecars {
            self.plan.push_back(Act::Kill { container });
        }
        self.plan.push_back(Act::Stopped);
    }

    /// Nothing runs any more.
    pub(super) fn stopped(&mut self, around: &mut Around<'_>) {
        self.life = Life::Stopped;
        self.sandbox = Sandbox::Stopped;
        self.publish_end(around);
        if around.pod.metadata.deletion_timestamp.is_some() {
            self.life = Life::Removed;
        }
    }
}
