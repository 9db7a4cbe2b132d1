//! Timers: what a send is that has a time of its own, and 370 RECALL_MESSAGE.
//! Kind: machine
//!
//! Source: HookUtils.transformTimerMessage, SendMessageProcessor.attachRecallHandle and
//! RecallMessageProcessor of 5.3.3. A time is kept to the ms, as there with `timerPrecisionMs` 1.

use engine::limits::RECALLS_MAX;
use engine::shard::Recalled;
use proto::code::response;
use proto::command::Command;
use proto::header::RecallHeader;
use proto::names::{self, perm};
use proto::properties::{self, name};
use proto::recall::RecallHandle;
use proto::text::parse_i64;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop};
use super::super::{Asker, Broker, Refusal};
use super::form;

/// How a message says that it waits for a time of its own.
pub(super) const TIMES: [&str; 3] =
    [name::TIMER_DELIVER_MS, name::TIMER_DELAY_SEC, name::TIMER_DELAY_MS];

/// Bytes of a unique key by which a message can be called back, at the most, and of the name that a send
/// (TIMER_DEL_UNIQKEY) calls one back by: what clients make has 32, and a topic before it.
const RECALLED_KEY_BYTES_MAX: usize = 255;

/// A message that waits for a time of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timed {
    /// Wall clock, ms.
    pub due_ms: u64,
    /// It only cancels another one (TIMER_DEL_UNIQKEY).
    pub is_cancel: bool,
}

impl Broker {
    /// When a message with timer properties is due; `None`: at once.
    ///
    /// # Errors
    /// Timers are switched off; or the time is none, or too far away.
    pub(super) fn timed(&self, now: Now, text: &[u8]) -> Result<Option<Timed>, Stop> {
        // What came out of a timer, and is sent again.
        if properties::find(text, name::TIMER_OUT_MS).is_some() {
            return Ok(None);
        }
        if !self.settings.timer_wheel {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "accurate timer message is not enabled, timerWheelEnable is false",
            )
            .into());
        }
        let cancelled = properties::find(text, name::TIMER_DEL_UNIQKEY);
        let is_cancel = cancelled.is_some();
        if let Some(len) = cancelled.map(<[u8]>::len).filter(|len| *len > RECALLED_KEY_BYTES_MAX) {
            return Err(Refusal::new(
                response::MESSAGE_ILLEGAL,
                format!("TIMER_DEL_UNIQKEY has {len} bytes, {RECALLED_KEY_BYTES_MAX} are allowed"),
            )
            .into());
        }
        let now_ms = i64::try_from(now.wall_ms).unwrap_or(i64::MAX);
        let due_ms = due_ms(now_ms, text).ok_or_else(|| self.bad_time())?;
        if due_ms <= now_ms {
            return if is_cancel { Err(self.bad_time()) } else { Ok(None) };
        }
        let max_ms = self.settings.timer_delay_ms_max;
        match u64::try_from(due_ms) {
            Ok(due_ms) if due_ms - now.wall_ms <= max_ms => Ok(Some(Timed { due_ms, is_cancel })),
            _ => Err(self.bad_time()),
        }
    }

    fn bad_time(&self) -> Stop {
        Refusal::new(
            response::MESSAGE_ILLEGAL,
            format!(
                "timer message illegal, the delay time should not be bigger than the max delay {}ms; or if set del msg, the delay time should be bigger than the current time",
                self.settings.timer_delay_ms_max
            ),
        )
        .into()
    }

    /// How a message is refused that cannot call another one back.
    pub(super) fn not_recalled(&self, recalled: Recalled) -> Result<(), Stop> {
        match recalled {
            Recalled::Appended => Ok(()),
            Recalled::TooLate => Err(self.bad_time()),
            Recalled::TooMany => Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!(
                    "timer message is under flow control, {RECALLS_MAX} messages of the queue's shard are called back already"
                ),
            )
            .into()),
        }
    }

    /// Timers of this time can be appended to the shard at this place.
    pub(super) fn check_timer(&self, place: usize, due_ms: u64) -> Result<(), Stop> {
        if self.shards[place].takes_timer(due_ms) {
            return Ok(());
        }
        Err(Refusal::new(
            response::SYSTEM_ERROR,
            "timer message is under flow control, the clock was set back again and again while timers wait for times before it",
        )
        .into())
    }

    /// The handle that a producer is told with its message; empty without one.
    pub(super) fn recall_handle(
        &self,
        topic: &str,
        queue_id: i32,
        due_ms: u64,
        unique_key: &[u8],
    ) -> Vec<u8> {
        if names::is_retry_topic(topic) {
            return Vec::new();
        }
        let handle = RecallHandle {
            topic: topic.to_owned(),
            broker_name: self.settings.broker_name.clone(),
            due_ms: i64::try_from(due_ms).ok(),
            unique_key: String::from_utf8_lossy(unique_key).into_owned(),
            // Which shard the message waits in, where there are several.
            queue_id: (self.router.shard_count() > 1).then_some(queue_id),
        };
        handle.encode().unwrap_or_default().into_bytes()
    }

    pub(in crate::broker) fn recall(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        let header = RecallHeader::parse(command)?;
        let (place, handle) = self.check_recall(now, &header)?;
        let due_ms = handle.due_ms.and_then(|due_ms| u64::try_from(due_ms).ok()).unwrap_or(0);
        let recalled = format!("{}+{}", handle.topic, handle.unique_key);
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::RECALL));
        match self.shards[place].recall(due_ms, recalled.as_bytes(), ticket)? {
            Recalled::Appended if ticket.is_some() => {
                self.recalled_keys[place].push_back(handle.unique_key.into_bytes());
                Ok(())
            }
            Recalled::Appended => Ok(()),
            Recalled::TooLate => {
                Err(Refusal::new(response::ILLEGAL_OPERATION, "recall failed, timestamp invalid")
                    .into())
            }
            Recalled::TooMany => Err(not_now()),
        }
    }

    /// The checks of RecallMessageProcessor in its order: the place here of the shard that is to know.
    fn check_recall(
        &mut self,
        now: Now,
        header: &RecallHeader<'_>,
    ) -> Result<(usize, RecallHandle), Stop> {
        if !self.settings.recall {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                "recall failed, operation is forbidden",
            )
            .into());
        }
        if !perm::writable(self.settings.permission) && !self.settings.recall_when_read_only {
            return Err(Refusal::new(
                response::SERVICE_NOT_AVAILABLE,
                "recall failed, broker service not available",
            )
            .into());
        }
        let topic = header.topic.to_cow();
        let Some(found) = self.catalog.topic(&topic) else {
            return Err(Refusal::new(
                response::TOPIC_NOT_EXIST,
                format!("recall failed, the topic[{topic}] not exist"),
            )
            .into());
        };
        let (placement, count) = (found.placement, found.config.write_queue_nums);
        let handle = RecallHandle::decode(&header.handle.to_cow())
            .filter(|handle| handle.unique_key.len() <= RECALLED_KEY_BYTES_MAX)
            .ok_or_else(|| Refusal::new(response::ILLEGAL_OPERATION, "recall handle is invalid"))?;
        if *handle.topic != *topic {
            return Err(Refusal::new(
                response::ILLEGAL_OPERATION,
                "recall failed, topic not match",
            )
            .into());
        }
        if handle.broker_name != self.settings.broker_name {
            return Err(Refusal::new(
                response::ILLEGAL_OPERATION,
                "recall failed, broker service not available",
            )
            .into());
        }
        let left_ms = handle.due_ms.and_then(|due_ms| u64::try_from(due_ms).ok());
        let left_ms = left_ms.map_or(0, |due_ms| due_ms.saturating_sub(now.wall_ms));
        if left_ms == 0 || left_ms >= self.settings.timer_delay_ms_max {
            return Err(Refusal::new(
                response::ILLEGAL_OPERATION,
                "recall failed, timestamp invalid",
            )
            .into());
        }
        if !self.settings.timer_wheel {
            return Err(not_now());
        }
        let queue = match handle.queue_id.map(u32::try_from) {
            Some(Ok(queue)) => queue,
            // Made by somebody else: it does not say where.
            _ => {
                let shards = |queue| placement.shard(queue);
                let is_one = (1..count.unsigned_abs()).all(|queue| shards(queue) == shards(0));
                if !is_one {
                    return Err(Refusal::new(
                        response::ILLEGAL_OPERATION,
                        "recall handle is invalid",
                    )
                    .into());
                }
                0
            }
        };
        Ok((self.place_of(placement, queue)?, handle))
    }
}

/// When a message is due by its properties; `None`: that is no time.
fn due_ms(now_ms: i64, text: &[u8]) -> Option<i64> {
    let number = |name| properties::find(text, name).map(parse_i64);
    if let Some(seconds) = number(name::TIMER_DELAY_SEC) {
        return now_ms.checked_add(seconds?.checked_mul(1000)?);
    }
    if let Some(delay_ms) = number(name::TIMER_DELAY_MS) {
        return now_ms.checked_add(delay_ms?);
    }
    number(name::TIMER_DELIVER_MS)?
}

/// What a message gets that waits in rmq_sys_wheel_timer.
pub(super) fn timer_properties(text: &mut Vec<u8>, due_ms: u64, topic: &str, queue_id: i32) {
    properties::set(text, name::TIMER_OUT_MS, (due_ms - 1).to_string().as_bytes());
    properties::set(text, name::REAL_TOPIC, topic.as_bytes());
    properties::set(text, name::REAL_QID, queue_id.to_string().as_bytes());
}

fn not_now() -> Stop {
    Refusal::new(response::SYSTEM_ERROR, "recall failed, execute error").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i64>) {
        let text = text.replace('=', "\u{1}").replace(';', "\u{2}");
        assert_eq!(due_ms(10_000, text.as_bytes()), expect, "{text}");
    }

    #[test]
    fn the_first_of_three_properties_counts() {
        check("TIMER_DELAY_SEC=5;", Some(15_000));
        check("TIMER_DELAY_MS=5;", Some(10_005));
        check("TIMER_DELIVER_MS=5;", Some(5));
        check("TIMER_DELIVER_MS=5;TIMER_DELAY_MS=7;", Some(10_007));
        check("TIMER_DELAY_MS=7;TIMER_DELAY_SEC=-1;", Some(9_000));
        check("TIMER_DELAY_MS=7;TIMER_DELAY_SEC=x;", None);
        check("TIMER_DELAY_SEC=9223372036854775807;", None);
        check("TIMER_DELAY_MS=9223372036854775807;", None);
        check("TIMER_DELIVER_MS=1.5;", None);
    }
}
