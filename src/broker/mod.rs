//! The broker of one core: requests in, answers out, everything in between in the shards.
//! Owns: the core's shards, its copy of the catalog, group membership, requests that are parked.
//! Lives on: every core
//! Kind: machine
//! Invariants:
//!   every two-way request is answered once, or its connection is closed
//!   a handler either answers, or leaves a ticket with a shard, or parks a value here

mod announce;
mod calls;
mod check;
mod confirm;
mod copies;
mod deliver;
mod dispatch;
mod expressions;
mod figures;
mod fire;
mod handlers;
mod inquiry;
pub mod limits;
pub mod locks;
pub mod membership;
mod parked;
mod places;
mod queries;
mod refusal;
pub mod registration;
mod settings;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::catalog::Catalog;
use engine::consumequeue::QueueKey;
use engine::retention::DiskLook;
use engine::shard::{Replies, Shard};
use engine::ticket::Ticket;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use proto::frame::Encoding;
use runtime::ConnectionId;
use runtime::clock::Now;
use runtime::rare::RareLine;

pub use copies::HomeCopy;
pub use refusal::{ForbiddenType, Refusal};
pub use settings::{BrokerSettings, TransactionSettings};

use crate::net::outbox::Outboxes;
use crate::observe::Tally;
use crate::router::{Origin, Router};
use announce::Announcements;
use calls::Calls;
use copies::Copies;
use expressions::Expressions;
use inquiry::Inquiries;
use locks::QueueLocks;
use membership::Membership;
use parked::Parked;
use queries::Queries;

/// Whether the caller may go on with the connection's next frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Yes.
    Done,
    /// The log has no room: the same frame is to come again after the next completions.
    Wait,
    /// The frame is to go on to this core.
    To {
        /// The core.
        core: usize,
        /// It is a pull.
        is_pull: bool,
    },
}

/// A frame that a core made for another one.
#[derive(Clone, Debug)]
pub struct Onward {
    /// To which core.
    pub core: usize,
    /// Whose request it goes on with; the crossing to come is counted.
    pub origin: Origin,
    /// The whole frame, length included.
    pub bytes: Vec<u8>,
}

/// A request on its way through a handler: who asked, and how to answer.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The connection.
    pub connection: ConnectionId,
    /// The other end.
    pub peer: SocketAddr,
    /// Correlation id.
    pub opaque: i32,
    /// Header encoding of the request, and so of its answer.
    pub encoding: Encoding,
    /// Nobody waits for an answer.
    pub is_oneway: bool,
    /// Version of the client.
    pub version: i32,
    /// How often the request crossed from core to core.
    pub crossings: usize,
    /// See [`Origin::has_record`].
    pub has_record: bool,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Broker {
    /// As they hold.
    settings: BrokerSettings,
    /// As they are without what operators set while the broker ran.
    configured: Box<BrokerSettings>,
    router: Router,
    /// This core's shards.
    pub shards: Vec<Shard>,
    catalog: Catalog,
    /// Who is in which group: on the home core, empty elsewhere.
    membership: Membership,
    /// Who consumes which queue in order: on the home core, empty elsewhere.
    locks: QueueLocks,
    copies: Copies,
    /// Expressions that pulls brought with them.
    expressions: Expressions,
    /// What goes on to other cores, made here.
    onward: VecDeque<Onward>,
    parked: Vec<Parked>,
    queries: Queries,
    inquiries: Inquiries,
    /// Calls to clients: on the home core, empty elsewhere.
    calls: Calls,
    /// Where groups were reset to in queues of this core, until a member asks for messages there
    /// (`ConsumerOffsetManager.resetOffsetTable`).
    resets: HashMap<(Arc<str>, QueueKey), u64, RandomState>,
    cold_reads_seen: u64,
    /// For each shard the keys of the batches that wait for confirmation, in the log's order.
    batch_keys: Vec<VecDeque<Vec<u8>>>,
    /// The same of messages that are called back. Not in one line with the others, which are also answered when they are
    /// overdue.
    recalled_keys: Vec<VecDeque<Vec<u8>>>,
    announcements: Announcements,
    closing: Vec<ConnectionId>,
    queue_choice: u64,
    unique_keys: u64,
    /// Producers' words that changed nothing; half messages that were given up; those whose producers are
    /// gone.
    wrong_words: RareLine,
    given_up: RareLine,
    nobody_to_ask: RareLine,
    /// What was counted, for whoever asks.
    tally: Tally,
    /// When it was made.
    started: Now,
    /// The disk as it was looked at last.
    disk: Option<DiskLook>,
    /// For so many more looks old segments may go at any hour.
    clean_looks: u32,
    scratch: Scratch,
}

/// Memory that handlers use again and again.
#[derive(Debug, Default)]
struct Scratch {
    properties: Vec<u8>,
    payload: Vec<u8>,
    ids: Vec<u8>,
    record: Vec<u8>,
    fire: fire::FireScratch,
    replies: Replies,
}

impl Broker {
    /// A broker over opened shards and the catalog they replayed.
    pub fn new(
        settings: BrokerSettings,
        router: Router,
        mut shards: Vec<Shard>,
        catalog: Catalog,
        now: Now,
    ) -> Broker {
        // Producers are not back yet.
        let first_ms = settings.transactions.check_interval_ms;
        shards.iter_mut().for_each(|shard| shard.postpone_checks(now.wall_ms, first_ms));
        let configured = Box::new(settings);
        let settings = configured.with(&catalog);
        if router.is_home() {
            tell_stronger(&configured, &catalog);
        }
        let membership = Membership::new(
            settings.consumer_expired_ms,
            settings.producer_expired_ms,
            settings.notify_consumer_ids_changed,
        );
        Broker {
            settings,
            configured,
            router,
            catalog,
            membership,
            locks: QueueLocks::default(),
            copies: Copies::default(),
            expressions: Expressions::default(),
            onward: VecDeque::new(),
            parked: Vec::new(),
            queries: Queries::default(),
            inquiries: Inquiries::default(),
            calls: Calls::default(),
            resets: HashMap::default(),
            cold_reads_seen: 0,
            batch_keys: shards.iter().map(|_| VecDeque::new()).collect(),
            recalled_keys: shards.iter().map(|_| VecDeque::new()).collect(),
            announcements: Announcements::default(),
            closing: Vec::new(),
            queue_choice: now.monotonic_ns,
            unique_keys: 0,
            wrong_words: RareLine::default(),
            given_up: RareLine::default(),
            nobody_to_ask: RareLine::default(),
            tally: Tally::new(now.monotonic_ms()),
            started: now,
            disk: None,
            clean_looks: 0,
            scratch: Scratch::default(),
            shards,
        }
    }

    /// What the broker was told.
    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// The catalog of this core.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The router that all cores share.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The disk and the clock were looked at, which is when samples are taken. Whether old segments may go
    /// whatever the hour.
    pub fn looked_at_disk(&mut self, now: Now, look: &DiskLook) -> bool {
        self.disk = Some(*look);
        let catalog = &self.catalog;
        let is_own = |topic| catalog.topic_name(topic).is_some_and(proto::names::is_system_topic);
        self.tally.sample(now.monotonic_ms(), look.hour, is_own);
        let is_asked = self.clean_looks > 0;
        self.clean_looks = self.clean_looks.saturating_sub(1);
        is_asked
    }

    /// The next frame that this core made for another one.
    pub fn next_onward(&mut self) -> Option<Onward> {
        self.onward.pop_front()
    }

    /// A frame of [`Broker::next_onward`] for which there is no room yet.
    pub fn put_back_onward(&mut self, onward: Onward) {
        self.onward.push_front(onward);
    }

    /// Whether no request waits here for the disk or for another core.
    pub fn has_nothing_parked(&self) -> bool {
        self.parked.is_empty()
            && self.onward.is_empty()
            && self.queries.is_empty()
            && self.inquiries.is_empty()
            && self.calls.is_empty()
    }

    /// A connection ended.
    pub fn closed(&mut self, connection: ConnectionId, outboxes: &mut Outboxes) {
        let bits = connection.to_bits();
        for shard in &mut self.shards {
            shard.connection_closed(bits);
        }
        self.parked.retain(|parked| parked.asker.connection != connection);
        self.queries.closed(connection, &self.router);
        self.calls_closed(bits, outboxes);
        for group in self.membership.closed(bits) {
            self.notify_members(&group, outboxes);
        }
        self.copy_consumers();
    }

    /// The next connection that the broker wants closed: silent for too long, or waiting for an
    /// outcome that is unknown.
    pub fn next_closing(&mut self) -> Option<ConnectionId> {
        self.closing.pop()
    }

    /// Deadlines have come.
    pub fn tick(&mut self, now: Now) {
        for shard in &mut self.shards {
            shard.tick(now.monotonic_ms());
        }
        self.locks.tick(now.monotonic_ms());
        self.copies.tick(now.monotonic_ms());
        let silent = self.membership.expire(now.monotonic_ms());
        self.closing.extend(silent.into_iter().map(ConnectionId::from_bits));
    }

    /// In how many ms something is due by itself (what `tick`, `deliver_due`, `fire_timers`, `check_due` and
    /// `answer_confirmed` look at); `None`: not before something happens.
    pub fn wake_in_ms(&mut self, now: Now) -> Option<u64> {
        let due = self.shards.iter().filter_map(|shard| shard.due_at_ms(now.wall_ms)).min();
        let ticks = self.shards.iter_mut().filter_map(Shard::tick_at_ms).min();
        let silent = self.membership.wake_at_ms();
        let queries = self.queries.wake_at_ms();
        let calls = self.calls.due_ms();
        let kept_back = self.announcements.wake_at_ms();
        [
            (due, now.wall_ms),
            (ticks, now.monotonic_ms()),
            (silent, now.monotonic_ms()),
            (queries, now.monotonic_ms()),
            (calls, now.monotonic_ms()),
            (kept_back, now.monotonic_ms()),
        ]
        .into_iter()
        .filter_map(|(at_ms, now_ms)| at_ms.map(|at_ms| at_ms.saturating_sub(now_ms)))
        .min()
    }

    /// The broker is about to stop: held pulls are answered with what there is, and no client and no
    /// NameServer is waited for.
    pub fn drain(&mut self) {
        for shard in &mut self.shards {
            shard.wake_held();
        }
        self.calls.hurry();
        self.announcements.hurry();
    }
}

/// Says what was set over the wire and is stronger than the configuration.
fn tell_stronger(configured: &BrokerSettings, catalog: &Catalog) {
    for (key, value) in catalog.settings() {
        let configured = configured.shown.get(key).map_or("", String::as_str);
        tracing::info!(
            key,
            value,
            configured,
            "set by UPDATE_BROKER_CONFIG, stronger than the configuration"
        );
    }
}

impl Asker {
    fn ticket(&self, form: u8) -> Ticket {
        Ticket {
            connection: self.connection.to_bits(),
            opaque: self.opaque,
            encoding: self.encoding as u8,
            form,
            queue_id: 0,
        }
    }
}
