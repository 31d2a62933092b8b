//! A control plane that cannot start leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use tidegate_testbed::{ApiServer, ApiServerOptions, TestbedError};

#[test]
fn a_server_that_cannot_start_leaves_no_process() {
    let dir = std::env::temp_dir().join(format!("tidegate-leftovers-{}", std::process::id()));
    let options = ApiServerOptions {
        extra_flags: vec!["--no-such-flag".to_owned()],
        ..ApiServerOptions::in_dir(&dir)
    };
    let outcome = ApiServer::start(&options);
    let Err(TestbedError::Ended { process, log }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(process, "kube-apiserver");
    assert!(std::fs::read_to_string(log).unwrap().contains("no-such-flag"));
    assert_eq!(processes_of(&dir), Vec::<String>::new());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Command lines that name the directory.
fn processes_of(dir: &Path) -> Vec<String> {
    let name = dir.display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&name))
        .collect()
}
