//! Writing: every verb, and what each may do when no answer came.
//!
//! * create: sent again only when it was certainly not carried out. After silence the object is read: ours is
//!   success, none there allows another try (names are deterministic), another's is `AlreadyExists`.
//! * replace and patch: sent again where that cannot do it twice; a refusal after silence is checked against what
//!   is there, since it may be our own first attempt that is in the way.
//! * delete: sent again if bound to a uid; `NotFound` after silence is success.
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::applied;
use super::options::{DeleteOptions, Deleted, PatchKind};
use super::read::{decode, push_query, title};
use super::send::{Again, Ask, Trail};
use super::{Door, DoorOptions};
use crate::{ApiError, Outcome, Resource};

impl Door {
    /// Creates an object. With a name, safe against lost replies; with generateName, an unknown outcome is an error.
    pub async fn create(&self, res: &Resource, ns: Option<&str>, body: &Value) -> Result<Value, ApiError> {
        self.create_in(res, ns, body, None).await
    }

    /// As [`Door::create`], with a field manager of its own.
    pub async fn create_as(
        &self,
        res: &Resource,
        ns: Option<&str>,
        body: &Value,
        manager: &str,
    ) -> Result<Value, ApiError> {
        self.create_in(res, ns, body, Some(manager)).await
    }

    /// Has an object admitted and validated as if it were created, and stores nothing.
    pub async fn rehearse_create(
        &self,
        res: &Resource,
        ns: Option<&str>,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let mut ask = self.writing("create", Method::POST, res, ns, None, None, encode(body));
        push_query(&mut ask.path, "dryRun", "All");
        // Nothing comes of it, so it may be repeated; and somebody waits for what it says now.
        ask.again = Again::Never;
        let answer = self.ask(&ask).await.0?;
        decode(res, &ask.title, &answer)
    }

    /// Replaces an object. The body must carry the resourceVersion it was read at.
    pub async fn replace(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        body: &Value,
        subresource: Option<&str>,
    ) -> Result<Value, ApiError> {
        let mut ask = self.writing(
            "update",
            Method::PUT,
            res,
            ns,
            Some(name),
            subresource,
            encode(body),
        );
        if body
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            let why = "a replacement without a resourceVersion would overwrite what others wrote";
            return Err(ApiError::local(
                &ask.title,
                "NoPrecondition",
                why,
                Outcome::Refused,
            ));
        }
        ask.again = Again::Always;
        let (answer, trail) = self.ask(&ask).await;
        let done = |found: &Value| applied::holds(body, found);
        self.settle(&ask, ns, name, answer, trail, done).await
    }

    /// Patches an object or a subresource of it; returns the whole object.
    pub async fn patch(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        kind: PatchKind,
        body: &Value,
        subresource: Option<&str>,
    ) -> Result<Value, ApiError> {
        self.patch_as(res, ns, name, kind, body, subresource).await
    }

    /// As [`Door::patch`], decoding only what `T` wants of the answer: [`WriteReceipt`] is the least.
    pub async fn patch_as<T: DeserializeOwned>(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        kind: PatchKind,
        body: &Value,
        subresource: Option<&str>,
    ) -> Result<T, ApiError> {
        self.patch_text_as(res, ns, name, kind, body.to_string(), subresource)
            .await
    }

    /// As [`Door::patch_as`], of a patch that is text already: many may wait for their turn, and a tree is several
    /// times as large.
    pub async fn patch_text_as<T: DeserializeOwned>(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        kind: PatchKind,
        body: String,
        subresource: Option<&str>,
    ) -> Result<T, ApiError> {
        let body = Bytes::from(body);
        let mut ask = self.writing(
            "patch",
            Method::PATCH,
            res,
            ns,
            Some(name),
            subresource,
            body.clone(),
        );
        ask.content_type = kind.content_type();
        ask.again = if applied::may_repeat(&kind, &body) {
            Again::Always
        } else {
            Again::IfRefused
        };
        if let PatchKind::Apply { manager, force } = &kind {
            ask.verb = "apply";
            push_query(&mut ask.path, "fieldManager", manager);
            push_query(&mut ask.path, "force", if *force { "true" } else { "false" });
        }
        let (answer, trail) = self.ask(&ask).await;
        // What cannot be read is refused by the server, and never taken for done.
        let sent = || serde_json::from_slice(&body).unwrap_or_default();
        let done = |found: &Value| match kind {
            PatchKind::Json => applied::operations_hold(&sent(), found),
            _ => applied::holds(&sent(), found),
        };
        self.settle(&ask, ns, name, answer, trail, done).await
    }

    /// Deletes an object.
    pub async fn delete(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let mut ask = self.writing(
            "delete",
            Method::DELETE,
            res,
            ns,
            Some(name),
            None,
            encode(&options.body()),
        );
        if options.preconditions.uid.is_some() {
            ask.again = Again::Always;
        }
        match self.ask(&ask).await {
            (Ok(answer), _) => {
                let answer: Value = decode(res, &ask.title, &answer)?;
                Ok(Deleted {
                    object: (answer["kind"] != "Status").then_some(answer),
                })
            }
            (Err(error), trail) if error.is_not_found() && trail.maybe_done => Ok(Deleted { object: None }),
            (Err(error), _) => Err(error),
        }
    }

    /// Posts to a subresource: `binding`, `eviction`, `token`. A 429 of an eviction is a disruption budget's answer
    /// and comes back at once.
    pub async fn create_subresource(
        &self,
        res: &Resource,
        ns: Option<&str>,
        name: &str,
        subresource: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let mut ask = self.writing(
            "create",
            Method::POST,
            res,
            ns,
            Some(name),
            Some(subresource),
            encode(body),
        );
        ask.again = if subresource == "eviction" {
            Again::Never
        } else {
            Again::IfRefused
        };
        let answer = self.ask(&ask).await.0?;
        decode(res, &ask.title, &answer)
    }

    async fn create_in(
        &self,
        res: &Resource,
        ns: Option<&str>,
        body: &Value,
        manager: Option<&str>,
    ) -> Result<Value, ApiError> {
        let name = body
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut ask = self.writing("create", Method::POST, res, ns, None, None, encode(body));
        ask.title = title("create", res, ns, (!name.is_empty()).then_some(name));
        if let Some(manager) = manager {
            push_query(&mut ask.path, "fieldManager", manager);
        }
        let mut maybe_done = false;
        // Each turn after the first follows a read that found nothing; a server that keeps silent ends it.
        for _ in 0..3 {
            let (answer, trail) = self.ask(&ask).await;
            maybe_done |= trail.maybe_done;
            let error = match answer {
                Ok(answer) => return decode(res, &ask.title, &answer),
                Err(error) => error,
            };
            if name.is_empty() || !maybe_done || !(error.is_unknown() || error.is_already_exists()) {
                return Err(error);
            }
            match self.get(res, ns, name).await {
                Ok(found) if applied::holds(body, &found) => return Ok(found),
                Ok(_) => {
                    let mut error = error;
                    error.code = 409;
                    error.reason = "AlreadyExists".to_owned();
                    return Err(error);
                }
                Err(read) if read.is_not_found() => continue,
                Err(_) => return Err(error),
            }
        }
        Err(ApiError::local(
            &ask.title,
            "Timeout",
            "three attempts without an answer",
            Outcome::Unknown,
        ))
    }

    /// The answer; or, where an earlier attempt may have been carried out, what is there.
    async fn settle<T: DeserializeOwned>(
        &self,
        ask: &Ask<'_>,
        ns: Option<&str>,
        name: &str,
        answer: Result<Bytes, ApiError>,
        trail: Trail,
        done: impl Fn(&Value) -> bool,
    ) -> Result<T, ApiError> {
        let error = match answer {
            Ok(answer) => return decode(ask.resource, &ask.title, &answer),
            Err(error) => error,
        };
        if !trail.maybe_done || error.reason == "Fenced" {
            return Err(error);
        }
        match self.get(ask.resource, ns, name).await {
            Ok(found) if done(&found) => T::deserialize(found).map_err(|_| {
                ApiError::local(
                    &ask.title,
                    "Undecodable",
                    "the object read back",
                    Outcome::Unknown,
                )
            }),
            _ => Err(error),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn writing<'a>(
        &self,
        verb: &'static str,
        method: Method,
        resource: &'a Resource,
        ns: Option<&str>,
        name: Option<&str>,
        subresource: Option<&'a str>,
        body: Bytes,
    ) -> Ask<'a> {
        let DoorOptions { write_deadline, .. } = self.options();
        Ask {
            verb,
            method,
            resource,
            subresource,
            title: title(verb, resource, ns, name),
            path: resource.path(ns, name, subresource),
            content_type: "application/json",
            body,
            again: Again::IfRefused,
            deadline: self.patience.unwrap_or(*write_deadline),
            queued: self.patience.is_none(),
        }
    }

    /// The same door for writes that must be over within `patience` and do not wait behind others: lease renewals.
    pub(crate) fn urgent(&self, patience: Duration) -> Door {
        Door {
            patience: Some(patience),
            ..self.clone()
        }
    }
}

fn encode(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}
