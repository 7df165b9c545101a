//! Ids that look random and depend only on a seed.

/// A UUID of version 4 for a position. Different seeds or positions have different UUIDs, except by
/// a coincidence of 122 bits.
pub fn random(seed: u64, position: u64) -> String {
    let high = mix(seed ^ mix(position));
    let low = mix(high ^ position.rotate_left(32));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}

/// The output function of SplitMix64: a bijection whose results look random.
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
