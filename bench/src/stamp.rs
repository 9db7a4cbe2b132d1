//! What a body says about itself, so that whoever consumes it can tell what happened to it.
//!
//! ```text
//!  0 u32 magic          16 u64 sequence of this producer in this queue, from 0
//!  4 u32 producer       24 u64 intended send time, monotonic ns
//!  8 u32 queue id       32 u64 actual send time, monotonic ns
//! 12 u32 body bytes     40 u32 CRC-32 of the filler, then of bytes 0 to 39
//! 44 filler
//! ```
//! Little endian. The filler is hashed first because it never changes: the hash of a message then
//! costs that of 40 bytes, whatever its size.

use crc32fast::Hasher;

/// Bytes of a stamp; no body is shorter.
pub const STAMP_BYTES: usize = 44;

const MAGIC: u32 = u32::from_le_bytes(*b"RMQb");
const CRC_AT: usize = STAMP_BYTES - 4;

/// The beginning of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Who sent it: one number for each connection of each run.
    pub producer: u32,
    /// Queue that it was sent to.
    pub queue_id: u32,
    /// Number of the message among those of its producer in its queue.
    pub sequence: u64,
    /// When it should have been sent.
    pub intended_ns: u64,
    /// When it was.
    pub sent_ns: u64,
}

/// Why a body does not have a stamp that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    #[error("body of {found} bytes has no stamp: not a message of this program")]
    Absent { found: usize },
    #[error("body of {found} bytes was sent with {sent}")]
    Length { sent: u32, found: usize },
    #[error("body with the CRC {found:#010x} was sent with {sent:#010x}")]
    Crc { sent: u32, found: u32 },
}

/// A hasher that has seen the filler of a body.
pub fn filler_hasher(filler: &[u8]) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(filler);
    hasher
}

impl Stamp {
    /// Writes the stamp to the beginning of a body of `body_bytes`, whose filler `filler` has seen.
    pub fn write(&self, body: &mut [u8; STAMP_BYTES], body_bytes: u32, filler: &Hasher) {
        body[..4].copy_from_slice(&MAGIC.to_le_bytes());
        body[4..8].copy_from_slice(&self.producer.to_le_bytes());
        body[8..12].copy_from_slice(&self.queue_id.to_le_bytes());
        body[12..16].copy_from_slice(&body_bytes.to_le_bytes());
        body[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        body[24..32].copy_from_slice(&self.intended_ns.to_le_bytes());
        body[32..40].copy_from_slice(&self.sent_ns.to_le_bytes());
        let mut hasher = filler.clone();
        hasher.update(&body[..CRC_AT]);
        body[CRC_AT..].copy_from_slice(&hasher.finalize().to_le_bytes());
    }

    /// Reads the stamp of a body and checks the whole body against it.
    ///
    /// # Errors
    /// [`StampError`]
    pub fn read(body: &[u8]) -> Result<Stamp, StampError> {
        let absent = StampError::Absent { found: body.len() };
        let (stamp, filler) = body.split_first_chunk::<STAMP_BYTES>().ok_or(absent)?;
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| stamp[at + byte]));
        let u64_at = |at: usize| u64::from(u32_at(at + 4)) << 32 | u64::from(u32_at(at));
        if u32_at(0) != MAGIC {
            return Err(absent);
        }
        if u32_at(12) as usize != body.len() {
            return Err(StampError::Length { sent: u32_at(12), found: body.len() });
        }
        let mut hasher = filler_hasher(filler);
        hasher.update(&stamp[..CRC_AT]);
        let found = hasher.finalize();
        if u32_at(CRC_AT) != found {
            return Err(StampError::Crc { sent: u32_at(CRC_AT), found });
        }
        Ok(Stamp {
            producer: u32_at(4),
            queue_id: u32_at(8),
            sequence: u64_at(16),
            intended_ns: u64_at(24),
            sent_ns: u64_at(32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Vec<u8> {
        let mut body = vec![7; 100];
        let filler = filler_hasher(&body[STAMP_BYTES..]);
        let stamp = body.first_chunk_mut().expect("100 bytes");
        stamp_of_test().write(stamp, 100, &filler);
        body
    }

    fn stamp_of_test() -> Stamp {
        Stamp { producer: 9, queue_id: 3, sequence: 1 << 40, intended_ns: 5, sent_ns: u64::MAX }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        assert_eq!(Stamp::read(&body()), Ok(stamp_of_test()));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..body().len() * 8 {
            let mut body = body();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(Stamp::read(&body).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_body_of_another_length_is_found() {
        let mut longer = body();
        longer.push(7);
        assert_eq!(Stamp::read(&longer), Err(StampError::Length { sent: 100, found: 101 }));
        assert_eq!(Stamp::read(&longer[..43]), Err(StampError::Absent { found: 43 }));
        assert_eq!(Stamp::read(b""), Err(StampError::Absent { found: 0 }));
    }
}
