//! Handing SidecarSets over between OpenKruise and us, as pure steps: what was seen goes in, what is left to do
//! comes out. Nothing here remembers how far somebody came: a move that was cut off is taken up by looking again.
//!
//! Three things keep a move safe. Kruise's controller is kept off SidecarSets by an admission policy the API server
//! itself enforces ([`fence`]), so that only one of the two ever upgrades pods. Admission overlaps and never gaps:
//! Kruise's entries go after ours are in force, and come back before ours go; ours is called last and leaves alone
//! what Kruise injected. And what Kruise had is recorded before anything is changed ([`Before`]).
pub mod entries;
pub mod fence;
pub mod kinds;
pub mod manager;
mod plan;
pub mod revisions;
mod sets;
pub mod steps;
#[cfg(test)]
mod tests;

pub use plan::{Plan, plan};
pub use steps::{Step, remaining};

use entries::EntriesBefore;
use manager::ManagerBefore;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The ConfigMap in our namespace that says who runs SidecarSets, and what Kruise had before.
pub const RECORD: &str = "tidegate-take-over";
/// Key of the record: `kruise` or `tidegate`.
pub const ACTOR: &str = "sidecarsets";
/// Key of the record: [`Before`] as JSON.
pub const BEFORE: &str = "before";
/// A Lease of this name is only ever created in rehearsal, to hear from our webhook through the API server.
pub const PROBE: &str = "tidegate-take-over-probe";
/// What our webhook says to the probe; the path tells which state of our configuration the API server uses.
pub const STANDING_BY_PATH: &str = "/take-over/standing-by";
pub const ADMITTING_PATH: &str = "/take-over/admitting";
pub const STANDING_BY: &str = "Tidegate stands by";
pub const ADMITTING: &str = "Tidegate admits pods and SidecarSets";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    TakeOver,
    GiveBack,
}

/// Who acts on SidecarSets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Kruise,
    Tidegate,
}

/// What becomes of Kruise's manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Nothing else of Kruise is in use: its manager is stopped.
    Stopped,
    /// It goes on for its other kinds.
    Beside,
}

/// What Kruise had before the first change; enough to give everything back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    pub mode: Mode,
    pub manager: Option<ManagerBefore>,
    pub mutating: EntriesBefore,
    pub validating: EntriesBefore,
    /// `spec.versions` and `spec.conversion` of the CRD, without authorities.
    pub versions: Value,
    pub conversion: Value,
}

/// The ConfigMap, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub actor: Actor,
    /// Present from the beginning of a take-over to the end of a give-back.
    pub before: Option<Before>,
}

impl Record {
    /// `Err` where it cannot be read: then nobody may guess.
    pub fn read(config_map: &Value) -> Result<Self, String> {
        let data = &config_map["data"];
        let actor = match data[ACTOR].as_str() {
            Some("tidegate") => Actor::Tidegate,
            Some("kruise") => Actor::Kruise,
            other => return Err(format!("data.{ACTOR} is {other:?}, neither kruise nor tidegate")),
        };
        let before = match data[BEFORE].as_str() {
            Some(text) => Some(serde_json::from_str(text).map_err(|e| format!("data.{BEFORE}: {e}"))?),
            None => None,
        };
        Ok(Self { actor, before })
    }

    /// The ConfigMap's data.
    pub fn data(&self) -> Value {
        let actor = match self.actor {
            Actor::Kruise => "kruise",
            Actor::Tidegate => "tidegate",
        };
        let before = self.before.as_ref().and_then(|b| serde_json::to_string(b).ok());
        serde_json::json!({ACTOR: actor, BEFORE: before})
    }
}

/// What our webhook says when the API server calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, and why.
    Silent(String),
    StandingBy,
    Admitting,
}

/// Everything a step depends on, as last read from the API server. Objects that are not there are null.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub record: Option<Record>,
    /// Kruise's two webhook configurations.
    pub mutating: Value,
    pub validating: Value,
    /// Kruise's Deployment, and the namespace it lives in (its revisions, its lease).
    pub manager: Value,
    pub manager_namespace: String,
    /// Somebody's name is on Kruise's lease.
    pub manager_leads: bool,
    /// Kruise's own webhook refuses what only it refuses: it is called, and answers.
    pub manager_answers: bool,
    pub fence: fence::Fence,
    pub standing: Standing,
    /// Entries of ours that concern pods or SidecarSets are still written in our configurations.
    pub entries_of_ours: bool,
    /// Somebody's name is on our operator's lease.
    pub operator_leads: bool,
    /// Revisions and whitelist, in Kruise's namespace and in ours.
    pub theirs: revisions::Kept,
    pub ours: revisions::Kept,
    pub crd: Value,
    /// How the API server reaches our conversion webhook; null where our configuration does not say.
    pub our_conversion: Value,
    /// `spec.versions` of the CRD as we know it.
    pub our_versions: Value,
}
