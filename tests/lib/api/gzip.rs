//! Packed bodies, made by hand: stored as they are, or blanks by the million.

/// The head of a gzip stream that names neither file nor time.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Packs `bytes` as one stored block.
pub(super) fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut block = vec![1];
    block.extend(length.to_le_bytes());
    block.extend((!length).to_le_bytes());
    block.extend(bytes);
    stream(&block, bytes)
}

/// Packs one blank and `repeats` × 258 more into 13 bits each: "the last 258 again, from one back".
pub(super) fn gzip_blanks(repeats: usize) -> Vec<u8> {
    // A last block with fixed codes. The code of a blank is 0x30 + 32, and codes stand with their highest bit first.
    let code = |code: u8| (0..8).rev().map(move |bit| (code >> bit) & 1 == 1);
    let mut bits = vec![true, true, false];
    bits.extend(code(0x50));
    for _ in 0..repeats {
        bits.extend(code(0xC5).chain([false; 5]));
    }
    bits.extend([false; 7]);
    let block: Vec<u8> = bits
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |sum, (place, bit)| sum | u8::from(*bit) << place)
        })
        .collect();
    stream(&block, &vec![b' '; 1 + repeats * 258])
}

fn stream(block: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let length = u32::try_from(bytes.len()).unwrap();
    [&HEAD, block, &(!crc).to_le_bytes(), &length.to_le_bytes()].concat()
}
