//! Overdue: who waits too long for the disk is told so, while the message stays in line.
//! Kind: machine
//!
//! RocketMQ answers FLUSH_DISK_TIMEOUT (10) after `syncFlushTimeout`: the message is in the log, and
//! nobody knows yet whether it is durable. It becomes visible when it is confirmed, as any other.
//! Time is noted for a stretch of the log, not for each message.

use super::{Confirmed, Shard, Waiting};

/// Stretches noted per timeout: how much later than it an answer may come.
const MARKS_PER_TIMEOUT: u64 = 32;

/// At this time so much had been appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at_ms: u64,
    appended: u64,
}

impl Shard {
    /// Lets sends wait for confirmation so long, in ms; without it as long as it takes.
    pub fn set_flush_timeout(&mut self, timeout_ms: u64) {
        self.flush_timeout_ms = Some(timeout_ms);
    }

    /// Notes the time; part of the tick. The time is the monotonic one.
    pub(super) fn mark_time(&mut self, now_ms: u64) {
        self.ticked_ms = now_ms;
        let Some(timeout_ms) = self.flush_timeout_ms else { return };
        let confirmed = self.log.confirmed();
        while self.marks.front().is_some_and(|mark| mark.appended <= confirmed) {
            self.marks.pop_front();
        }
        while let Some(mark) =
            self.marks.pop_front_if(|mark| mark.at_ms.saturating_add(timeout_ms) <= now_ms)
        {
            self.overdue = self.overdue.max(mark.appended);
        }
        let appended = self.log.appended();
        let spacing_ms = (timeout_ms / MARKS_PER_TIMEOUT).max(1);
        let is_news = self
            .marks
            .back()
            .is_none_or(|last| last.appended < appended && last.at_ms + spacing_ms <= now_ms);
        if is_news && appended > confirmed.max(self.overdue) {
            self.marks.push_back(Mark { at_ms: now_ms, appended });
        }
    }

    /// When the next mark is due, monotonic ms.
    pub(super) fn overdue_at_ms(&self) -> Option<u64> {
        let timeout_ms = self.flush_timeout_ms?;
        let waits = self.log.appended() > self.log.confirmed().max(self.overdue);
        match self.marks.front() {
            Some(mark) => Some(mark.at_ms.saturating_add(timeout_ms)),
            // No mark covers what waits: the next tick makes one.
            None => waits.then_some(self.ticked_ms + (timeout_ms / MARKS_PER_TIMEOUT).max(1)),
        }
    }

    /// The next send that has waited too long; its ticket is taken, so it is not answered again.
    pub fn next_overdue(&mut self) -> Option<Confirmed<'_>> {
        if self.told_overdue >= self.overdue || self.log.poisoned().is_some() {
            return None; // a log that failed closes the connections instead
        }
        self.sent.clear();
        // What was told of before is stepped over at once: the disk may be slow because there is so much.
        let told = self.told_overdue;
        let first = self.line.partition_point(|waiting| waiting.end <= told);
        for index in first..self.line.len() {
            let waiting = &mut self.line[index];
            if waiting.end > self.overdue {
                break;
            }
            let group_ends = waiting.end == waiting.visible_at;
            let end = waiting.end;
            let Waiting::Message(message) = &mut waiting.what else {
                self.sent.clear(); // a note ends the group of the message that was delivered
                continue;
            };
            self.sent.push(message.payload);
            if !group_ends {
                continue;
            }
            let Some(ticket) = message.ticket.take() else {
                self.sent.clear();
                continue;
            };
            let message = *message;
            self.told_overdue = end;
            return Some(self.sent_group(&message, ticket));
        }
        self.told_overdue = self.overdue;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewMessage;
    use super::super::testing::{self, QUEUE, complete, message, start_writes};
    use super::*;
    use crate::delay::Delays;
    use crate::ticket::Ticket;

    const TIMEOUT_MS: u64 = 5000;

    fn shard() -> Shard {
        let mut shard = testing::shard();
        shard.set_flush_timeout(TIMEOUT_MS);
        shard
    }

    fn ticket(opaque: i32) -> Option<Ticket> {
        Some(Ticket { opaque, ..Ticket::default() })
    }

    /// Opaque, queue offset and number of messages of each answer that `next` gives.
    fn answers(
        shard: &mut Shard,
        next: impl Fn(&mut Shard) -> Option<Confirmed<'_>>,
    ) -> Vec<(i32, u64, usize)> {
        let mut found = Vec::new();
        while let Some(confirmed) = next(shard) {
            let Confirmed::Sent { ticket, queue_offset, payloads, unique_key, .. } = confirmed
            else {
                panic!("only sends wait: {confirmed:?}")
            };
            assert_eq!(unique_key, b"key");
            found.push((ticket.opaque, queue_offset, payloads.len()));
        }
        found
    }

    #[test]
    fn who_waits_too_long_is_told_once_and_the_message_comes_later() {
        let mut shard = shard();
        shard.tick(1000);
        shard.append_message(1, &message(), ticket(1)).expect("room");
        shard.append_batch(1, &[message(), message()], ticket(2)).expect("room");
        shard.append_message(1, &message(), None).expect("room");
        let writes = start_writes(&mut shard);
        assert!(shard.tick_at_ms().is_some_and(|at_ms| at_ms < 1000 + TIMEOUT_MS));
        shard.tick(1200);
        assert_eq!(shard.tick_at_ms(), Some(1200 + TIMEOUT_MS));
        shard.append_message(1, &message(), ticket(3)).expect("room");
        shard.tick(1199 + TIMEOUT_MS);
        assert_eq!(answers(&mut shard, Shard::next_overdue), []);
        shard.tick(1200 + TIMEOUT_MS);
        assert_eq!(answers(&mut shard, Shard::next_overdue), [(1, 0, 1), (2, 1, 2)]);
        assert_eq!(answers(&mut shard, Shard::next_overdue), []);
        assert_eq!(shard.queues().bounds(QUEUE), Some((0, 0)), "not confirmed, so not visible");
        for write in writes {
            shard.log_mut().write_completed(&write.range, Ok(()));
        }
        assert_eq!(answers(&mut shard, Shard::next_confirmed), []);
        assert_eq!(shard.queues().bounds(QUEUE), Some((0, 4)));
        for write in start_writes(&mut shard) {
            shard.log_mut().write_completed(&write.range, Ok(()));
        }
        assert_eq!(answers(&mut shard, Shard::next_confirmed), [(3, 4, 1)]);
        shard.tick(2 * TIMEOUT_MS + 2000);
        assert_eq!(answers(&mut shard, Shard::next_overdue), []);
        assert_eq!(shard.overdue_at_ms(), None);
    }

    /// A delayed message is stored, confirmed, due and delivered, not confirmed yet.
    fn deliver(shard: &mut Shard) {
        let delayed = NewMessage { queue: Delays::queue(1), ..message() };
        shard.append_message(1, &delayed, None).expect("room");
        complete(shard);
        assert_eq!(answers(shard, Shard::next_confirmed), []);
        let mut record = Vec::new();
        let due = shard.next_due(1 + 1000, &mut record).expect("it is due");
        shard.settle(1001, due, Some(&message())).expect("room");
    }

    #[test]
    fn a_send_behind_a_delivery_is_answered_with_its_own_place() {
        let mut shard = shard();
        deliver(&mut shard);
        shard.append_message(1, &message(), ticket(1)).expect("room");
        complete(&mut shard);
        assert_eq!(answers(&mut shard, Shard::next_confirmed), [(1, 1, 1)]);
    }

    #[test]
    fn an_overdue_send_behind_a_delivery_is_told_its_own_place() {
        let mut shard = shard();
        deliver(&mut shard);
        shard.append_message(1, &message(), ticket(1)).expect("room");
        shard.tick(1000);
        shard.tick(1000 + TIMEOUT_MS);
        assert_eq!(answers(&mut shard, Shard::next_overdue), [(1, 1, 1)]);
    }

    #[test]
    fn a_log_that_failed_answers_nobody_here() {
        let mut shard = shard();
        shard.append_message(1, &message(), ticket(1)).expect("room");
        let writes = start_writes(&mut shard);
        shard.tick(0);
        shard.log_mut().write_completed(&writes[0].range, Err("EIO".to_owned()));
        shard.tick(TIMEOUT_MS);
        assert_eq!(answers(&mut shard, Shard::next_overdue), []);
        assert!(matches!(shard.next_confirmed(), Some(Confirmed::Unknown { .. })));
    }
}
