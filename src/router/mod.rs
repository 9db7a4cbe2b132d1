//! The router: which shard owns a queue or a position, and which core runs that shard.
//! Owns: the table of shards and cores.          Lives on: every core, the same on each
//! Kind: machine
//! Invariants: an owner is found without a lock and without asking anybody; a request crosses to its
//! owner's core at most once, and only here is decided that it does
//!
//! One shard on one core for now: everything is `Here`. More are refused at start.

use engine::catalog::Placement;
use proto::ids::Position;

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A shard of this core, by its place in the core's list.
    Here(usize),
    /// A shard of another core: the request is to be copied into that core's inbox.
    There {
        /// The core.
        core: usize,
        /// The shard's number.
        shard: u8,
    },
    /// There is no such shard: a position of another store, or nonsense.
    Nobody,
}

/// The table of shards and cores.
#[derive(Clone, Debug)]
pub struct Router {
    core: usize,
    /// For each shard its core and its place there.
    shards: Vec<(usize, usize)>,
}

impl Router {
    /// The router of core `core` when `shard_count` shards are dealt over `core_count` cores in turn.
    pub fn new(core: usize, core_count: usize, shard_count: usize) -> Router {
        assert!(core < core_count);
        assert!((1..=256).contains(&shard_count));
        let shards = (0..shard_count).map(|shard| (shard % core_count, shard / core_count));
        Router { core, shards: shards.collect() }
    }

    /// Number of shards of the store.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The owner of a topic's queue.
    pub fn of_queue(&self, placement: Placement, queue: u32) -> Owner {
        self.of_shard(placement.shard(queue))
    }

    /// The owner of a position.
    pub fn of_position(&self, position: Position) -> Owner {
        self.of_shard(position.shard().0)
    }

    fn of_shard(&self, shard: u8) -> Owner {
        match self.shards.get(usize::from(shard)) {
            None => Owner::Nobody,
            Some((core, place)) if *core == self.core => Owner::Here(*place),
            Some((core, _)) => Owner::There { core: *core, shard },
        }
    }

    /// Where a new topic's queues go: spread over all shards, the first by its number, so that topics
    /// with one queue do not all live in shard 0.
    pub fn place(&self, incarnation: u32) -> Placement {
        let count = u32::try_from(self.shards.len()).expect("at most 256");
        Placement {
            first: u8::try_from(incarnation % count).expect("below 256"),
            count: u8::try_from(count).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::ids::{LogOffset, ShardIndex};

    use super::*;

    #[test]
    fn shards_are_dealt_over_cores() {
        let router = Router::new(1, 2, 5);
        let placement = Placement { first: 3, count: 5 };
        assert_eq!(router.of_queue(placement, 0), Owner::Here(1));
        assert_eq!(router.of_queue(placement, 1), Owner::There { core: 0, shard: 4 });
        let position = |shard| Position::new(ShardIndex(shard), LogOffset::new(64).expect("small"));
        assert_eq!(router.of_position(position(1)), Owner::Here(0));
        assert_eq!(router.of_position(position(5)), Owner::Nobody);
        assert_eq!(router.place(7), Placement { first: 2, count: 5 });
    }
}
