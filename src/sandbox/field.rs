//! The fields of a machine action that lists know, their values, and how two values compare.

use std::cmp::Ordering;

use jiff::Timestamp;

/// A field that can be filtered and ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Status,
    MachineId,
    Type,
    Requestor,
    Created,
}

impl Field {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "id" => Some(Self::Id),
            "status" => Some(Self::Status),
            "machineId" => Some(Self::MachineId),
            "type" => Some(Self::Type),
            "requestor" => Some(Self::Requestor),
            "creationDateTimeUtc" => Some(Self::Created),
            _ => None,
        }
    }
}

/// A value in a filter or in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Time(Timestamp),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "eq" => Some(Self::Equal),
            "ne" => Some(Self::NotEqual),
            "lt" => Some(Self::Less),
            "le" => Some(Self::LessOrEqual),
            "gt" => Some(Self::Greater),
            "ge" => Some(Self::GreaterOrEqual),
            _ => None,
        }
    }

    /// Returns whether it holds; what cannot be ordered is neither less nor greater.
    pub(super) fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}
