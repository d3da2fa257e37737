//! A short name for the set of actions that a plan sends, the same in a preview, in the question and in whatever order
//! the rows stand.
//!
//! Chosen: each id is hashed and the hashes are summed, so that nothing is kept and nothing is sorted, and a million
//! ids cost no memory. Refused: one hash over the sorted ids, which needs them all. It is for people who compare two
//! plans of their own, and guards against no forger.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::model::ActionId;

/// How many groups of four hexadecimal digits are shown: 48 bits, so that two plans of one night do not look alike.
const GROUPS: usize = 3;

/// Names a set of action ids, each of which is added once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanDigest {
    /// The sum of the ids' hashes modulo 2^256, the lowest digit first.
    sum: [u64; 4],
    count: u64,
}

impl PlanDigest {
    /// Adds an id.
    pub fn add(&mut self, id: ActionId) {
        self.count += 1;
        let hash: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        let mut carry = false;
        for (digit, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let addend = bytes
                .iter()
                .fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
            let (partial, first) = digit.overflowing_add(addend);
            let (total, second) = partial.overflowing_add(u64::from(carry));
            *digit = total;
            carry = first || second;
        }
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Sha256::new();
        for digit in self.sum {
            hash.update(digit.to_be_bytes());
        }
        hash.update(self.count.to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        for (position, pair) in hash.chunks_exact(2).take(GROUPS).enumerate() {
            let dash = if position == 0 { "" } else { "-" };
            write!(f, "{dash}")?;
            for byte in pair {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> ActionId {
        ActionId::from_bytes(number.to_be_bytes()).unwrap()
    }

    fn digest(numbers: impl IntoIterator<Item = u128>) -> String {
        let mut digest = PlanDigest::default();
        for number in numbers {
            digest.add(id(number));
        }
        digest.to_string()
    }

    #[test]
    fn the_order_does_not_count_and_every_id_does() {
        let whole = digest(1..=500);
        assert_eq!(whole, digest((1..=500).rev()));
        for left_out in [1, 250, 500] {
            assert_ne!(
                whole,
                digest((1..=500).filter(|&number| number != left_out))
            );
        }
        assert_ne!(digest([1]), digest([1, 1]));
    }

    #[test]
    fn it_reads_the_same_in_every_version() {
        assert_eq!(digest([]), "2c34-ce1d-f23b");
        assert_eq!(digest([1, 2]), "0b0c-370b-d6da");
    }
}
