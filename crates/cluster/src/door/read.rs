//! Reading: one object, or a list streamed page by page.
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::Door;
use super::send::{Again, Ask};
use crate::frame::{Items, ListMeta, Piece};
use crate::resource::push_escaped;
use crate::{ApiError, Outcome, Resource};

/// Which objects of a kind, and how fresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    /// `None`: the most recent there is (a consistent read).
    pub resource_version: Option<String>,
    /// At most this many in all.
    pub limit: Option<u32>,
}

/// A whole list.
#[derive(Clone, Debug, Default)]
pub struct Listed<T> {
    pub resource_version: String,
    pub items: Vec<T>,
}

/// What one streamed page said.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub meta: ListMeta,
}

impl Door {
    /// One object.
    pub async fn get(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, ApiError> {
        self.get_as(resource, namespace, name).await
    }

    /// One object, decoded into a type of one's own.
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<T, ApiError> {
        let title = title("get", resource, namespace, Some(name));
        let ask = self.reading("get", resource, title, resource.path(namespace, Some(name), None));
        decode(resource, &ask.title, &self.ask(&ask).await.0?)
    }

    /// Any path of the server, for discovery, version and health.
    pub async fn get_path(&self, path: &str) -> Result<Bytes, ApiError> {
        static ANY: Resource = Resource::cluster("", "", "paths", "Path");
        let ask = self.reading("get", &ANY, format!("get {path}"), path.to_owned());
        self.ask(&ask).await.0
    }

    /// All objects of a kind (in a namespace, or everywhere).
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Listed<Value>, ApiError> {
        self.list_as(resource, namespace, options).await
    }

    /// As [`Door::list`], decoding each object into a type of one's own. One that cannot be decoded fails the list:
    /// who must live with such objects uses a [`crate::Cache`] or [`Door::list_each`].
    pub async fn list_as<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Listed<T>, ApiError> {
        let title = title("list", resource, namespace, None);
        let mut tries = 0;
        loop {
            let mut items = Vec::new();
            let mut bad = None;
            let got = self
                .list_each(resource, namespace, options, |piece| match piece {
                    Piece::Object(bytes) => match serde_json::from_slice(bytes) {
                        Ok(item) => items.push(item),
                        Err(error) => bad = Some(undecodable(resource, &error)),
                    },
                    Piece::Oversized(size) => bad = Some(format!("an object of {size} bytes")),
                })
                .await;
            tries += 1;
            return match (got, bad) {
                // Cut in the middle, or its pages expired meanwhile: only the whole of it again is consistent.
                (Err(error), _) if tries < 3 && (error.code == 410 || error.code == 0) => continue,
                (Err(error), _) => Err(error),
                (Ok(_), Some(reason)) => {
                    Err(ApiError::local(&title, "Undecodable", reason, Outcome::Refused))
                }
                (Ok(meta), None) => Ok(Listed {
                    resource_version: meta.resource_version,
                    items,
                }),
            };
        }
    }

    /// Streams a list, one object's bytes at a time, over as many pages as there are. Objects are given once even
    /// where a page is asked for again; after [`ApiError::is_stale_version`] the caller starts over.
    pub async fn list_each(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        mut each: impl FnMut(Piece<'_>),
    ) -> Result<ListMeta, ApiError> {
        let mut token: Option<String> = None;
        let mut left = options.limit;
        let mut first: Option<ListMeta> = None;
        loop {
            let size = left.map_or(self.options().page_size, |left| {
                left.min(self.options().page_size)
            });
            let path = list_path(resource, namespace, options, size, token.as_deref());
            let mut given = 0;
            let meta = self
                .page(resource, namespace, path, &mut given, &mut each)
                .await?;
            left = left.map(|left| left.saturating_sub(given as u32));
            let next = meta.continue_token.clone();
            let kept = first.get_or_insert_with(|| meta.clone());
            // Later pages show the same version, except after an inconsistent continuation, where the last counts.
            kept.resource_version = meta.resource_version;
            if next.is_empty() || left == Some(0) {
                return Ok(kept.clone());
            }
            token = Some(next);
        }
    }

    /// One page, asked for until it came whole; objects given in an earlier attempt are not given again.
    async fn page(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        path: String,
        given: &mut usize,
        each: &mut impl FnMut(Piece<'_>),
    ) -> Result<ListMeta, ApiError> {
        let ask = self.reading("list", resource, title("list", resource, namespace, None), path);
        let give_up = Instant::now() + self.options().read_deadline;
        let mut pause = self.options().backoff.0;
        loop {
            let limiter = self.limiter(resource, false);
            let place = limiter.enter().await;
            let ends = give_up.min(Instant::now() + self.options().attempt_timeout);
            let got = tokio::time::timeout_at(ends, self.page_once(&ask, given, each))
                .await
                .unwrap_or_else(|_| {
                    Err(ApiError::local(
                        &ask.title,
                        "Timeout",
                        "the page did not come in time",
                        Outcome::Refused,
                    ))
                });
            place.end(match &got {
                Err(error) if error.is_transient() => crate::limit::Pressure::Back(error.retry_after),
                _ => crate::limit::Pressure::Fine,
            });
            let error = match got {
                Ok(meta) => return Ok(meta),
                Err(error) => error,
            };
            let wait = self
                .jittered(pause)
                .max(error.retry_after.unwrap_or(Duration::ZERO));
            // A future resourceVersion answers 504 and is no passing trouble.
            if !error.is_transient()
                || error.is_stale_version()
                || Instant::now() + wait >= give_up
                || *given > 0
            {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(self.options().backoff.1);
        }
    }

    async fn page_once(
        &self,
        ask: &Ask<'_>,
        given: &mut usize,
        each: &mut impl FnMut(Piece<'_>),
    ) -> Result<ListMeta, ApiError> {
        let broken = |message: String| ApiError::local(&ask.title, "Transport", message, Outcome::Refused);
        let mut body = self.open(ask).await?.into_body();
        let mut items = Items::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(format!("answer cut off: {error}")))?;
            if let Some(chunk) = frame.data_ref() {
                items.feed(chunk, |piece| {
                    *given += 1;
                    each(piece);
                });
            }
        }
        items.finish().map_err(broken)
    }

    fn reading<'a>(
        &self,
        verb: &'static str,
        resource: &'a Resource,
        title: String,
        path: String,
    ) -> Ask<'a> {
        Ask {
            verb,
            method: Method::GET,
            resource,
            subresource: None,
            title,
            path,
            content_type: "application/json",
            body: Bytes::new(),
            again: Again::Always,
            deadline: self.patience.unwrap_or(self.options().read_deadline),
            queued: self.patience.is_none(),
        }
    }
}

pub(crate) fn title(verb: &str, resource: &Resource, namespace: Option<&str>, name: Option<&str>) -> String {
    match (namespace.filter(|n| !n.is_empty()), name) {
        (Some(namespace), Some(name)) => format!("{verb} {resource} {namespace}/{name}"),
        (Some(namespace), None) => format!("{verb} {resource} in {namespace}"),
        (None, Some(name)) => format!("{verb} {resource} {name}"),
        (None, None) => format!("{verb} {resource}"),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(
    resource: &Resource,
    title: &str,
    body: &[u8],
) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::local(
            title,
            "Undecodable",
            undecodable(resource, &error),
            Outcome::Unknown,
        )
    })
}

/// Why an object could not be decoded. serde's message may quote a value: not of a Secret.
pub(crate) fn undecodable(resource: &Resource, error: &serde_json::Error) -> String {
    if resource.group.is_empty() && resource.plural == "secrets" {
        return format!("line {} column {}", error.line(), error.column());
    }
    error.to_string()
}

/// Appends `name=value` to a path's query.
pub(crate) fn push_query(path: &mut String, name: &str, value: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    path.push('=');
    push_escaped(path, value);
}

fn list_path(
    resource: &Resource,
    namespace: Option<&str>,
    options: &ListOptions,
    size: u32,
    token: Option<&str>,
) -> String {
    let mut path = resource.path(namespace, None, None);
    push_query(&mut path, "limit", &size.to_string());
    for (name, value) in [
        ("labelSelector", &options.label_selector),
        ("fieldSelector", &options.field_selector),
    ] {
        if let Some(value) = value {
            push_query(&mut path, name, value);
        }
    }
    match token {
        Some(token) => push_query(&mut path, "continue", token),
        None => {
            if let Some(version) = &options.resource_version {
                push_query(&mut path, "resourceVersion", version);
            }
        }
    }
    path
}
