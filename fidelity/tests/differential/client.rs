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

pub struct Client {
    address: String,
    host: String,
    tls: TlsConnector,
    /// Kept between requests: a TLS handshake each would be most of the time.
    kept: tokio::sync::Mutex<Option<http1::SendRequest<Full<Bytes>>>>,
}

pub struct Reply {
    pub status: u16,
    pub body: Bytes,
    pub warnings: Vec<String>,
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

    fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> http::Request<Full<Bytes>> {
        http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("accept", "application/json")
            .header("user-agent", "differential")
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap()
    }

    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Reply {
        let mut kept = self.kept.lock().await;
        let mut sender = match kept.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await,
        };
        sender.ready().await.unwrap();
        let response = sender
            .send_request(self.request(method, path, content_type, body))
            .await
            .unwrap();
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

    /// Events of a watch until one satisfies `last`, the server ends it, or `patience` runs out.
    pub async fn watch(&self, path: &str, patience: Duration, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut sender = self.connect().await;
        let response = sender
            .send_request(self.request("GET", path, "application/json", ""))
            .await
            .unwrap();
        let mut body = response.into_body();
        let mut buffer = Vec::new();
        let mut events = Vec::new();
        let read = async {
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
