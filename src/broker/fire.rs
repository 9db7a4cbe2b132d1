//! Fire: messages whose own time has come go to their real queue, many at a time (TimerMessageStore).
//! Kind: machine

use std::ops::Range;

use engine::consumequeue::QueueKey;
use engine::shard::{DueTimer, DueTimers, NewMessage};
use proto::limits::PROPERTIES_BYTES_MAX;
use proto::properties::{self, name};
use proto::record::{Record, RecordFields};
use runtime::clock::Now;

use super::Broker;
use super::dispatch::Stop;

/// Groups fired per shard and turn, so that a heap of due timers does not delay the others.
const GROUPS_PER_TURN_MAX: usize = 8;

/// Memory for firing that is used again and again.
#[derive(Debug, Default)]
pub(super) struct FireScratch {
    due: DueTimers,
    texts: Vec<u8>,
}

/// Where a message goes, and with which properties.
struct Way {
    topic: String,
    queue: QueueKey,
    text: Range<usize>,
}

impl Broker {
    /// Fires what is due. Whether some may be left for the next turn.
    pub fn fire_timers(&mut self, now: Now) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch.fire);
        let mut is_left = false;
        for owner in 0..self.shards.len() {
            let mut groups = 0;
            while groups < GROUPS_PER_TURN_MAX {
                self.shards[owner].due_timers(now.wall_ms, &mut scratch.due);
                if scratch.due.is_empty() || !self.fire_group(now, owner, &mut scratch) {
                    break;
                }
                groups += 1;
            }
            is_left |= groups == GROUPS_PER_TURN_MAX;
        }
        self.scratch.fire = scratch;
        is_left
    }

    /// Fires the due timers of a shard, or the first of them. Whether any did.
    fn fire_group(&mut self, now: Now, owner: usize, scratch: &mut FireScratch) -> bool {
        let FireScratch { due, texts } = scratch;
        texts.clear();
        let mut ways = Vec::with_capacity(due.len());
        let mut stopped = None;
        for timer in due.iter() {
            match self.way(now, owner, &timer, texts) {
                Ok(way) => ways.push(way),
                Err(stop) => {
                    stopped = Some(stop);
                    break;
                }
            }
        }
        let fired = match stopped {
            Some(stop) if ways.is_empty() => Err(stop),
            _ => {
                let messages: Vec<_> = due
                    .iter()
                    .zip(&ways)
                    .map(|(timer, way)| self.fired_message(&timer, way.as_ref()?, texts))
                    .collect();
                self.shards[owner].fire(now.wall_ms, due, &messages).map_err(Stop::from)
            }
        };
        match fired {
            Ok(()) => {
                self.tally.timers_went_out(ways.len());
                return true;
            }
            Err(Stop::Wait) => self.shards[owner].put_back_timers(due),
            Err(Stop::Elsewhere(_)) => unreachable!("is dropped instead"),
            Err(Stop::Refuse(refusal)) => {
                tracing::warn!(reason = refusal.remark, "messages whose time has come wait");
                self.shards[owner].postpone_timers(now.wall_ms, due);
            }
        }
        false
    }

    /// Where a timer's message goes; `None`: nowhere, it fires without.
    fn way(
        &mut self,
        now: Now,
        owner: usize,
        timer: &DueTimer<'_>,
        texts: &mut Vec<u8>,
    ) -> Result<Option<Way>, Stop> {
        let Ok((message, _)) = Record::decode(timer.record) else {
            tracing::error!(position = timer.payload, "a message that waited for its time is gone");
            return Ok(None);
        };
        let fields = message.fields();
        if timer.is_recalled
            || properties::find(fields.properties, name::TIMER_DEL_UNIQKEY).is_some()
        {
            return Ok(None);
        }
        let Some((topic, queue)) = self.real_queue(now, owner, fields.properties)? else {
            tracing::warn!(
                position = timer.payload,
                "the topic of a message that waited for its time was deleted, it is dropped"
            );
            return Ok(None);
        };
        let start = texts.len();
        write_fired_properties(fields, now, texts);
        Ok(Some(Way { topic, queue, text: start..texts.len() }))
    }

    fn fired_message<'a>(
        &self,
        timer: &DueTimer<'a>,
        way: &'a Way,
        texts: &'a [u8],
    ) -> Option<NewMessage<'a>> {
        let (message, _) = Record::decode(timer.record).ok()?;
        Some(NewMessage::again(
            message.fields(),
            (&way.topic, way.queue),
            self.settings.advertised,
            &texts[way.text.clone()],
        ))
    }
}

/// Appends the properties that a message has when its time has come (`TimerMessageStore.convert`, which means
/// to take REAL_TOPIC and REAL_QID out and does not).
fn write_fired_properties(fields: &RecordFields<'_>, now: Now, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(fields.properties);
    properties::terminate(out);
    let enqueued_ms = fields.store_timestamp.to_string();
    properties::append(out, name::TIMER_ENQUEUE_MS, enqueued_ms.as_bytes());
    properties::append(out, name::TIMER_DEQUEUE_MS, now.wall_ms.to_string().as_bytes());
    if out.len() - start > PROPERTIES_BYTES_MAX {
        out.truncate(start + fields.properties.len()); // it must come, with or without
    }
}
