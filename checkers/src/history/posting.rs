//! Amounts with a sign as elements of lists: counters and accounts are lists to which amounts are appended.
//!
//! ```text
//! value   bits 20 to 63    a number that tells the posting from all others of its list
//!         bits 0 to 19     the amount, zigzag: 0, -1, 1, -2, 2, …
//! ```
//! Every value is some posting, so nothing is lost in reading one back.

/// One line of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Posting {
    /// Tells it from the others. The two sides of a transfer share it.
    pub id: u64,
    /// What is added; negative: taken off.
    pub amount: i64,
}

const AMOUNT_BITS: u32 = 20;

impl Posting {
    /// The greatest amount, either way.
    pub const AMOUNT_MAX: i64 = (1 << (AMOUNT_BITS - 1)) - 1;
    /// The greatest number.
    pub const ID_MAX: u64 = (1 << (u64::BITS - AMOUNT_BITS)) - 1;

    /// The posting as a list's element.
    ///
    /// # Panics
    /// If number or amount are greater than can be carried.
    #[must_use]
    pub fn value(self) -> u64 {
        let Posting { id, amount } = self;
        assert!(id <= Self::ID_MAX && amount.abs() <= Self::AMOUNT_MAX, "{self:?} cannot be carried");
        (id << AMOUNT_BITS) | ((amount << 1) ^ (amount >> 63)).cast_unsigned()
    }

    /// The posting that an element is.
    #[must_use]
    pub fn of(value: u64) -> Self {
        let zigzag = value & ((1 << AMOUNT_BITS) - 1);
        let amount = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Self { id: value >> AMOUNT_BITS, amount }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_posting_comes_back_from_its_value(
            id in 0..=Posting::ID_MAX, amount in -Posting::AMOUNT_MAX..=Posting::AMOUNT_MAX,
        ) {
            let posting = Posting { id, amount };
            prop_assert_eq!(Posting::of(posting.value()), posting);
        }

        #[test]
        fn two_values_are_two_postings(one: u64, other: u64) {
            prop_assert_eq!(Posting::of(one) == Posting::of(other), one == other);
        }
    }

    #[test]
    fn small_postings_are_small_numbers() {
        assert_eq!(Posting { id: 1, amount: 0 }.value(), 1 << 20);
        assert_eq!(Posting { id: 0, amount: -1 }.value(), 1);
        assert_eq!(Posting { id: 0, amount: 1 }.value(), 2);
    }
}
