//! What survives a torn disk: every write that was answered, and no version twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod disk;
mod story;

use std::sync::Arc;

use disk::{Disk, Tear};
use story::Story;
use tidegate_embedded::store::{Durable, Store};

const BURSTS: usize = 260;

fn open(disk: &Disk) -> Option<Arc<Store>> {
    Store::with_durable(Durable::with_backend(disk.clone()).ok()?, 64).ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A disk with an empty store. (How a store comes to be is another test's.)
fn empty() -> Disk {
    let disk = Disk::default();
    drop(open(&disk).unwrap());
    Disk::of(disk.after_power_cut(Tear::AllKept))
}

/// A whole story on a disk that lives, and the disk after it.
fn recorded(seed: u64) -> (Story, Disk) {
    let disk = empty();
    let mut story = Story::new(seed);
    let store = open(&disk).unwrap();
    runtime().block_on(story.tell(&store, BURSTS, || disk.operations()));
    drop(store);
    assert_eq!(
        story.promises.len(),
        story.writes.len(),
        "a disk that lives takes every write"
    );
    (story, disk)
}

/// `TIDEGATE_CUTS`: how many cut points; without it every single operation of the disk is one.
fn cut_points(operations: usize) -> Vec<usize> {
    let wanted = std::env::var("TIDEGATE_CUTS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(operations);
    let step = (operations / wanted.clamp(1, operations)).max(1);
    (0..operations).step_by(step).collect()
}

#[test]
fn after_a_cut_at_any_operation_nothing_acknowledged_is_lost_and_no_revision_comes_twice() {
    let (story, disk) = recorded(1);
    let points = cut_points(disk.operations());
    assert!(
        points.len() > 1000 || std::env::var_os("TIDEGATE_CUTS").is_some(),
        "the story has only {} operations",
        points.len()
    );
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (story, disk) = (&story, &disk);
    std::thread::scope(|scope| {
        for share in points.chunks(points.len().div_ceil(workers)) {
            scope.spawn(move || judge_cuts(story, disk, share));
        }
    });
    println!("{} cut points, {} writes", points.len(), story.writes.len());
}

fn judge_cuts(story: &Story, disk: &Disk, points: &[usize]) {
    let mut history = disk.history();
    let runtime = runtime();
    for point in points {
        history.advance_to(*point);
        let tear = match point % 4 {
            0 => Tear::AllLost,
            1 => Tear::AllKept,
            _ => Tear::Random(*point as u64),
        };
        let what = format!("cut before operation {point}, {tear:?}");
        let mut after = history.after_power_cut(tear);
        if point % 10 == 0 {
            after = cut_again_while_recovering(after, *point);
        }
        let store = open(&Disk::of(after)).unwrap_or_else(|| panic!("{what}: cannot be opened"));
        runtime.block_on(story.judge(&store, story.promised_before(*point), &what));
    }
}

/// The power goes a second time while the store recovers from the first.
fn cut_again_while_recovering(bytes: Vec<u8>, point: usize) -> Vec<u8> {
    let disk = Disk::of(bytes).dying_at(point / 10 % 12);
    drop(open(&disk));
    disk.after_power_cut(Tear::Random(point as u64))
}

/// As above, but the store lives through it: what it acknowledges while its disk dies under it counts.
#[test]
fn a_store_whose_disk_dies_acknowledges_nothing_that_is_not_there_later() {
    let mut died_in_the_middle = 0;
    let empty = empty().after_power_cut(Tear::AllKept);
    for point in (0..600).step_by(5) {
        let disk = Disk::of(empty.clone()).dying_at(point);
        let mut story = Story::new(2);
        if let Some(store) = open(&disk) {
            runtime().block_on(story.tell(&store, BURSTS, || 0));
            assert!(story.promises.len() < BURSTS, "the disk did not die");
            died_in_the_middle += usize::from(!story.promises.is_empty());
        }
        let what = format!("death at operation {point}");
        let after = disk.after_power_cut(Tear::Random(point as u64));
        let store = open(&Disk::of(after)).unwrap_or_else(|| panic!("{what}: cannot be opened"));
        runtime().block_on(story.judge(&store, story.promised_before(0), &what));
    }
    assert!(died_in_the_middle > 100, "{died_in_the_middle}");
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    let dir = std::env::temp_dir().join(format!("tidegate-unfinished-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("tidegate.redb.new"), [0; 4096]).unwrap();
    drop(Store::open(&dir, 64).unwrap());
    let names = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["tidegate.redb"]);
    std::fs::remove_dir_all(&dir).unwrap();
}
