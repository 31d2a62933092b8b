//! Raw HTTPS to an API server, as its kubeconfig says: no retries, nothing interpreted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One caller: copies share how to connect, not the connection.
pub struct Client {
    address: String,
    host: String,
    tls: TlsConnector,
    /// Kept between requests: a TLS handshake each would be most of the time.
    kept: tokio::sync::Mutex<Option<http1::SendRequest<Full<Bytes>>>>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            host: self.host.clone(),
            tls: self.tls.clone(),
            kept: tokio::sync::Mutex::default(),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub content_type: &'a str,
    pub accept: &'a str,
    pub user: Option<&'a str>,
    pub body: &'a str,
}

impl<'a> Request<'a> {
    pub fn json(method: &'a str, path: &'a str, body: &'a str) -> Self {
        Self {
            method,
            path,
            content_type: "application/json",
            accept: "application/json",
            user: None,
            body,
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub body: Bytes,
    pub warnings: Vec<String>,
}

impl Reply {
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    pub fn from_kubeconfig(path: &Path) -> Self {
        let config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let material = |from: &Value, name: &str| -> Vec<u8> {
            match from[format!("{name}-data")].as_str() {
                Some(data) => base64::engine::general_purpose::STANDARD.decode(data).unwrap(),
                None => std::fs::read(from[name].as_str().unwrap()).unwrap(),
            }
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&material(cluster, "certificate-authority")) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&material(user, "client-certificate"))
            .map(|c| c.unwrap().into_owned())
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&material(user, "client-key")).unwrap();
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
                .unwrap();
        let url: http::Uri = cluster["server"].as_str().unwrap().parse().unwrap();
        Self {
            address: url.authority().unwrap().to_string(),
            host: url.host().unwrap().to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            kept: tokio::sync::Mutex::new(None),
        }
    }

    async fn connect(&self) -> http1::SendRequest<Full<Bytes>> {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let stream = self.tls.connect(name, tcp).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    fn request(&self, request: &Request<'_>) -> http::Request<Full<Bytes>> {
        let mut built = http::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header("host", &self.address)
            .header("accept", request.accept)
            .header("user-agent", "differential")
            .header("content-type", request.content_type);
        if let Some(user) = request.user {
            built = built.header("impersonate-user", user);
        }
        built
            .body(Full::new(Bytes::from(request.body.to_owned())))
            .unwrap()
    }

    pub async fn send(&self, request: &Request<'_>) -> Reply {
        let mut kept = self.kept.lock().await;
        let mut sender = match kept.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await,
        };
        sender.ready().await.unwrap();
        let response = sender.send_request(self.request(request)).await.unwrap();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|w| String::from_utf8_lossy(w.as_bytes()).into_owned())
            .collect();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        *kept = Some(sender);
        Reply {
            status,
            body,
            warnings,
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(&Request::json("GET", path, "")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(&Request::json("POST", path, &body.to_string())).await
    }

    /// Events of a watch until one satisfies `last`, the server ends it, or `patience` runs out.
    pub async fn watch(
        &self,
        path: &str,
        accept: &str,
        patience: Duration,
        last: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let mut sender = self.connect().await;
        let request = Request {
            accept,
            ..Request::json("GET", path, "")
        };
        let mut events = Vec::new();
        let read = async {
            let response = sender.send_request(self.request(&request)).await.unwrap();
            let mut body = response.into_body();
            let mut buffer = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).unwrap();
                    let done = last(&event);
                    events.push(event);
                    if done {
                        return;
                    }
                }
            }
            // Not an event stream: an error answered in place of it.
            if let Ok(status) = serde_json::from_slice::<Value>(&buffer) {
                events.push(status);
            }
        };
        tokio::time::timeout(patience, read).await.ok();
        events
    }
}
