//! Offsets: 14, 15 of consumer groups; 29, 30, 31, 32 of queues.
//! Kind: machine
//!
//! Source: ConsumerManageProcessor and AdminBrokerProcessor of 5.3.3.

use std::sync::Arc;

use engine::consumequeue::QueueKey;
use engine::shard::Searched;
use proto::code::response;
use proto::command::Command;
use proto::header::{Boundary, HeaderError, QueryOffsetHeader, QueueHeader, UpdateOffsetHeader};
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer};
use super::super::limits::IN_MEMORY_RAM_PERCENT;
use super::super::parked::Request;
use super::super::{Asker, Broker, Refusal};
use super::form;
use crate::net::outbox::Outboxes;

/// A question to a queue of a shard, by its place, that entries answer which may have to be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct TimeQuestion {
    place: usize,
    queue: QueueKey,
    kind: TimeKind,
}

#[derive(Clone, Copy, Debug)]
enum TimeKind {
    /// The first queue offset stored at a time or later; `is_upper`: the last at it or before.
    OffsetAt { time_ms: u64, is_upper: bool },
    /// When the oldest message was stored.
    OfOldest,
}

impl Broker {
    pub(in crate::broker) fn query_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueryOffsetHeader::parse(command)?;
        let queue = self.queue_here(&header.topic.to_cow(), header.queue_id)?;
        let group = header.consumer_group.to_cow();
        let committed =
            queue.and_then(|(place, queue)| self.shards[place].offsets().committed(&group, queue));
        let offset = match committed {
            Some(offset) => Some(offset),
            None if header.set_zero_if_not_found && self.is_young(queue) => Some(0),
            None => None,
        };
        let Some(offset) = offset else {
            return Err(Refusal::new(
                response::QUERY_NOT_FOUND,
                "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
            )
            .into());
        };
        self.answer_number(asker, "offset", offset as i64, outboxes);
        Ok(())
    }

    /// Whether the queue still has its first message, and that near enough to the log's end to count
    /// as in memory: then a new group starts at 0 (protocol fact 3.4).
    fn is_young(&self, queue: Option<(usize, QueueKey)>) -> bool {
        let Some((place, queue)) = queue else { return false };
        let shard = &self.shards[place];
        shard.queues().position_below(queue, 0).is_some_and(|position| {
            let distance = shard.log().appended().saturating_sub(position);
            distance <= self.settings.memory_bytes / 100 * IN_MEMORY_RAM_PERCENT
        })
    }

    pub(in crate::broker) fn update_offset(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = UpdateOffsetHeader::parse(command).map_err(number_missing)?;
        let group = header.consumer_group.to_cow();
        let topic = header.topic.to_cow();
        let queue = self.queue_here(&topic, header.queue_id)?;
        if self.catalog.group(&group).is_none() {
            return Err(Refusal::new(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("subscription group not exist, {group}"),
            )
            .into());
        }
        let Some((place, queue)) = queue else {
            return Err(Refusal::no_topic(&topic, self.settings.advertised).into());
        };
        let Ok(offset) = u64::try_from(header.commit_offset) else {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("commitOffset {} is negative", header.commit_offset),
            )
            .into());
        };
        if !self.resets.is_empty() && self.resets.contains_key(&(Arc::from(&*group), queue)) {
            let remark = Some("Offset has been previously reset");
            answer(asker, response::SUCCESS, remark, None, &[], outboxes);
            return Ok(());
        }
        if asker.is_oneway {
            return self.commit(now, place, &group, queue, offset);
        }
        // Who waits for the answer gets it when the offset is as safe as a message.
        self.shards[place].has_room_for_offsets()?;
        self.commit(now, place, &group, queue, offset)?;
        self.shards[place].offsets_mut().await_written(&group, queue);
        self.shards[place].append_offsets(Some(asker.ticket(form::PLAIN)))?;
        Ok(())
    }

    /// Commits an offset in memory; the log gets it within half a second.
    pub(in crate::broker) fn commit(
        &mut self,
        now: Now,
        place: usize,
        group: &str,
        queue: QueueKey,
        offset: u64,
    ) -> Handled {
        self.shards[place]
            .offsets_mut()
            .commit(now.monotonic_ms(), group, queue, offset)
            .map_err(|full| Refusal::new(response::SYSTEM_ERROR, full.to_string()).into())
    }

    /// The oldest queue offset and the one behind the newest; 0 of a queue that was never used.
    fn bounds_of(&self, header: &QueueHeader<'_>) -> Result<(u64, u64), Stop> {
        let queue = self.queue_here(&header.topic.to_cow(), header.queue_id)?;
        let bounds = queue.and_then(|(place, queue)| self.shards[place].queues().bounds(queue));
        Ok(bounds.unwrap_or((0, 0)))
    }

    pub(in crate::broker) fn max_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueueHeader::parse(command)?;
        let (_, max) = self.bounds_of(&header)?;
        self.answer_number(asker, "offset", max as i64, outboxes);
        Ok(())
    }

    pub(in crate::broker) fn min_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueueHeader::parse(command)?;
        let (min, _) = self.bounds_of(&header)?;
        self.answer_number(asker, "offset", min as i64, outboxes);
        Ok(())
    }

    pub(in crate::broker) fn search_offset(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueueHeader::parse(command)?;
        let Some(timestamp) = header.timestamp else {
            return Err(Refusal::new(response::SYSTEM_ERROR, "timestamp is missing").into());
        };
        let queue = self.queue_here(&header.topic.to_cow(), header.queue_id)?;
        let Some((place, queue)) = queue else {
            self.answer_number(asker, "offset", 0, outboxes);
            return Ok(());
        };
        let kind = TimeKind::OffsetAt {
            time_ms: timestamp.max(0) as u64,
            is_upper: header.boundary == Boundary::Upper,
        };
        let question = TimeQuestion { place, queue, kind };
        self.try_or_park(now, asker, Request::Time(question), outboxes)
    }

    pub(in crate::broker) fn earliest_store_time(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueueHeader::parse(command)?;
        let queue = self.queue_here(&header.topic.to_cow(), header.queue_id)?;
        let Some((place, queue)) = queue else {
            self.answer_number(asker, "timestamp", -1, outboxes);
            return Ok(());
        };
        let question = TimeQuestion { place, queue, kind: TimeKind::OfOldest };
        self.try_or_park(now, asker, Request::Time(question), outboxes)
    }

    /// `false`: queue entries are being read.
    pub(in crate::broker) fn try_time(
        &mut self,
        asker: &Asker,
        question: &TimeQuestion,
        outboxes: &mut Outboxes,
    ) -> Result<bool, Stop> {
        let TimeQuestion { place, queue, kind } = *question;
        let shard = &mut self.shards[place];
        let (key, searched) = match kind {
            TimeKind::OffsetAt { time_ms, is_upper } => {
                ("offset", Some(shard.search_time(queue, time_ms, is_upper)))
            }
            TimeKind::OfOldest => ("timestamp", shard.oldest_time(queue)),
        };
        let number = match searched {
            None => -1,
            Some(Searched::Found(number)) => number as i64,
            Some(Searched::Cold) => return Ok(false),
            Some(Searched::Failed(reason)) => {
                return Err(Refusal::unreadable("the queue", &reason).into());
            }
        };
        self.answer_number(asker, key, number, outboxes);
        Ok(true)
    }

    fn answer_number(&self, asker: &Asker, key: &str, value: i64, outboxes: &mut Outboxes) {
        let mut digits = itoa::Buffer::new();
        let ext = [(key, digits.format(value))];
        answer(asker, response::SUCCESS, None, Some(&ext), &[], outboxes);
    }
}

/// A commit without its numbers has a code of its own (`ConsumerManageProcessor.updateConsumerOffset`).
fn number_missing(error: HeaderError) -> Refusal {
    match error {
        HeaderError::Missing { field: field @ ("queueId" | "commitOffset") } => {
            Refusal::new(response::INVALID_PARAMETER, format!("{field} is null"))
        }
        other => other.into(),
    }
}
