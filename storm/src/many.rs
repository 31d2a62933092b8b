//! Many seeds, over all cores.
use crate::{Outcome, Setup, run};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How one of them ended.
pub type Verdict<T> = (T, Result<Outcome, String>);

/// A run takes less than a second; where none ends in this time, none will.
const NONE_ENDS_IN: Duration = Duration::from_secs(300);

/// Runs each of `jobs` on `threads` threads (each run is one thread) and tells of every one that is done, or of
/// those that hang.
pub fn each<T: Clone + Send + Sync>(
    jobs: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<Outcome, String> + Sync,
    hang: impl Fn(&[&T]),
    mut done: impl FnMut(Verdict<&T>),
) {
    let next = AtomicUsize::new(0);
    let running = Mutex::new(BTreeMap::new());
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (tell, next, work, running) = (tell.clone(), &next, &work, &running);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    lock(running).insert(number, job);
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| work(job)));
                    let verdict = ended.unwrap_or_else(|_| Err("panicked".to_owned()));
                    lock(running).remove(&number);
                    if tell.send((job, verdict)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        loop {
            match told.recv_timeout(NONE_ENDS_IN) {
                Ok(verdict) => done(verdict),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let running: Vec<&T> = lock(&running).values().copied().collect();
                    hang(&running);
                }
            }
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known to go wrong and not mended yet, by its cause: where the storage was put back to before our webhook
/// configuration was there, a SidecarSet is told to be in force though it is not, and pods that are created then have no
/// sidecars. No broken budget is excused.
pub fn is_known(error: &str) -> bool {
    error.starts_with(MAY_BE_PUT_BACK) && error.contains("created without the sidecars")
}

const MAY_BE_PUT_BACK: &str = "where the storage may be put back: ";

/// One seed with many faults: the budgets hold, and what is stored at the end is what the story asks for.
pub fn stormy(setup: &Setup) -> Result<Outcome, String> {
    let outcome = run(setup).map_err(|error| match setup.plan.restores() {
        0 => error.to_string(),
        _ => format!("{MAY_BE_PUT_BACK}{error}"),
    })?;
    let stored = &outcome.stored;
    let wanted = setup.tale.pod_writes();
    // Where the storage was put back, some of the writes are lost: what was asked for meanwhile is not done again.
    let as_often = match outcome.restored {
        false => stored.pod_writes == wanted,
        true => stored.pod_writes.len() == wanted.len() && at_most(&stored.pod_writes, &wanted),
    };
    if !as_often {
        return Err(format!(
            "pods were written {:?} times, not {wanted:?}",
            stored.pod_writes
        ));
    }
    if let Some(image) = stored.images.iter().find(|i| *i != "example.test/side:2") {
        return Err(format!("a pod has the image {image:?} at the end"));
    }
    let pods = i64::try_from(setup.tale.pods).unwrap_or_default();
    if stored.set_status != [pods; 4] {
        return Err(format!("status says {:?}", stored.set_status));
    }
    let images: Vec<&str> = stored.revisions.iter().map(|(_, image)| image.as_str()).collect();
    let as_told = match outcome.restored {
        false => images == HISTORY,
        true => images.last() == HISTORY.last() && is_within(&images, &HISTORY),
    };
    if !as_told {
        return Err(format!("the history is {:?}", stored.revisions));
    }
    Ok(outcome)
}

/// Images of the revisions there are in the end, in their order.
const HISTORY: [&str; 3] = [
    "example.test/side:1",
    "example.test/side:3",
    "example.test/side:2",
];

/// Each of the sorted numbers is at most the other one in its place.
fn at_most(numbers: &[i64], limits: &[i64]) -> bool {
    numbers.iter().zip(limits).all(|(number, limit)| number <= limit)
}

/// Whether these are some of `all`, in their order.
fn is_within(some: &[&str], all: &[&str]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|one| rest.any(|other| other == one))
}
