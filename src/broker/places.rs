//! Which queue is meant, and where it is: a topic's, or one that each shard has of its own.
//! Kind: machine

use engine::consumequeue::QueueKey;
use engine::shard::{
    CHECK_MAX_TIME_TOPIC_INCARNATION, HALF_TOPIC_INCARNATION, SCHEDULE_TOPIC_INCARNATION,
    TIMER_QUEUE, TIMER_TOPIC_INCARNATION,
};

use super::Broker;
use super::dispatch::{Stop, here};

impl Broker {
    /// A topic's queue and the place here of the shard that owns it; `None`: there is no such topic or
    /// the id is negative.
    pub(super) fn queue_here(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<(usize, QueueKey)>, Stop> {
        let (Some(topic), Ok(queue)) = (self.catalog.topic(topic), u32::try_from(queue_id)) else {
            return Ok(None);
        };
        match topic.incarnation {
            SCHEDULE_TOPIC_INCARNATION => return self.schedule_queue_here(queue),
            HALF_TOPIC_INCARNATION | CHECK_MAX_TIME_TOPIC_INCARNATION => {
                return self.queue_of_shard_here(topic.incarnation, queue);
            }
            _ => {}
        }
        if topic.incarnation == TIMER_TOPIC_INCARNATION {
            return self.timer_queue_here(queue);
        }
        let place = self.place_of(topic.placement, queue)?;
        Ok(Some((place, QueueKey { topic: topic.incarnation, queue })))
    }

    /// A queue of SCHEDULE_TOPIC_XXXX, which exists once per shard: those of the second shard follow
    /// those of the first.
    fn schedule_queue_here(&self, queue: u32) -> Result<Option<(usize, QueueKey)>, Stop> {
        let levels = u32::try_from(self.settings.delay_levels_ms.len()).expect("few levels");
        let (Some(shard), Some(level)) = (queue.checked_div(levels), queue.checked_rem(levels))
        else {
            return Ok(None);
        };
        let Ok(shard) = u8::try_from(shard) else { return Ok(None) };
        if usize::from(shard) >= self.router.shard_count() {
            return Ok(None);
        }
        let place = here(self.router.of_shard(shard))?;
        Ok(Some((place, QueueKey { topic: SCHEDULE_TOPIC_INCARNATION, queue: level })))
    }

    /// A queue of a topic that has one in each shard.
    fn queue_of_shard_here(
        &self,
        topic: u32,
        queue: u32,
    ) -> Result<Option<(usize, QueueKey)>, Stop> {
        let shard = u8::try_from(queue).ok();
        let Some(shard) = shard.filter(|it| usize::from(*it) < self.router.shard_count()) else {
            return Ok(None);
        };
        let place = here(self.router.of_shard(shard))?;
        Ok(Some((place, QueueKey { topic, queue })))
    }

    /// A queue of rmq_sys_wheel_timer: each shard has one.
    fn timer_queue_here(&self, queue: u32) -> Result<Option<(usize, QueueKey)>, Stop> {
        let Ok(shard) = u8::try_from(queue) else { return Ok(None) };
        if usize::from(shard) >= self.router.shard_count() {
            return Ok(None);
        }
        Ok(Some((here(self.router.of_shard(shard))?, TIMER_QUEUE)))
    }
}
