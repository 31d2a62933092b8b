//! The door itself: who is asked, with what patience, and how much at a time.
mod applied;
mod options;
mod read;
mod send;
mod write;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tower::Service;

pub use options::{DeleteOptions, Deleted, PatchKind, Preconditions, Propagation, WriteReceipt};
pub use read::{ListOptions, Listed, Page};

/// How requests are made, for the watch.
pub(crate) mod ask {
    pub(crate) use super::read::{push_query, title, undecodable};
    pub(crate) use super::send::{Again, Ask};
}

use crate::limit::{LimitOptions, Limiter};
use crate::observe::{Observer, Unobserved};
use crate::transport::{BoxError, InProcess, SharedTransport, ThroughKube};
use crate::{DoorError, Resource};

/// Says whether a write may still be sent, and how long it may take. Leadership is one such.
pub trait WriteGate: Send + Sync + 'static {
    /// Looks at what the answer depends on, where that has to be asked for; or why it cannot be told. The write has
    /// its place by now and is sent next.
    fn look(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The time left, or why nothing may be written any more. Asked after [`WriteGate::look`].
    fn may_write(&self) -> Result<Duration, String>;
}

/// Patience and bounds.
#[derive(Clone)]
pub struct DoorOptions {
    /// Sent as User-Agent; also the default field manager of writes.
    pub user_agent: String,
    /// One attempt at a read or write, from sending to the whole answer.
    pub attempt_timeout: Duration,
    /// A read with all its retries; a list page each.
    pub read_deadline: Duration,
    /// A write with all its retries.
    pub write_deadline: Duration,
    /// First and last pause between attempts (jittered, doubling).
    pub backoff: (Duration, Duration),
    /// A watch with no bytes for this long is asked whether it still lives. `None` in process, where no
    /// connection can die unseen.
    pub stall_timeout: Option<Duration>,
    /// The server is asked to end a watch after this long (up to twice, at random).
    pub watch_timeout: Duration,
    /// Objects per list page.
    pub page_size: u32,
    /// Largest single answer held in memory (lists are streamed and not bound by it).
    pub max_answer: usize,
    pub writes: LimitOptions,
    pub reads: LimitOptions,
    /// Seed of all jitter; from the system if none.
    pub seed: Option<u64>,
    pub observer: Arc<dyn Observer>,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("tidegate/", env!("CARGO_PKG_VERSION")).to_owned(),
            attempt_timeout: Duration::from_secs(30),
            read_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(60),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            stall_timeout: Some(Duration::from_secs(90)),
            watch_timeout: Duration::from_secs(290),
            page_size: 500,
            max_answer: 64 << 20,
            writes: LimitOptions::default(),
            reads: LimitOptions {
                start: 16.0,
                max: 64.0,
                ..LimitOptions::default()
            },
            seed: None,
            observer: Arc::new(Unobserved),
        }
    }
}

/// The only way to an API server. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
    gate: Option<Arc<dyn WriteGate>>,
    patience: Option<Duration>,
}

struct Inner {
    transport: SharedTransport,
    options: DoorOptions,
    rng: Mutex<StdRng>,
    limiters: Mutex<BTreeMap<(bool, String), Limiter>>,
}

impl Door {
    /// Over a client made elsewhere. Its own retries, if any, come on top: prefer [`Door::from_kubeconfig`],
    /// which turns them off (they would resend creates).
    pub fn new(client: kube::Client, options: DoorOptions) -> Door {
        Self::over(Arc::new(ThroughKube(client)), options)
    }

    /// From a kubeconfig file, or (none given) from the environment: KUBECONFIG, ~/.kube/config, in-cluster.
    pub async fn from_kubeconfig(path: Option<&Path>, options: DoorOptions) -> Result<Door, DoorError> {
        Self::from_context(path, None, options).await
    }

    /// As [`Door::from_kubeconfig`], with a context of the kubeconfig other than its current one.
    pub async fn from_context(
        path: Option<&Path>,
        context: Option<&str>,
        options: DoorOptions,
    ) -> Result<Door, DoorError> {
        // Only an error if somebody installed one before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wanted = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let no_cluster = |error: &dyn std::error::Error| DoorError::NoCluster(error.to_string());
        let mut config = match (path, context) {
            (Some(path), _) => config_of_file(path, &wanted).await?,
            (None, Some(_)) => kube::Config::from_kubeconfig(&wanted)
                .await
                .map_err(|error| no_cluster(&error))?,
            (None, None) => kube::Config::infer().await.map_err(|error| no_cluster(&error))?,
        };
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).map_err(|error| DoorError::Client {
            url,
            reason: error.to_string(),
        })?;
        Ok(Self::new(client, options))
    }

    /// Over a service in this process, such as the embedded API server: no sockets, no stalls.
    pub fn in_process<S, B>(service: S) -> Door
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::in_process_with(
            service,
            DoorOptions {
                stall_timeout: None,
                ..DoorOptions::default()
            },
        )
    }

    /// As [`Door::in_process`], with options (a seed, an observer).
    pub fn in_process_with<S, B>(service: S, options: DoorOptions) -> Door
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::over(Arc::new(InProcess(Mutex::new(service))), options)
    }

    /// The same door, whose writes also ask `gate` before every attempt and take no longer than it allows.
    pub fn fenced(&self, gate: Arc<dyn WriteGate>) -> Door {
        Door {
            gate: Some(gate),
            ..self.clone()
        }
    }

    pub fn options(&self) -> &DoorOptions {
        &self.inner.options
    }

    /// The present limit of writes in flight for a kind.
    pub fn write_limit(&self, resource: &Resource) -> f64 {
        self.limiter(resource, true).limit()
    }

    fn over(transport: SharedTransport, options: DoorOptions) -> Door {
        let rng = Mutex::new(match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        });
        let limiters = Mutex::new(BTreeMap::new());
        Door {
            inner: Arc::new(Inner {
                transport,
                options,
                rng,
                limiters,
            }),
            gate: None,
            patience: None,
        }
    }

    pub(crate) fn limiter(&self, resource: &Resource, write: bool) -> Limiter {
        let options = if write {
            &self.inner.options.writes
        } else {
            &self.inner.options.reads
        };
        let mut limiters = self.inner.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters
            .entry((write, resource.name()))
            .or_insert_with(|| Limiter::new(options.clone()))
            .clone()
    }

    /// A duration between half of and all of `whole`.
    pub(crate) fn jittered(&self, whole: Duration) -> Duration {
        let share: f64 = self
            .inner
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0.5..=1.0);
        whole.mul_f64(share)
    }
}

async fn config_of_file(path: &Path, wanted: &KubeConfigOptions) -> Result<kube::Config, DoorError> {
    let fail = |reason: String| DoorError::Kubeconfig {
        path: path.display().to_string(),
        reason,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, wanted)
        .await
        .map_err(|error| fail(error.to_string()))
}
