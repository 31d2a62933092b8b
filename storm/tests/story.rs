//! The story by many seeds. STORM_SEEDS and STORM_FIRST widen it; `storm FIRST 1 stormy` runs one seed alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_storm::faults::Rates;
use tidegate_storm::{Outcome, run};

fn told(seed: u64, rates: &Rates) -> Outcome {
    run(seed, rates).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    let first = number("STORM_FIRST").unwrap_or(1);
    first..first + number("STORM_SEEDS").unwrap_or(default)
}

#[test]
fn without_faults_the_story_ends_with_every_pod_written_as_often_as_it_was_moved() {
    let outcome = told(1, &Rates::calm());
    assert_eq!(outcome.pod_writes, [2, 2, 2, 2, 2, 4, 4, 4]);
    assert!(
        outcome.images.iter().all(|i| i == "example.test/side:2"),
        "{outcome:?}"
    );
    assert!(outcome.faults.is_empty());
}

#[test]
fn whatever_goes_wrong_the_budgets_hold_and_the_end_is_that_of_a_run_without_faults() {
    let calm = told(1, &Rates::calm());
    let mut struck = 0;
    for seed in seeds(4) {
        let stormy = told(seed, &Rates::stormy());
        assert_eq!(stormy.pod_writes, calm.pod_writes, "seed {seed}: {stormy:?}");
        assert_eq!(stormy.images, calm.images, "seed {seed}: {stormy:?}");
        assert_eq!(stormy.revisions, calm.revisions, "seed {seed}: {stormy:?}");
        assert_eq!(
            stormy.set_generation, calm.set_generation,
            "seed {seed}: {stormy:?}"
        );
        struck += stormy.faults.iter().map(|(_, times)| times).sum::<usize>();
    }
    assert!(struck > 0, "a storm without faults tests nothing");
}
