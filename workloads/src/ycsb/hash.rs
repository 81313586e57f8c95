//! Upstream YCSB's hash, which scatters both the popular keys and the order of insertion.

/// FNV-1a over the eight bytes of `value`, least first, and then the absolute value of the result as a signed number, as
/// upstream's `Utils.fnvhash64` has it.
#[must_use]
pub fn fnv64(value: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = value
        .to_le_bytes()
        .iter()
        .fold(OFFSET_BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash.cast_signed().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_fnv_1a_with_the_sign_taken_off() {
        // Computed outside of this project. FNV-1a of eight zero bytes is a8c7f832281a39c5, negative as a signed number.
        assert_eq!(fnv64(0), 0xa8c7_f832_281a_39c5_u64.wrapping_neg());
        assert_eq!(fnv64(0), 6_284_781_860_667_377_211);
        assert_eq!(fnv64(1), 8_517_097_267_634_966_620);
        assert_eq!(fnv64(2), 1_820_151_046_732_198_393);
        assert_eq!(fnv64(999), 2_071_219_101_098_386_137);
        // And one that is positive from the start.
        assert_eq!(fnv64(9_999_999_999), 0x3207_ffb3_a7ba_cce2);
    }
}
