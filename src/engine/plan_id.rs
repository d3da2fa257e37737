//! A plan's id: a truncated SHA-256 over the operation and, in their order, the rows that would be sent. People approve a
//! plan by it, so it is no sum of the rows, which could be forged, and is long enough that nobody finds a second plan to it.
//!
//! Refused: hashing the sorted ids, so that their order doesn't count: that would keep a million ids in memory.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::model::ActionId;

/// 80 bits.
const BYTES: usize = 10;

/// Names what a plan sends: `961c-2524-c3ed-07b1-4e02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId([u8; BYTES]);

impl PlanId {
    /// Reads an id, with or without its dashes, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|&letter| letter != '-')
            .map(|letter| {
                letter
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        (digits.len() == 2 * BYTES).then_some(())?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pair) in self.0.chunks(2).enumerate() {
            let dash = if position == 0 { "" } else { "-" };
            write!(f, "{dash}{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

/// Takes the rows of a plan in, one after the other.
#[derive(Clone, Debug)]
pub struct PlanHash(Sha256);

impl PlanHash {
    /// Begins a plan of this operation.
    pub fn of(operation: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(operation);
        hash
    }

    /// Adds a row that would be sent: in which tenant, which action, and with which comment of its own or the run's.
    pub fn add(&mut self, tenant: &str, id: ActionId, comment: &str) {
        self.text(tenant);
        self.0.update(id.as_bytes());
        self.text(comment);
    }

    /// Returns the id of the rows so far.
    pub fn id(&self) -> PlanId {
        let hash: [u8; 32] = self.0.clone().finalize().into();
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&hash[..BYTES]);
        PlanId(bytes)
    }

    /// Its length goes first, so that no two lists of texts are hashed alike.
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }
}

impl Default for PlanHash {
    fn default() -> Self {
        Self::of("cancel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(rows: &[(&str, u128, &str)]) -> String {
        let mut hash = PlanHash::default();
        for &(tenant, number, comment) in rows {
            let id = ActionId::from_bytes(number.to_be_bytes()).unwrap();
            hash.add(tenant, id, comment);
        }
        hash.id().to_string()
    }

    #[test]
    fn every_part_of_every_row_counts() {
        let base = id_of(&[("contoso", 1, "a"), ("contoso", 2, "b")]);
        for other in [
            &[("contoso", 1, "a")][..],
            &[("contoso", 2, "b"), ("contoso", 1, "a")],
            &[("contoso", 1, "a"), ("contoso", 2, "c")],
            &[("fabrikam", 1, "a"), ("contoso", 2, "b")],
            &[("contoso", 1, "ab"), ("contoso", 2, "")],
            &[("contoso", 1, "a"), ("contoso", 2, "b"), ("contoso", 3, "")],
        ] {
            assert_ne!(id_of(other), base, "{other:?}");
        }
        assert_ne!(PlanHash::of("release").id(), PlanHash::of("cancel").id());
    }

    #[test]
    fn it_reads_the_same_in_every_version_and_reads_back() {
        let text = id_of(&[("contoso", 1, ""), ("contoso", 2, "CHG-4711")]);
        insta::assert_snapshot!(text, @"dba2-e8ad-f0bf-b716-5b76");
        let id = PlanId::parse(&text);
        assert_eq!(id.unwrap().to_string(), text);
        assert_eq!(PlanId::parse(&text.replace('-', "").to_uppercase()), id);
        for bad in [
            "",
            "961c",
            "961c-2524-c3ed-07b1-4e0",
            "961c-2524-c3ed-07b1-4e021",
            "zzzz-2524-c3ed-07b1-4e02",
        ] {
            assert_eq!(PlanId::parse(bad), None, "{bad}");
        }
    }
}
