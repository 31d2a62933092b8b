//! One copy of what many pods share: text, and whole lists of it.
use super::ContainerView;
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::thread::LocalKey;

/// Longer text is hardly ever shared. An entry of a SidecarSet in a pod's annotation is shorter.
const LONGEST: usize = 512;
const FIRST_SWEEP: usize = 4096;

type Pair = (Arc<str>, Arc<str>);
type Table<T> = RefCell<Interner<T>>;

thread_local! {
    static TEXT: Table<str> = Table::default();
    static CONTAINERS: Table<[ContainerView]> = Table::default();
    static PAIRS: Table<[Pair]> = Table::default();
}

/// The shared copy of `text`. Copies nobody holds any more are dropped as the table grows, so that values which
/// are unique to each pod do not pile up.
pub fn intern(text: &str) -> Arc<str> {
    match text.len() > LONGEST {
        true => Arc::from(text),
        false => shared(&TEXT, text),
    }
}

/// Pods of one template have the same containers.
pub(super) fn intern_containers(all: &[ContainerView]) -> Arc<[ContainerView]> {
    shared(&CONTAINERS, all)
}

/// And the same labels.
pub(super) fn intern_pairs(all: &[Pair]) -> Arc<[Pair]> {
    shared(&PAIRS, all)
}

struct Interner<T: ?Sized> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

fn shared<T>(table: &'static LocalKey<Table<T>>, wanted: &T) -> Arc<T>
where
    T: ?Sized + Hash + Eq,
    for<'a> Arc<T>: From<&'a T>,
{
    table.with_borrow_mut(|interner| {
        if let Some(shared) = interner.known.get(wanted) {
            return shared.clone();
        }
        if interner.known.len() >= interner.sweep_at {
            interner.known.retain(|t| Arc::strong_count(t) > 1);
            interner.sweep_at = FIRST_SWEEP.max(interner.known.len() * 2);
        }
        let shared: Arc<T> = Arc::from(wanted);
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
        assert!(TEXT.with_borrow(|i| i.known.len()) <= FIRST_SWEEP + 1);
        assert!(Arc::ptr_eq(&a, &intern("app")));
    }
}
