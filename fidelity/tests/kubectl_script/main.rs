//! Stock kubectl against a real kube-apiserver and against the embedded one: the same commands print the same.
//!
//! `KUBECTL_SCRIPT_ONLY=N` runs up to line N; differences are printed side by side. A difference that has a reason
//! is listed in DIFFERENCES.md under "kubectl" by the command's text and is then not compared; commands in
//! `known-differences.txt` are tolerated (`KUBECTL_SCRIPT_SHOW=1` shows them and fails).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use testbed::{ApiServer, ApiServerOptions, Binaries, DEFAULT_VERSION, Module};
use tidegate_fidelity::{explained, unfixed};

/// No command may take longer.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn stock_kubectl_prints_the_same_on_both() {
    let dir = std::env::temp_dir().join(format!("tidegate-kubectl-{}", std::process::id()));
    let real = ApiServer::start(&ApiServerOptions::in_dir(dir.join("real"))).unwrap();
    let binaries = Binaries::build(&[Module::Kubernetes], DEFAULT_VERSION, &mut |_| {}).unwrap();
    let kubectl = binaries.program("kubectl").unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let kubeconfig = dir.join("embedded.conf");
    runtime.block_on(start_embedded(&kubeconfig));

    let masks = masks();
    let manifests = manifests(include_str!("manifests.yaml"));
    let (explained, unfixed) = (explained("kubectl"), unfixed("kubectl"));
    let show = std::env::var("KUBECTL_SCRIPT_SHOW").is_ok();
    let mut still = 0;
    let mut differences = Vec::new();
    let limit = std::env::var("KUBECTL_SCRIPT_ONLY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usize::MAX);
    let commands: Vec<&str> = include_str!("script.txt")
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .take(limit)
        .collect();
    for command in &commands {
        let (arguments, input) = split(command, &manifests);
        let on_real = observe(&kubectl, &real.kubeconfig(), &arguments, input, &masks);
        let on_embedded = observe(&kubectl, &kubeconfig, &arguments, input, &masks);
        if on_real == on_embedded || explained.iter().any(|e| e == command) {
            continue;
        }
        let known = unfixed.iter().any(|u| u == command);
        still += usize::from(known);
        if show || !known {
            differences.push(format!(
                "$ kubectl {command}\n--- real\n{on_real}\n--- embedded\n{on_embedded}\n"
            ));
        }
    }
    drop(real);
    std::fs::remove_dir_all(&dir).ok();
    println!(
        "{} commands are listed as unfixed; {still} of them differ",
        unfixed.len()
    );
    assert!(
        differences.is_empty(),
        "{} of {} commands differ:\n\n{}",
        differences.len(),
        commands.len(),
        differences.join("\n")
    );
}

async fn start_embedded(kubeconfig: &Path) {
    // The real server runs without a controller manager too.
    let config = embedded::Config {
        controllers: false,
        ..embedded::Config::default()
    };
    let server = embedded::ApiServer::start(config).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::fs::write(kubeconfig, server.kubeconfig(&url, "admin", &["system:masters"])).unwrap();
    tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
}

/// Exit code, standard output and standard error, masked.
fn observe(
    kubectl: &Path,
    kubeconfig: &PathBuf,
    arguments: &[String],
    input: Option<&str>,
    masks: &[(Regex, &str)],
) -> String {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // kubectl keeps discovery in the home directory; two servers must not share it.
    command
        .env("HOME", kubeconfig.with_extension("home"))
        .env("KUBECTL_EXTERNAL_DIFF", "diff -u -N");
    let (status, output) = finish(command.spawn().unwrap(), input.unwrap_or_default());
    let mut text = format!("exit {status}\n{output}");
    for (pattern, replacement) in masks {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    sort_causes(&text)
}

/// A real server goes through some maps in random order: the causes it lists are a set.
fn sort_causes(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for causes in lines.chunk_by_mut(|a, b| a.starts_with("* ") && b.starts_with("* ")) {
        causes.sort_unstable();
    }
    lines.join("\n")
}

/// The exit code, or that the time was over, and what was printed.
fn finish(mut child: Child, input: &str) -> (String, String) {
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |pipe: &mut dyn Read| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    std::thread::scope(|scope| {
        let printed = scope.spawn(move || read(&mut out));
        let complained = scope.spawn(move || read(&mut err));
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code().unwrap_or(-1).to_string();
            }
            if Instant::now() > deadline {
                child.kill().ok();
                child.wait().ok();
                break "killed: out of time".to_owned();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        (status, printed.join().unwrap() + &complained.join().unwrap())
    })
}

/// What differs between any two clusters.
fn masks() -> Vec<(Regex, &'static str)> {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r#"resourceVersion: "\d+""#, "resourceVersion: RV"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
        (r"https://[\w.]+:\d+", "SERVER"),
        (r"\b(\d+[smhd])+( ago)?\b", "AGE"),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-XXXXX"),
        (r"eyJ[\w.-]+", "TOKEN"),
        (r"/tmp/(LIVE|MERGED)-\d+/", "/tmp/$1/"),
        (r"[EW]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", "LOG "),
        (r"10\.\d+\.\d+\.\d+", "IP"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "TIME"),
        (r"X509SHA256=[0-9a-f]{64}", "X509SHA256=HASH"),
    ]
    .into_iter()
    .map(|(pattern, replacement)| (Regex::new(pattern).unwrap(), replacement))
    .collect()
}

fn manifests(text: &str) -> BTreeMap<String, String> {
    text.split("--- # ")
        .skip(1)
        .filter_map(|document| document.split_once('\n'))
        .map(|(name, body)| (name.trim().to_owned(), body.to_owned()))
        .collect()
}

fn split<'a>(command: &str, manifests: &'a BTreeMap<String, String>) -> (Vec<String>, Option<&'a str>) {
    let mut input = None;
    let mut words = Vec::new();
    let mut rest = command.split(' ').filter(|w| !w.is_empty());
    while let Some(word) = rest.next() {
        if word == "<" {
            input = Some(manifests[rest.next().unwrap()].as_str());
        } else {
            words.push(word.to_owned());
        }
    }
    (words, input)
}
