//! Deliver: delayed messages that are due go to their real queue (ScheduleMessageService).
//! Kind: machine

use engine::consumequeue::QueueKey;
use engine::shard::{Due, NewMessage};
use proto::names;
use proto::properties::{self, name};
use proto::record::Record;
use runtime::clock::Now;

use super::Broker;
use super::dispatch::Stop;

/// Messages delivered per shard and turn, so that a heap of due ones does not delay the others.
const PER_TURN_MAX: usize = 256;

impl Broker {
    /// Delivers what is due. Whether some is left for the next turn.
    pub fn deliver_due(&mut self, now: Now) -> bool {
        let mut record = std::mem::take(&mut self.scratch.record);
        let mut is_left = false;
        for owner in 0..self.shards.len() {
            let mut count = 0;
            while let Some(due) = self.shards[owner].next_due(now.wall_ms, &mut record) {
                match self.deliver(now, owner, due, &record) {
                    Ok(()) => {}
                    Err(Stop::Wait) => break,
                    Err(Stop::Elsewhere(_)) => unreachable!("is dropped instead"),
                    Err(Stop::Refuse(refusal)) => {
                        tracing::warn!(reason = refusal.remark, "delayed messages wait");
                        self.shards[owner].postpone_due(now.wall_ms);
                        break;
                    }
                }
                count += 1;
                if count == PER_TURN_MAX {
                    is_left = true;
                    break;
                }
            }
        }
        self.scratch.record = record;
        is_left
    }

    fn deliver(&mut self, now: Now, owner: usize, due: Due, record: &[u8]) -> Result<(), Stop> {
        let Ok((message, _)) = Record::decode(record) else {
            tracing::error!(
                level = due.level,
                offset = due.queue_offset,
                "a delayed message is gone"
            );
            return Ok(self.shards[owner].settle(now.wall_ms, due, None)?);
        };
        let fields = *message.fields();
        let Some((topic, queue)) = self.real_queue(now, owner, fields.properties)? else {
            tracing::warn!(
                level = due.level,
                offset = due.queue_offset,
                "a delayed message's topic was deleted, it is dropped"
            );
            return Ok(self.shards[owner].settle(now.wall_ms, due, None)?);
        };
        let delivered = NewMessage::again(
            &fields,
            (&topic, queue),
            self.settings.advertised,
            fields.properties,
        );
        Ok(self.shards[owner].settle(now.wall_ms, due, Some(&delivered))?)
    }

    /// Where a delayed message of this shard belongs; `None`: its topic is no more, or another one of that
    /// name whose queue is in another shard. Such a message must not hold up those behind it.
    pub(super) fn real_queue(
        &mut self,
        now: Now,
        owner: usize,
        text: &[u8],
    ) -> Result<Option<(String, QueueKey)>, Stop> {
        let topic = properties::find(text, name::REAL_TOPIC).unwrap_or_default();
        let Ok(topic) = std::str::from_utf8(topic) else { return Ok(None) };
        // Where shard 0 is its record may have been lost with the log's end; on other cores it was durable
        // before anything went there.
        let is_lost = names::is_retry_topic(topic) && self.catalog.topic(topic).is_none();
        if is_lost && self.router.is_home() {
            self.ensure_group_topic(now, topic, 1)?;
        }
        let queue_id = properties::find(text, name::REAL_QID)
            .and_then(proto::text::parse_i64)
            .and_then(|queue_id| i32::try_from(queue_id).ok())
            .unwrap_or(0);
        let here = match self.queue_here(topic, queue_id) {
            Err(Stop::Elsewhere(_)) => None,
            here => here?.filter(|(place, _)| *place == owner),
        };
        Ok(here.map(|(_, queue)| (topic.to_owned(), queue)))
    }
}
