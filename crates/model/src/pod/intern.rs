//! One copy of text that many pods share.
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// Longer text is hardly ever shared. An entry of a SidecarSet in a pod's annotation is shorter.
const LONGEST: usize = 512;
const FIRST_SWEEP: usize = 4096;

struct Interner {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

thread_local! {
    static INTERNER: RefCell<Interner> =
        RefCell::new(Interner { known: HashSet::new(), sweep_at: FIRST_SWEEP });
}

/// The shared copy of `text`. Copies nobody holds any more are dropped as the table grows, so that values which
/// are unique to each pod do not pile up.
pub fn intern(text: &str) -> Arc<str> {
    if text.len() > LONGEST {
        return Arc::from(text);
    }
    INTERNER.with_borrow_mut(|interner| {
        if let Some(shared) = interner.known.get(text) {
            return shared.clone();
        }
        if interner.known.len() >= interner.sweep_at {
            interner.known.retain(|t| Arc::strong_count(t) > 1);
            interner.sweep_at = FIRST_SWEEP.max(interner.known.len() * 2);
        }
        let shared: Arc<str> = Arc::from(text);
        interner.known.insert(shared.clone());
        shared
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_text_is_one_allocation_and_unheld_text_is_swept() {
        let a = intern("app");
        assert!(Arc::ptr_eq(&a, &intern("app")));
        for n in 0..3 * FIRST_SWEEP {
            intern(&format!("unique-{n}"));
        }
        assert!(INTERNER.with_borrow(|i| i.known.len()) <= FIRST_SWEEP + 1);
        assert!(Arc::ptr_eq(&a, &intern("app")));
    }
}
