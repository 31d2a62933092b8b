//! Who wrote what.
use http::{Method, Request};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    Operator,
    /// Workload controllers and scheduler.
    Controllers,
    /// The kubelets.
    Nodes,
}

impl Client {
    pub const ALL: [Client; 3] = [Client::Operator, Client::Controllers, Client::Nodes];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Read,
    Watch,
}

impl Kind {
    pub fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        match *request.method() {
            Method::GET if query.contains("watch=") => Self::Watch,
            Method::GET => Self::Read,
            _ => Self::Write,
        }
    }
}

/// One write, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub client: Client,
    pub method: String,
    pub path: String,
    /// 0: never answered.
    pub code: u16,
    /// Something was stored by it.
    pub changed: bool,
}

impl Written {
    pub fn of<B>(client: Client, request: &Request<B>) -> Self {
        Self {
            client,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            code: 0,
            changed: false,
        }
    }

    /// Renewals of leases: what says that somebody lives.
    pub fn is_heartbeat(&self) -> bool {
        self.path.contains("/leases/") && self.method != "POST"
    }

    /// `leases`, `pods/status`.
    pub fn resource(&self) -> String {
        let mut parts = self.path.trim_start_matches('/').split('/');
        let skip = if parts.next() == Some("api") { 1 } else { 2 };
        let rest: Vec<&str> = parts.skip(skip).collect();
        let rest = match rest.as_slice() {
            ["namespaces", _, inner @ ..] if !inner.is_empty() && !is_of_namespace(inner) => inner,
            whole => whole,
        };
        match rest {
            [resource, _, sub] => format!("{resource}/{sub}"),
            [resource, ..] => (*resource).to_owned(),
            [] => String::new(),
        }
    }
}

fn is_of_namespace(rest: &[&str]) -> bool {
    matches!(rest, ["status" | "finalize"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_resource() {
        let of = |path: &str| {
            let request = Request::get(path).body(()).unwrap_or_default();
            Written::of(Client::Nodes, &request).resource()
        };
        assert_eq!(of("/api/v1/namespaces/a/pods/b/status"), "pods/status");
        assert_eq!(of("/api/v1/namespaces/a/pods"), "pods");
        assert_eq!(of("/api/v1/nodes/a"), "nodes");
        assert_eq!(of("/apis/apps/v1/namespaces/a/replicasets/b"), "replicasets");
        assert_eq!(of("/api/v1/namespaces/a"), "namespaces");
    }
}
