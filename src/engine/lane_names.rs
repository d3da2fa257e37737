//! The names of a run's lanes, to match with the `tenant` cells of rows.

use std::collections::BTreeMap;

use crate::model::LaneId;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneName {
    /// Its name in reports: the tenant's, or the profile's if the tenant has no name.
    pub shown: Option<String>,
    /// Every name for it: profile, tenant id, domain name.
    pub words: Vec<String>,
}

/// The lanes of a run, in order. An imitated service has one lane, which has no name and takes every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneNames {
    lanes: Vec<LaneName>,
    by_word: BTreeMap<String, Vec<LaneId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowLane {
    To(LaneId),
    /// The run has several lanes, and the row names none.
    Unnamed,
    /// The row names a tenant outside this run.
    Elsewhere,
}

impl LaneNames {
    /// Takes the lanes in their order.
    pub fn new(lanes: Vec<LaneName>) -> Self {
        let mut by_word: BTreeMap<String, Vec<LaneId>> = BTreeMap::new();
        for (id, lane) in (0..).map(LaneId).zip(&lanes) {
            for word in &lane.words {
                let meant = by_word.entry(folded(word)).or_default();
                if !meant.contains(&id) {
                    meant.push(id);
                }
            }
        }
        Self { lanes, by_word }
    }

    /// Returns whether rows must name their tenant.
    pub fn are_several(&self) -> bool {
        self.lanes.len() > 1
    }

    pub fn shown(&self, lane: LaneId) -> Option<&str> {
        let lane = self.lanes.get(usize::from(lane.0))?;
        lane.shown.as_deref()
    }

    /// Returns the lane with this name, ignoring case; `None` if two lanes have it.
    pub fn find(&self, word: &str) -> Option<LaneId> {
        match self.by_word.get(&folded(word))?.as_slice() {
            [lane] => Some(*lane),
            _ => None,
        }
    }

    /// Returns two lanes that share a name.
    pub fn ambiguous(&self) -> Option<(LaneId, LaneId)> {
        self.by_word
            .values()
            .find_map(|lanes| match *lanes.as_slice() {
                [one, other, ..] => Some((one, other)),
                _ => None,
            })
    }

    /// Returns where a row with this tenant cell belongs.
    pub(super) fn place(&self, tenant: Option<&str>) -> RowLane {
        let tenant = tenant.map(str::trim).filter(|word| !word.is_empty());
        match tenant {
            None if self.are_several() => RowLane::Unnamed,
            None => RowLane::To(LaneId(0)),
            // An imitated service takes every row.
            Some(_) if self.lanes.is_empty() => RowLane::To(LaneId(0)),
            Some(word) => self.find(word).map_or(RowLane::Elsewhere, RowLane::To),
        }
    }
}

fn folded(word: &str) -> String {
    word.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lanes: &[&[&str]]) -> LaneNames {
        let lane = |words: &&[&str]| LaneName {
            shown: words.first().map(|&word| word.to_owned()),
            words: words.iter().map(|&word| word.to_owned()).collect(),
        };
        LaneNames::new(lanes.iter().map(lane).collect())
    }

    #[test]
    fn a_row_belongs_to_the_tenant_or_profile_that_it_names_whatever_the_case() {
        let two = names(&[&["contoso", "1111-aa"], &["fabrikam"]]);
        for (cell, place) in [
            (Some("CONTOSO"), RowLane::To(LaneId(0))),
            (Some(" 1111-AA "), RowLane::To(LaneId(0))),
            (Some("Fabrikam"), RowLane::To(LaneId(1))),
            (Some("litware"), RowLane::Elsewhere),
            (Some("  "), RowLane::Unnamed),
            (None, RowLane::Unnamed),
        ] {
            assert_eq!(two.place(cell), place, "{cell:?}");
        }
    }

    #[test]
    fn with_one_lane_a_row_need_not_name_it_but_must_not_name_another() {
        let one = names(&[&["contoso"]]);
        assert_eq!(one.place(None), RowLane::To(LaneId(0)));
        assert_eq!(one.place(Some("Contoso")), RowLane::To(LaneId(0)));
        assert_eq!(one.place(Some("fabrikam")), RowLane::Elsewhere);
        let unknown = names(&[&[]]);
        assert_eq!(unknown.place(Some("fabrikam")), RowLane::Elsewhere);
        assert_eq!(unknown.place(None), RowLane::To(LaneId(0)));
        // An imitated service names no lane and takes every row.
        let imitation = LaneNames::default();
        assert_eq!(imitation.place(Some("fabrikam")), RowLane::To(LaneId(0)));
    }

    #[test]
    fn a_word_that_means_two_lanes_means_none() {
        let two = names(&[&["contoso", "1111-aa"], &["Contoso", "2222-bb"]]);
        assert_eq!(two.place(Some("contoso")), RowLane::Elsewhere);
        assert_eq!(two.place(Some("2222-BB")), RowLane::To(LaneId(1)));
        assert_eq!(two.ambiguous(), Some((LaneId(0), LaneId(1))));
        assert_eq!(names(&[&["a", "x"], &["b"]]).ambiguous(), None);
    }
}
