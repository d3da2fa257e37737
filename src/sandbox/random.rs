//! Random values by hashing: the same seed, salt and subject give the same bits in any order of calls.

/// Returns 64 bits that depend on every bit of the arguments.
pub(super) fn roll(seed: u64, salt: u64, subject: &[u8]) -> u64 {
    let mut state = mix(seed ^ mix(salt));
    for chunk in subject.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// The finalizer of `SplitMix64`: every input bit flips each output bit with a probability near 1/2.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Maps bits to `0.0..1.0`.
pub(super) fn fraction(bits: u64) -> f64 {
    // A float holds 53 bits exactly. Both halves fit a u32, so neither conversion rounds.
    let high = u32::try_from(bits >> 32).unwrap_or(0);
    let low = u32::try_from((bits >> 11) & 0x001F_FFFF).unwrap_or(0);
    (f64::from(high) * 2_097_152.0 + f64::from(low)) / 9_007_199_254_740_992.0
}

/// Returns a version 4 UUID.
pub(super) fn guid(seed: u64, salt: u64, subject: &[u8]) -> uuid::Uuid {
    let high = roll(seed, salt, subject);
    let low = roll(high, salt, subject);
    uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
        .into_uuid()
}
