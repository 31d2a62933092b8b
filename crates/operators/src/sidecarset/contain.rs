//! Panics stay with the SidecarSet they happen on: counted, shown on it, tried again later, in nobody else's way.
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What was done when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Plan,
    Read,
    Decide,
    Prepare,
    Configure,
    Review,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "reading the SidecarSet",
            Self::Read => "reading its pods",
            Self::Decide => "deciding",
            Self::Prepare => "preparing injection",
            Self::Configure => "selecting its pods for the webhook",
            Self::Review => "answering a review",
        }
    }
}

/// Does `work` for the SidecarSet; a panic in it goes no further.
pub(super) fn contain<T>(step: Step, sidecarset: &str, work: impl FnOnce() -> T) -> Result<T, Step> {
    let guarded = || {
        #[cfg(test)]
        injected::strike(step, sidecarset);
        work()
    };
    catch_unwind(AssertUnwindSafe(guarded)).map_err(|_| {
        tracing::error!(sidecarset, step = step.name(), "panicked");
        step
    })
}

/// Panics on demand, in the thread that asked for them.
#[cfg(test)]
pub(super) mod injected {
    use super::Step;
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    thread_local! {
        static ARMED: RefCell<BTreeSet<(Step, String)>> = const { RefCell::new(BTreeSet::new()) };
        static STRUCK: RefCell<BTreeMap<(Step, String), u32>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub fn arm(step: Step, sidecarset: &str) {
        ARMED.with_borrow_mut(|armed| armed.insert((step, sidecarset.to_owned())));
    }

    pub fn disarm() {
        ARMED.with_borrow_mut(BTreeSet::clear);
    }

    /// How often it happened.
    pub fn struck(step: Step, sidecarset: &str) -> u32 {
        STRUCK.with_borrow(|struck| {
            struck
                .get(&(step, sidecarset.to_owned()))
                .copied()
                .unwrap_or_default()
        })
    }

    pub fn strike(step: Step, sidecarset: &str) {
        let at = (step, sidecarset.to_owned());
        if ARMED.with_borrow(|armed| armed.contains(&at)) {
            STRUCK.with_borrow_mut(|struck| *struck.entry(at).or_default() += 1);
            panic!("injected by a test");
        }
    }
}
