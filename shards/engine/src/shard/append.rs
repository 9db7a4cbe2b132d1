//! Append: a message, a batch, or one of our own records goes into the log and into the line.
//! Kind: machine

use std::net::SocketAddr;

use proto::ids::java_hash;
use proto::properties::{Known, WellKnown};
use proto::record::{self, RecordFields};

use super::{AnsweredKey, InLine, Shard, Waiting, WaitingMessage};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, Poison, Room, record_bytes};
use crate::consumequeue::QueueKey;
use crate::limits::{
    GROUP_PAYLOAD_BYTES_MAX, OFFSETS_RECORD_BYTES_MAX, PAYLOAD_BYTES_MAX, UNSEALED_ENTRIES_MAX,
};
use crate::ticket::Ticket;

/// A message that passed every check of the broker.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// The queue of the topic's incarnation.
    pub queue: QueueKey,
    /// The topic's name.
    pub topic: &'a [u8],
    /// The user's flag.
    pub flag: i32,
    /// System flag.
    pub sys_flag: i32,
    /// When the producer made it, ms.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// Advertised address of the broker.
    pub store_host: SocketAddr,
    /// Retries so far.
    pub reconsume_times: i32,
    /// Position of the half message that this one commits, 0 without one.
    pub prepared_transaction_offset: i64,
    /// The body as it came.
    pub body: &'a [u8],
    /// Its [`record::body_crc`] if it was stored before: what went wrong with it since is found out.
    pub body_crc: Option<u32>,
    /// The properties text, with the broker's additions.
    pub properties: &'a [u8],
    /// What `properties` say that it is found by.
    pub found_by: FoundBy,
}

/// What a message is found by, taken from its properties.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FoundBy {
    /// Java's hash of the tag, 0 without one.
    pub tag: i32,
    /// Where in the properties the value of UNIQ_KEY lies (start, length); (0, 0) without one.
    pub unique_key: (usize, usize),
    /// The same of the value of KEYS.
    pub keys: (usize, usize),
}

impl FoundBy {
    /// Of these properties.
    pub fn read(properties: &[u8]) -> FoundBy {
        FoundBy::of(&WellKnown::collect(properties), properties)
    }

    /// Of these properties, in which the usual ones were found already.
    pub fn of(known: &WellKnown, properties: &[u8]) -> FoundBy {
        let place = |known: Option<Known>| {
            known.map_or((0, 0), |known| (known.value_range().start, known.value_range().len()))
        };
        FoundBy {
            tag: known.tags.map_or(0, |tags| java_hash(tags.value(properties))),
            unique_key: place(known.unique_key),
            keys: place(known.keys),
        }
    }
}

/// Why nothing was appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendRefused {
    /// Not now: stop reading from sockets and come again after the next completions.
    Wait,
    /// Not until the disk has space: why.
    NoSpace(String),
    /// Not any more.
    Poisoned(Poison),
    /// Not until half messages are settled: as many as allowed are open.
    TransactionsFull,
    /// Never: the record or the group takes more bytes than allowed.
    TooLarge {
        /// Bytes in the log.
        found_bytes: usize,
    },
}

impl<'a> NewMessage<'a> {
    /// A message that was stored, to be stored in another queue with these properties.
    pub fn again(
        stored: &RecordFields<'a>,
        target: (&'a str, QueueKey),
        store_host: SocketAddr,
        properties: &'a [u8],
    ) -> NewMessage<'a> {
        let found_by = FoundBy::read(properties);
        NewMessage::again_found_by(stored, target, store_host, (properties, found_by))
    }

    /// The same with what the properties were seen to say.
    pub fn again_found_by(
        stored: &RecordFields<'a>,
        (topic, queue): (&'a str, QueueKey),
        store_host: SocketAddr,
        (properties, found_by): (&'a [u8], FoundBy),
    ) -> NewMessage<'a> {
        NewMessage {
            queue,
            topic: topic.as_bytes(),
            flag: stored.flag,
            sys_flag: stored.sys_flag,
            born_timestamp: stored.born_timestamp,
            born_host: stored.born_host,
            store_host,
            reconsume_times: stored.reconsume_times,
            prepared_transaction_offset: 0,
            body: stored.body,
            body_crc: Some(stored.body_crc),
            properties,
            found_by,
        }
    }

    /// Bytes of the RocketMQ record.
    pub fn record_bytes(&self) -> usize {
        self.fields().encoded_bytes()
    }

    fn fields(&self) -> RecordFields<'_> {
        RecordFields {
            queue_id: self.queue.queue as i32,
            flag: self.flag,
            queue_offset: 0,
            physic_offset: 0,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: 0,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            body_crc: 0,
            topic: self.topic,
            properties: self.properties,
        }
    }
}

/// The largest request that found no room, for which room is kept while it comes again.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Wanting {
    /// Its payload; 0: there is none.
    bytes: usize,
    /// It asked in this turn.
    is_asking: bool,
}

impl Shard {
    /// A turn ends: who wanted room and did not ask for it again has gone, or stands behind others that wait.
    pub(super) fn forget_wanting(&mut self) {
        self.wanting.bytes *= usize::from(self.wanting.is_asking);
        self.wanting.is_asking = false;
    }

    /// A message for this queue is on its way: asks for the memory that it needs.
    pub fn prefetch(&self, queue: QueueKey) {
        self.queues.prefetch(queue);
    }

    /// Whether payloads of so many bytes together can be appended now.
    ///
    /// # Errors
    /// [`AppendRefused`], as appending them would say.
    pub fn has_room(&mut self, payload_bytes: usize) -> Result<(), AppendRefused> {
        self.check_room(payload_bytes)
    }

    /// Whether [`Shard::append_offsets`] has room now: to be asked before an offset is changed whose change may
    /// still be refused.
    ///
    /// # Errors
    /// [`AppendRefused`], as it would say.
    pub fn has_room_for_offsets(&mut self) -> Result<(), AppendRefused> {
        self.check_log_room(OFFSETS_RECORD_BYTES_MAX)
    }

    /// [`Shard::check_room`] for a single record, whose limit is lower than that of a group.
    pub(super) fn check_record(&mut self, payload_bytes: usize) -> Result<(), AppendRefused> {
        if payload_bytes > PAYLOAD_BYTES_MAX as usize {
            return Err(AppendRefused::TooLarge { found_bytes: payload_bytes });
        }
        self.check_room(payload_bytes)
    }

    pub(super) fn check_room(&mut self, payload_bytes: usize) -> Result<(), AppendRefused> {
        let is_unsealed = self.queues.unsealed_entries() >= UNSEALED_ENTRIES_MAX;
        // What the log says first: it may never have room again.
        self.check_log_room(payload_bytes)?;
        if is_unsealed { Err(AppendRefused::Wait) } else { Ok(()) }
    }

    /// The same for what adds nothing to a queue, as at a stop when the disk takes no runs.
    fn check_log_room(&mut self, payload_bytes: usize) -> Result<(), AppendRefused> {
        if let Some(poison) = self.log.poisoned() {
            return Err(AppendRefused::Poisoned(poison.clone()));
        }
        if payload_bytes > GROUP_PAYLOAD_BYTES_MAX {
            return Err(AppendRefused::TooLarge { found_bytes: payload_bytes });
        }
        if self.line_is_full() {
            return Err(AppendRefused::Wait);
        }
        let needed = self.pinned_from.min(self.log.confirmed());
        let is_largest = payload_bytes >= self.wanting.bytes;
        // What is left of it by smaller ones would never be enough for a large one.
        let asked = if is_largest {
            payload_bytes
        } else {
            GROUP_PAYLOAD_BYTES_MAX.min(self.wanting.bytes + payload_bytes)
        };
        match self.log.room(asked, needed) {
            Room::Ready => {
                if is_largest {
                    self.wanting = Wanting::default();
                }
                Ok(())
            }
            Room::Wait => {
                if is_largest {
                    self.wanting = Wanting { bytes: payload_bytes, is_asking: true };
                }
                Err(AppendRefused::Wait)
            }
            // It may fit though the largest one does not.
            Room::Full if !is_largest && self.log.room(payload_bytes, needed) == Room::Ready => {
                Ok(())
            }
            Room::Full => {
                let reason = self.log.no_space().unwrap_or_default().to_owned();
                Err(AppendRefused::NoSpace(reason))
            }
        }
    }

    pub(super) fn check_disk(&self) -> Result<(), AppendRefused> {
        match &self.disk_full {
            Some(reason) if self.log.poisoned().is_none() => {
                Err(AppendRefused::NoSpace(reason.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Appends one message; the ticket comes back from [`Shard::next_confirmed`].
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn append_message(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        ticket: Option<Ticket>,
    ) -> Result<u64, AppendRefused> {
        self.check_disk()?;
        self.check_record(message.record_bytes())?;
        let end = self.put(now_ms, message, 0, ticket);
        self.line.back_mut().expect("just put").visible_at = end;
        Ok(end)
    }

    /// Appends messages that become visible together or not at all.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn append_batch(
        &mut self,
        now_ms: u64,
        messages: &[NewMessage<'_>],
        ticket: Option<Ticket>,
    ) -> Result<u64, AppendRefused> {
        assert!(!messages.is_empty());
        self.check_disk()?;
        let bytes: u64 = messages.iter().map(|message| record_bytes(message.record_bytes())).sum();
        self.check_room(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        let first = self.line.len();
        let last = messages.len() - 1;
        let mut end = 0;
        for (index, message) in messages.iter().enumerate() {
            let flags = group_flags(index > 0, index < last);
            end = self.put(now_ms, message, flags, ticket.filter(|_| index == last));
        }
        self.line.range_mut(first..).for_each(|waiting| waiting.visible_at = end);
        Ok(end)
    }

    /// Encodes a message into the log and puts it in line, visible never (the caller says when).
    pub(super) fn put(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        flags: u8,
        ticket: Option<Ticket>,
    ) -> u64 {
        self.stored_ms = self.stored_ms.max(now_ms);
        let stored_ms = self.stored_ms;
        let slot = self.queues.slot(message.queue);
        let queue_offset = self.queues.assign(slot);
        let size = message.record_bytes();
        let entry = Entry {
            kind: Kind::Message,
            flags,
            topic: message.queue.topic,
            queue: message.queue.queue,
        };
        let index = self.index;
        let body_bytes = message.body.len();
        let appended = self.log.append(entry, size, |payload, payload_offset| {
            let position = proto::ids::Position::new(
                index,
                proto::ids::LogOffset::new(payload_offset).expect("the log stays below 2^55"),
            );
            let fields = RecordFields {
                queue_offset: queue_offset as i64,
                physic_offset: position.to_i64(),
                store_timestamp: stored_ms as i64,
                body_crc: message.body_crc.unwrap_or_else(|| record::body_crc(message.body)),
                ..message.fields()
            };
            fields.encode(payload);
            // Behind the body: topic length and topic, properties length and properties.
            let v2 = usize::from(message.topic.len() > proto::limits::TOPIC_BYTES_MAX);
            let tail = 1 + v2 + message.topic.len() + 2 + message.properties.len();
            payload.len() - tail - body_bytes..payload.len() - tail
        });
        let (key_start, key_len) = message.found_by.unique_key;
        let mut unique_key = AnsweredKey {
            start: u32::try_from(size - message.properties.len() + key_start)
                .expect("below the record"),
            len: u16::try_from(key_len).expect("below the properties"),
            ..AnsweredKey::default()
        };
        if let Some(copy) = unique_key.copy.get_mut(..key_len) {
            copy.copy_from_slice(&message.properties[key_start..key_start + key_len]);
        }
        let (keys_start, keys_len) = message.found_by.keys;
        let properties = message.properties;
        self.keys.note(
            message.queue.topic,
            &properties[key_start..key_start + key_len],
            &properties[keys_start..keys_start + keys_len],
            appended.payload,
            stored_ms,
        );
        let waiting = WaitingMessage {
            slot,
            queue: message.queue,
            queue_offset,
            payload: appended.payload,
            size_bytes: u32::try_from(size).expect("below PAYLOAD_BYTES_MAX"),
            tag: message.found_by.tag,
            stored_ms,
            unique_key,
            ticket,
        };
        self.line.push_back(InLine {
            visible_at: u64::MAX,
            end: appended.end,
            what: Waiting::Message(waiting),
        });
        appended.end
    }

    /// Appends one of our own records; its ticket, if any, comes back confirmed.
    pub(super) fn put_own(&mut self, entry: Entry, payload: &[u8], ticket: Option<Ticket>) -> u64 {
        let appended = self.log.append(entry, payload.len(), |memory, _| {
            memory.copy_from_slice(payload);
            0..0
        });
        self.unsealed.note(appended.end, entry.kind, entry.topic, payload);
        self.line.push_back(InLine {
            visible_at: appended.end,
            end: appended.end,
            what: Waiting::Request(ticket),
        });
        appended.end
    }

    /// Appends the consumer offsets that only memory has, up to a record's worth.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn append_offsets(&mut self, ticket: Option<Ticket>) -> Result<(), AppendRefused> {
        self.has_room_for_offsets()?;
        let mut payload = std::mem::take(&mut self.scratch);
        self.offsets.take_dirty(&mut payload);
        let entry = Entry { kind: Kind::Offsets, flags: 0, topic: 0, queue: 0 };
        self.put_own(entry, &payload, ticket);
        self.scratch = payload;
        Ok(())
    }

    /// Appends a change of the catalog (shard 0).
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn append_catalog(
        &mut self,
        incarnation: u32,
        payload: &[u8],
        ticket: Option<Ticket>,
    ) -> Result<(), AppendRefused> {
        self.check_record(payload.len())?;
        let entry = Entry { kind: Kind::Catalog, flags: 0, topic: incarnation, queue: 0 };
        self.put_own(entry, payload, ticket);
        Ok(())
    }

    /// Marks a clean stop; nothing is appended afterwards.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn append_end(&mut self) -> Result<(), AppendRefused> {
        self.check_log_room(0)?;
        let entry = Entry { kind: Kind::End, flags: 0, topic: 0, queue: 0 };
        self.put_own(entry, &[], None);
        Ok(())
    }
}

fn group_flags(continues: bool, more: bool) -> u8 {
    let continues = if continues { FLAG_CONTINUES } else { 0 };
    let more = if more { FLAG_MORE } else { 0 };
    continues | more
}

#[cfg(test)]
mod tests {
    use super::super::testing::{message, shard, start_writes};
    use super::*;
    use crate::commitlog::LogWrite;

    /// A shard whose log takes no more before writes end, which have begun.
    fn full_shard() -> (Shard, Vec<LogWrite>) {
        let mut shard = shard();
        let mut writes = start_writes(&mut shard);
        let body = [7; 100_000];
        while shard.append_message(1, &NewMessage { body: &body, ..message() }, None).is_ok() {
            writes.extend(start_writes(&mut shard));
        }
        shard.turn_ended();
        (shard, writes)
    }

    #[test]
    fn a_large_request_finds_room_though_small_ones_ask_before_it() {
        let (mut shard, mut writes) = full_shard();
        let large = 4 << 20;
        assert_eq!(shard.has_room(large), Err(AppendRefused::Wait));
        let mut turns = 0;
        while shard.has_room(large).is_err() {
            shard.turn_ended();
            turns += 1;
            let write = writes.remove(0);
            shard.log_mut().write_completed(&write.range, Ok(()));
            // As many as there is room for, before the large one comes again.
            while shard.append_message(1, &message(), None).is_ok() {
                assert!(turns > 3, "a MiB is not enough for both");
            }
            writes.extend(start_writes(&mut shard));
        }
        assert!((2..10).contains(&turns), "{turns}");
        assert!(shard.append_message(1, &message(), None).is_ok(), "nothing is kept any more");
    }

    #[test]
    fn room_is_kept_for_nobody_who_does_not_come_again() {
        let (mut shard, mut writes) = full_shard();
        assert_eq!(shard.has_room(4 << 20), Err(AppendRefused::Wait));
        let write = writes.remove(0);
        shard.log_mut().write_completed(&write.range, Ok(()));
        let send = |shard: &mut Shard| shard.append_message(1, &message(), None).is_ok();
        assert!(!send(&mut shard), "it may come in this turn");
        shard.turn_ended();
        assert!(!send(&mut shard), "or in the next");
        shard.turn_ended();
        assert!(send(&mut shard));
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_even_where_a_group_is_not() {
        let mut shard = shard();
        let long = vec![0; PAYLOAD_BYTES_MAX as usize + 1];
        let refused = AppendRefused::TooLarge { found_bytes: long.len() };
        assert_eq!(shard.has_room(long.len()), Ok(()), "of a group");
        assert_eq!(shard.append_catalog(64, &long, None), Err(refused));
        assert_eq!(shard.append_catalog(64, &long[1..], None), Ok(()));
    }
}
