//! What the auditor does: waits until everybody has an answer, reads everything, compares.

use std::net::SocketAddr;

use engine::shard::Shard;
use proto::code::response;
use proto::frame::Encoding;

use crate::client::{Answer, Answered, Asked, Client};
use crate::ledger::{Found, Item};
use crate::place::{MADE_TOPICS, Place, Topic, all_places};
use crate::ring::WINDOW_OPEN_BYTES;
use crate::search::Seen;
use crate::world::{Finding, Life, QUIET_STEPS_MAX, World};

/// How often the auditor sends while the broker says that its disk has no space.
const PROBES_MAX: u32 = 100;

/// The auditor's own group, which commits nothing.
const GROUP: u8 = 0;

impl World {
    /// Nothing fails and nobody asks any more: everybody must get an answer, and messages are taken.
    pub(crate) fn quiet(&mut self, life: &mut Life) -> Result<(), Finding> {
        self.disk.fill(false);
        for connection in life.actors.listen() {
            life.ring(connection).client_opens_window(connection);
        }
        let mut steps = 0;
        self.dialog.listen();
        while life.actors.waiting() > 0
            || self.mortal.is_waiting()
            || self.orderly.is_waiting()
            || self.operator.is_waiting()
            || self.resumer.is_waiting()
            || self.dialog.is_waiting()
        {
            if steps == QUIET_STEPS_MAX {
                let waits = self.ledger.anybody_waits();
                let asked = life.actors.waited_for();
                return Err(format!(
                    "no answer in {QUIET_STEPS_MAX} steps to {asked:?}; a send: {waits:?}"
                ));
            }
            steps += 1;
            self.step(life, false)?;
        }
        if life.is_poisoned() {
            return Ok(());
        }
        self.probe_until_taken(life)
    }

    /// A log that was just opened: behind its end is nothing that a later start could take for records.
    pub(crate) fn audit_open(&self, life: &Life) -> Result<(), Finding> {
        for (shard, directory) in life.shards().zip(life.directories()) {
            let end = shard.log().appended();
            if let Some(used) = self.disk.first_used(directory, end) {
                return Err(format!("the log was opened at {end} and is not zero at {used}"));
            }
        }
        Ok(())
    }

    fn probe_until_taken(&mut self, life: &mut Life) -> Result<(), Finding> {
        for _ in 0..PROBES_MAX {
            let (asked, intent) = self.probe();
            let Asked::Send { first, .. } = asked else { unreachable!("a probe is a send") };
            let mut client = self.connect_auditor(life)?;
            let body = std::rc::Rc::clone(&intent.body);
            self.ledger.sends(Item::sent(first), intent);
            let answer = self.ask(life, &mut client, asked, &[&body])?;
            self.answered(life, &answer)?;
            life.ring(client.connection).client_closes(client.connection, None);
            if let Answered::Stored { .. } = answer.answered {
                return Ok(());
            }
        }
        Err(format!("{PROBES_MAX} sends were refused after all faults were over"))
    }

    /// All messages of a queue, or those that a filter takes, from its start to its end; `None`: there is no
    /// such queue.
    pub(crate) fn read_queue(
        &mut self,
        life: &mut Life,
        place: Place,
        has_gaps: bool,
        filter: Option<u8>,
    ) -> Result<Option<Vec<Found>>, Finding> {
        let mut client = self.connect_auditor(life)?;
        if self.plan.retains {
            self.ledger.begins(place, 0, &[])?;
        }
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let asked =
                Asked::Pull { group: GROUP, place, from, commit: None, suspend_ms: 0, filter };
            let answer = self.ask(life, &mut client, asked, &[])?;
            match answer.answered {
                Answered::Messages { code: 0, messages, next } => {
                    from = if has_gaps { next } else { from + messages.len() as u64 };
                    all.extend(messages);
                }
                Answered::Messages { code: response::PULL_OFFSET_MOVED, next, .. }
                    if self.plan.retains && next > from =>
                {
                    let log_starts: Vec<_> = life.shards().map(Shard::start).collect();
                    self.ledger.begins(place, next, &log_starts)?;
                    from = next;
                    all.clear(); // what was read before has gone meanwhile
                }
                // A damaged message, or one below the first: there is more behind it.
                Answered::Messages { next, .. } if has_gaps && next > from => from = next,
                Answered::Messages { .. } => break,
                Answered::Code { code, .. } if code == response::SYSTEM_ERROR => {
                    if !life.reads_failed {
                        return Err(format!("{place} from {from}: {:?}", answer.answered));
                    }
                    // A run that could not be made again while the disk was full is now.
                    life.looks_at_disk();
                }
                // Topics come with the first send, queues with a change of their topic.
                Answered::Code { .. } if from == 0 => {
                    if !has_gaps {
                        self.answered(life, &answer)?;
                    }
                    life.ring(client.connection).client_closes(client.connection, None);
                    return Ok(None);
                }
                other => return Err(format!("{place} from {from}: {other:?}")),
            }
        }
        life.ring(client.connection).client_closes(client.connection, None);
        Ok(Some(all))
    }

    pub(crate) fn connect_auditor(&mut self, life: &mut Life) -> Result<Client, Finding> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 999));
        let connection = life
            .any_ring(&mut self.rng)
            .connect(peer, WINDOW_OPEN_BYTES)
            .ok_or("nobody listens")?;
        Ok(Client::new(connection, Encoding::Json))
    }

    /// Reads all queues from their start, and the committed offsets.
    pub(crate) fn audit(&mut self, life: &mut Life) -> Result<(), Finding> {
        self.audit_all(life, false)
    }

    /// `is_over`: nothing waits for its time any more.
    fn audit_all(&mut self, life: &mut Life, is_over: bool) -> Result<(), Finding> {
        let mut read = Vec::new();
        for place in all_places(self.plan.shards) {
            let is_made = matches!(place.topic, Topic::Made(_));
            if is_made && place.queue >= self.ledger.queues_of(place.topic).1 {
                continue; // nobody ever asked for it
            }
            let messages = self.read_queue(life, place, self.is_damaged, None)?;
            let messages = messages.unwrap_or_default();
            self.ledger.audits(place, &messages)?;
            let messages = messages.iter().map(Seen::of).collect::<Result<Vec<_>, _>>()?;
            self.audit_filter(life, place, &messages)?;
            read.push((place, messages));
        }
        self.audit_index(life, &read)?;
        self.audit_times(life, &read)?;
        let mut client = self.connect_auditor(life)?;
        for (group, place) in self.ledger.commits_known() {
            let asked = Asked::Query { group, place };
            let answer = self.ask(life, &mut client, asked, &[])?;
            self.answered(life, &answer)?;
        }
        life.ring(client.connection).client_closes(client.connection, None);
        self.audit_mortal(life)?;
        if !self.has_rare_clients {
            return self.audit_catalog(life);
        }
        self.audit_operator(life)?;
        // What is wrong in these is wrong for good: every other time is enough.
        if is_over || self.rng.bool() {
            self.audit_resumer(life, &read, is_over)?;
            self.audit_dialog(life)?;
        }
        self.audit_catalog(life)
    }

    /// Topics that were made are there, with as many queues as were acknowledged.
    fn audit_catalog(&mut self, life: &mut Life) -> Result<(), Finding> {
        let catalog = life.home().catalog();
        for topic in (0..MADE_TOPICS).map(Topic::Made) {
            let (least, most) = self.ledger.queues_of(topic);
            let queues = catalog.topic(&topic.name()).map_or(0, |it| it.config.write_queue_nums);
            if (queues as u32) < least || queues as u32 > most {
                return Err(format!("{topic:?} has {queues} queues, not {least} to {most}"));
            }
        }
        Ok(())
    }

    /// Asks and waits.
    pub(crate) fn ask(
        &mut self,
        life: &mut Life,
        client: &mut Client,
        asked: Asked,
        bodies: &[&[u8]],
    ) -> Result<Answer, Finding> {
        let is_there = asked.place().is_some_and(|place| self.ledger.must_exist(place));
        let bytes = client.ask(asked, is_there, bodies);
        life.ring(client.connection).client_writes(client.connection, &bytes);
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            match life.ring(client.connection).client_reads(client.connection) {
                Some(bytes) => client.receive(&bytes),
                None => return Err(format!("the connection of {asked:?} was closed")),
            }
            if let Some(answer) = client.next_answer()? {
                return Ok(answer);
            }
        }
        Err(format!("{asked:?} is not answered"))
    }

    /// Time passes until every delayed message is due and was delivered: all of them must have come.
    pub(crate) fn deliver_all(&mut self, life: &mut Life) -> Result<(), Finding> {
        let mut steps = 0;
        loop {
            let now_ms = self.now.wall_ms;
            let due_ms = life.shards().filter_map(|it| it.due_at_ms(now_ms)).min();
            let is_settled = life.shards().all(|it| it.is_settled());
            match due_ms {
                None if is_settled => break,
                Some(due_ms) => self.now.wall_ms = self.now.wall_ms.max(due_ms),
                None => {}
            }
            if steps == QUIET_STEPS_MAX {
                return Err(format!("delayed messages are not delivered in {steps} steps"));
            }
            steps += 1;
            self.step(life, false)?;
        }
        self.audit_all(life, true)?;
        if let Some(number) = self.mortal.awaited() {
            return Err(format!("mortal: {number} waited for its time and never came: lost"));
        }
        if let Some(item) = self.ledger.awaited() {
            return Err(format!("{item:?} waited for its time and never came: lost"));
        }
        match self.ledger.awaited_half() {
            Some(item) => Err(format!("the half message {item:?} is nowhere: lost")),
            None => Ok(()),
        }
    }
}
