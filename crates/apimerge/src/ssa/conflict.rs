//! Conflicts: fields that an apply would change and that someone else owns.
use std::collections::BTreeMap;
use std::fmt;

use super::managed::{ManagerId, Operation};
use super::path::Path;

/// One field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub owner: ManagerId,
    pub path: Path,
}

/// All conflicts of one apply. Its text is the message of the Status (409, reason Conflict).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

/// One entry of `details.causes`, with reason `FieldManagerConflict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub message: String,
    pub field: String,
}

impl Conflicts {
    pub const CAUSE_REASON: &'static str = "FieldManagerConflict";

    pub fn causes(&self) -> Vec<Cause> {
        let cause = |conflict: &Conflict| Cause {
            message: format!("conflict with {}", name(&conflict.owner)),
            field: conflict.path.to_string(),
        };
        self.0.iter().map(cause).collect()
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            let owner = name(&only.owner);
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {owner}: {}",
                only.path
            );
        }
        let mut by_owner: BTreeMap<&ManagerId, Vec<&Path>> = BTreeMap::new();
        for conflict in &self.0 {
            by_owner.entry(&conflict.owner).or_default().push(&conflict.path);
        }
        let mut lines = Vec::new();
        for (owner, paths) in by_owner {
            lines.push(format!("conflicts with {}:", name(owner)));
            lines.extend(paths.iter().map(|path| format!("- {path}")));
        }
        write!(
            f,
            "Apply failed with {} conflicts: {}",
            self.0.len(),
            lines.join("\n")
        )
    }
}

impl std::error::Error for Conflicts {}

fn name(owner: &ManagerId) -> String {
    let mut text = format!("{:?}", owner.manager);
    if !owner.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", owner.subresource));
    }
    if owner.operation == Operation::Update {
        text.push_str(&format!(" using {}", owner.api_version));
    }
    text
}
