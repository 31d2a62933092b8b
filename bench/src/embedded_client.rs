//! A bare API client: what it costs is the same whatever server it speaks to.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{BenchError, io};

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> BenchError + use<> {
    let what = what.to_owned();
    move |error| BenchError::Setup(format!("{what}: {error}"))
}

/// Where an API server is and how it knows us.
#[derive(Clone)]
pub struct Access {
    address: String,
    config: rustls::ClientConfig,
}

/// One HTTP/1.1 connection: one request at a time.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Access {
    pub fn of(kubeconfig: &Path) -> Result<Self, BenchError> {
        let wrong = failed(&kubeconfig.display().to_string());
        let text = std::fs::read_to_string(kubeconfig).map_err(|e| wrong(&e))?;
        let config: Value = serde_yaml_ng::from_str(&text).map_err(|e| wrong(&e))?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let server = cluster["server"].as_str().unwrap_or_default();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem(cluster, "certificate-authority")?) {
            let certificate = certificate.map_err(|e| wrong(&e))?;
            roots.add(certificate).map_err(|e| wrong(&e))?;
        }
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&pem(user, "client-certificate")?).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem(user, "client-key")?).map_err(|e| wrong(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.map_err(|e| wrong(&e))?, key)
            .map_err(|e| wrong(&e))?;
        Ok(Self {
            address: server.trim_start_matches("https://").to_owned(),
            config,
        })
    }

    pub async fn connect(&self) -> Result<Connection, BenchError> {
        let stream = self.stream(b"http/1.1").await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed("HTTP/1.1")(&e))?;
        tokio::spawn(async move {
            // An error shows in the sender too.
            connection.await.ok();
        });
        Ok(Connection {
            sender,
            host: self.address.clone(),
        })
    }

    /// One HTTP/2 connection: many streams.
    pub async fn multiplexed(&self) -> Result<http2::SendRequest<Full<Bytes>>, BenchError> {
        let stream = self.stream(b"h2").await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed("HTTP/2")(&e))?;
        tokio::spawn(async move {
            connection.await.ok();
        });
        Ok(sender)
    }

    /// A GET whose answer goes on and on.
    pub async fn watch(
        &self,
        sender: &mut http2::SendRequest<Full<Bytes>>,
        path: &str,
    ) -> Result<Incoming, BenchError> {
        let wrong = failed(path);
        let request = Request::get(format!("https://{}{path}", self.address))
            .body(Full::default())
            .map_err(|e| wrong(&e))?;
        sender.ready().await.map_err(|e| wrong(&e))?;
        let response = sender.send_request(request).await.map_err(|e| wrong(&e))?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => Err(wrong(&response.status())),
        }
    }

    async fn stream(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>, BenchError> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(&self.address)
            .await
            .map_err(io(format!("connecting to {}", self.address)))?;
        tcp.set_nodelay(true).map_err(io("TCP_NODELAY"))?;
        let host = self.address.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host).map_err(|e| failed("server name")(&e))?;
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(io("TLS"))
    }
}

impl Connection {
    /// Sends and reads the whole answer; anything but success is an error, but for the codes in `also`.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
        also: &[u16],
    ) -> Result<Bytes, BenchError> {
        let wrong = failed(path);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Full::new(body))
            .map_err(|e| wrong(&e))?;
        self.sender.ready().await.map_err(|e| wrong(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| wrong(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| wrong(&e))?;
        let body = body.to_bytes();
        if status.is_success() || also.contains(&status.as_u16()) {
            return Ok(body);
        }
        Err(wrong(&format!("{status} {}", String::from_utf8_lossy(&body))))
    }
}

/// A field of a kubeconfig: inline, or the file it names.
fn pem(part: &Value, field: &str) -> Result<Vec<u8>, BenchError> {
    if let Some(data) = part[format!("{field}-data")].as_str() {
        let engine = base64::engine::general_purpose::STANDARD;
        return engine.decode(data).map_err(|e| failed(field)(&e));
    }
    let path = part[field].as_str().unwrap_or_default();
    std::fs::read(path).map_err(io(format!("reading {path}")))
}
