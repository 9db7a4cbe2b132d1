//! Damage: records that reads found damaged are told, however many there are.
//! Kind: machine

use proto::ids::ShardIndex;

use crate::limits::DAMAGES_TOLD_PER_SECOND;

/// What was told of this second's damaged messages.
#[derive(Debug, Default)]
pub(super) struct Damages {
    second: u64,
    told: u32,
    untold: u64,
}

impl Damages {
    /// A read found a damaged message.
    pub fn found(&mut self, shard: ShardIndex, offset: u64, bytes: u64) {
        if self.told == DAMAGES_TOLD_PER_SECOND {
            self.untold += 1;
            return;
        }
        self.told += 1;
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
                "more damaged messages were skipped; `ringmq inspect verify` lists them all"
            );
        }
        *self = Damages { second: now_ms / 1000, ..Damages::default() };
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
