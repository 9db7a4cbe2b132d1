//! Queries: a question by key is asked of all shards, on all cores, and answered when all have answered.
//! Owns: on the core that was asked, what has come so far; on each core, how far its shards are.
//! Lives on: every core
//! Kind: machine
//! Invariants:
//!   each question is answered once: with what all found, with the first failure, or when its time is up
//!   a core has as many questions as others may ask at a time, so that nothing here grows: what nobody
//!   waits for is not looked for any more
//!   an answer to a question that is not here any more is dropped

use std::collections::VecDeque;
use std::sync::Arc;

use engine::shard::{Finding, Found, FoundMessage, KeyQuery, Shard};
use proto::code::response;
use runtime::ConnectionId;
use runtime::clock::Now;

use super::dispatch::{Handled, answer, refuse};
use super::limits::{QUERIES_AT_ONCE, QUERIES_WAITING_MAX, QUERY_MS_MAX};
use super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;
use crate::router::Router;
use crate::router::letter::{FoundByKey, Letter};

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Queries {
    /// Asked here, on their way.
    asked: Vec<Question>,
    /// Asked here, not begun.
    waiting: VecDeque<(Asker, KeyQuery)>,
    /// What this core's shards look for.
    jobs: Vec<Job>,
    letters: VecDeque<(usize, Letter)>,
    /// The number of the newest question.
    number: u64,
    reads_seen: u64,
}

/// A question that was asked here.
#[derive(Debug)]
struct Question {
    number: u64,
    asker: Asker,
    query: Arc<KeyQuery>,
    /// Cores that have not answered.
    unanswered: usize,
    /// What came so far.
    outcome: Result<FoundByKey, String>,
    /// Until when it may take, monotonic ms.
    until_ms: u64,
}

/// A question to the shards of this core.
#[derive(Debug)]
struct Job {
    /// The core that asks, and its number of the question.
    core: usize,
    number: u64,
    query: Arc<KeyQuery>,
    /// Until when the answer is of use, monotonic ms.
    until_ms: u64,
    /// For each shard.
    shards: Vec<InShard>,
}

#[derive(Debug)]
enum InShard {
    Looking(Finding),
    Done(Vec<FoundMessage>),
}

/// How a job goes on.
enum Progress {
    Reading,
    /// In the next turn, whatever happens.
    Turn,
    Done(Result<FoundByKey, String>),
}

impl Queries {
    /// Whether nothing is asked here, nor of this core's shards.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
            && self.waiting.is_empty()
            && self.jobs.is_empty()
            && self.letters.is_empty()
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.asked.len() + self.waiting.len()
    }

    /// A connection ended: nobody waits for its answers.
    pub fn closed(&mut self, connection: ConnectionId, router: &Router) {
        self.waiting.retain(|(asker, _)| asker.connection != connection);
        let is_of = |question: &mut Question| question.asker.connection == connection;
        for question in self.asked.extract_if(.., is_of).collect::<Vec<_>>() {
            self.give_up(question.number, router);
        }
    }

    /// Nobody waits for the answer to a question of this core: no core is to look for it. What is being read
    /// for it stays with the blocks of its shard, for others.
    fn give_up(&mut self, number: u64, router: &Router) {
        self.forget(router.core(), number);
        for core in (0..router.core_count()).filter(|core| *core != router.core()) {
            self.letters.push_back((core, Letter::Forget { number }));
        }
    }

    fn forget(&mut self, core: usize, number: u64) {
        self.jobs.retain(|job| (job.core, job.number) != (core, number));
    }

    /// When the first question's time is up, here or of another core, monotonic ms.
    pub fn wake_at_ms(&self) -> Option<u64> {
        let asked = self.asked.iter().map(|question| question.until_ms);
        asked.chain(self.jobs.iter().map(|job| job.until_ms)).min()
    }

    /// What this core's shards look for.
    #[cfg(test)]
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    fn found(&mut self, number: u64, outcome: Result<FoundByKey, String>) {
        let Some(question) = self.asked.iter_mut().find(|it| it.number == number) else { return };
        question.unanswered -= 1;
        match (&mut question.outcome, outcome) {
            (Err(_), _) => {}
            (so_far, Err(reason)) => *so_far = Err(reason),
            (Ok(so_far), Ok(found)) => {
                so_far.messages.extend(found.messages);
                keep_newest(&mut so_far.messages, &question.query);
                so_far.index_end = so_far.index_end.max(found.index_end);
            }
        }
    }
}

/// Keeps the newest messages, newest first, as many as are wanted.
fn keep_newest(messages: &mut Vec<FoundMessage>, query: &KeyQuery) {
    messages.sort_unstable_by_key(|it| std::cmp::Reverse((it.stored_ms, it.position)));
    messages.truncate(query.count_max);
    let mut bytes = 0;
    let mut kept = 0;
    for message in messages.iter() {
        bytes += message.record.len();
        if kept > 0 && bytes > query.bytes_max {
            break;
        }
        kept += 1;
    }
    messages.truncate(kept);
}

impl Job {
    fn new(
        (core, number): (usize, u64),
        query: Arc<KeyQuery>,
        until_ms: u64,
        shards: usize,
    ) -> Job {
        let shards = (0..shards).map(|_| InShard::Looking(Finding::default())).collect();
        Job { core, number, query, until_ms, shards }
    }

    fn go_on(&mut self, shards: &mut [Shard]) -> Progress {
        let (mut is_reading, mut wants_turn) = (false, false);
        for (looked, shard) in self.shards.iter_mut().zip(shards.iter_mut()) {
            let InShard::Looking(finding) = looked else { continue };
            match shard.find(&self.query, finding) {
                Found::All(messages) => *looked = InShard::Done(messages),
                Found::Cold => is_reading = true,
                Found::More => wants_turn = true,
                Found::Failed(reason) => return Progress::Done(Err(reason)),
            }
        }
        if wants_turn {
            return Progress::Turn;
        }
        if is_reading {
            return Progress::Reading;
        }
        let mut messages = Vec::new();
        for looked in &mut self.shards {
            if let InShard::Done(found) = looked {
                messages.append(found);
            }
        }
        keep_newest(&mut messages, &self.query);
        let index_end = shards.iter().map(Shard::index_end).max();
        let index_end = index_end.expect("a core has a shard");
        Progress::Done(Ok(FoundByKey { messages, index_end }))
    }
}

impl Broker {
    /// Asks all shards, now or when those before have their answers.
    pub(super) fn ask_by_key(&mut self, asker: &Asker, query: KeyQuery) -> Handled {
        if self.queries.waiting.len() >= QUERIES_WAITING_MAX {
            let remark = format!("{QUERIES_WAITING_MAX} queries by key wait already, try again");
            return Err(Refusal::new(response::SYSTEM_BUSY, remark).into());
        }
        self.queries.waiting.push_back((*asker, query));
        Ok(())
    }

    /// The next letter for another core, and which.
    pub fn next_letter(&mut self) -> Option<(usize, Letter)> {
        self.queries.letters.pop_front()
    }

    /// A letter from another core.
    pub fn take_letter(&mut self, from: usize, letter: Letter) {
        match letter {
            Letter::Find { number, query, until_ms } => {
                let job = Job::new((from, number), query, until_ms, self.shards.len());
                self.queries.jobs.push(job);
                self.queries.reads_seen = u64::MAX;
            }
            Letter::Forget { number } => self.queries.forget(from, number),
            Letter::Found { number, outcome } => self.queries.found(number, outcome),
        }
    }

    /// Begins what waits, goes on with what is looked for, answers what is found. Whether the next turn
    /// has more to do.
    pub fn answer_queries(&mut self, now: Now, outboxes: &mut Outboxes) -> bool {
        if self.queries.is_empty() {
            return false;
        }
        while self.queries.asked.len() < QUERIES_AT_ONCE
            && let Some((asker, query)) = self.queries.waiting.pop_front()
        {
            self.begin_query(now, asker, Arc::new(query));
        }
        let wants_turn = self.go_on_with_jobs();
        self.answer_found(now, outboxes);
        // Those of other cores, too: how long one waits here does not depend on a letter that may be late.
        self.queries.jobs.retain(|job| job.until_ms > now.monotonic_ms());
        wants_turn || !self.queries.waiting.is_empty() && self.queries.asked.len() < QUERIES_AT_ONCE
    }

    fn begin_query(&mut self, now: Now, asker: Asker, query: Arc<KeyQuery>) {
        let own = self.router.core();
        self.queries.number += 1;
        let number = self.queries.number;
        let until_ms = now.monotonic_ms() + QUERY_MS_MAX;
        for core in (0..self.router.core_count()).filter(|core| *core != own) {
            let query = Arc::clone(&query);
            self.queries.letters.push_back((core, Letter::Find { number, query, until_ms }));
        }
        let job = Job::new((own, number), Arc::clone(&query), until_ms, self.shards.len());
        self.queries.jobs.push(job);
        self.queries.reads_seen = u64::MAX;
        let index_end = self.shards.first().map(Shard::index_end).expect("a core has a shard");
        self.queries.asked.push(Question {
            number,
            asker,
            query,
            unanswered: self.router.core_count(),
            outcome: Ok(FoundByKey { messages: Vec::new(), index_end }),
            until_ms,
        });
    }

    fn go_on_with_jobs(&mut self) -> bool {
        let reads = self.shards.iter().map(|shard| shard.cold_reads_completed()).sum();
        if self.queries.reads_seen == reads {
            return false;
        }
        self.queries.reads_seen = reads;
        let own = self.router.core();
        let mut wants_turn = false;
        for mut job in std::mem::take(&mut self.queries.jobs) {
            match job.go_on(&mut self.shards) {
                Progress::Reading => self.queries.jobs.push(job),
                Progress::Turn => {
                    wants_turn = true;
                    self.queries.jobs.push(job);
                }
                Progress::Done(outcome) if job.core == own => {
                    self.queries.found(job.number, outcome);
                }
                Progress::Done(outcome) => {
                    let letter = Letter::Found { number: job.number, outcome };
                    self.queries.letters.push_back((job.core, letter));
                }
            }
        }
        if wants_turn {
            self.queries.reads_seen = u64::MAX;
        }
        wants_turn
    }

    /// Answers the questions that all cores have answered, or whose time is up.
    fn answer_found(&mut self, now: Now, outboxes: &mut Outboxes) {
        let now_ms = now.monotonic_ms();
        let is_over = |it: &mut Question| it.unanswered == 0 || it.until_ms <= now_ms;
        let over: Vec<_> = self.queries.asked.extract_if(.., is_over).collect();
        for question in over {
            let Question { number, asker, outcome, unanswered, .. } = question;
            if unanswered > 0 {
                self.queries.give_up(number, &self.router);
            }
            match outcome {
                Err(reason) => {
                    refuse(&asker, &Refusal::unreadable("the messages", &reason), outboxes);
                }
                Ok(_) if unanswered > 0 => {
                    let remark =
                        format!("not all shards have answered within {QUERY_MS_MAX} ms, try again");
                    refuse(&asker, &Refusal::new(response::SYSTEM_BUSY, remark), outboxes);
                }
                Ok(found) => answer_query(&asker, found, outboxes),
            }
        }
    }
}

/// Oldest first, as RocketMQ sorts what it found.
fn answer_query(asker: &Asker, found: FoundByKey, outboxes: &mut Outboxes) {
    if found.messages.is_empty() {
        return answer_nothing_found(asker, outboxes);
    }
    let (updated_ms, updated) = found.index_end;
    let ext = [
        ("indexLastUpdatePhyoffset", &*updated.to_i64().to_string()),
        ("indexLastUpdateTimestamp", &*updated_ms.to_string()),
    ];
    let records = found.messages.iter().rev().map(|message| &message.record[..]);
    let body = records.collect::<Vec<_>>().concat();
    answer(asker, response::SUCCESS, None, Some(&ext), &body, outboxes);
}

/// As RocketMQ: its numbers are 0 then.
pub(super) fn answer_nothing_found(asker: &Asker, outboxes: &mut Outboxes) {
    let ext = [("indexLastUpdatePhyoffset", "0"), ("indexLastUpdateTimestamp", "0")];
    let remark = Some("can not find message, maybe time range not correct");
    answer(asker, response::QUERY_NOT_FOUND, remark, Some(&ext), &[], outboxes);
}
