//! Carry timers: what waits for its time in a segment that is to go is appended again at the tail, run by
//! run, several in one group with a note that those up to a key are elsewhere now.
//! Kind: machine

use super::append::AppendRefused;
use super::carry::{Pass, Step};
use super::{Lookup, Shard};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::limits::{CARRIED_BYTES_PER_TURN, FIRED_PER_GROUP_MAX};
use crate::timer::{TIMER_QUEUE, Timer, TimerKey, TimerPage};

impl Shard {
    /// Copies the next timers that wait below the end of the pass.
    pub(super) fn carry_timers(&mut self, pass: &mut Pass, record: &mut Vec<u8>) -> Step {
        let start = self.start;
        let next = self.timers.first_pending_run(start).filter(|run| run.start < pass.to());
        let Some(page) = next.and_then(|run| self.timers.first_pending_page(run.start)) else {
            return Step::Done;
        };
        let mut entries = Vec::new();
        match self.read_timer_page(&page, &mut entries) {
            Ok(true) => {}
            Ok(false) => return Step::Later,
            Err(reason) => return Step::Failed(reason),
        }
        let timers: Vec<Timer> = entries.iter().map(Timer::of).collect();
        self.carry_page(pass, &page, &timers, record)
    }

    /// Copies timers of a page that are not settled, as many as go into one group.
    fn carry_page(
        &mut self,
        pass: &mut Pass,
        page: &TimerPage,
        timers: &[Timer],
        record: &mut Vec<u8>,
    ) -> Step {
        let below = self.timers.cursors().below_in(&page.run);
        let mut copies: Vec<(Timer, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        let mut done = page.next;
        for timer in timers.iter().filter(|timer| timer.key >= below) {
            if self.timers.cursors().is_settled(timer.key) {
                continue;
            }
            if copies.len() == FIRED_PER_GROUP_MAX || bytes >= CARRIED_BYTES_PER_TURN {
                done = timer.key;
                break;
            }
            let kind = if timer.is_copy { Kind::Carried } else { Kind::Message };
            record.clear();
            match self.record_at(timer.key.payload, kind, record) {
                Lookup::Found => {}
                Lookup::None => {
                    tracing::error!(
                        shard = self.index.0,
                        position = timer.key.payload,
                        "a message that waited for its time is damaged and goes with its segment"
                    );
                    continue;
                }
                Lookup::Cold if copies.is_empty() => return Step::Later,
                Lookup::Cold => {
                    done = timer.key;
                    break;
                }
                Lookup::Failed(reason) => return Step::Failed(reason),
            }
            bytes += record_bytes(record.len());
            copies.push((*timer, record.clone()));
        }
        let note = self.note_bytes();
        if !pass.has_budget(bytes + note as u64) {
            return Step::Kept;
        }
        match self.check_room(bytes as usize + note) {
            Ok(()) => {}
            Err(AppendRefused::Wait) => return Step::Later,
            Err(AppendRefused::NoSpace(reason)) => return Step::Failed(reason),
            Err(refused) => return Step::Failed(format!("{refused:?}")),
        }
        // One that others have passed (it was set aside, or a start found it before it came) would count as
        // settled at the log's end.
        let newest_ms = self.timers.cursors().newest().due_ms;
        if copies.iter().any(|(timer, _)| timer.key.due_ms < newest_ms) {
            self.timers.begin_span(self.log.appended());
        }
        let mut flags = 0;
        for (timer, record) in &copies {
            let (topic, queue) = (TIMER_QUEUE.topic, TIMER_QUEUE.queue);
            let copy = Entry { kind: Kind::Carried, flags: FLAG_MORE | flags, topic, queue };
            let appended = self.log.append(copy, record.len(), |memory, _| {
                memory.copy_from_slice(record);
                0..0
            });
            let key = TimerKey { payload: appended.payload, ..timer.key };
            self.timers.add(Timer { key, is_copy: true, ..*timer });
            flags = FLAG_CONTINUES;
        }
        self.timers.carried_below(&page.run, done);
        self.put_fired(flags);
        pass.spent(bytes);
        Step::On(bytes.max(1))
    }
}
