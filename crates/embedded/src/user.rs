//! Who asks.

use std::collections::BTreeMap;

/// The authenticated identity behind a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let mut out = Self {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Self::default()
        };
        out.add_group("system:authenticated");
        out
    }

    /// A member of `system:masters`: may do everything.
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &["system:masters"])
    }

    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// The server's own hands: loopback controllers and bootstrap.
    pub fn system(component: &str) -> Self {
        Self::new(component, &["system:masters"])
    }

    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let all = format!("system:serviceaccounts:{namespace}");
        let mut out = Self::new(
            format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &all],
        );
        out.uid = uid.to_owned();
        out
    }

    pub fn add_group(&mut self, group: &str) {
        if !self.groups.iter().any(|g| g == group) {
            self.groups.push(group.to_owned());
        }
    }

    pub fn to_value(&self) -> serde_json::Value {
        let mut out = serde_json::json!({"username": self.name, "groups": self.groups});
        if let Some(map) = out.as_object_mut() {
            if !self.uid.is_empty() {
                map.insert("uid".into(), self.uid.clone().into());
            }
            if !self.extra.is_empty() {
                map.insert("extra".into(), serde_json::json!(self.extra));
            }
        }
        out
    }
}
