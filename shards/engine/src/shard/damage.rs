//! Damage: records that reads found damaged are told, however many there are.
//! Kind: machine

use proto::ids::ShardIndex;

use super::Shard;
use crate::limits::DAMAGES_TOLD_PER_SECOND;

/// What was told of this second's damaged messages.
#[derive(Debug, Default)]
pub(super) struct Damages {
    second: u64,
    told: u64,
    untold: u64,
}

impl Damages {
    /// Whether one more is told in this second.
    fn is_told(&mut self) -> bool {
        let is_told = self.told < DAMAGES_TOLD_PER_SECOND;
        *(if is_told { &mut self.told } else { &mut self.untold }) += 1;
        is_told
    }

    /// A read found a damaged message.
    pub fn found(&mut self, shard: ShardIndex, offset: u64, bytes: u64) {
        if !self.is_told() {
            return;
        }
        tracing::error!(
            shard = shard.0,
            offset,
            bytes,
            "a message on disk is damaged and is skipped; restore the disk or the segment from a copy"
        );
    }

    /// Time goes on; monotonic ms.
    pub fn tick(&mut self, now_ms: u64, shard: ShardIndex) {
        if now_ms / 1000 == self.second {
            return;
        }
        if self.untold > 0 {
            tracing::error!(
                shard = shard.0,
                count = self.untold,
                "more messages are damaged or cannot be read; `ringmq inspect verify` lists them all"
            );
        }
        *self = Damages { second: now_ms / 1000, ..Damages::default() };
    }
}

impl Shard {
    /// The disk does not give a message that waits, and it is tried again.
    pub(super) fn tell_unreadable(&mut self, payload: u64, reason: &str) {
        if !self.damages.is_told() {
            return;
        }
        let segment = payload / self.log.shape().segment_bytes * self.log.shape().segment_bytes;
        tracing::error!(
            shard = self.index.0,
            position = payload,
            file = format!("{segment:020}"),
            reason,
            "a message that waits cannot be read from disk and is tried again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_told_in_a_second() {
        let mut damages = Damages::default();
        damages.tick(5_000, ShardIndex(0));
        for offset in 0..100 {
            damages.found(ShardIndex(0), offset, 1);
        }
        assert_eq!((damages.told, damages.untold), (16, 84));
        damages.tick(5_999, ShardIndex(0));
        assert_eq!((damages.told, damages.untold), (16, 84));
        damages.tick(6_000, ShardIndex(0));
        damages.found(ShardIndex(0), 1, 1);
        assert_eq!((damages.told, damages.untold), (1, 0));
    }
}
