//! The story without faults, and by some seeds with many.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_storm::matrix::Matrix;
use tidegate_storm::{Setup, many, run};

#[test]
fn without_faults_the_story_ends_with_every_pod_written_as_often_as_it_was_moved() {
    let outcome = run(&Setup::calm(1)).unwrap();
    assert_eq!(outcome.stored.pod_writes, [2, 2, 2, 2, 2, 4, 4, 4]);
    assert!(
        outcome.stored.images.iter().all(|i| i == "example.test/side:2"),
        "{:?}",
        outcome.stored
    );
    assert!(outcome.faults.is_empty());
}

/// Thousands of them: `cargo xtask storm`.
#[test]
fn whatever_goes_wrong_the_budgets_hold_and_the_end_is_what_was_asked_for() {
    let mut struck = 0;
    for seed in 1..=12 {
        let outcome =
            many::stormy(&Setup::stormy(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        struck += outcome.faults.iter().map(|(_, times)| times).sum::<usize>();
    }
    assert!(struck > 100, "a storm with few faults tests little: {struck}");
}

/// Every eighth seed may put it back; whether it does is drawn with everything else. All of them: `cargo xtask storm`.
#[test]
fn where_the_storage_is_put_back_the_end_is_still_what_was_asked_for() {
    let mut put_back = 0;
    for seed in (8..=160).step_by(8) {
        let outcome =
            many::stormy(&Setup::stormy(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        put_back += usize::from(outcome.restored);
        if put_back == 4 {
            return;
        }
    }
    panic!("put back only {put_back} times");
}

/// All of them: `cargo xtask storm matrix`.
#[test]
fn one_fault_at_one_write_changes_neither_the_end_nor_how_often_pods_are_written() {
    let matrix = Matrix::of(Setup::small(1)).unwrap();
    let cases = matrix.part(0, matrix.cases.len() / 12);
    for case in &cases {
        matrix
            .judge(case)
            .unwrap_or_else(|error| panic!("{case} ({}): {error}", case.what));
    }
}
