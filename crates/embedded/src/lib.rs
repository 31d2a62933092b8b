//! A Kubernetes API server in this process: honest or loud.
//!
//! What it does, it does as a real kube-apiserver does; what it lacks answers 501 with its name.
mod admission;
mod answer;
pub mod attributes;
mod body;
mod bootstrap;
mod catalog;
mod clock;
mod config;
mod controllers;
mod custom;
mod decode;
mod discovery;
mod dispatch;
mod fields;
mod handlers;
mod health;
mod hooks;
mod impersonate;
mod metadata;
mod negotiate;
mod openapi;
mod pipeline;
mod pki;
mod printing;
mod protobuf;
mod query;
pub mod rbac;
mod route;
mod selector;
mod serve;
mod server;
mod service;
mod show;
pub mod status;
pub mod store;
pub mod table;
mod tokens;
pub mod user;

pub use body::ResponseBody;
pub use catalog::{Resource, StorageKey};
pub use clock::SystemClock;
pub use config::{Config, Storage};
pub use hooks::{Hooks, LogRequest, LogSource, WebhookFuture, WebhookHandler, WebhookRequest};
pub use server::{ApiServer, StartError};
pub use service::ApiService;
pub use user::UserInfo;

/// Bodies over this size are answered 413.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
