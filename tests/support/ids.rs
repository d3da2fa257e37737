//! Ids that tests make up.

use mde_cancel::model::ActionId;

pub(crate) fn nth_id(number: usize) -> ActionId {
    ActionId::parse(&format!("00000000-0000-4000-8000-{number:012x}")).unwrap()
}
