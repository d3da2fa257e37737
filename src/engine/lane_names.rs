//! The lanes of a run by the words that name them: what a row's `tenant` cell is compared with.

use crate::model::LaneId;

/// One lane's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneName {
    /// What it is called in reports: the tenant, or where nobody names it, the profile.
    pub shown: Option<String>,
    /// Every word that means it: profile, tenant id, domain name.
    pub words: Vec<String>,
}

/// The lanes of a run, in their order. A run that names none has one, which takes every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneNames {
    lanes: Vec<LaneName>,
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// To this lane.
    To(LaneId),
    /// There are several lanes, and the row names none.
    Unnamed,
    /// To a tenant that is none of this run's.
    Elsewhere,
}

impl LaneNames {
    /// Takes the names of a run's lanes, in their order.
    pub fn new(lanes: Vec<LaneName>) -> Self {
        Self { lanes }
    }

    /// Returns whether rows must say where they belong.
    pub fn are_several(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Returns what a lane is called.
    pub fn shown(&self, lane: LaneId) -> Option<&str> {
        let lane = self.lanes.get(usize::from(lane.0))?;
        lane.shown.as_deref()
    }

    /// Returns the lane that a word means, whatever its case.
    pub fn find(&self, word: &str) -> Option<LaneId> {
        let is_it = |lane: &LaneName| lane.words.iter().any(|known| is_same(known, word));
        let place = self.lanes.iter().position(is_it)?;
        u16::try_from(place).ok().map(LaneId)
    }

    /// Says where a row belongs whose tenant cell holds this.
    pub(super) fn place(&self, tenant: Option<&str>) -> Belongs {
        let tenant = tenant.map(str::trim).filter(|word| !word.is_empty());
        let is_anybody = self.lanes.iter().all(|lane| lane.words.is_empty());
        match tenant {
            None if self.are_several() => Belongs::Unnamed,
            None => Belongs::To(LaneId(0)),
            // A token that names nobody leaves nothing to compare with.
            Some(_) if !self.are_several() && is_anybody => Belongs::To(LaneId(0)),
            Some(word) => self.find(word).map_or(Belongs::Elsewhere, Belongs::To),
        }
    }
}

fn is_same(known: &str, word: &str) -> bool {
    known.to_lowercase() == word.trim().to_lowercase()
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
            (Some("CONTOSO"), Belongs::To(LaneId(0))),
            (Some(" 1111-AA "), Belongs::To(LaneId(0))),
            (Some("Fabrikam"), Belongs::To(LaneId(1))),
            (Some("litware"), Belongs::Elsewhere),
            (Some("  "), Belongs::Unnamed),
            (None, Belongs::Unnamed),
        ] {
            assert_eq!(two.place(cell), place, "{cell:?}");
        }
    }

    #[test]
    fn with_one_lane_a_row_need_not_name_it_but_must_not_name_another() {
        let one = names(&[&["contoso"]]);
        assert_eq!(one.place(None), Belongs::To(LaneId(0)));
        assert_eq!(one.place(Some("Contoso")), Belongs::To(LaneId(0)));
        assert_eq!(one.place(Some("fabrikam")), Belongs::Elsewhere);
        // Where nobody knows whose token it is, any name will do.
        let unknown = LaneNames::default();
        assert_eq!(unknown.place(Some("fabrikam")), Belongs::To(LaneId(0)));
    }
}
