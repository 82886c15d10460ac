//! A fast digest of bytes, the same on every machine. It finds differences, not forgeries.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word).wrapping_mul(u128::from(FACTOR | 1));
    (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(29)
}

/// The digest of `bytes` after `state`.
pub(crate) fn bytes(state: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(state, bytes.len() as u64 ^ FACTOR);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(
            state,
            u64::from_le_bytes(chunk.try_into().expect("8 bytes")),
        );
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(state, u64::from_le_bytes(last))
}

/// The digest of a number after `state`.
pub(crate) fn number(state: u64, number: u64) -> u64 {
    mix(state.wrapping_mul(FACTOR), number)
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_change_of_a_byte_or_of_the_length_changes_the_digest() {
        let good = [7u8; 21];
        let digest = super::bytes(1, &good);
        for at in 0..good.len() {
            for flip in 1..=255 {
                let mut bad = good;
                bad[at] ^= flip;
                assert_ne!(super::bytes(1, &bad), digest);
            }
            assert_ne!(super::bytes(1, &good[..at]), digest);
        }
        assert_ne!(super::bytes(2, &good), digest);
    }
}
