//! The router: which shard owns a queue or a position, and which core runs that shard.
//! Owns: the table of shards and cores.          Lives on: every core, the same on each
//! Kind: machine
//! Invariants: an owner is found without a lock and without asking anybody; only here is decided
//! where a request goes
//!
//! How requests cross, and what every core has a copy of: docs/decisions/0007-router.md.

pub mod exchange;
pub mod letter;
pub mod limits;
pub mod parcel;

use std::net::SocketAddr;

use engine::catalog::Placement;
use proto::ids::Position;
use runtime::ConnectionId;

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A shard of this core, by its place in the core's list.
    Here(usize),
    /// A shard of another core: the request is to be copied into that core's inbox.
    There {
        /// The core.
        core: usize,
    },
    /// There is no such shard: a position of another store, or nonsense.
    Nobody,
}

/// The table of shards and cores.
///
/// Shards are dealt over the cores in turn: shard `s` of `n` cores is the `s / n`-th of core `s mod n`.
#[derive(Clone, Copy, Debug)]
pub struct Router {
    core: usize,
    core_count: usize,
    shard_count: usize,
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The connection that sent it.
    pub connection: ConnectionId,
    /// That connection's other end.
    pub peer: SocketAddr,
    /// How often it crossed from core to core; 0: it came from this core's own socket.
    pub crossings: usize,
    /// A core made it, and its body is a record which that core read: no client can say so.
    pub has_record: bool,
}

impl Router {
    /// The router of core `core` of a store's `shard_count` shards.
    ///
    /// # Panics
    /// When the numbers are none that the configuration allows.
    pub fn new(core: usize, core_count: usize, shard_count: usize) -> Router {
        assert!(core < core_count && core_count <= limits::CORES_MAX);
        assert!((1..=256).contains(&shard_count));
        Router { core, core_count, shard_count }
    }

    /// This core.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Number of cores.
    pub fn core_count(&self) -> usize {
        self.core_count
    }

    /// The core that makes topics and groups and knows who is in which group: shard 0's. All of that is
    /// rare; what a message needs of it every core has a copy of.
    pub fn home(&self) -> usize {
        0
    }

    /// Whether this core is the home.
    pub fn is_home(&self) -> bool {
        self.core == self.home()
    }

    /// The number of a shard of this core, by its place in the core's list.
    pub fn number(&self, place: usize) -> usize {
        place * self.core_count + self.core
    }

    /// The place of a shard in its core's list, by its number.
    pub fn place_of(&self, shard: usize) -> usize {
        shard / self.core_count
    }

    /// Number of shards of the store.
    pub fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// The owner of a topic's queue.
    pub fn of_queue(&self, placement: Placement, queue: u32) -> Owner {
        self.of_shard(placement.shard(queue))
    }

    /// The owner of a position.
    pub fn of_position(&self, position: Position) -> Owner {
        self.of_shard(position.shard().0)
    }

    /// The owner of a shard.
    pub fn of_shard(&self, shard: u8) -> Owner {
        let shard = usize::from(shard);
        match shard % self.core_count {
            _ if shard >= self.shard_count => Owner::Nobody,
            core if core == self.core => Owner::Here(self.place_of(shard)),
            core => Owner::There { core },
        }
    }

    /// Where a new topic's queues go: spread over all shards, the first by its number, so that topics
    /// with one queue do not all live in shard 0.
    pub fn place(&self, incarnation: u32) -> Placement {
        let count = u32::try_from(self.shard_count).expect("at most 256");
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
        assert_eq!(router.of_queue(placement, 1), Owner::There { core: 0 });
        assert_eq!((router.number(1), router.place_of(3)), (3, 1));
        let position = |shard| Position::new(ShardIndex(shard), LogOffset::new(64).expect("small"));
        assert_eq!(router.of_position(position(1)), Owner::Here(0));
        assert_eq!(router.of_position(position(5)), Owner::Nobody);
        assert_eq!(router.place(7), Placement { first: 2, count: 5 });
    }
}
