//! One write, many watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Notify;

use crate::BenchError;
use crate::embedded_server::Target;
use crate::report::{Report, percentile};

/// What a kube-apiserver allows on one connection.
const STREAMS: usize = 100;
const LONE_WRITES: usize = 20;
const BURST: usize = 20;
const MAPS: &str = "/api/v1/namespaces/fan/configmaps";

/// Events delivered so far, and a call for who waits for them.
struct Delivered {
    count: AtomicUsize,
    wanted: AtomicUsize,
    reached: Notify,
}

pub async fn measure(watchers: usize, target: &Target, report: &mut Report) -> Result<(), BenchError> {
    let mut writer = target.access.connect().await?;
    let namespace = Bytes::from(json!({"metadata": {"name": "fan"}}).to_string());
    writer
        .ask(
            Method::POST,
            "/api/v1/namespaces",
            "application/json",
            namespace,
            &[409],
        )
        .await?;
    let delivered = Arc::new(Delivered {
        count: AtomicUsize::new(0),
        wanted: AtomicUsize::new(usize::MAX),
        reached: Notify::new(),
    });
    let before = target.pss_kib()?;
    let mut tasks = tokio::task::JoinSet::new();
    let path = format!("{MAPS}?watch=true&resourceVersion=0");
    for first in (0..watchers).step_by(STREAMS) {
        let mut connection = target.access.multiplexed().await?;
        for _ in first..(first + STREAMS).min(watchers) {
            let stream = target.access.watch(&mut connection, &path).await?;
            tasks.spawn(count_lines(stream, delivered.clone()));
        }
    }
    let name = target.name;
    let each = (target.pss_kib()? - before) / watchers as f64;
    report.figure(&format!("{name}: memory per watcher"), each, "KiB", "");

    let mut lone = Vec::new();
    for number in 0..LONE_WRITES {
        let began = Instant::now();
        write_and_wait(&mut writer, &delivered, watchers, number..number + 1).await?;
        lone.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    lone.sort_unstable();
    let what = format!("{name}: a write until the last of {watchers} watchers has it");
    let note = format!(
        "median of {LONE_WRITES}, worst {:.1} ms",
        percentile(&lone, 100.0) as f64 / 1e3
    );
    report.figure(&what, percentile(&lone, 50.0) as f64 / 1e3, "ms", &note);

    let (cpu, began) = (target.cpu_seconds()?, Instant::now());
    write_and_wait(
        &mut writer,
        &delivered,
        watchers,
        LONE_WRITES..LONE_WRITES + BURST,
    )
    .await?;
    let (events, seconds) = ((watchers * BURST) as f64, began.elapsed().as_secs_f64());
    let cpu = (target.cpu_seconds()? - cpu) / events * 1e6;
    let note = format!("server CPU {cpu:.1} s per million");
    report.figure(
        &format!("{name}: deliveries to {watchers} watchers"),
        events / seconds,
        "1/s",
        &note,
    );
    tasks.shutdown().await;
    Ok(())
}

async fn write_and_wait(
    writer: &mut crate::embedded_client::Connection,
    delivered: &Delivered,
    watchers: usize,
    numbers: std::ops::Range<usize>,
) -> Result<(), BenchError> {
    let wanted = delivered.count.load(Ordering::SeqCst) + watchers * numbers.len();
    delivered.wanted.store(wanted, Ordering::SeqCst);
    for number in numbers {
        let body = json!({"metadata": {"name": format!("map-{number}")}, "data": {"text": "x".repeat(1024)}});
        let body = Bytes::from(body.to_string());
        writer
            .ask(Method::POST, MAPS, "application/json", body, &[])
            .await?;
    }
    let all = async {
        while delivered.count.load(Ordering::SeqCst) < wanted {
            delivered.reached.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .map_err(|_| {
            let count = delivered.count.load(Ordering::SeqCst);
            BenchError::Setup(format!("{count} of {wanted} events came within 120 s"))
        })
}

async fn count_lines(mut stream: Incoming, delivered: Arc<Delivered>) {
    while let Some(Ok(frame)) = stream.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let lines = data.iter().filter(|byte| **byte == b'\n').count();
        let count = delivered.count.fetch_add(lines, Ordering::SeqCst) + lines;
        if count >= delivered.wanted.load(Ordering::SeqCst) {
            delivered.reached.notify_one();
        }
    }
}
