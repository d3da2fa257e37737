//! The clouds and geographies of the service that have a name of their own (MDE facts, 3.1).
//!
//! Only their words are here; which host belongs to which is known where connections are resolved.

use std::fmt;

/// The service's clouds, by their preset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Cloud {
    /// The global service
    #[default]
    Commercial,
    /// US Government GCC
    Gcc,
    /// US Government GCC High
    GccHigh,
    /// US Department of Defense
    Dod,
}

impl Cloud {
    /// Returns the word by which flags, scopes and reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commercial => "commercial",
            Self::Gcc => "gcc",
            Self::GccHigh => "gcc-high",
            Self::Dod => "dod",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The geographies of the commercial cloud that have a host of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Region {
    /// United States
    Us,
    /// Europe
    Eu,
    /// United Kingdom
    Uk,
    /// Australia
    Au,
    /// Switzerland
    Swa,
    /// India
    Ina,
    /// United Arab Emirates
    Aea,
}

impl Region {
    /// Returns the word by which flags and host names name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::Uk => "uk",
            Self::Au => "au",
            Self::Swa => "swa",
            Self::Ina => "ina",
            Self::Aea => "aea",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn clouds_and_regions_are_typed_as_they_are_shown() {
        for cloud in Cloud::value_variants() {
            assert_eq!(
                cloud.to_possible_value().unwrap().get_name(),
                cloud.as_str()
            );
        }
        for region in Region::value_variants() {
            assert_eq!(
                region.to_possible_value().unwrap().get_name(),
                region.as_str()
            );
        }
    }
}
