//! The admission server over real TLS on loopback, and through a real kube-apiserver.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::time::{Clock, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tidegate_cluster::admission::{Credentials, Identity, Step};
use tidegate_cluster::observe::{Observer, RequestSeen};
use tidegate_cluster::resource::{CONFIG_MAPS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, SECRETS};
use tidegate_cluster::{
    AdmissionServer, AdmissionServerOptions, BundleTarget, CertificateKeeper, DeleteOptions, DoorOptions,
    KeeperOptions, Reviewer, RotationOptions, ServerIdentity, SystemClock,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

fn now() -> Timestamp {
    SystemClock.now()
}

fn identity() -> Identity {
    let until = now() + jiff::SignedDuration::from_hours(1);
    Identity::make(&["127.0.0.1".to_owned(), "localhost".to_owned()], now(), until).unwrap()
}

/// Answers with the body's length; waits first where the path says so.
#[derive(Default)]
struct Measure {
    asked: AtomicUsize,
    go: Notify,
}

impl Reviewer for Measure {
    async fn review(&self, path: &str, body: Bytes) -> Result<Bytes, u16> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match path {
            "/measure" => Ok(Bytes::from(body.len().to_string())),
            "/wait" => {
                self.go.notified().await;
                Ok(Bytes::from_static(b"waited"))
            }
            _ => Err(404),
        }
    }
}

struct Running {
    address: SocketAddr,
    reviewer: Arc<Measure>,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn run(identity: &Identity, options: AdmissionServerOptions) -> Running {
    let shown = ServerIdentity::default();
    shown.set(identity).unwrap();
    let reviewer = Arc::new(Measure::default());
    let server = AdmissionServer::new(reviewer.clone(), shown, options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
    Running {
        address,
        reviewer,
        stop,
        ended,
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr, ca_pem: &str) -> Result<Sender, String> {
    let stream = shake_hands(address, ca_pem, b"h2").await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    Ok(sender)
}

async fn shake_hands(
    address: SocketAddr,
    ca_pem: &str,
    protocol: &[u8],
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    shaken.map_err(|e| e.to_string())
}

/// As a kube-apiserver connects, which asks over HTTP/1.1.
async fn connect_http1(
    address: SocketAddr,
    ca_pem: &str,
) -> (
    hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    tokio::task::JoinHandle<()>,
) {
    let stream = shake_hands(address, ca_pem, b"http/1.1").await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(async move { connection.await.unwrap() }))
}

async fn post(sender: &mut Sender, path: &str, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
    let uri = format!("https://localhost{path}");
    let request = Request::post(uri).body(Full::new(body.into())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    (
        answer.status(),
        answer.into_body().collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test]
async fn reviews_are_answered_and_what_is_none_is_refused() {
    let identity = identity();
    let options = AdmissionServerOptions {
        max_body: 1 << 20,
        ..AdmissionServerOptions::default()
    };
    let running = run(&identity, options).await;
    let mut sender = connect(running.address, &identity.ca_pem).await.unwrap();
    let long = "x".repeat(300_000);
    assert_eq!(
        post(&mut sender, "/measure", long).await,
        (StatusCode::OK, Bytes::from_static(b"300000"))
    );
    assert_eq!(
        post(&mut sender, "/elsewhere", "x").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        post(&mut sender, "/measure", vec![b'x'; 2 << 20]).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let get = Request::get("https://localhost/measure")
        .body(Full::default())
        .unwrap();
    assert_eq!(
        sender.send_request(get).await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn bodies_beyond_what_may_be_held_wait_for_their_turn() {
    let identity = identity();
    let options = AdmissionServerOptions {
        max_body: 1 << 20,
        max_held: 1 << 20,
        ..AdmissionServerOptions::default()
    };
    let running = run(&identity, options).await;
    let mut first = connect(running.address, &identity.ca_pem).await.unwrap();
    let mut second = connect(running.address, &identity.ca_pem).await.unwrap();
    let held = tokio::spawn(async move { post(&mut first, "/wait", vec![b'x'; 700_000]).await.0 });
    while running.reviewer.asked.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(async move { post(&mut second, "/measure", vec![b'x'; 700_000]).await.0 });
    // A small one does not wait behind it.
    let mut third = connect(running.address, &identity.ca_pem).await.unwrap();
    assert_eq!(post(&mut third, "/readyz", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(running.reviewer.asked.load(Ordering::SeqCst), 2);
    running.reviewer.go.notify_one();
    assert_eq!(held.await.unwrap(), StatusCode::OK);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_leaves_finishes_what_it_was_asked() {
    let identity = identity();
    let options = AdmissionServerOptions {
        linger: Duration::ZERO,
        ..AdmissionServerOptions::default()
    };
    let running = run(&identity, options).await;
    let mut sender = connect(running.address, &identity.ca_pem).await.unwrap();
    let asked = tokio::spawn(async move { post(&mut sender, "/wait", "x").await });
    while running.reviewer.asked.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    running.stop.send(()).unwrap();
    // It has stopped listening before the review is over.
    while connect(running.address, &identity.ca_pem).await.is_ok() {}
    assert!(!running.ended.is_finished());
    running.reviewer.go.notify_one();
    assert_eq!(
        asked.await.unwrap(),
        (StatusCode::OK, Bytes::from_static(b"waited"))
    );
    running.ended.await.unwrap();
}

fn measure() -> Request<Full<Bytes>> {
    let request = Request::post("/measure").header("host", "localhost");
    request.body(Full::from("four")).unwrap()
}

#[tokio::test]
async fn a_server_that_leaves_answers_what_comes_on_an_idle_connection_and_closes_it_with_the_answer() {
    let identity = identity();
    let options = AdmissionServerOptions {
        linger: Duration::ZERO,
        ..AdmissionServerOptions::default()
    };
    let running = run(&identity, options).await;
    let (mut sender, connection) = connect_http1(running.address, &identity.ca_pem).await;
    let before = sender.send_request(measure()).await.unwrap();
    assert_eq!(before.headers().get("connection"), None);
    running.stop.send(()).unwrap();
    while connect(running.address, &identity.ca_pem).await.is_ok() {}
    // A close from there could cross the next review, which would be lost.
    assert!(!connection.is_finished());
    sender.ready().await.unwrap();
    let after = sender.send_request(measure()).await.unwrap();
    assert_eq!(after.status(), StatusCode::OK);
    assert_eq!(after.headers()["connection"], "close");
    assert_eq!(after.into_body().collect().await.unwrap().to_bytes(), "4");
    connection.await.unwrap();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn a_server_that_leaves_closes_in_the_end_what_a_client_never_uses() {
    let identity = identity();
    let options = AdmissionServerOptions {
        linger: Duration::ZERO,
        idle: Duration::from_millis(1),
        ..AdmissionServerOptions::default()
    };
    let running = run(&identity, options).await;
    let (mut sender, connection) = connect_http1(running.address, &identity.ca_pem).await;
    sender.send_request(measure()).await.unwrap();
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
    connection.await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_trusted_through_its_own_authority_alone() {
    let (shown, other) = (identity(), identity());
    let running = run(&shown, AdmissionServerOptions::default()).await;
    assert!(connect(running.address, &other.ca_pem).await.is_err());
    assert!(
        connect(running.address, &format!("{}{}", other.ca_pem, shown.ca_pem))
            .await
            .is_ok()
    );
}

#[test]
fn at_no_moment_of_a_rotation_is_a_certificate_shown_that_is_not_trusted() {
    let hour = |n: i64| now() + jiff::SignedDuration::from_hours(n);
    let options = RotationOptions {
        names: vec!["a.b.svc".into()],
        valid: Duration::from_secs(100 * 3600),
        renew_before: Duration::from_secs(40 * 3600),
        settle: Duration::from_secs(2 * 3600),
    };
    // Replicas look every three hours or so, each at another time; API servers see a bundle one hour late.
    let mut stored: Option<Credentials> = None;
    let mut published: Vec<String> = Vec::new();
    let (mut shown, mut steps): ([Option<Identity>; 2], Vec<&str>) = ([None, None], Vec::new());
    for n in 0..400i64 {
        let at = hour(n);
        loop {
            match Credentials::step(stored.as_ref(), &options, true, at).unwrap() {
                Step::Wait { until } => break assert!(until > at),
                Step::Write { what, credentials } => {
                    steps.push(what);
                    let secret = credentials.into_secret(json!({"metadata": {"labels": {"kept": "yes"}}}));
                    assert_eq!(secret["metadata"]["labels"]["kept"], "yes");
                    let read = Credentials::from_secret(&secret).unwrap();
                    assert_eq!(read.bundle(), credentials.bundle());
                    stored = Some(read);
                }
            }
        }
        let stored = stored.as_ref().unwrap();
        published.push(stored.bundle());
        shown[(n % 2) as usize] = Some(stored.current.clone());
        let trusted = &published[published.len().saturating_sub(2)];
        for identity in shown.iter().flatten() {
            assert!(trusted.contains(&identity.ca_pem), "hour {n}");
            assert!(identity.validity().unwrap().0 > at, "hour {n}: over");
        }
    }
    assert!(steps.len() >= 13, "{steps:?}");
    assert_eq!(steps[..5], ["created", "staged", "switched", "retired", "staged"]);
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

/// Allows everything.
struct Allow;

impl Reviewer for Allow {
    async fn review(&self, _: &str, body: Bytes) -> Result<Bytes, u16> {
        let review: Value = serde_json::from_slice(&body).map_err(|_| 400u16)?;
        let answer = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": review["request"]["uid"], "allowed": true}});
        Ok(Bytes::from(answer.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_admission_fails_while_certificates_rotate() {
    let server = server::server().await;
    let refusals = Arc::new(Refusals::default());
    let options = DoorOptions {
        observer: refusals.clone(),
        ..DoorOptions::default()
    };
    let door = server::door(&server, options).await;
    let name = format!("rotate-{}", std::process::id());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"rotate": name}}});
    door.create(&NAMESPACES, None, &body).await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name}, "webhooks": [{"name": "rotate.tidegate.dev", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://127.0.0.1:{port}/allow")}, "sideEffects": "None", "timeoutSeconds": 5,
        "failurePolicy": "Fail", "namespaceSelector": {"matchLabels": {"rotate": name}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]});
    door.create(&MUTATING_WEBHOOK_CONFIGURATIONS, None, &webhook)
        .await
        .unwrap();

    let shown = ServerIdentity::default();
    // Everything is due at once: a rotation every settling time.
    let rotation = RotationOptions {
        names: vec!["127.0.0.1".into()],
        valid: Duration::from_secs(3600),
        renew_before: Duration::from_secs(3600),
        settle: Duration::from_secs(2),
    };
    let options = KeeperOptions {
        namespace: "default".into(),
        secret: name.clone(),
        targets: vec![BundleTarget::mutating(&name)],
        rotation,
    };
    let keeper = CertificateKeeper::new(&door, options, Arc::new(SystemClock), shown.clone());
    let mut bundle = keeper.bundle();
    let keeping = tokio::spawn(keeper.run(std::future::pending()));
    let server = AdmissionServer::new(Arc::new(Allow), shown, AdmissionServerOptions::default()).unwrap();
    let serving = tokio::spawn(server.serve(listener, std::future::pending()));
    bundle.wait_for(|bundle| !bundle.is_empty()).await.unwrap();

    let map =
        |n: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}});
    // The API server reads configurations a moment later than they are written.
    let settled = async { while door.create(&CONFIG_MAPS, Some(&name), &map(0)).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
    let (mut rotations, mut created, before) = (0, 0, refusals.0.load(Ordering::SeqCst));
    let mut last = bundle.borrow_and_update().clone();
    while rotations < 9 {
        created += 1;
        door.create(&CONFIG_MAPS, Some(&name), &map(created))
            .await
            .unwrap();
        if bundle.has_changed().unwrap() {
            rotations += usize::from(last != *bundle.borrow_and_update());
            last = bundle.borrow().clone();
        }
    }
    assert_eq!(
        refusals.0.load(Ordering::SeqCst),
        before,
        "creates refused at first"
    );
    eprintln!("{created} admissions over {rotations} changes of the bundle");
    keeping.abort();
    serving.abort();
    let none = DeleteOptions::default();
    door.delete(&MUTATING_WEBHOOK_CONFIGURATIONS, None, &name, &none)
        .await
        .unwrap();
    door.delete(&SECRETS, Some("default"), &name, &none)
        .await
        .unwrap();
}
