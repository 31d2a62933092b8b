//! From a URL path to what it means.

use std::sync::Arc;

use crate::catalog::Resource;
use crate::query::decode;
use crate::server::ApiServer;

/// What a path names.
#[derive(Debug)]
pub enum Route {
    Resource(Target),
    /// `/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`, and everything that is no resource.
    Other,
    /// A path below a served group version that names no resource of it.
    UnknownResource {
        group: String,
        version: String,
        resource: String,
        namespace: Option<String>,
        name: String,
    },
}

#[derive(Debug, Clone)]
pub struct Target {
    pub resource: Arc<Resource>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// `/watch/` in the path.
    pub watch: bool,
}

impl Target {
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl ApiServer {
    pub(crate) fn route(&self, path: &str) -> Route {
        let parts: Vec<String> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| decode(p, false))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Route::Other,
        };
        if rest.is_empty() || !self.serves(group, version) {
            return Route::Other;
        }
        let (watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (namespace, rest) = split_namespace(rest);
        let [plural, rest @ ..] = rest else {
            return Route::Other;
        };
        let Some(resource) = self.resource(group, version, plural) else {
            return Route::UnknownResource {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: (*plural).to_owned(),
                namespace: namespace.map(str::to_owned),
                name: rest.first().copied().unwrap_or_default().to_owned(),
            };
        };
        let owned = |s: Option<&&str>| s.map(|s| (*s).to_owned());
        Route::Resource(Target {
            resource,
            namespace: namespace.map(str::to_owned),
            name: owned(rest.first()),
            subresource: owned(rest.get(1)),
            watch,
        })
    }
}

/// `namespaces/NS/pods/...` is in a namespace; `namespaces/NS` and its subresources are the namespace itself.
fn split_namespace<'a>(rest: &'a [&'a str]) -> (Option<&'a str>, &'a [&'a str]) {
    match rest {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, below @ ..] => (Some(namespace), below),
        rest => (None, rest),
    }
}
