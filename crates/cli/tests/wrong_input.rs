//! Wrong input gets one clear error and an exit code other than 0, soon.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/up.rs"]
mod up;

use std::path::{Path, PathBuf};
use std::process::Command;

use up::Up;

/// Standard error of a command that fails.
fn refusal(dir: &Path, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", dir)
        .env("PATH", dir)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{arguments} succeeded");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[track_caller]
fn refused(dir: &Path, cases: &[(&str, &str)]) {
    for (arguments, fragment) in cases {
        let text = refusal(dir, arguments);
        assert!(text.contains(fragment), "tidegate {arguments}:\n{text}");
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tidegate-wrong-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

const NO_SERVER: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "x"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}"#;

#[test]
fn what_is_typed_wrong_is_said_before_anything_is_done() {
    let dir = scratch("typed");
    std::fs::write(dir.join("broken"), "clusters: [").unwrap();
    std::fs::write(dir.join("empty"), "").unwrap();
    std::fs::write(dir.join("dead"), NO_SERVER).unwrap();
    refused(
        &dir,
        &[
            ("frobnicate", "unrecognized subcommand 'frobnicate'"),
            ("status log", "expected sidecarset/NAME"),
            ("status pod/log", "\"pod\" is not a kind this command knows"),
            ("status sidecarset/", "expected sidecarset/NAME"),
            ("status sidecarset/a/b", "expected sidecarset/NAME"),
            ("status sidecarset/x -o yaml", "invalid value 'yaml'"),
            ("rollback sidecarset/x --to-revision two", "invalid digit"),
            ("up --nodes 0", "0 is not in 1..=5000"),
            ("up --listen here", "invalid socket address"),
            ("operator --webhook-url nonsense", "expected https://HOST"),
            (
                "operator --service a --webhook-url https://b",
                "cannot be used with",
            ),
            ("operator --listen 127.0.0.1:0", "--listen needs a port"),
            ("testbed up --version 9", "\"9\" is not of the form 1.36.3"),
            ("testbed up --nodes 10", "10 is not in 1..=9"),
            ("install", "helm is not on PATH"),
            ("install --image x", "expected REPOSITORY:TAG"),
            (
                "install --dry-run --namespace Our_Own",
                "a namespace is at most 63",
            ),
            ("operator --namespace -x", "unexpected argument '-x'"),
            (
                "operator --exclude-namespace kube/system",
                "a namespace is at most 63",
            ),
            ("install --take-over --give-back", "cannot be used with"),
            ("man /proc/nowhere", "writing to /proc/nowhere: "),
            ("pause sidecarset/x", "say which cluster with --kubeconfig"),
            ("pause sidecarset/x --kubeconfig none", "kubeconfig none: "),
            ("pause sidecarset/x --kubeconfig broken", "kubeconfig broken: "),
            ("pause sidecarset/x --kubeconfig empty", "kubeconfig empty: "),
            ("pause sidecarset/x --kubeconfig dead --context other", "other"),
        ],
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let dir = scratch("unread");
    for arguments in ["install --dry-run", "completion zsh", "man pages", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments.split_whitespace())
            .current_dir(&dir)
            .stdout(writer)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && text.is_empty(), "{arguments}: {text}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_sample_that_somebody_deletes_takes_no_cluster_with_it() {
    let dir = scratch("sample");
    let (_up, lines) = Up::with_lines(&dir, 1, &[]);
    let delete = || {
        let (file, options) = (dir.join("kubeconfig"), cluster::DoorOptions::default());
        let gone = async {
            let door = cluster::Door::from_kubeconfig(Some(&file), options)
                .await
                .unwrap();
            let sets = &cluster::resource::SIDECAR_SETS;
            door.delete(sets, None, "log-agent", &Default::default())
                .await
                .unwrap();
            door.get(&cluster::resource::NAMESPACES, None, "default")
                .await
                .unwrap();
        };
        tokio::runtime::Runtime::new().unwrap().block_on(gone);
    };
    let mut stopped = false;
    for line in lines.map_while(Result::ok) {
        if line.contains("waiting for 30 pods") {
            delete();
        }
        if line.starts_with("sample: stopped") {
            assert!(line.contains("sidecarset/log-agent is gone"), "{line}");
            stopped = true;
            break;
        }
    }
    assert!(stopped, "`tidegate up` ended with its sample");
    let found = refusal(&dir, "status sidecarset/log-agent --kubeconfig kubeconfig");
    assert!(found.contains("not found"), "the cluster still answers: {found}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let dir = scratch("dead");
    std::fs::write(dir.join("dead"), NO_SERVER).unwrap();
    let cases = [
        "status sidecarset/x --kubeconfig dead",
        "resume sidecarset/x --kubeconfig dead",
        "install --take-over --kubeconfig dead",
    ];
    refused(
        &dir,
        &cases.map(|arguments| (arguments, "no answer from the API server")),
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_second_cluster_and_objects_that_are_not_there_are_refused() {
    let dir = scratch("second");
    let up = Up::start(&dir, 1);
    let address = address_of(&dir);
    forbidden_user(&dir);
    let second = "up --no-sample --listen 127.0.0.1:0 --kubeconfig other";
    refused(
        &dir,
        &[
            (
                &format!("{second} --data-dir data"),
                "another process serves from this directory",
            ),
            (
                &format!("{second} --data-dir kubeconfig"),
                "starting on kubeconfig: ",
            ),
            (
                &format!("{second} --data-dir /proc/none"),
                "starting on /proc/none: ",
            ),
            (
                &format!("up --no-sample --listen {address} --kubeconfig other --data-dir fresh"),
                "Address already in use",
            ),
            ("status sidecarset/x --kubeconfig kubeconfig", "\"x\" not found"),
            (
                "status sidecarset/x --watch --kubeconfig kubeconfig",
                "\"x\" not found",
            ),
            ("pause sidecarset/x --kubeconfig kubeconfig", "\"x\" not found"),
            ("rollback sidecarset/x --kubeconfig kubeconfig", "\"x\" not found"),
            ("status sidecarset/x --kubeconfig forbidden", "lacks that right"),
        ],
    );
    assert!(
        !dir.join("other").exists(),
        "a cluster that did not start left its kubeconfig"
    );
    drop(up);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn address_of(dir: &Path) -> String {
    let kubeconfig = std::fs::read_to_string(dir.join("kubeconfig")).unwrap();
    let server = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: https://"));
    server.unwrap().to_owned()
}

/// A kubeconfig whose administrator acts as somebody without rights.
fn forbidden_user(dir: &Path) {
    let kubeconfig = std::fs::read_to_string(dir.join("kubeconfig")).unwrap();
    let acting = kubeconfig.replace("  user:\n    ", "  user:\n    as: nobody\n    ");
    assert_ne!(acting, kubeconfig);
    std::fs::write(dir.join("forbidden"), acting).unwrap();
}
