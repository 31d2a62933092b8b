//! The load generator, as a process of its own and with as little work per request as can be: requests are bytes made
//! once, answers are read to their length and not understood.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::BenchError;
use crate::report::percentile;

#[derive(Debug, Args)]
pub struct LoadArgs {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    host: String,
    #[arg(long)]
    path: String,
    /// Authorities of the server, PEM
    #[arg(long)]
    ca: PathBuf,
    /// Body of every request
    #[arg(long)]
    body: PathBuf,
    #[arg(long)]
    connections: usize,
    /// Requests a second; 0: as fast as they are answered
    #[arg(long)]
    rate: u64,
    #[arg(long)]
    seconds: u64,
}

/// What it saw, times in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    pub answered: u64,
    pub seconds: f64,
    /// Sent more than 2 ms after their time.
    pub late: u64,
    pub p50: u64,
    pub p99: u64,
    pub worst: u64,
    /// From when a request was due, late or not.
    pub p99_from_due: u64,
    pub cpu_seconds: f64,
}

impl LoadArgs {
    /// Prints what it saw as one line of JSON.
    pub async fn run(&self) -> Result<(), BenchError> {
        let tls = self.connector()?;
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(self.connect(&tls).await?);
        }
        let request: Arc<[u8]> = self.request()?.into();
        println!("connected");
        let began = Instant::now();
        let cpu = crate::machine::thread_seconds(std::process::id())?;
        let start = tokio::time::Instant::now() + Duration::from_millis(20);
        let tasks: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(index, connection)| {
                let schedule = Schedule {
                    start,
                    rate: self.rate,
                    end: start + Duration::from_secs(self.seconds),
                    first: index as u64,
                    step: self.connections as u64,
                };
                tokio::spawn(schedule.play(connection, request.clone()))
            })
            .collect();
        let mut all = Latencies::default();
        for task in tasks {
            let latencies = task.await.map_err(|e| BenchError::Setup(e.to_string()))?;
            all.join(latencies.map_err(crate::io("an admission request"))?);
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu_seconds = crate::machine::thread_seconds(std::process::id())? - cpu;
        let seen = all.seen(seconds, cpu_seconds);
        println!(
            "{}",
            serde_json::to_string(&seen).map_err(|e| BenchError::Setup(e.to_string()))?
        );
        Ok(())
    }

    fn request(&self) -> Result<Vec<u8>, BenchError> {
        let body = std::fs::read(&self.body).map_err(crate::io("reading the body"))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.path,
            self.host,
            body.len()
        );
        Ok([head.as_bytes(), &body].concat())
    }

    fn connector(&self) -> Result<TlsConnector, BenchError> {
        let setup = |e: &dyn std::fmt::Display| BenchError::Setup(format!("TLS: {e}"));
        let pem = std::fs::read(&self.ca).map_err(crate::io("reading the authorities"))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots
                .add(certificate.map_err(|e| setup(&e))?)
                .map_err(|e| setup(&e))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| setup(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn connect(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, BenchError> {
        let connecting = || crate::io("connecting to the webhook");
        let tcp = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(connecting())?;
        tcp.set_nodelay(true).map_err(connecting())?;
        let name = ServerName::try_from(self.host.clone()).map_err(|e| BenchError::Setup(e.to_string()))?;
        tls.connect(name, tcp).await.map_err(connecting())
    }
}

/// The requests of one connection: at fixed times, or each after the answer to the one before.
struct Schedule {
    start: tokio::time::Instant,
    end: tokio::time::Instant,
    rate: u64,
    first: u64,
    step: u64,
}

impl Schedule {
    async fn play(self, mut connection: TlsStream<TcpStream>, request: Arc<[u8]>) -> io::Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut buffer = vec![0; 64 << 10];
        let mut number = self.first;
        loop {
            let mut due = tokio::time::Instant::now();
            if self.rate > 0 {
                due = self.start + Duration::from_secs_f64(number as f64 / self.rate as f64);
                number += self.step;
            }
            if due >= self.end {
                return Ok(latencies);
            }
            if self.rate > 0 {
                tokio::time::sleep_until(due).await;
                latencies.late += u64::from(due.elapsed() > Duration::from_millis(2));
            }
            let sent = Instant::now();
            connection.write_all(&request).await?;
            read_answer(&mut connection, &mut buffer).await?;
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            latencies.sent.push(micros(sent.elapsed()));
            latencies.due.push(micros(due.elapsed()));
        }
    }
}

/// Reads one whole answer, which must be a success with a patch in it.
async fn read_answer(connection: &mut TlsStream<TcpStream>, buffer: &mut [u8]) -> io::Result<()> {
    let mut held = 0;
    loop {
        let read = connection.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        held += read;
        let text = &buffer[..held];
        let Some(head) = text.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let length = content_length(&text[..head]).ok_or(io::ErrorKind::InvalidData)?;
        if held >= head + 4 + length {
            let injected = text.starts_with(b"HTTP/1.1 200") && length > 1000;
            return match injected {
                true => Ok(()),
                false => Err(io::Error::other("an answer without a patch")),
            };
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })
}

#[derive(Default)]
struct Latencies {
    sent: Vec<u64>,
    due: Vec<u64>,
    late: u64,
}

impl Latencies {
    fn join(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.due.extend(other.due);
        self.late += other.late;
    }

    fn seen(mut self, seconds: f64, cpu_seconds: f64) -> Seen {
        self.sent.sort_unstable();
        self.due.sort_unstable();
        Seen {
            answered: self.sent.len() as u64,
            seconds,
            late: self.late,
            p50: percentile(&self.sent, 50.0),
            p99: percentile(&self.sent, 99.0),
            worst: percentile(&self.sent, 100.0),
            p99_from_due: percentile(&self.due, 99.0),
            cpu_seconds,
        }
    }
}
