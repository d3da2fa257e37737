//! The id of a machine action.
//!
//! Ids become part of a URL path. Only a GUID parses as an [`ActionId`], so no other text can reach a URL.

use std::fmt;

use uuid::Uuid;

/// The GUID of a machine action; never the nil GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActionId {
    #[error("the id is empty")]
    Empty,
    #[error("the id is not a GUID")]
    NotAGuid,
    /// 40 hexadecimal digits are a machine id.
    #[error("the id is a machine's (--machine-id selects actions by machine)")]
    MachineId,
    #[error("the id is the nil GUID")]
    Nil,
}

impl ActionId {
    /// Parses an id as exports write it: any case, with or without hyphens, surrounding blanks or braces.
    pub fn parse(text: &str) -> Result<Self, InvalidActionId> {
        let trimmed = text.trim();
        let bare = trimmed
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(trimmed)
            .trim();
        if bare.is_empty() {
            return Err(InvalidActionId::Empty);
        }
        // Check the form first: `uuid` also accepts `urn:uuid:`.
        let is_hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        match bare.len() {
            36 => {}
            32 if is_hex => {}
            40 if is_hex => return Err(InvalidActionId::MachineId),
            _ => return Err(InvalidActionId::NotAGuid),
        }
        match Uuid::try_parse(bare) {
            Ok(id) if id.is_nil() => Err(InvalidActionId::Nil),
            Ok(id) => Ok(Self(id)),
            Err(_) => Err(InvalidActionId::NotAGuid),
        }
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns `None` for the nil GUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let id = Uuid::from_bytes(bytes);
        (!id.is_nil()).then_some(Self(id))
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWER: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";

    #[test]
    fn case_braces_and_blanks_do_not_matter() {
        let plain = ActionId::parse(LOWER).unwrap();
        for text in [
            LOWER.to_uppercase(),
            format!("  {LOWER}\t"),
            format!("{{{LOWER}}}"),
            LOWER.replace('-', ""),
            format!(" {{ {} }} ", LOWER.to_uppercase()),
        ] {
            assert_eq!(ActionId::parse(&text), Ok(plain), "{text}");
        }
        assert_eq!(plain.to_string(), LOWER);
        assert_eq!(ActionId::from_bytes(*plain.as_bytes()), Some(plain));
    }

    #[test]
    fn whatever_is_not_a_guid_is_refused() {
        for text in [
            "../../machines/x/offboard",
            "7f3c2a105b1e4a779a3d0c5be0a1d9f",
            "7f3c2a105b1e4a779a3d0c5be0a1d9-2",
            "urn:uuid:7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2",
            "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2/../x",
            "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9fg",
            "7f3c2a10\0-5b1e-4a77-9a3d-0c5be0a1d9f",
            "{7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2",
        ] {
            assert_eq!(
                ActionId::parse(text),
                Err(InvalidActionId::NotAGuid),
                "{text}"
            );
        }
        let machine = "0123456789abcdef".repeat(3);
        assert_eq!(
            ActionId::parse(&machine[..40]),
            Err(InvalidActionId::MachineId)
        );
        assert_eq!(ActionId::parse(" {} "), Err(InvalidActionId::Empty));
        assert_eq!(
            ActionId::parse("00000000-0000-0000-0000-000000000000"),
            Err(InvalidActionId::Nil)
        );
    }
}
