//! Queue locks: which member of a group may consume a queue in order.
//! Owns: for each group who holds which queue, and since when.          Lives on: the home core
//! Kind: machine
//! Invariants:
//!   a queue has one holder, who keeps it for as long as he renews it, and who alone can give it up
//!   a group that is here holds a queue, so that the number of locks bounds that of groups
//!   nothing here outlives the process, as in Apache: clients lock again within 20 s
//!
//! Rules: RebalanceLockManager of Apache RocketMQ 5.3.3. As there, nobody asks whether a group, topic or
//! broker exists: queues are locked by name. How long a name may be is ours.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use proto::body::MessageQueue;
use proto::limits::GROUP_BYTES_MAX;
use proto::names::RETRY_PREFIX;

use super::membership;

/// A lock that was not renewed for longer is free, ms (`rocketmq.broker.rebalance.lockMaxLiveTime`).
/// Clients renew every 20 s and count a lock as lost after 30 s.
pub const LOCK_MS_MAX: u64 = 60_000;

/// Locks of all groups together, at the most: 0.3 KiB each with the names that people give, 1.3 KiB if
/// each of the four is as long as it may be. Beyond, a queue is left out of the answer, as if somebody
/// else held it.
pub const LOCKS_MAX: usize = 1 << 18;

/// Longest group, client id or name of a broker in bytes, as in the membership. Without a limit a frame
/// would be it.
pub const LOCK_NAME_BYTES_MAX: usize = membership::NAME_BYTES_MAX;

/// Longest topic in bytes: the retry topic of the longest group. Who consumes in order locks its queues
/// with the others.
pub const LOCK_TOPIC_BYTES_MAX: usize = RETRY_PREFIX.len() + LOCK_NAME_BYTES_MAX;

const _: () = assert!(LOCK_NAME_BYTES_MAX >= GROUP_BYTES_MAX);

/// How often locks that ran out are forgotten, ms.
const SWEEP_MS: u64 = 60_000;

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct QueueLocks {
    groups: HashMap<Arc<str>, HashMap<MessageQueue, Lock, RandomState>, RandomState>,
    count: usize,
    sweep_at_ms: u64,
}

#[derive(Debug)]
struct Lock {
    holder: Arc<str>,
    renewed_ms: u64,
}

impl Lock {
    fn is_free(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > LOCK_MS_MAX
    }
}

impl QueueLocks {
    /// Locks or renews queues for a client. Returns those that it holds now.
    pub fn lock<'a>(
        &mut self,
        now_ms: u64,
        group: &str,
        client: &str,
        queues: impl Iterator<Item = &'a MessageQueue>,
    ) -> Vec<&'a MessageQueue> {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), HashMap::default());
        }
        let locks = self.groups.get_mut(group).expect("made above");
        let client: Arc<str> = client.into();
        let mut held = Vec::new();
        for queue in queues {
            match locks.entry(queue.clone()) {
                Entry::Occupied(mut entry) => {
                    let lock = entry.get_mut();
                    if *lock.holder != *client && !lock.is_free(now_ms) {
                        tracing::debug!(%group, ?queue, holder = &*lock.holder, "locked by another client");
                        continue;
                    }
                    *lock = Lock { holder: Arc::clone(&client), renewed_ms: now_ms };
                }
                Entry::Vacant(_) if self.count >= LOCKS_MAX => {
                    tracing::warn!(%group, LOCKS_MAX, "a queue is not locked: as many locks as allowed are held");
                    break;
                }
                Entry::Vacant(entry) => {
                    entry.insert(Lock { holder: Arc::clone(&client), renewed_ms: now_ms });
                    self.count += 1;
                }
            }
            held.push(queue);
        }
        if locks.is_empty() {
            self.groups.remove(group);
        }
        held
    }

    /// A client gives queues up; what others hold stays theirs.
    pub fn unlock<'a>(
        &mut self,
        group: &str,
        client: &str,
        queues: impl Iterator<Item = &'a MessageQueue>,
    ) {
        let Some(locks) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| *lock.holder == *client) {
                locks.remove(queue);
                self.count -= 1;
            }
        }
        if locks.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Until when some member holds some queue of a group, if nobody renews anything; 0: nobody does.
    /// Such a group consumes in order.
    pub fn held_until_ms(&self, group: &str) -> u64 {
        let locks = self.groups.get(group).into_iter().flat_map(|locks| locks.values());
        locks.map(|lock| lock.renewed_ms + LOCK_MS_MAX).max().unwrap_or(0)
    }

    /// Forgets locks that ran out, now and then.
    pub fn tick(&mut self, now_ms: u64) {
        if now_ms < self.sweep_at_ms {
            return;
        }
        self.sweep_at_ms = now_ms + SWEEP_MS;
        self.groups.retain(|_, locks| {
            locks.retain(|_, lock| !lock.is_free(now_ms));
            !locks.is_empty()
        });
        self.count = self.groups.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(ids: &[i32]) -> Vec<MessageQueue> {
        ids.iter().map(|id| MessageQueue::new("T", "b", *id)).collect()
    }

    fn lock(locks: &mut QueueLocks, now_ms: u64, client: &str, ids: &[i32]) -> Vec<i32> {
        let queues = queues(ids);
        locks.lock(now_ms, "G", client, queues.iter()).iter().map(|it| it.queue_id).collect()
    }

    #[test]
    fn a_queue_has_one_holder_until_he_gives_it_up_or_falls_silent() {
        let mut locks = QueueLocks::default();
        assert_eq!(locks.held_until_ms("G"), 0);
        assert_eq!(lock(&mut locks, 0, "one", &[0, 1]), [0, 1]);
        assert_eq!(lock(&mut locks, 1_000, "two", &[0, 1, 2]), [2]);
        assert_eq!(lock(&mut locks, 40_000, "one", &[0]), [0], "renewed");
        assert_eq!(locks.held_until_ms("G"), 40_000 + LOCK_MS_MAX);
        assert_eq!(lock(&mut locks, LOCK_MS_MAX + 1, "two", &[0, 1]), [1], "1 fell silent");
        locks.unlock("G", "two", queues(&[0]).iter());
        assert_eq!(lock(&mut locks, LOCK_MS_MAX + 1, "two", &[0]), [0; 0], "not his to give up");
        locks.unlock("G", "one", queues(&[0]).iter());
        assert_eq!(lock(&mut locks, LOCK_MS_MAX + 1, "two", &[0]), [0]);
        locks.unlock("nobody", "one", queues(&[0]).iter());
    }

    #[test]
    fn a_group_without_locks_is_not_kept() {
        let mut locks = QueueLocks::default();
        assert_eq!(lock(&mut locks, 0, "one", &[]), [0; 0]);
        assert_eq!(locks.groups.len(), 0, "it asked for nothing");
        locks.count = LOCKS_MAX;
        assert_eq!(lock(&mut locks, 0, "one", &[0]), [0; 0]);
        assert_eq!(locks.groups.len(), 0, "there was no room");
        locks.count = 0;
        assert_eq!(lock(&mut locks, 0, "one", &[0]), [0]);
        assert_eq!(lock(&mut locks, 0, "two", &[]), [0; 0]);
        assert_eq!((locks.count, locks.groups.len()), (1, 1), "another member holds one");
    }

    #[test]
    fn locks_that_ran_out_are_forgotten() {
        let mut locks = QueueLocks::default();
        lock(&mut locks, 0, "one", &[0, 1]);
        locks.tick(0);
        lock(&mut locks, 30_000, "one", &[1]);
        locks.tick(LOCK_MS_MAX + 1);
        assert_eq!((locks.count, locks.groups.len()), (1, 1));
        locks.tick(3 * LOCK_MS_MAX);
        assert_eq!((locks.count, locks.groups.len()), (0, 0));
    }
}
