//! Fire: timers that are due move to their real queues, many in one group with the note that they did;
//! and those that are called back before do not (docs/decisions/0010-timers.md).
//! Kind: machine

use std::ops::Range;

use proto::properties::{self, name};
use proto::record::Record;

use super::append::{AppendRefused, NewMessage};
use super::{Lookup, Shard};
use crate::coldread::Cold;
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::consumequeue::{QueueEntry, read_page};
use crate::limits::{
    DELAY_RETRY_MS, FIRED_BYTES_PER_GROUP, FIRED_PER_GROUP_MAX, READ_BLOCK_BYTES,
    RECALLS_FORGOTTEN_EVERY_MS, RECALLS_MAX, TIMER_PAGES_PER_TURN, TIMER_PAGES_WANTED_MAX,
    TIMERS_LOOKED_AHEAD,
};
use crate::page::PAGE_BYTES;
use crate::ticket::Ticket;
use crate::timer::{Timer, TimerKey, TimerPage, Timers, write_recalled};

/// Timers that are due, with their records, in the order in which they fire.
#[derive(Debug, Default)]
pub struct DueTimers {
    timers: Vec<(Timer, Range<usize>, bool)>,
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct DueTimer<'a> {
    /// When it was due, ms.
    pub due_ms: u64,
    /// Log offset of its record.
    pub payload: u64,
    /// Its RocketMQ record; empty: it is damaged.
    pub record: &'a [u8],
    /// It was called back: it fires without a message.
    pub is_recalled: bool,
}

/// What became of a recall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recalled {
    /// It is in the log.
    Appended,
    /// Messages of that time have gone out.
    TooLate,
    /// As many as allowed wait for their time.
    TooMany,
}

/// What firing remembers between turns.
#[derive(Debug, Default)]
pub(super) struct TimersLooked {
    wanted: Vec<TimerPage>,
    entries: Vec<QueueEntry>,
    ahead: Vec<Timer>,
    name: Vec<u8>,
    /// Where the record of the timer before was.
    payload: u64,
    forgotten_ms: u64,
}

impl DueTimers {
    /// How many.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// In the order in which they fire.
    pub fn iter(&self) -> impl Iterator<Item = DueTimer<'_>> {
        self.timers.iter().map(|(timer, range, is_recalled)| DueTimer {
            due_ms: timer.key.due_ms,
            payload: timer.key.payload,
            record: &self.bytes[range.clone()],
            is_recalled: *is_recalled,
        })
    }

    fn clear(&mut self) {
        self.timers.clear();
        self.bytes.clear();
    }
}

impl Shard {
    /// Timers, for figures.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Appends a message that waits until `due_ms` in rmq_sys_wheel_timer: its TIMER_OUT_MS must say so.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    ///
    /// # Panics
    /// When timers of this time are not taken ([`Shard::takes_timer`]).
    pub fn append_timer(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        due_ms: u64,
        ticket: Option<Ticket>,
    ) -> Result<u64, AppendRefused> {
        self.check_timer(message, due_ms, 0)?;
        Ok(self.put_timer(now_ms, message, due_ms, ticket))
    }

    /// Appends such a message that calls another one of its time back, both or neither; the name is
    /// [`Shard::recall`]'s.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then, nor when the message is not called back.
    ///
    /// # Panics
    /// When timers of this time are not taken ([`Shard::takes_timer`]).
    pub fn append_recalling_timer(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        due_ms: u64,
        name: &[u8],
        ticket: Option<Ticket>,
    ) -> Result<Recalled, AppendRefused> {
        if let Some(refused) = self.recall_refused(due_ms) {
            return Ok(refused);
        }
        let payload = write_recalled(due_ms, name);
        self.check_timer(message, due_ms, record_bytes(payload.len()) as usize)?;
        self.put_recalled(due_ms, name, &payload, None);
        self.put_timer(now_ms, message, due_ms, ticket);
        Ok(Recalled::Appended)
    }

    /// Whether there is room for a timer, with so many bytes beside it.
    fn check_timer(
        &mut self,
        message: &NewMessage<'_>,
        due_ms: u64,
        more_bytes: usize,
    ) -> Result<(), AppendRefused> {
        assert!(self.takes_timer(due_ms));
        self.check_disk()?;
        self.check_record(message.record_bytes())?;
        let note_bytes = if self.begins_span(due_ms) { self.note_bytes() } else { 0 };
        if note_bytes + more_bytes > 0 {
            let bytes = record_bytes(message.record_bytes()) as usize;
            self.check_room(bytes + note_bytes + more_bytes)?;
        }
        Ok(())
    }

    /// Whether a timer lies before what fired, so that a span begins with it.
    fn begins_span(&self, due_ms: u64) -> bool {
        due_ms < self.timers.cursors().newest().due_ms
    }

    /// Appends a timer for which there is room.
    fn put_timer(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        due_ms: u64,
        ticket: Option<Ticket>,
    ) -> u64 {
        if self.begins_span(due_ms) {
            self.timers.begin_span(self.log.appended());
            self.put_fired(0);
        }
        let end = self.put(now_ms, message, 0, ticket);
        let waiting = self.line.back_mut().expect("just put");
        waiting.visible_at = end;
        let super::Waiting::Message(stored) = waiting.what else { unreachable!("just put") };
        let key = TimerKey { due_ms, payload: stored.payload };
        self.timers.add(Timer { key, size_bytes: stored.size_bytes, is_copy: false });
        end
    }

    /// Whether a timer of this time can be appended: not if clocks were set back again and again.
    pub fn takes_timer(&self, due_ms: u64) -> bool {
        self.timers.cursors().takes(due_ms)
    }

    /// A message that waits until `due_ms` is not to come; its name is topic, `+`, unique key.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    pub fn recall(
        &mut self,
        due_ms: u64,
        name: &[u8],
        ticket: Option<Ticket>,
    ) -> Result<Recalled, AppendRefused> {
        if let Some(refused) = self.recall_refused(due_ms) {
            return Ok(refused);
        }
        self.check_disk()?;
        let payload = write_recalled(due_ms, name);
        self.check_record(payload.len())?;
        self.put_recalled(due_ms, name, &payload, ticket);
        Ok(Recalled::Appended)
    }

    /// Why nothing of this time can be called back, if so.
    fn recall_refused(&self, due_ms: u64) -> Option<Recalled> {
        // Whatever the clock says now.
        if self.timers.cursors().fired() > (TimerKey { due_ms, payload: 0 }) {
            return Some(Recalled::TooLate);
        }
        let is_full = self.timers.recalls().len() >= RECALLS_MAX;
        is_full.then_some(Recalled::TooMany)
    }

    /// Appends a recall for which there is room.
    fn put_recalled(&mut self, due_ms: u64, name: &[u8], payload: &[u8], ticket: Option<Ticket>) {
        let entry = Entry { kind: Kind::Recalled, flags: 0, topic: 0, queue: 0 };
        self.put_own(entry, payload, ticket);
        self.timers.recalls_mut().insert(due_ms, name);
    }

    /// The next timers that are due, as far as their records are in memory. What is not is being read,
    /// and comes later. [`Shard::fire`] follows, before anything else is appended.
    pub fn due_timers(&mut self, now_ms: u64, due: &mut DueTimers) {
        due.clear();
        if self.timers.is_quiet(now_ms) && self.timers.recalls().is_empty() {
            return;
        }
        if self.timers.is_postponed(now_ms) {
            return;
        }
        self.timers.try_aside(now_ms);
        self.load_timers(now_ms);
        self.forget_recalls(now_ms);
        while due.len() < FIRED_PER_GROUP_MAX && due.bytes.len() < FIRED_BYTES_PER_GROUP {
            let Some(timer) = self.timers.take_due(now_ms) else { return };
            let start = due.bytes.len();
            // The whole record: confirmed may lie within it.
            if timer.key.payload + u64::from(timer.size_bytes) > self.log.confirmed() {
                self.timers.put_back(timer);
                return;
            }
            self.read_ahead_of(&timer);
            match self.record_at(timer.key.payload, kind_of(&timer), &mut due.bytes) {
                Lookup::Found | Lookup::None => {}
                Lookup::Cold => {
                    self.look_ahead(now_ms, &mut due.bytes);
                    self.timers.put_back(timer);
                    return;
                }
                Lookup::Failed(reason) if self.timers.set_aside(timer, now_ms) => {
                    self.tell_unreadable(timer.key.payload, &reason);
                    continue;
                }
                Lookup::Failed(reason) => {
                    self.timers.put_back(timer);
                    self.timers_failed(now_ms, &reason);
                    return;
                }
            }
            let is_recalled = self.is_recalled(timer.key.due_ms, &due.bytes[start..]);
            due.timers.push((timer, start..due.bytes.len(), is_recalled));
        }
    }

    /// Timers that were sent with one delay fire in the log's order: what follows is read, too.
    fn read_ahead_of(&mut self, timer: &Timer) {
        let start = timer.key.payload;
        let before = std::mem::replace(&mut self.timers_looked.payload, start);
        let follows = start.checked_sub(before).is_some_and(|gap| gap < READ_BLOCK_BYTES as u64);
        if follows && start < self.log.tail_floor() {
            self.cold.written(self.log.written());
            self.cold.read_ahead(start + u64::from(timer.size_bytes));
        }
    }

    /// Has the records of the timers that come next read, too.
    fn look_ahead(&mut self, now_ms: u64, bytes: &mut Vec<u8>) {
        let mut ahead = std::mem::take(&mut self.timers_looked.ahead);
        let before = bytes.len();
        while ahead.len() < TIMERS_LOOKED_AHEAD
            && let Some(timer) = self.timers.take_due(now_ms)
        {
            ahead.push(timer);
            self.record_at(timer.key.payload, kind_of(&timer), bytes);
            bytes.truncate(before);
        }
        ahead.drain(..).for_each(|timer| self.timers.put_back(timer));
        self.timers_looked.ahead = ahead;
    }

    fn is_recalled(&mut self, due_ms: u64, record: &[u8]) -> bool {
        if !self.timers.recalls().has_any(due_ms) {
            return false;
        }
        let Ok((message, _)) = Record::decode(record) else { return false };
        let text = message.fields().properties;
        let name = &mut self.timers_looked.name;
        name.clear();
        name.extend_from_slice(properties::find(text, name::REAL_TOPIC).unwrap_or_default());
        name.push(b'+');
        name.extend_from_slice(properties::find(text, name::UNIQ_KEY).unwrap_or_default());
        self.timers.recalls().contains(due_ms, name)
    }

    fn timers_failed(&mut self, now_ms: u64, reason: &str) {
        tracing::error!(
            shard = self.index.0,
            reason,
            "a message that waited for its time cannot be read from disk, it is tried again"
        );
        self.timers.postpone(now_ms + DELAY_RETRY_MS);
    }

    /// What is due cannot be delivered now; it is tried again after [`DELAY_RETRY_MS`].
    pub fn postpone_timers(&mut self, now_ms: u64, due: &mut DueTimers) {
        self.put_back_timers(due);
        self.timers.postpone(now_ms + DELAY_RETRY_MS);
    }

    /// They do not fire now.
    pub fn put_back_timers(&mut self, due: &mut DueTimers) {
        due.timers.drain(..).for_each(|(timer, ..)| self.timers.put_back(timer));
        due.clear();
    }

    /// Delivers the first of the due timers as these messages and notes it, in one group; `None`: it is
    /// gone, only note. The others wait on.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then, and all are to be put back.
    pub fn fire(
        &mut self,
        now_ms: u64,
        due: &DueTimers,
        messages: &[Option<NewMessage<'_>>],
    ) -> Result<(), AppendRefused> {
        assert!(messages.len() <= due.len() && !messages.is_empty());
        let bytes_of = |message: &Option<NewMessage<'_>>| {
            message.as_ref().map_or(0, |it| record_bytes(it.record_bytes()) as usize)
        };
        let bytes: usize = messages.iter().map(bytes_of).sum();
        self.check_room(bytes + self.note_bytes())?;
        let line = self.line.len();
        let mut flags = 0;
        for message in messages.iter().flatten() {
            self.put(now_ms, message, FLAG_MORE | flags, None);
            flags = FLAG_CONTINUES;
        }
        let last = due.timers[messages.len() - 1].0.key;
        self.timers.settled_below(last.next());
        let end = self.put_fired(flags);
        self.line.range_mut(line..).for_each(|waiting| waiting.visible_at = end);
        due.timers[messages.len()..].iter().for_each(|(timer, ..)| self.timers.put_back(*timer));
        Ok(())
    }

    /// Bytes of a *fired* record with three spans more than there are: where timers begin anew, and where a
    /// run begins and ends that is carried meanwhile.
    pub(super) fn note_bytes(&self) -> usize {
        record_bytes(16 + (self.timers.cursors().len() + 3) * 24) as usize
    }

    /// Appends which timers are settled.
    pub(super) fn put_fired(&mut self, flags: u8) -> u64 {
        let entry = Entry { kind: Kind::Fired, flags, topic: 0, queue: 0 };
        let payload = self.timers.cursors().write();
        self.put_own(entry, &payload, None)
    }

    /// Recalls of times that have passed are forgotten, in the log too.
    fn forget_recalls(&mut self, now_ms: u64) {
        let Some(first_ms) = self.timers.recalls().first_ms() else { return };
        let passed_ms = self.timers.pending_from_ms().min(now_ms);
        let since_ms = now_ms.abs_diff(self.timers_looked.forgotten_ms);
        if first_ms >= passed_ms
            || since_ms < RECALLS_FORGOTTEN_EVERY_MS
            || self.check_room(self.note_bytes()).is_err()
        {
            return;
        }
        self.timers_looked.forgotten_ms = now_ms;
        self.timers.settled_below(TimerKey { due_ms: passed_ms, payload: 0 });
        self.put_fired(0);
    }

    // ---- runs -----------------------------------------------------------------------------------

    /// Pages of timers that are due soon enter memory.
    fn load_timers(&mut self, now_ms: u64) {
        let mut wanted = std::mem::take(&mut self.timers_looked.wanted);
        for _ in 0..TIMER_PAGES_PER_TURN {
            self.timers.wanted_pages(now_ms, TIMER_PAGES_WANTED_MAX, &mut wanted);
            let mut is_any_here = false;
            for page in &wanted {
                match self.timer_page(page) {
                    Ok(true) => is_any_here = true,
                    Ok(false) => {}
                    Err(reason) => {
                        self.timers_failed(now_ms, &reason);
                        is_any_here = false;
                        break;
                    }
                }
            }
            if !is_any_here {
                break;
            }
        }
        self.timers_looked.wanted = wanted;
    }

    /// Brings a page into memory. `false`: it is being read.
    fn timer_page(&mut self, page: &TimerPage) -> Result<bool, String> {
        let mut entries = std::mem::take(&mut self.timers_looked.entries);
        let read = self.read_timer_page(page, &mut entries);
        if read == Ok(true) {
            self.timers.loaded(page, &entries);
        }
        self.timers_looked.entries = entries;
        read
    }

    /// Reads a page of timers into `out` (cleared before). `false`: it is being read.
    pub(super) fn read_timer_page(
        &mut self,
        page: &TimerPage,
        out: &mut Vec<QueueEntry>,
    ) -> Result<bool, String> {
        out.clear();
        if self.damaged_run.as_ref() == Some(&page.run) {
            return Err(super::read::RUN_IS_MADE_AGAIN.to_owned());
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let addresses = page.address..page.address + PAGE_BYTES as u64;
        let read = match self.cold_runs.copy(addresses, &mut bytes) {
            Cold::Copied => {
                let seed = self.log.shape().seed;
                read_page(seed, page.run.start, page.page, &bytes, 0..page.count, out)
                    .map(|()| true)
                    .map_err(|error| error.to_string())
            }
            Cold::Wanted => Ok(false),
            Cold::Failed(reason) => Err(reason),
        };
        self.scratch = bytes;
        read.map_err(|reason| {
            out.clear();
            self.report_run(&page.run, &reason);
            super::read::RUN_IS_MADE_AGAIN.to_owned()
        })
    }
}

fn kind_of(timer: &Timer) -> Kind {
    if timer.is_copy { Kind::Carried } else { Kind::Message }
}

#[cfg(test)]
mod tests;
