//! How property tests run: the same cases each time.

use std::env;

use proptest::test_runner::{Config, RngSeed};

/// Any number would do.
const SEED: u64 = 20_260_203;

/// Returns a configuration of so many cases from one fixed seed.
///
/// `tests/manual/random.sh` sets the variables, and keeps the seed of what it finds; here it becomes a test with a name.
pub(crate) fn proptest_config(cases: u32) -> Config {
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    Config {
        cases: number("MDE_TEST_CASES")
            .and_then(|cases: u64| u32::try_from(cases).ok())
            .unwrap_or(cases),
        rng_seed: RngSeed::Fixed(number("MDE_TEST_SEED").unwrap_or(SEED)),
        failure_persistence: None,
        ..Config::default()
    }
}
