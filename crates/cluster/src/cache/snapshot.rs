//! All objects of a cache, as of one moment.
use std::sync::Arc;

use imbl::OrdMap;

use crate::ObjectKey;

/// Objects by key, as of one moment.
pub struct Snapshot<T> {
    pub(super) objects: OrdMap<ObjectKey, Arc<T>>,
}

impl<T> Snapshot<T> {
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.objects.get(key)
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether this is the same moment: nothing was changed between the two.
    pub fn is(&self, other: &Self) -> bool {
        self.objects.ptr_eq(&other.objects)
    }

    /// In key order: by namespace, then name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<T>)> {
        self.objects.iter()
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values()
    }

    /// The objects of one namespace, found without walking the others.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> {
        self.objects
            .range(ObjectKey::new(namespace, "")..)
            .take_while(move |(key, _)| key.namespace == namespace)
    }
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Snapshot {
            objects: self.objects.clone(),
        }
    }
}

/// The same with full nodes: those of a map that was filled in order are half empty. Every other entry comes first,
/// which leaves room for one after each.
pub(super) fn packed<T>(objects: OrdMap<ObjectKey, Arc<T>>) -> OrdMap<ObjectKey, Arc<T>> {
    let mut out = OrdMap::new();
    let mut between = Vec::with_capacity(objects.len() / 2);
    for (number, (key, object)) in objects.into_iter().enumerate() {
        match number % 2 {
            0 => drop(out.insert(key, object)),
            _ => between.push((key, object)),
        }
    }
    out.extend(between);
    out
}
