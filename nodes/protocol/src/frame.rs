//! The one frame format, on every socket and in the journal:
//!
//! ```text
//! length  u32 little-endian   bytes of payload, 1 ..= limit
//! crc32c  u32 little-endian   of the length field and the payload (so a zeroed region is no frame)
//! payload
//! ```

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;

/// The largest payload that a port accepts, in bytes. A journal record obeys it too.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is zero or over the limit.
    #[error("frame of {length} bytes, allowed are 1 to {limit}")]
    Length {
        /// The length field.
        length: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// The checksum does not match.
    #[error("frame checksum is {found:08x}, computed {computed:08x}")]
    Checksum {
        /// In the header.
        found: u32,
        /// Over what arrived.
        computed: u32,
    },
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// Appends a frame whose payload is written by `write` straight into `out`.
///
/// # Panics
/// If the payload is empty or over [`PAYLOAD_BYTES_MAX`]: senders bound what they send.
pub fn frame_into(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out);
    let payload = start + HEADER_BYTES;
    let length = out.len() - payload;
    assert!((1..=PAYLOAD_BYTES_MAX).contains(&length), "a frame of {length} bytes cannot be sent");
    let length_field = u32::try_from(length).expect("bounded by the line above").to_le_bytes();
    let crc = checksum(length_field, &out[payload..]);
    out[start..start + 4].copy_from_slice(&length_field);
    out[start + 4..payload].copy_from_slice(&crc.to_le_bytes());
}

/// Looks for a whole frame at the start of `input`: its payload and the length of the frame with its
/// header, or `None` if more bytes are needed.
///
/// # Errors
/// If no frame can start with these bytes.
pub fn parse(input: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length_field = [header[0], header[1], header[2], header[3]];
    let length = u32::from_le_bytes(length_field) as usize;
    if length == 0 || length > limit {
        return Err(FrameError::Length { length, limit });
    }
    let Some(payload) = input.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
    let found = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let computed = checksum(length_field, payload);
    if found != computed {
        return Err(FrameError::Checksum { found, computed });
    }
    Ok(Some((payload, HEADER_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_comes_back_whole_and_a_prefix_of_it_asks_for_more(payload in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut bytes = Vec::new();
            frame_into(&mut bytes, |out| out.extend_from_slice(&payload));
            prop_assert_eq!(parse(&bytes, PAYLOAD_BYTES_MAX), Ok(Some((&payload[..], bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut], PAYLOAD_BYTES_MAX), Ok(None));
            }
        }

        #[test]
        fn any_flipped_bit_is_seen(payload in prop::collection::vec(any::<u8>(), 1..64), bit in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            frame_into(&mut bytes, |out| out.extend_from_slice(&payload));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(parse(&bytes, PAYLOAD_BYTES_MAX), Ok(Some(_))));
        }
    }

    #[test]
    fn zeroes_are_no_frame_and_a_giant_length_is_refused_before_it_arrives() {
        assert_eq!(parse(&[0; 64], 100), Err(FrameError::Length { length: 0, limit: 100 }));
        assert_eq!(
            parse(&[101, 0, 0, 0, 0, 0, 0, 0], 100),
            Err(FrameError::Length { length: 101, limit: 100 })
        );
    }
}
