//! Reaching a webhook: in this process, or over HTTPS with kept connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::catalog::StorageKey;
use crate::hooks::WebhookRequest;
use crate::server::ApiServer;
use crate::store::object_key;

const MAX_ANSWER: usize = 4 * 1024 * 1024;
const MAX_IDLE: usize = 32;

/// Posts `body` to the webhook of `client_config`. The error is worded as a real server's client words it.
pub(crate) async fn post(
    server: &ApiServer,
    config: &Value,
    seconds: u64,
    body: Bytes,
) -> Result<Bytes, String> {
    let target = Target::parse(config)?;
    let path = with_timeout(&target.path, seconds);
    let url = format!("https://{}:{}{path}", target.host, target.port);
    if let Some(handler) = server.hooks().webhook(&target.host) {
        let answer = handler(WebhookRequest { path, body }).await;
        return answer.map_err(|why| format!("Post {url:?}: {why}"));
    }
    let address = target
        .address(server)
        .map_err(|why| format!("Post {url:?}: {why}"))?;
    let answer = exchange(&target, &address, &path, body).await;
    let (status, bytes) = answer.map_err(|why| format!("Post {url:?}: {why}"))?;
    match status {
        s if s.is_success() => Ok(bytes),
        StatusCode::NOT_FOUND => Err("the server could not find the requested resource".to_owned()),
        _ => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            Err(format!(
                "an error on the server ({text:?}) has prevented the request from succeeding"
            ))
        }
    }
}

struct Target {
    host: String,
    port: u16,
    path: String,
    /// PEM; may be empty.
    authorities: Vec<u8>,
    /// namespace, name
    service: Option<(String, String)>,
}

impl Target {
    fn parse(config: &Value) -> Result<Self, String> {
        let authorities = config["caBundle"]
            .as_str()
            .map(|b| STANDARD.decode(b))
            .transpose();
        let authorities = authorities
            .map_err(|e| format!("caBundle: {e}"))?
            .unwrap_or_default();
        if let Some(url) = config["url"].as_str() {
            let uri: Uri = url.parse().map_err(|e| format!("Unparsable webhook URL: {e}"))?;
            let host = uri.host().unwrap_or_default().to_owned();
            let path = uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string);
            return Ok(Self {
                host,
                port: uri.port_u16().unwrap_or(443),
                path,
                authorities,
                service: None,
            });
        }
        let service = &config["service"];
        let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        if name.is_empty() {
            return Err("webhook configuration must have either service or URL".to_owned());
        }
        let port = service["port"]
            .as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .unwrap_or(443);
        let path = match text("path") {
            path if path.starts_with('/') => path,
            path => format!("/{path}"),
        };
        Ok(Self {
            host: format!("{name}.{namespace}.svc"),
            port,
            path,
            authorities,
            service: Some((namespace, name)),
        })
    }

    /// `ip:port` of an endpoint of the service, or the URL's own host and port.
    fn address(&self, server: &ApiServer) -> Result<String, String> {
        let Some((namespace, name)) = &self.service else {
            return Ok(format!("{}:{}", self.host, self.port));
        };
        let get = |group: &str, plural: &str| {
            let key = object_key(Some(namespace), name);
            server
                .store()
                .get(&StorageKey::new(group, plural), &key)
                .map(|o| o.bare())
        };
        let service = get("", "services").ok_or_else(|| format!("service {name:?} not found"))?;
        if service["spec"]["type"] == "ExternalName" {
            let host = service["spec"]["externalName"].as_str().unwrap_or_default();
            return Ok(format!("{host}:{}", self.port));
        }
        let ports = service["spec"]["ports"].as_array();
        let port = ports
            .into_iter()
            .flatten()
            .find(|p| p["port"].as_u64() == Some(self.port.into()));
        let port = port.ok_or_else(|| format!("no service port {} found for service {name:?}", self.port))?;
        let slices = server.store().snapshot(
            &StorageKey::new("discovery.k8s.io", "endpointslices"),
            &format!("{namespace}/"),
        );
        let slices = slices
            .1
            .into_iter()
            .filter(|s| s.label("kubernetes.io/service-name") == Some(name));
        let found = slices
            .map(|s| s.bare())
            .find_map(|slice| from_slice(&slice, port));
        let found = found.or_else(|| get("", "endpoints").and_then(|e| from_endpoints(&e, port)));
        found.ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }
}

fn same_port<'a>(ports: &'a Value, port: &Value) -> Option<&'a Value> {
    let name = |p: &Value| p["name"].as_str().unwrap_or_default().to_owned();
    ports.as_array()?.iter().find(|p| name(p) == name(port))
}

fn from_slice(slice: &Value, port: &Value) -> Option<String> {
    let number = same_port(&slice["ports"], port)?["port"].as_u64()?;
    let ready = slice["endpoints"]
        .as_array()?
        .iter()
        .find(|e| e["conditions"]["ready"] != false)?;
    Some(join(ready["addresses"][0].as_str()?, number))
}

fn from_endpoints(endpoints: &Value, port: &Value) -> Option<String> {
    endpoints["subsets"].as_array()?.iter().find_map(|subset| {
        let number = same_port(&subset["ports"], port)?["port"].as_u64()?;
        Some(join(subset["addresses"][0]["ip"].as_str()?, number))
    })
}

fn join(ip: &str, port: u64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

fn with_timeout(path: &str, seconds: u64) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}timeout={seconds}s")
}

type Key = (String, String, Vec<u8>);
type Idle = Mutex<HashMap<Key, Vec<SendRequest<Full<Bytes>>>>>;

fn idle() -> &'static Idle {
    static IDLE: OnceLock<Idle> = OnceLock::new();
    IDLE.get_or_init(Idle::default)
}

async fn exchange(
    target: &Target,
    address: &str,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), String> {
    let key = (
        target.host.clone(),
        address.to_owned(),
        target.authorities.clone(),
    );
    let request = |body: Bytes| {
        Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, format!("{}:{}", target.host, target.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::new(body))
            .map_err(|e| e.to_string())
    };
    while let Some(mut kept) = take(&key) {
        // A kept connection may have died meanwhile: then a new one is made, and nothing was lost.
        if kept.ready().await.is_ok()
            && let Ok(answer) = send(&mut kept, request(body.clone())?).await
        {
            keep(key, kept);
            return Ok(answer);
        }
    }
    let mut fresh = connect(target, address).await?;
    let answer = send(&mut fresh, request(body)?).await?;
    keep(key, fresh);
    Ok(answer)
}

fn take(key: &Key) -> Option<SendRequest<Full<Bytes>>> {
    let mut all = idle().lock().unwrap_or_else(PoisonError::into_inner);
    let list = all.get_mut(key)?;
    while let Some(kept) = list.pop() {
        if !kept.is_closed() {
            return Some(kept);
        }
    }
    None
}

fn keep(key: Key, connection: SendRequest<Full<Bytes>>) {
    let mut all = idle().lock().unwrap_or_else(PoisonError::into_inner);
    let list = all.entry(key).or_default();
    if list.len() < MAX_IDLE && !connection.is_closed() {
        list.push(connection);
    }
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let answer = connection
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|e| e.to_string())?;
    Ok((status, body.to_bytes()))
}

async fn connect(target: &Target, address: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| format!("dial tcp {address}: connect: {}", plain(&e)))?;
    // The connection is only as good as the request: Nagle would cost a round trip each.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
    let connector = TlsConnector::from(tls_config(&target.authorities)?);
    let stream = connector.connect(name, stream).await.map_err(|e| untrusted(&e))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "webhook connection ended");
        }
    });
    Ok(sender)
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

fn untrusted(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("UnknownIssuer") {
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned();
    }
    format!("tls: failed to verify certificate: {text}")
}

fn tls_config(authorities: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|e| format!("caBundle: {e}"))?;
        roots.add(certificate).map_err(|e| format!("caBundle: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
