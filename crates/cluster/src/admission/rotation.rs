//! When to make, stage, switch and retire certificates: pure, so that all replicas come to the same next step.
//!
//! At every moment each certificate any replica may show is signed by an authority that the webhook configurations
//! have named for a while: the next one is staged (its authority published) before it is shown, and the last one's
//! authority is retired only after all have switched.
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Value, json};

use super::certificate::{CertificateError, Identity};

const STAGED_AT: &str = "tidegate.dev/certificate-staged-at";
const SWITCHED_AT: &str = "tidegate.dev/certificate-switched-at";

/// For whom certificates are, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationOptions {
    /// `service.namespace.svc` and whatever else API servers call us.
    pub names: Vec<String>,
    pub valid: Duration,
    pub renew_before: Duration,
    /// How long everybody gets to see a change before the next step builds on it.
    pub settle: Duration,
}

impl RotationOptions {
    pub fn for_names(names: Vec<String>) -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            names,
            valid: day * 90,
            renew_before: day * 30,
            settle: Duration::from_secs(300),
        }
    }
}

/// What the replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Shown by every replica.
    pub current: Identity,
    /// Shown by none yet, its authority published since.
    pub next: Option<(Identity, Timestamp)>,
    /// Authority of the last one, which a replica may still show, since the switch.
    pub old_ca: Option<(String, Timestamp)>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store these.
    Write {
        what: &'static str,
        credentials: Credentials,
    },
    /// Nothing before then.
    Wait { until: Timestamp },
}

impl Credentials {
    /// All authorities that must be trusted now.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|(identity, _)| identity.ca_pem.as_str());
        let old = self.old_ca.iter().map(|(pem, _)| pem.as_str());
        std::iter::once(self.current.ca_pem.as_str())
            .chain(next)
            .chain(old)
            .collect()
    }

    /// The step due at `now`. `published`: the webhook configurations name all of [`Credentials::bundle`].
    pub fn step(
        stored: Option<&Credentials>,
        options: &RotationOptions,
        published: bool,
        now: Timestamp,
    ) -> Result<Step, CertificateError> {
        let make = || Identity::make(&options.names, now, after(now, options.valid));
        let Some(stored) = stored else {
            let credentials = Credentials {
                current: make()?,
                next: None,
                old_ca: None,
            };
            return Ok(Step::Write {
                what: "created",
                credentials,
            });
        };
        let (ends, names) = stored.current.validity()?;
        let mut changed = stored.clone();
        if let Some((next, staged_at)) = &stored.next {
            let ready = after(*staged_at, options.settle);
            // One that is over already is no better than anything.
            if (published && now >= ready) || now >= ends {
                changed.old_ca = Some((stored.current.ca_pem.clone(), now));
                changed.current = next.clone();
                changed.next = None;
                return Ok(Step::Write {
                    what: "switched",
                    credentials: changed,
                });
            }
            // Unpublished: looked at again when that changes.
            return Ok(Step::Wait {
                until: if published {
                    ready
                } else {
                    after(now, options.settle)
                },
            });
        }
        if let Some((_, switched_at)) = &stored.old_ca {
            let ready = after(*switched_at, options.settle);
            if now < ready {
                return Ok(Step::Wait { until: ready });
            }
            changed.old_ca = None;
            return Ok(Step::Write {
                what: "retired",
                credentials: changed,
            });
        }
        let renew_at = before(ends, options.renew_before);
        let complete = options.names.iter().all(|name| names.contains(name));
        if complete && now < renew_at {
            return Ok(Step::Wait { until: renew_at });
        }
        changed.next = Some((make()?, now));
        Ok(Step::Write {
            what: "staged",
            credentials: changed,
        })
    }

    /// From the Secret that holds them; none if it does not (yet).
    pub fn from_secret(secret: &Value) -> Option<Credentials> {
        let text = |name: &str| {
            let bytes = STANDARD.decode(secret["data"][name].as_str()?).ok()?;
            String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
        };
        let time = |name: &str| -> Option<Timestamp> {
            secret["metadata"]["annotations"][name].as_str()?.parse().ok()
        };
        let identity = |prefix: &str| {
            Some(Identity {
                ca_pem: text(&format!("{prefix}ca.crt"))?,
                certificate_pem: text(&format!("{prefix}tls.crt"))?,
                key_pem: text(&format!("{prefix}tls.key"))?,
            })
        };
        let current = identity("").filter(|identity| identity.certified_key().is_ok())?;
        Some(Credentials {
            current,
            next: identity("next-").zip(time(STAGED_AT)),
            old_ca: text("old-ca.crt").zip(time(SWITCHED_AT)),
        })
    }

    /// Into a Secret, keeping what else it has.
    pub fn into_secret(&self, mut secret: Value) -> Value {
        let mut data = serde_json::Map::new();
        let mut put = |name: String, text: &str| data.insert(name, json!(STANDARD.encode(text)));
        let identities = [
            ("", Some(&self.current)),
            ("next-", self.next.as_ref().map(|(identity, _)| identity)),
        ];
        for (prefix, identity) in identities {
            if let Some(Identity {
                ca_pem,
                certificate_pem,
                key_pem,
            }) = identity
            {
                put(format!("{prefix}ca.crt"), ca_pem);
                put(format!("{prefix}tls.crt"), certificate_pem);
                put(format!("{prefix}tls.key"), key_pem);
            }
        }
        if let Some((pem, _)) = &self.old_ca {
            put("old-ca.crt".to_owned(), pem);
        }
        secret["data"] = Value::Object(data);
        if !secret["metadata"]["annotations"].is_object() {
            secret["metadata"]["annotations"] = json!({});
        }
        if let Some(annotations) = secret["metadata"]["annotations"].as_object_mut() {
            let times = [
                (STAGED_AT, self.next.as_ref().map(|n| n.1)),
                (SWITCHED_AT, self.old_ca.as_ref().map(|o| o.1)),
            ];
            for (name, at) in times {
                match at {
                    Some(at) => drop(annotations.insert(name.to_owned(), json!(rfc3339_seconds(at)))),
                    None => drop(annotations.remove(name)),
                }
            }
        }
        secret
    }
}

fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

fn before(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_sub(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MIN)
}
