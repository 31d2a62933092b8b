//! Many seeds, over all cores.
use crate::{Outcome, Setup, run};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// How one of them ended.
pub type Verdict<T> = (T, Result<Outcome, String>);

/// Runs each of `jobs` on `threads` threads (each run is one thread) and tells of every one that is done.
pub fn each<T: Clone + Send + Sync>(
    jobs: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<Outcome, String> + Sync,
    mut done: impl FnMut(Verdict<&T>),
) {
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (tell, next, work) = (tell.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| work(job)));
                    let verdict = ended.unwrap_or_else(|_| Err("panicked".to_owned()));
                    if tell.send((job, verdict)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        told.iter().for_each(&mut done);
    });
}

/// One seed with many faults: the budgets hold, and what is stored at the end is what the story asks for.
pub fn stormy(setup: &Setup) -> Result<Outcome, String> {
    let outcome = run(setup).map_err(|error| error.to_string())?;
    let stored = &outcome.stored;
    let wanted = setup.tale.pod_writes();
    if stored.pod_writes != wanted {
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
    if images
        != [
            "example.test/side:1",
            "example.test/side:3",
            "example.test/side:2",
        ]
    {
        return Err(format!("the history is {:?}", stored.revisions));
    }
    Ok(outcome)
}
