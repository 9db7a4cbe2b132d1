//! Find: the messages of a topic that have a key, the newest ones.
//! Kind: machine
//!
//! A question goes through what memory has of the index, then through its files, from the newest on, and
//! looks at the record of each hit: the log is believed, not the index. What has to be read is read for
//! several files at a time; who asks comes again when reads have ended.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use proto::ids::{LogOffset, Position};
use proto::record::Record;

use super::{Lookup, Shard, Waiting};
use crate::coldread::Cold;
use crate::commitlog::{Kind, PREFIX_BYTES, Prefix};
use crate::limits::{
    COLD_READS_IN_FLIGHT_MAX, FIND_FILES_AT_ONCE, FIND_PAGES_MAX, FIND_RECORDS_MAX,
    FIND_RESTARTS_MAX, FIND_SCANNED_PER_TURN,
};
use crate::messageindex::{Probe, Wanted, has_key, read_entries};

/// What is asked for, checked by the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyQuery {
    /// The topic's incarnation.
    pub topic: u32,
    /// A UNIQ_KEY or one of KEYS.
    pub key: Vec<u8>,
    /// Stored then or later, ms.
    pub begin_ms: u64,
    /// Stored then or before, ms.
    pub end_ms: u64,
    /// Messages at the most.
    pub count_max: usize,
    /// Bytes of their records at the most; the newest always fits.
    pub bytes_max: usize,
}

/// A message that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundMessage {
    /// When it was stored, ms.
    pub stored_ms: u64,
    /// Where.
    pub position: Position,
    /// The RocketMQ record.
    pub record: Vec<u8>,
}

/// What became of a question for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// That is all: the newest first.
    All(Vec<FoundMessage>),
    /// Something is being read: ask again when cold reads have ended.
    Cold,
    /// It has had its time: ask again in the next turn.
    More,
    /// The disk does not give what is needed: why.
    Failed(String),
}

/// How far a question has come in one shard.
#[derive(Debug)]
pub struct Finding {
    /// What memory has was looked at down to here …
    below: u64,
    /// … or through.
    is_memory_done: bool,
    /// Addresses of files to come, the newest last.
    files: Vec<u64>,
    probes: VecDeque<Probe>,
    generation: u64,
    /// Log offsets of payloads to look at, the newest first.
    candidates: VecDeque<u64>,
    seen: HashSet<u64, RandomState>,
    found: Vec<FoundMessage>,
    found_bytes: usize,
    pages: usize,
    records: usize,
    restarts: u32,
}

impl Default for Finding {
    fn default() -> Finding {
        Finding {
            below: u64::MAX,
            is_memory_done: false,
            files: Vec::new(),
            probes: VecDeque::new(),
            generation: 0,
            candidates: VecDeque::new(),
            seen: HashSet::default(),
            found: Vec::new(),
            found_bytes: 0,
            pages: 0,
            records: 0,
            restarts: 0,
        }
    }
}

/// What to do next.
enum Next {
    Go,
    End,
    Stop(Found),
}

/// What became of a page.
enum Page {
    Looked,
    Wanted,
    /// The file is not there any more, or damaged.
    Gone,
    Failed(String),
}

impl Shard {
    /// Goes on with a question. After [`Found::All`] it is through.
    pub fn find(&mut self, query: &KeyQuery, finding: &mut Finding) -> Found {
        let wanted = Wanted {
            hash: self.keys.hash(query.topic, &query.key),
            begin_ms: query.begin_ms,
            end_ms: query.end_ms,
            hits_max: query.count_max,
        };
        if query.count_max == 0 || query.begin_ms > query.end_ms || query.key.is_empty() {
            return Found::All(Vec::new());
        }
        let mut budget = FIND_SCANNED_PER_TURN;
        let mut record = std::mem::take(&mut self.scratch);
        let found = loop {
            let next = match self.check_candidates(query, finding, &mut record) {
                Next::Go if finding.is_memory_done => self.ask_files(&wanted, finding),
                Next::Go => self.ask_memory(&wanted, &mut budget, finding),
                other => other,
            };
            match next {
                Next::Go => {}
                Next::End => break Found::All(std::mem::take(&mut finding.found)),
                Next::Stop(found) => break found,
            }
        };
        self.scratch = record;
        found
    }

    /// How far the index goes: when the newest message was stored, ms, and where the log ends for
    /// readers.
    pub fn index_end(&self) -> (u64, Position) {
        let offset = LogOffset::new(self.log.confirmed()).expect("the log stays below 2^55");
        (self.stored_ms, Position::new(self.index, offset))
    }

    /// Looks at the records of hits, in order, and has those behind the first one read meanwhile. `Go`:
    /// none is left.
    fn check_candidates(
        &mut self,
        query: &KeyQuery,
        finding: &mut Finding,
        record: &mut Vec<u8>,
    ) -> Next {
        while let Some(payload) = finding.candidates.front().copied() {
            let is_enough = finding.found.len() >= query.count_max
                || finding.found_bytes >= query.bytes_max
                || finding.records >= FIND_RECORDS_MAX;
            if is_enough {
                return Next::End;
            }
            record.clear();
            match self.whole_record_at(payload, Kind::Message, record) {
                Lookup::Found => {}
                Lookup::None => record.clear(),
                Lookup::Failed(reason) => return Next::Stop(Found::Failed(reason)),
                Lookup::Cold => {
                    let left = query.count_max - finding.found.len();
                    let ahead = left.min(COLD_READS_IN_FLIGHT_MAX);
                    for payload in finding.candidates.iter().take(ahead).skip(1) {
                        record.clear();
                        self.whole_record_at(*payload, Kind::Message, record);
                    }
                    return Next::Stop(Found::Cold);
                }
            }
            finding.candidates.pop_front();
            finding.records += 1;
            let Some(stored_ms) = answers(query, record) else { continue };
            let payload_bytes = &record[PREFIX_BYTES..];
            if !finding.found.is_empty()
                && finding.found_bytes + payload_bytes.len() > query.bytes_max
            {
                return Next::End;
            }
            finding.found_bytes += payload_bytes.len();
            let offset = LogOffset::new(payload).expect("the log stays below 2^55");
            finding.found.push(FoundMessage {
                stored_ms,
                position: Position::new(self.index, offset),
                record: payload_bytes.to_vec(),
            });
        }
        let is_enough =
            finding.found.len() >= query.count_max || finding.records >= FIND_RECORDS_MAX;
        if is_enough { Next::End } else { Next::Go }
    }

    fn ask_memory(&self, wanted: &Wanted, budget: &mut usize, finding: &mut Finding) -> Next {
        finding.below = finding.below.min(self.visible_end());
        let mut hits = Vec::new();
        let is_through = self.keys.scan(wanted, &mut finding.below, budget, &mut hits);
        let is_none = hits.is_empty();
        finding.add(hits);
        if is_through {
            finding.is_memory_done = true;
            self.list_files(finding);
        } else if is_none {
            return Next::Stop(Found::More);
        }
        Next::Go
    }

    /// Where the first message lies that nobody may see yet.
    fn visible_end(&self) -> u64 {
        let first = self.line.front().map_or(u64::MAX, |first| match &first.what {
            Waiting::Message(message) => message.payload,
            Waiting::Request(_) => first.end,
        });
        first.min(self.failed_from)
    }

    fn list_files(&self, finding: &mut Finding) {
        finding.files = self.keys.files().iter().map(|file| file.address).collect();
        finding.generation = self.keys.files().generation();
        finding.probes.clear();
    }

    /// Goes on in index files. `Go`: there are hits to look at, or a file is through.
    fn ask_files(&mut self, wanted: &Wanted, finding: &mut Finding) -> Next {
        if finding.generation != self.keys.files().generation() {
            // Files that were written meanwhile hold what memory had. Where some were merged the others
            // are looked for again.
            finding.generation = self.keys.files().generation();
            let here = |address: u64| self.keys.files().at(address).is_some();
            let all_here = finding.probes.iter().all(|probe| here(probe.address))
                && finding.files.iter().all(|address| here(*address));
            if !all_here && finding.restarts < FIND_RESTARTS_MAX {
                finding.restarts += 1;
                self.list_files(finding);
            }
        }
        while finding.probes.len() < FIND_FILES_AT_ONCE
            && let Some(address) = finding.files.pop()
        {
            let file = self.keys.files().at(address);
            finding.probes.extend(file.and_then(|file| Probe::new(file, wanted)));
        }
        if finding.probes.is_empty() {
            return Next::End;
        }
        let mut probes = std::mem::take(&mut finding.probes);
        let mut failed = None;
        probes.retain_mut(|probe| {
            while failed.is_none()
                && finding.pages < FIND_PAGES_MAX
                && let Some(page) = probe.next_page(wanted)
            {
                match self.look_at_page(wanted, probe, page) {
                    Page::Looked => finding.pages += 1,
                    Page::Wanted => break,
                    Page::Gone => return false,
                    Page::Failed(reason) => failed = Some(reason),
                }
            }
            true
        });
        finding.probes = probes;
        if let Some(reason) = failed {
            return Next::Stop(Found::Failed(reason));
        }
        let Some(first) = finding.probes.front_mut() else { return Next::Go };
        let hits = std::mem::take(&mut first.hits);
        if first.is_done() {
            finding.probes.pop_front();
        } else if hits.is_empty() {
            let is_over = finding.pages >= FIND_PAGES_MAX;
            return if is_over { Next::End } else { Next::Stop(Found::Cold) };
        }
        finding.add(hits);
        Next::Go
    }

    fn look_at_page(&mut self, wanted: &Wanted, probe: &mut Probe, page: u64) -> Page {
        let Some(file) = self.keys.files().at(probe.address) else { return Page::Gone };
        let mut bytes = std::mem::take(&mut self.page);
        bytes.clear();
        let looked = match self.cold_index.copy(file.addresses(page), &mut bytes) {
            Cold::Wanted => Page::Wanted,
            Cold::Failed(reason) => Page::Failed(reason),
            Cold::Copied => {
                let (seed, range) = (self.log.shape().seed, probe.range());
                match read_entries(seed, range.start, page, file.entries_of(page), &bytes) {
                    Ok(entries) => {
                        probe.look(wanted, page, entries);
                        Page::Looked
                    }
                    Err(error) => {
                        tracing::error!(
                            shard = self.index.0,
                            from = range.start,
                            to = range.end,
                            %error,
                            "the index of keys of this part of the log is damaged on disk; it is made again from the log, questions do not find what is in it until then"
                        );
                        let slices = self.queues.runs().map(|run| run.range.clone());
                        self.expired_index.extend(self.keys.damaged(&range, slices));
                        Page::Gone
                    }
                }
            }
        };
        self.page = bytes;
        looked
    }
}

impl Finding {
    fn add(&mut self, hits: Vec<u64>) {
        for payload in hits {
            if self.seen.insert(payload) {
                self.candidates.push_back(payload);
            }
        }
    }
}

/// When the message was stored, if a record, its prefix included, answers a question.
fn answers(query: &KeyQuery, record: &[u8]) -> Option<u64> {
    let prefix = Prefix::read(record).filter(|prefix| prefix.topic == query.topic)?;
    debug_assert_eq!(prefix.kind, Kind::Message);
    let (message, _) = Record::decode(&record[PREFIX_BYTES..]).ok()?;
    let fields = message.fields();
    let stored_ms = u64::try_from(fields.store_timestamp).ok()?;
    let is_in_time = (query.begin_ms..=query.end_ms).contains(&stored_ms);
    (is_in_time && has_key(fields.properties, &query.key)).then_some(stored_ms)
}
