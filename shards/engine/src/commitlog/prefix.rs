//! The 32 bytes in front of every record (docs/decisions/0001-store-format.md).

use crc32fast::Hasher;

/// Bytes of a prefix.
pub const PREFIX_BYTES: usize = 32;

/// Records start on multiples of this.
pub const ALIGNMENT: u64 = 8;

/// A gap shorter than a prefix before a multiple of this holds nothing.
pub const GAP_BOUNDARY: u64 = 1024 * 1024;

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A RocketMQ record.
    Message = 1,
    /// Nothing; its length skips it.
    Filler = 2,
    /// First record of a segment: which log this is.
    Segment = 3,
    /// Consumer offsets.
    Offsets = 4,
    /// A topic or group created, changed or deleted.
    Catalog = 5,
    /// Delayed messages up to this one were delivered.
    Settled = 6,
    /// The shard was stopped cleanly here.
    End = 7,
    /// A copy of a delayed or half message whose segment goes, for the note behind it.
    Carried = 8,
    /// Where the copy of a delayed or half message is.
    Moved = 9,
    /// Half messages were settled.
    Ended = 10,
    /// Producers of half messages were asked.
    Checked = 11,
    /// Which timers are settled.
    Fired = 12,
    /// A timer that was called back.
    Recalled = 13,
}

impl Kind {
    /// The kind of a byte.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Message,
            2 => Kind::Filler,
            3 => Kind::Segment,
            4 => Kind::Offsets,
            5 => Kind::Catalog,
            6 => Kind::Settled,
            7 => Kind::End,
            8 => Kind::Carried,
            9 => Kind::Moved,
            10 => Kind::Ended,
            11 => Kind::Checked,
            12 => Kind::Fired,
            13 => Kind::Recalled,
            _ => return None,
        })
    }
}

/// More records of this one's group follow.
pub const FLAG_MORE: u8 = 1;
/// This record continues a group.
pub const FLAG_CONTINUES: u8 = 2;

/// A prefix, without its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// Bytes of payload.
    pub len: u32,
    /// What the record is.
    pub kind: Kind,
    /// [`FLAG_MORE`], [`FLAG_CONTINUES`].
    pub flags: u8,
    /// The log's epoch when it was written.
    pub epoch: u32,
    /// The end of a record that was known to be durable when this one was written, a log offset.
    pub durable: u64,
    /// The topic's incarnation, 0 for none.
    pub topic: u32,
    /// RocketMQ's queue id, 0 where there is none.
    pub queue: u32,
}

impl Prefix {
    /// Bytes of the record on disk, padding included.
    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.len as usize)
    }

    /// Writes the prefix; the checksum (bytes 0..4) is left to [`seal`].
    pub fn write(&self, to: &mut [u8]) {
        let to: &mut [u8; PREFIX_BYTES] = to.try_into().expect("a slice of PREFIX_BYTES");
        to[0..4].fill(0);
        to[4..8].copy_from_slice(&self.len.to_le_bytes());
        to[8] = self.kind as u8;
        to[9] = self.flags;
        to[10..12].fill(0);
        to[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        to[16..24].copy_from_slice(&self.durable.to_le_bytes());
        to[24..28].copy_from_slice(&self.topic.to_le_bytes());
        to[28..32].copy_from_slice(&self.queue.to_le_bytes());
    }

    /// Reads a prefix whose fields can be a record's; whether it is one only the checksum tells.
    pub fn read(from: &[u8]) -> Option<Prefix> {
        let from: &[u8; PREFIX_BYTES] = from.get(..PREFIX_BYTES)?.try_into().ok()?;
        let word =
            |at: usize| u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]]);
        if from[10] != 0 || from[11] != 0 || from[9] > (FLAG_MORE | FLAG_CONTINUES) {
            return None;
        }
        let kind = Kind::from_byte(from[8])?;
        Some(Prefix {
            len: word(4),
            kind,
            flags: from[9],
            epoch: word(12),
            durable: u64::from(word(16)) | u64::from(word(20)) << 32,
            topic: word(24),
            queue: word(28),
        })
    }
}

/// Bytes on disk of a record with this much payload.
pub const fn record_bytes(payload: usize) -> u64 {
    (PREFIX_BYTES as u64 + payload as u64).next_multiple_of(ALIGNMENT)
}

/// Where the next record can start at or behind `offset`.
pub const fn record_start(offset: u64) -> u64 {
    let boundary = offset.next_multiple_of(GAP_BOUNDARY);
    if boundary - offset < PREFIX_BYTES as u64 { boundary } else { offset }
}

/// The checksum of a record: `record` is prefix and payload, `body` the payload's part that has a
/// checksum of its own (empty: none), as a range of `record`.
pub fn checksum(seed: u32, offset: u64, record: &[u8], body: std::ops::Range<usize>) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed ^ fold(offset));
    if body.is_empty() {
        hasher.update(&record[4..]);
        return hasher.finalize();
    }
    let (before, behind) = (&record[4..body.start], &record[body.end..]);
    // The sum of short pieces goes byte by byte; of one piece of this size it does not.
    let mut joined = [0; JOINED_BYTES];
    match joined.get_mut(..before.len() + behind.len()) {
        Some(joined) => {
            let (first, second) = joined.split_at_mut(before.len());
            first.copy_from_slice(before);
            second.copy_from_slice(behind);
            hasher.update(joined);
        }
        None => {
            hasher.update(before);
            hasher.update(behind);
        }
    }
    hasher.finalize()
}

/// What is around the body of a message with a usual topic and properties, in bytes.
const JOINED_BYTES: usize = 512;

/// Puts the checksum in place.
pub fn seal(seed: u32, offset: u64, record: &mut [u8], body: std::ops::Range<usize>) {
    let sum = checksum(seed, offset, record, body);
    record[0..4].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum a record carries.
pub fn carried(record: &[u8]) -> u32 {
    u32::from_le_bytes([record[0], record[1], record[2], record[3]])
}

/// A number that differs between any two offsets less than 32 GiB apart.
fn fold(offset: u64) -> u32 {
    let low = (offset / ALIGNMENT) as u32;
    let high = ((offset / ALIGNMENT) >> 32) as u32;
    low ^ high.wrapping_mul(0x9E37_79B1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix() -> impl Strategy<Value = Prefix> {
        (0..1000u32, 1..14u8, 0..4u8, any::<u32>(), any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(len, kind, flags, epoch, durable, topic, queue)| Prefix {
                len,
                kind: Kind::from_byte(kind).expect("1 to 13"),
                flags,
                epoch,
                durable,
                topic,
                queue,
            })
    }

    proptest! {
        #[test]
        fn written_prefix_is_read_back(prefix in prefix()) {
            let mut bytes = [0xFF; PREFIX_BYTES];
            prefix.write(&mut bytes);
            prop_assert_eq!(Prefix::read(&bytes), Some(prefix));
        }

        #[test]
        fn any_flipped_bit_is_found(prefix in prefix(), offset in 0u64..1 << 40, bit in 0usize..256 + 80) {
            let mut record = [0x5A; PREFIX_BYTES + 16];
            prefix.write(&mut record[..PREFIX_BYTES]);
            seal(7, offset & !7, &mut record, 40..46);
            prop_assert_eq!(carried(&record), checksum(7, offset & !7, &record, 40..46));
            let bit = if bit < 320 { bit } else { bit + 48 };
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(carried(&record), checksum(7, offset & !7, &record, 40..46));
        }

        #[test]
        fn a_record_elsewhere_is_none(offset in 0u64..1 << 40, other in 0u64..1 << 32) {
            let (offset, other) = (offset & !7, other & !7);
            prop_assume!(offset != offset ^ other);
            prop_assert_ne!(fold(offset), fold(offset ^ other));
        }
    }

    #[test]
    fn gaps_before_a_boundary_are_skipped() {
        assert_eq!(record_start(0), 0);
        assert_eq!(record_start(GAP_BOUNDARY - 32), GAP_BOUNDARY - 32);
        assert_eq!(record_start(GAP_BOUNDARY - 24), GAP_BOUNDARY);
        assert_eq!(record_start(GAP_BOUNDARY), GAP_BOUNDARY);
    }
}
