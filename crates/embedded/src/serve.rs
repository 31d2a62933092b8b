//! HTTPS: bearer tokens and client certificates, HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::AUTHORIZATION;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::server::ApiServer;
use crate::status::Status;
use crate::user::UserInfo;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// What open connections get to finish in when the server stops.
const DRAIN: Duration = Duration::from_secs(2);

impl ApiServer {
    /// Serves HTTPS until `shutdown` completes, then lets requests in flight finish for a moment.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let address = listener.local_addr()?.ip();
        let more = if address.is_unspecified() {
            vec![]
        } else {
            vec![address.to_string()]
        };
        let config = self.tls_config(&more).map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut connections = JoinSet::new();
        let stop = CancellationToken::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (server, acceptor, stop) = (self.clone(), acceptor.clone(), stop.clone());
                        connections.spawn(connection(server, acceptor, stream, stop));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(listener);
        stop.cancel();
        let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }

    /// A kubeconfig with a client certificate for `user`.
    pub fn kubeconfig(&self, server_url: &str, user: &str, groups: &[&str]) -> String {
        let pki = &self.inner.pki;
        let (certificate, key) = match pki.client(user, groups) {
            Ok(identity) => (identity.certificate, identity.key),
            Err(error) => {
                tracing::error!(%error, user, "no client certificate could be made");
                (String::new(), String::new())
            }
        };
        let encode = |pem: &str| STANDARD.encode(pem);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tidegate\nclusters:\n- name: tidegate\n  cluster:\n    \
             server: {server_url}\n    certificate-authority-data: {}\nusers:\n- name: {user:?}\n  user:\n    \
             client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n- name: tidegate\n  context:\n    \
             cluster: tidegate\n    user: {user:?}\n",
            encode(&pki.ca_pem),
            encode(&certificate),
            encode(&key),
        )
    }

    /// The certificate authority that clients of [`ApiServer::serve`] trust, PEM.
    pub fn ca_certificate(&self) -> &str {
        &self.inner.pki.ca_pem
    }

    fn tls_config(&self, names: &[String]) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.inner.pki.ca_der.clone()))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()?;
        let identity = self.inner.pki.serving(names)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key_der));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![CertificateDer::from(identity.certificate_der)], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn authenticate(
        &self,
        certified: Option<&UserInfo>,
        request: &Request<Incoming>,
    ) -> Result<UserInfo, Status> {
        if let Some(user) = certified {
            return Ok(user.clone());
        }
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            return Ok(UserInfo::anonymous());
        };
        let token = header.to_str().ok().and_then(|h| h.strip_prefix("Bearer "));
        token
            .and_then(|t| self.authenticate_token(t.trim()))
            .ok_or_else(Status::unauthorized)
    }
}

async fn connection(server: ApiServer, acceptor: TlsAcceptor, stream: TcpStream, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let certified = Arc::new(certificate.and_then(|c| user_of(c)));
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, certified) = (server.clone(), certified.clone());
        async move {
            let response = match server.authenticate((*certified).as_ref(), &request) {
                Ok(user) => server.service(user).answer(request).await,
                Err(status) => Answer::from(status).into_response(),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => if let Err(error) = result {
            tracing::debug!(error, "connection");
        },
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection");
            }
        }
    }
}

/// Which credential a user came with.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// The common name is the user, the organizations are the groups.
fn user_of(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups: Vec<&str> = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .collect();
    let mut user = UserInfo::new(name, &groups);
    let digest: String = Sha256::digest(certificate)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    user.extra
        .insert(CREDENTIAL.to_owned(), vec![format!("X509SHA256={digest}")]);
    Some(user)
}
