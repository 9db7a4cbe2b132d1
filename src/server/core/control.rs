//! A core and the thread of control: what it is told, and what it asks for.
//! Kind: shell

use std::io;

use engine::retention::DiskLook;
use runtime::Ring;
use runtime::clock::Now;
use runtime::probe::OPEN_FILES_ADVICE;

use super::Core;
use super::life::{DRAIN_MS_MAX, Phase};
use crate::observe::{Ask, CoreFigures};
use crate::server::files::Files;
use crate::server::messages::{Lack, ToControl, ToCore};

impl<R: Ring> Core<R> {
    pub(super) fn take_messages(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(message) = self.inbox.pop() {
            worked = true;
            let router = *self.broker.router();
            let place_of = |shard| router.place_of(shard);
            match message {
                ToCore::SpacePrepared { shard: number, range, segment } => {
                    let shard = place_of(number);
                    let segment_bytes = self.broker.shards[shard].log().shape().segment_bytes;
                    if let Some(file) = segment {
                        self.files[shard].log.add(range.start, segment_bytes, file);
                    }
                    let log = self.broker.shards[shard].log_mut();
                    if log.no_space().is_some() {
                        tracing::info!(shard = number, "the disk has space again, sends are taken");
                    }
                    log.space_prepared(range.end);
                }
                ToCore::SpaceDelayed { shard: number, lack, reason } => {
                    let log = self.broker.shards[place_of(number)].log_mut();
                    match lack {
                        _ if log.no_space().is_some() => {}
                        // Who cannot do without says so.
                        Lack::Time => {}
                        Lack::Space => tracing::error!(
                            shard = number,
                            reason,
                            "no space for the log: sends are refused (code 14) until there is, pulls go on"
                        ),
                        Lack::Descriptors => tracing::error!(
                            shard = number,
                            reason,
                            "too many files are open for a segment more: sends are refused (code 14) until some are closed, pulls go on; {OPEN_FILES_ADVICE}"
                        ),
                    }
                    log.space_delayed(reason);
                }
                ToCore::RunWritten { shard, head, file } => {
                    let shard = place_of(shard);
                    if let Some(address) = self.broker.shards[shard].run_written(&head) {
                        self.files[shard].runs.add(address, head.file_bytes(), file);
                    }
                    let old = self.broker.shards[shard].take_expired_runs();
                    let number = self.broker.router().number(shard);
                    close(&mut self.files[shard].runs, &mut self.ring, number, old);
                }
                ToCore::RunDelayed { shard, reason } => {
                    if self.broker.shards[place_of(shard)].run_delayed() {
                        tracing::warn!(
                            shard,
                            reason,
                            "queue entries cannot be made again now; nothing is lost by it, it is tried again"
                        );
                    }
                }
                ToCore::IndexWritten { shard, head, file } => {
                    let shard = place_of(shard);
                    if let Some((address, old)) = self.broker.shards[shard].index_written(&head) {
                        self.files[shard].indexes.add(address, head.file_bytes(), file);
                        self.close_indexes(shard, old);
                    }
                }
                ToCore::IndexDelayed { shard, reason } => {
                    if self.broker.shards[place_of(shard)].index_delayed() {
                        tracing::warn!(
                            shard,
                            reason,
                            "an index of keys cannot be made now; nothing is lost by it, it is tried again"
                        );
                    }
                }
                ToCore::IndexDamaged { shard, range } => {
                    let shard = place_of(shard);
                    let old = self.broker.shards[shard].index_failed(&range);
                    self.close_indexes(shard, old);
                }
                ToCore::Snapshot { shard, safe_below } => {
                    self.broker.shards[place_of(shard)].snapshots_hold(safe_below);
                }
                ToCore::Removed { shard } => self.broker.shards[place_of(shard)].removed(),
                ToCore::Disk(look) => self.look_at_disk(now, &look),
                ToCore::Registered { number } => self.broker.announced(number),
                ToCore::OrderedTopics { .. } if self.phase.is_closing() => {}
                ToCore::OrderedTopics { names } => self.broker.order_topics(now, &names),
                ToCore::Figures(ask) => self.answer_figures(now, ask),
                ToCore::SendAllTopics { number } => {
                    let (topics, version) = self.broker.registered_topics();
                    self.unsent.push_back(ToControl::RegisterTopics {
                        topics,
                        version,
                        number,
                        is_full: true,
                    });
                }
                ToCore::Stop => {
                    tracing::info!("stopping");
                    self.ring.stop_listening();
                    self.broker.drain();
                    let until_ns = now.monotonic_ns + DRAIN_MS_MAX * 1_000_000;
                    self.phase = Phase::Draining { until_ns };
                }
                ToCore::End => self.is_to_end = true,
            }
        }
        worked
    }

    /// Closes index files, by their addresses, that were removed or are damaged.
    fn close_indexes(&mut self, shard: usize, addresses: impl IntoIterator<Item = u64>) {
        let number = self.broker.router().number(shard);
        close(&mut self.files[shard].indexes, &mut self.ring, number, addresses);
    }

    /// Somebody asks how this core is.
    fn answer_figures(&mut self, now: Now, ask: Ask) {
        let crossed = self.exchange.crossed();
        let figures = CoreFigures {
            connections: self.ring.open_connections(),
            turns: self.turns,
            parks: self.parks,
            crossed_out: crossed.out,
            crossed_in: crossed.into,
            ..self.broker.figures(now, ask)
        };
        self.unsent.push_back(ToControl::Figures(Box::new(figures)));
    }

    /// Lets go of segments whose time has come.
    fn look_at_disk(&mut self, now: Now, look: &DiskLook) {
        let is_cleaned = self.broker.looked_at_disk(now, look);
        let hour = self.config.retention.hours.first().copied().filter(|_| is_cleaned);
        let look = &DiskLook { hour: hour.unwrap_or(look.hour), ..*look };
        let router = *self.broker.router();
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            shard.look_at_disk(&self.config.retention, look);
            shard.try_again();
            let before = shard.start();
            let Some(start) = shard.expire(now.wall_ms, &self.config.retention, look) else {
                continue;
            };
            let (files, number) = (&mut self.files[index], router.number(index));
            tell_open(number, files.log.expire(&mut self.ring, start));
            close(&mut files.runs, &mut self.ring, number, shard.take_expired_runs());
            let step = shard.log().shape().segment_bytes;
            let segments = (before..start).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let segments = segments.collect();
            self.unsent.push_back(ToControl::RemoveBelow { shard: number, segments, start });
        }
    }

    pub(super) fn ask_control(&mut self) {
        let router = *self.broker.router();
        for place in 0..self.broker.shards.len() {
            let old = self.broker.shards[place].take_expired_index();
            self.close_indexes(place, old);
            let owner = &mut self.broker.shards[place];
            let shard = router.number(place);
            while let Some(range) = owner.log_mut().next_space() {
                self.unsent.push_back(ToControl::PrepareSpace { shard, range });
            }
            if let Some(slice) = owner.next_slice() {
                self.unsent.push_back(ToControl::WriteRun { shard, slice });
            }
            if let Some(work) = owner.next_index_work() {
                self.unsent.push_back(ToControl::KeepIndex { shard, work });
            }
            if let Some(range) = owner.next_damaged_run() {
                self.unsent.push_back(ToControl::RemakeRun { shard, range });
            }
        }
        if self.phase != Phase::Starting
            && router.is_home()
            && let Some(changes) = self.broker.next_topic_changes()
        {
            self.unsent.push_back(ToControl::RegisterTopics {
                topics: changes.topics,
                version: changes.version,
                number: Some(changes.number),
                is_full: changes.is_full,
            });
        }
        if !self.unsent.is_empty() {
            self.control.push_batch(&mut self.unsent);
            self.control.flush();
        }
    }
}

/// Closes files of a shard, by their addresses.
fn close<R: Ring>(
    files: &mut Files<R::File>,
    ring: &mut R,
    shard: usize,
    addresses: impl IntoIterator<Item = u64>,
) {
    for address in addresses {
        tell_open(shard, files.remove(ring, address));
    }
}

fn tell_open(shard: usize, closed: io::Result<()>) {
    if let Err(error) = closed {
        tracing::warn!(shard, %error, "a file that is removed stays open");
    }
}
