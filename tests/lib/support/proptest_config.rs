//! Property tests run the same cases each time.

use std::env;

use proptest::test_runner::{Config, RngSeed};

/// Arbitrary.
const SEED: u64 = 20_260_203;

/// Returns a configuration with a fixed seed.
///
/// `tests/manual/random.sh` sets the variables and keeps the seed of what it finds, which then becomes a named test
/// here.
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
