//! What the API server says it was asked, by whom and when.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{BenchError, io};

/// An audit log from a moment on.
pub struct AuditLog {
    path: PathBuf,
    from: u64,
}

/// One request that was answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    pub verb: String,
    pub user_agent: String,
    object_ref: ObjectRef,
    response_status: ResponseStatus,
    pub request_received_timestamp: Timestamp,
    /// When it was answered.
    pub stage_timestamp: Timestamp,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            verb: String::new(),
            user_agent: String::new(),
            object_ref: ObjectRef::default(),
            response_status: ResponseStatus::default(),
            request_received_timestamp: Timestamp::UNIX_EPOCH,
            stage_timestamp: Timestamp::UNIX_EPOCH,
        }
    }
}

impl Asked {
    /// `pods`, `pods/status`.
    pub fn what(&self) -> String {
        let ObjectRef {
            resource,
            subresource,
        } = &self.object_ref;
        match subresource.as_str() {
            "" => resource.clone(),
            sub => format!("{resource}/{sub}"),
        }
    }

    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    pub fn is_by(&self, agent: &str) -> bool {
        self.user_agent.starts_with(agent)
    }
}

impl AuditLog {
    pub fn from_now(path: PathBuf) -> Self {
        let from = std::fs::metadata(&path).map_or(0, |m| m.len());
        Self { path, from }
    }

    /// Everything answered since.
    pub fn read(&self) -> Result<Vec<Asked>, BenchError> {
        let what = || format!("reading {}", self.path.display());
        let mut file = File::open(&self.path).map_err(io(what()))?;
        file.seek(SeekFrom::Start(self.from)).map_err(io(what()))?;
        let mut all = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(io(what()))?;
            // The last line may be half written; what it tells is read next time.
            if let Ok(asked) = serde_json::from_str(&line) {
                all.push(asked);
            }
        }
        Ok(all)
    }
}

/// Seconds from one moment to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
