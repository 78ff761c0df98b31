//! Which deliveries to one webhook are under way.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers of deliveries under way.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<i64>>>);

/// That a delivery is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: UnderWay,
    id: i64,
}

impl UnderWay {
    /// Takes a place for the delivery `id`, unless it is under way.
    pub(super) fn take(&self, id: i64) -> Option<Place> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        taken.then(|| Place { all: self.clone(), id })
    }

    /// The numbers.
    pub(super) fn numbers(&self) -> Vec<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_under_way_once() {
        let under_way = UnderWay::default();
        let place = under_way.take(7);
        assert!(place.is_some() && under_way.take(7).is_none());
        assert_eq!(under_way.numbers(), [7]);
        drop(place);
        assert!(under_way.take(7).is_some());
    }
}
