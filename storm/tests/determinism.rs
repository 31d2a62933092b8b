//! The same seed, the same run, to the byte: in this process and in any other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Child, Command, Stdio};

/// Half of the seeds have two operators, all have leases and faults.
fn twenty_seeds() -> Child {
    Command::new(env!("CARGO_BIN_EXE_storm"))
        .args([
            "run", "9", "--count", "20", "--digest", "--quiet", "120", "--plan", "stormy",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn twenty_seeds_full_of_faults_store_the_same_bytes_in_two_processes() {
    let (one, two) = (twenty_seeds(), twenty_seeds());
    let (one, two) = (one.wait_with_output().unwrap(), two.wait_with_output().unwrap());
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stdout));
    let (one, two) = (
        String::from_utf8(one.stdout).unwrap(),
        String::from_utf8(two.stdout).unwrap(),
    );
    assert_eq!(one.lines().count(), 20);
    assert_eq!(one, two);
    let digests: std::collections::BTreeSet<&str> = one.lines().filter_map(|l| l.split(' ').nth(1)).collect();
    assert_eq!(digests.len(), 20, "different seeds are different runs");
}
