//! The disruption budget, checked in one place by all operators.
//!
//! A budget is asked for every disruptive action, in order, on a state that includes our own writes. What a taken
//! action makes unavailable counts at once, whether the unit was available before or not.
use serde::{Deserialize, Serialize};

/// How much may be unavailable at once, and how much is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    pub allowed: u32,
    pub in_use: u32,
}

/// What an action would do to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disruption {
    /// The unit is available and will not be for a while: needs a place.
    Available,
    /// The unit is unavailable already: is always let through, and takes a place from then on.
    Unavailable,
    /// The unit is unavailable already and has a place.
    Counted,
}

impl Budget {
    pub fn new(allowed: u32, in_use: u32) -> Self {
        Self { allowed, in_use }
    }

    /// Places left.
    pub fn left(&self) -> u32 {
        self.allowed.saturating_sub(self.in_use)
    }

    /// Takes what the action needs, or says no and takes nothing.
    pub fn take(&mut self, disruption: Disruption) -> bool {
        match disruption {
            Disruption::Available if self.left() == 0 => return false,
            Disruption::Available | Disruption::Unavailable => self.in_use = self.in_use.saturating_add(1),
            Disruption::Counted => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_available_unit_needs_a_place_and_an_unavailable_one_takes_it_anyway() {
        let mut budget = Budget::new(2, 0);
        assert!(budget.take(Disruption::Unavailable));
        assert!(budget.take(Disruption::Available));
        assert!(!budget.take(Disruption::Available));
        assert!(budget.take(Disruption::Unavailable));
        assert_eq!((budget.in_use, budget.left()), (3, 0));
        assert!(budget.take(Disruption::Counted));
        assert_eq!(budget.in_use, 3);
    }

    #[test]
    fn a_budget_of_nothing_disrupts_nothing_available() {
        assert!(!Budget::new(0, 0).take(Disruption::Available));
    }
}
