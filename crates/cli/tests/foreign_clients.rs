//! Go clients written for OpenKruise (`compat/`: client-go, controller-runtime, Kruise's published types), run
//! against `tidegate operator` on a real API server and against `tidegate up`. `COMPAT_RUN` picks tests by regex.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/up.rs"]
mod up;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testbed::{ApiServer, ApiServerOptions};
use up::Up;

#[test]
fn clients_of_kruise_work_with_the_operator_on_a_real_api_server() {
    let Some(clients) = clients() else { return };
    let dir = scratch("real");
    let server = ApiServer::start(&ApiServerOptions::in_dir(dir.join("server"))).unwrap();
    let metrics = free();
    let operator = tidegate(&dir, |command| {
        command
            .arg("operator")
            .arg(format!("--kubeconfig={}", server.kubeconfig().display()))
            .arg(format!("--listen={}", free()))
            .arg(format!("--metrics={metrics}"))
    });
    let scrape = go_build("scrape", "scrape", &["build"]).unwrap();
    let passed = run(&clients, |command| {
        command
            .env("KUBECONFIG", server.kubeconfig())
            .env("METRICS_URL", format!("http://{metrics}/metrics"))
            .env(
                "METRICS_DOCS",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observability.md"),
            )
            .env("SCRAPE", &scrape)
    });
    let log = end(operator, &dir);
    drop(server);
    assert!(passed, "Go tests failed, see above; the operator's log:\n{log}");
    std::fs::remove_dir_all(&dir).ok();
}

#[test]
fn clients_of_kruise_work_with_the_embedded_cluster() {
    let Some(clients) = clients() else { return };
    let dir = scratch("embedded");
    let up = Up::start(&dir, 3);
    let passed = run(&clients, |command| {
        command.env("KUBECONFIG", dir.join("kubeconfig"))
    });
    drop(up);
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    assert!(passed, "Go tests failed, see above; the log:\n{log}");
    std::fs::remove_dir_all(&dir).ok();
}

/// The test program, built once for both tests; none where there is no Go.
fn clients() -> Option<PathBuf> {
    static BUILT: std::sync::OnceLock<Option<PathBuf>> = std::sync::OnceLock::new();
    let build = || go_build("", "compat.test", &["test", "-c", "-vet=off"]);
    BUILT.get_or_init(build).clone()
}

/// A program of a module below `compat/`.
fn go_build(module: &str, name: &str, command: &[&str]) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new("go")
        .current_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../compat")).join(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .args(command)
        .args(["-trimpath", "-o"])
        .args([program.as_path(), Path::new(".")])
        .status();
    match built {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            println!("not tested: clients in Go (there is no go on PATH)");
            None
        }
        built => {
            assert!(built.unwrap().success(), "go {} failed", command.join(" "));
            Some(program)
        }
    }
}

fn run(clients: &Path, complete: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    let mut command = Command::new(clients);
    complete(&mut command).args(["-test.timeout=400s", "-test.parallel=8"]);
    if let Ok(chosen) = std::env::var("COMPAT_RUN") {
        command.args(["-test.v", "-test.run", &chosen]);
    }
    command.status().unwrap().success()
}

fn tidegate(dir: &Path, complete: impl FnOnce(&mut Command) -> &mut Command) -> Child {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.stdout(Stdio::null()).stderr(log);
    complete(&mut command).spawn().unwrap()
}

/// Ends it and returns what it logged.
fn end(mut child: Child, dir: &Path) -> String {
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::read_to_string(dir.join("log")).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tidegate-clients-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}
