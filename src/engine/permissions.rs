//! Compares a token's permissions with a plan's action types.
//!
//! This is a forecast for people; it decides nothing. Whether the service requires the permission that fits a type is
//! undocumented, and only the service can refuse.

use crate::auth::Claims;
use crate::model::ActionType;

/// Each of these lets an app or a user read states.
const READING: [&str; 4] = [
    "Machine.Read.All",
    "Machine.ReadWrite.All",
    "Machine.Read",
    "Machine.ReadWrite",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededPermission {
    pub name: &'static str,
    /// The types that need it, with their rows.
    pub types: Vec<(ActionType, u64)>,
    pub is_held: bool,
}

/// What a token's claims say about a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The permissions to cancel, in the order of the types.
    pub cancelling: Vec<NeededPermission>,
    pub may_read: bool,
}

impl Permissions {
    /// Compares claims with the types to send. `None` if the token names no permission at all.
    pub fn forecast(claims: &Claims, types: &[(&str, u64)]) -> Option<Self> {
        let granted = || claims.roles.iter().chain(&claims.scopes);
        granted().next()?;
        let holds = |name: &str| granted().any(|held| held.eq_ignore_ascii_case(name));
        let mut cancelling: Vec<NeededPermission> = Vec::new();
        for &(word, rows) in types {
            let action_type = ActionType::parse(word);
            let Some(name) = action_type.permission() else {
                continue;
            };
            let known = cancelling.iter_mut().find(|needed| needed.name == name);
            match known {
                Some(needed) => needed.types.push((action_type, rows)),
                None => cancelling.push(NeededPermission {
                    name,
                    types: vec![(action_type, rows)],
                    is_held: holds(name),
                }),
            }
        }
        Some(Self {
            cancelling,
            may_read: READING.into_iter().any(holds),
        })
    }

    pub fn missing(&self) -> impl Iterator<Item = &NeededPermission> {
        self.cancelling.iter().filter(|needed| !needed.is_held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(roles: &[&str], scopes: &[&str]) -> Claims {
        let texts = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Claims {
            roles: texts(roles),
            scopes: texts(scopes),
            ..Claims::default()
        }
    }

    #[test]
    fn types_that_the_token_has_no_permission_for_are_named_with_their_rows() {
        let app = claims(&["machine.isolate", "Machine.Read.All"], &[]);
        let types = [
            ("", 5),
            ("Isolate", 2),
            ("RunAntiVirusScan", 7),
            ("Unisolate", 1),
        ];
        let found = Permissions::forecast(&app, &types).unwrap();
        assert!(found.may_read);
        let missing: Vec<_> = found.missing().map(|needed| needed.name).collect();
        assert_eq!(missing, ["Machine.Scan"]);
        let isolate = &found.cancelling[0];
        let both = [(ActionType::Isolate, 2), (ActionType::Unisolate, 1)];
        assert_eq!(
            (isolate.is_held, isolate.types.as_slice()),
            (true, &both[..])
        );
    }

    #[test]
    fn a_users_scopes_count_and_a_token_that_does_not_tell_gives_no_forecast() {
        let user = claims(&[], &["Machine.Scan"]);
        let found = Permissions::forecast(&user, &[("RunAntiVirusScan", 7)]).unwrap();
        assert!(!found.may_read);
        assert_eq!(found.missing().count(), 0);
        assert_eq!(
            Permissions::forecast(&claims(&[], &[]), &[("Isolate", 1)]),
            None
        );
    }
}
