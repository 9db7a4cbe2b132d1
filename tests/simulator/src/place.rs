//! Topics, groups and queues of the simulated world.

use proto::names;
use ringmq::broker::TransactionSettings;

/// Consumer groups.
pub const GROUPS: u8 = 2;

/// Topics that are created by request, not by a send.
pub const MADE_TOPICS: u8 = 2;

/// Queues that a topic made by a send has.
pub const AUTO_QUEUES: u32 = 4;

/// Queues that a topic made by request grows to, one after the other.
pub const MADE_QUEUES_MAX: u32 = 6;

/// Delay of the only level, ms …
pub const DELAY_MS: u64 = 1_000;

/// … and where messages wait longer than their segment is kept: not even set clocks end that.
pub const LONG_DELAY_MS: u64 = 1_000 * 3_600_000;

/// How half messages are treated: each is asked for a few times in a life.
pub const TRANSACTIONS: TransactionSettings = TransactionSettings {
    rejects: false,
    timeout_ms: 300,
    check_interval_ms: 400,
    checks_max: 4,
    reserved_ms: u64::MAX,
};

/// Retries after which a message that comes back is dead.
pub const RETRIES_MAX: u32 = 2;

/// The group whose consumers do not say how many retries there are: an operator has set them.
pub const CONFIGURED_GROUP: u8 = 1;

/// The group that consumes in order, which sends nothing back.
pub const ORDERLY_GROUP: u8 = GROUPS;

/// A topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Made by the first send to it.
    Auto,
    /// Made, and later changed, by request.
    Made(u8),
    /// Delayed messages wait here: each shard has one queue for the only level.
    Schedule,
    /// Half messages wait here: each shard has one queue.
    Half,
    /// Half messages that were given up: each shard has one queue.
    GivenUp,
    /// Messages wait here for times of their own: each shard has one queue.
    Wheel,
    /// Messages that a group sent back.
    Retry(u8),
    /// Messages that a group gave up.
    Dead(u8),
}

/// A queue of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Its topic.
    pub topic: Topic,
    /// Its number.
    pub queue: u32,
}

impl Place {
    /// Where a shard's delayed messages wait.
    pub fn schedule(shard: u8) -> Place {
        Place { topic: Topic::Schedule, queue: u32::from(shard) }
    }

    /// Where a shard's half messages wait.
    pub fn half(shard: u8) -> Place {
        Place { topic: Topic::Half, queue: u32::from(shard) }
    }

    /// Where a shard's messages with times of their own wait.
    pub fn wheel(shard: u8) -> Place {
        Place { topic: Topic::Wheel, queue: u32::from(shard) }
    }

    /// Whether messages only wait here for their time.
    pub fn is_schedule(self) -> bool {
        matches!(self.topic, Topic::Schedule | Topic::Wheel)
    }

    /// Whether messages only wait here, for their time or for their producer's word.
    pub fn is_waiting(self) -> bool {
        self.is_schedule() || self.topic == Topic::Half
    }

    /// Whether what is here was meant for another place.
    pub fn is_internal(self) -> bool {
        self.is_waiting() || self.topic == Topic::GivenUp
    }
}

impl Topic {
    /// Its name on the wire.
    pub fn name(self) -> String {
        match self {
            Topic::Auto => "SimTopic".to_owned(),
            Topic::Made(number) => format!("SimMade{number}"),
            Topic::Schedule => names::SCHEDULE_TOPIC.to_owned(),
            Topic::Half => names::TRANS_HALF_TOPIC.to_owned(),
            Topic::GivenUp => names::TRANS_CHECK_MAX_TIME_TOPIC.to_owned(),
            Topic::Wheel => names::WHEEL_TIMER_TOPIC.to_owned(),
            Topic::Retry(group) => names::retry_topic(&group_name(group)),
            Topic::Dead(group) => names::dlq_topic(&group_name(group)),
        }
    }

    /// The topic of a name.
    pub fn of_name(name: &str) -> Option<Topic> {
        let groups = (0..GROUPS).flat_map(|group| [Topic::Retry(group), Topic::Dead(group)]);
        let mut all = [Topic::Auto, Topic::Schedule, Topic::Half, Topic::Wheel, Topic::GivenUp]
            .into_iter()
            .chain((0..MADE_TOPICS).map(Topic::Made))
            .chain(groups);
        all.find(|topic| topic.name() == name)
    }

    /// The group that its messages came back from or were given up by.
    pub fn group(self) -> Option<u8> {
        match self {
            Topic::Retry(group) | Topic::Dead(group) => Some(group),
            Topic::Auto | Topic::Made(_) => None,
            Topic::Schedule | Topic::Half | Topic::Wheel | Topic::GivenUp => None,
        }
    }

    /// Every queue that it may ever have in a store of so many shards.
    pub fn places(self, shards: u16) -> impl Iterator<Item = Place> {
        let queues = match self {
            Topic::Auto => AUTO_QUEUES,
            Topic::Made(_) => MADE_QUEUES_MAX,
            Topic::Schedule | Topic::Half | Topic::Wheel | Topic::GivenUp => u32::from(shards),
            Topic::Retry(_) | Topic::Dead(_) => 1,
        };
        (0..queues).map(move |queue| Place { topic: self, queue })
    }
}

/// Every queue that there may be, those of messages that wait first: what is delivered meanwhile is then
/// found where it was delivered to.
pub fn all_places(shards: u16) -> impl Iterator<Item = Place> {
    let groups = (0..GROUPS).flat_map(|group| [Topic::Retry(group), Topic::Dead(group)]);
    [Topic::Schedule, Topic::Half, Topic::Wheel, Topic::GivenUp, Topic::Auto]
        .into_iter()
        .chain((0..MADE_TOPICS).map(Topic::Made))
        .chain(groups)
        .flat_map(move |topic| topic.places(shards))
}

/// Name of a group.
pub fn group_name(group: u8) -> String {
    format!("SimGroup{group}")
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} queue {}", self.topic.name(), self.queue)
    }
}
