//! Two replicas of an admission server behind a balancer that is slow to notice, replaced one after the other while
//! a real API server asks them without a pause.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use model::time::Clock;
use serde_json::{Value, json};
use tidegate_cluster::admission::Identity;
use tidegate_cluster::observe::{Observer, RequestSeen};
use tidegate_cluster::resource::{CONFIG_MAPS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES};
use tidegate_cluster::{
    AdmissionServer, AdmissionServerOptions, DeleteOptions, Door, DoorOptions, Reviewer, ServerIdentity,
    SystemClock,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Allow(AtomicUsize);

impl Reviewer for Allow {
    async fn review(&self, _: &str, body: Bytes) -> Result<Bytes, u16> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let review: Value = serde_json::from_slice(&body).map_err(|_| 400u16)?;
        let answer = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": review["request"]["uid"], "allowed": true}});
        Ok(Bytes::from(answer.to_string()))
    }
}

struct Replica {
    address: SocketAddr,
    reviewer: Arc<Allow>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Replica {
    async fn start(identity: &ServerIdentity) -> Replica {
        let reviewer = Arc::new(Allow(AtomicUsize::new(0)));
        let options = AdmissionServerOptions {
            linger: Duration::from_secs(2),
            ..AdmissionServerOptions::default()
        };
        let server = AdmissionServer::new(reviewer.clone(), identity.clone(), options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
        Replica {
            address,
            reviewer,
            stop,
            ended,
        }
    }
}

/// Spreads connections over the backends it knows of.
async fn balance(listener: TcpListener, backends: Arc<Mutex<Vec<SocketAddr>>>) {
    for turn in 0usize.. {
        let (mut client, _) = listener.accept().await.unwrap();
        let backend = {
            let backends = backends.lock().unwrap();
            backends[turn % backends.len()]
        };
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(backend).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Counts answers to creates that were no success: the door asks again after some, which must not hide them.
#[derive(Default)]
struct Refusals(AtomicUsize);

impl Observer for Refusals {
    fn request(&self, seen: &RequestSeen<'_>) {
        if seen.verb == "create" && seen.code != 200 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_admission_fails_while_replicas_are_replaced() {
    let server = server::server().await;
    let refusals = Arc::new(Refusals::default());
    let options = DoorOptions {
        observer: refusals.clone(),
        ..DoorOptions::default()
    };
    let door = server::door(&server, options).await;
    let name = format!("rolling-{}", std::process::id());
    let until = SystemClock.now() + jiff::SignedDuration::from_hours(1);
    let identity = Identity::make(&["127.0.0.1".into()], SystemClock.now(), until).unwrap();
    let shown = ServerIdentity::default();
    shown.set(&identity).unwrap();
    let mut replicas = vec![Replica::start(&shown).await, Replica::start(&shown).await];
    let backends = Arc::new(Mutex::new(
        replicas.iter().map(|replica| replica.address).collect::<Vec<_>>(),
    ));
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = front.local_addr().unwrap().port();
    let balancing = tokio::spawn(balance(front, backends.clone()));
    configure(&door, &name, port, &identity.ca_pem).await;

    let (stop, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let creating: Vec<JoinHandle<()>> = (0..8)
        .map(|worker| {
            let (door, name, stop, created) = (door.clone(), name.clone(), stop.clone(), created.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let body = json!({"metadata": {"name": format!("m{worker}-{n}")}});
                    door.create(&CONFIG_MAPS, Some(&name), &body).await.unwrap();
                    created.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut reviewed = 0;
    for _ in 0..4 {
        let new = Replica::start(&shown).await;
        backends.lock().unwrap().push(new.address);
        replicas.push(new);
        let old = replicas.remove(0);
        old.stop.send(()).unwrap();
        // The balancer hears of it a second late.
        tokio::time::sleep(Duration::from_secs(1)).await;
        backends.lock().unwrap().retain(|backend| *backend != old.address);
        old.ended.await.unwrap();
        reviewed += old.reviewer.0.load(Ordering::Relaxed);
    }
    stop.store(true, Ordering::Relaxed);
    for task in creating {
        task.await.expect("an admission failed");
    }
    reviewed += replicas
        .iter()
        .map(|replica| replica.reviewer.0.load(Ordering::Relaxed))
        .sum::<usize>();
    let created = created.load(Ordering::Relaxed);
    assert_eq!(refusals.0.load(Ordering::SeqCst), 0, "creates refused at first");
    eprintln!("{created} creates, {reviewed} reviews, over four replacements");
    assert!(reviewed * 2 > created, "the webhook was in force");
    balancing.abort();
    door.delete(
        &MUTATING_WEBHOOK_CONFIGURATIONS,
        None,
        &name,
        &DeleteOptions::default(),
    )
    .await
    .unwrap();
}

/// A webhook at the balancer, in force when this returns.
async fn configure(door: &Door, name: &str, port: u16, ca_pem: &str) {
    let body = json!({"metadata": {"name": name, "labels": {"rolling": name}}});
    door.create(&NAMESPACES, None, &body).await.unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    let webhook = json!({"metadata": {"name": name}, "webhooks": [{"name": "rolling.tidegate.dev",
        "clientConfig": {"url": format!("https://127.0.0.1:{port}/allow"), "caBundle": bundle},
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5, "failurePolicy": "Fail",
        "namespaceSelector": {"matchLabels": {"rolling": name}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]});
    door.create(&MUTATING_WEBHOOK_CONFIGURATIONS, None, &webhook)
        .await
        .unwrap();
}
