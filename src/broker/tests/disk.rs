//! Reads from disk that fail, and what happens while one is under way.

use engine::consumequeue::RunHead;
use engine::limits::COLD_PULLS_MAX;
use engine::page::FileIdentity;
use proto::names;

use super::*;
use crate::broker::limits::{PARKED_REQUESTS_MAX, QUERIES_AT_ONCE, QUERY_MS_MAX};
use crate::router::letter::Letter;

/// What becomes of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Fails,
    /// The bytes come, of the log.
    Gives,
}

/// A core with a message and a half message in `topic` that its memory holds no more, nor their places
/// in queues.
struct Cold {
    core: Core,
    /// Where the queues' entries are.
    run: RunHead,
    message_id: String,
    position: String,
    half_position: String,
}

impl Cold {
    fn new() -> Cold {
        let mut core = Core::alone();
        let text = "UNIQ_KEY\u{1}unique\u{2}KEYS\u{1}key\u{2}";
        let sent = core.granted(request::SEND_MESSAGE_V2, &send("0", text), b"body");
        let text = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}group\u{2}";
        let half = core.granted(request::SEND_MESSAGE_V2, &send("0", text), b"half");
        let (message_id, half_id) = (core.field(sent, "msgId"), core.field(half, "msgId"));
        let shard = &mut core.broker.shards[0];
        let slice = shard.next_slice().expect("one entry is enough");
        let run = slice.encode(&FileIdentity { store_id: 7, shard: 0, seed: SHAPE.seed });
        shard.run_written(&run.head);
        // More than the log's memory holds.
        let body = vec![b'x'; 300 << 10];
        for _ in 0..6 {
            core.granted(request::SEND_MESSAGE_V2, &send("1", ""), &body);
        }
        let position = position_in(&message_id);
        Cold { core, run: run.head, message_id, position, half_position: position_in(&half_id) }
    }

    /// Reads that were asked for end, and those that are asked for then. How many did.
    fn read(&mut self, disk: Disk) -> usize {
        let Core { broker, log, .. } = &mut self.core;
        let shard = &mut broker.shards[0];
        let mut count = 0;
        while let Some(mut read) = shard.cold_mut().next_read() {
            let found = log.get(read.offset as usize..).unwrap_or_default();
            let len = found.len().min(read.buffer.bytes().len());
            read.buffer.bytes_mut()[..len].copy_from_slice(&found[..len]);
            let result = if disk == Disk::Gives { Ok(len) } else { Err(REASON.to_owned()) };
            shard.cold_mut().read_completed(read.offset, read.buffer, result);
            count += 1;
        }
        while let Some(read) = shard.cold_runs_mut().next_read() {
            assert!(disk == Disk::Fails, "the bytes of runs are not kept");
            let failed = Err(REASON.to_owned());
            shard.cold_runs_mut().read_completed(read.offset, read.buffer, failed);
            count += 1;
        }
        self.core.turn();
        count
    }

    /// Asks for something that is on disk, and is told that it cannot be read.
    fn unreadable(&mut self, code: i32, ext: &[(&str, &str)], what: &str) {
        let connection = self.core.ask(code, ext, b"");
        self.core.turn();
        assert_eq!(self.core.answer(connection), None, "{code}: it is read first");
        assert!(self.read(Disk::Fails) > 0, "{code}");
        let remark = format!("{what} cannot be read from disk now: {REASON}");
        assert_eq!(self.core.answer(connection), Some((response::SYSTEM_ERROR, remark)), "{code}");
        assert!(self.core.broker.has_nothing_parked(), "{code}");
        if self.core.broker.shards[0].next_damaged_run().is_some() {
            // Until it is made again from the log nobody waits for it.
            let (again, remark) = self.core.asked(code, ext, b"").expect("an answer");
            assert_eq!(again, response::SYSTEM_ERROR, "{code}");
            let (told, reason) = remark.split_once(" cannot be read from disk now: ").expect("why");
            assert!(told == what && reason.ends_with("made again from the log"), "{remark}");
            self.core.broker.shards[0].run_written(&self.run);
        }
    }
}

/// The position that a message id ends with.
pub(super) fn position_in(id: &str) -> String {
    i64::from_str_radix(&id[id.len() - 16..], 16).expect("a position").to_string()
}

#[test]
fn what_the_disk_does_not_give_is_refused() {
    let mut cold = Cold::new();
    let (position, half) = (cold.position.clone(), cold.half_position.clone());
    let message_id = cold.message_id.clone();
    let queue = [("topic", "topic"), ("queueId", "0")];
    let with = |more: &[(&'static str, &'static str)]| [&queue[..], more].concat();

    let queue_read = "the queue";
    let by_time = with(&[("timestamp", "1")]);
    cold.unreadable(request::SEARCH_OFFSET_BY_TIMESTAMP, &by_time, queue_read);
    cold.unreadable(request::GET_EARLIEST_MSG_STORETIME, &queue, queue_read);
    let entries = with(&[("index", "0"), ("count", "1")]);
    cold.unreadable(request::QUERY_CONSUME_QUEUE, &entries, queue_read);
    // Asked of all cores.
    cold.unreadable(request::GET_TOPIC_STATS_INFO, &queue, queue_read);
    let reset = with(&[("group", "group"), ("timestamp", "1"), ("isForce", "true")]);
    cold.unreadable(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset, queue_read);

    cold.unreadable(request::VIEW_MESSAGE_BY_ID, &[("offset", &position)], "the message");
    let direct = [("consumerGroup", "group"), ("clientId", "member"), ("msgId", &message_id)];
    cold.unreadable(request::CONSUME_MESSAGE_DIRECTLY, &direct, "the message");
    let send_back = [("offset", &*position), ("group", "group"), ("delayLevel", "0")];
    cold.unreadable(request::CONSUMER_SEND_MSG_BACK, &send_back, "the message");
    let end = [
        ("producerGroup", "group"),
        ("tranStateTableOffset", "0"),
        ("commitLogOffset", &*half),
        ("commitOrRollback", "8"),
        ("msgId", "unique"),
    ];
    cold.unreadable(request::END_TRANSACTION, &end, "the half message");
    let resume = [("topic", "topic"), ("msgId", &*message_id)];
    cold.unreadable(request::RESUME_CHECK_HALF_MESSAGE, &resume, "the half message");
    cold.unreadable(request::QUERY_MESSAGE, &BY_KEY, "the messages");
    cold.unreadable(request::PULL_MESSAGE, &pull_first(), "the messages");

    // It was the disk: the same message comes when it gives it.
    let connection = cold.core.ask(request::VIEW_MESSAGE_BY_ID, &[("offset", &position)], b"");
    cold.read(Disk::Gives);
    assert_eq!(cold.core.answer(connection), Some((response::SUCCESS, String::new())));
}

/// Looks for the message of [`Cold`].
const BY_KEY: [(&str, &str); 5] = [
    ("topic", "topic"),
    ("key", "key"),
    ("maxNum", "1"),
    ("beginTimestamp", "0"),
    ("endTimestamp", "9223372036854775807"),
];

/// A pull from the beginning of queue 0.
fn pull_first() -> Vec<(&'static str, &'static str)> {
    let mut pull = PULL.to_vec();
    (pull[2].1, pull[5].1) = ("0", "4");
    pull.extend([("subscription", "*"), ("expressionType", "TAG")]);
    pull
}

#[test]
fn pulls_that_wait_for_the_disk_are_bounded() {
    let mut cold = Cold::new();
    let pull = pull_first();
    let bytes = request(request::PULL_MESSAGE, &pull, b"");
    for _ in 0..COLD_PULLS_MAX {
        let origin = cold.core.connect();
        cold.core.take(origin, &bytes);
        assert_eq!(cold.core.answer(origin.connection), None);
    }
    // Some of them are those that reads are made for.
    let refused = (0..100).find_map(|_| {
        let connection = cold.core.ask(request::PULL_MESSAGE, &pull, b"");
        cold.core.answer(connection)
    });
    let remark = "more than 65536 pulls wait for the disk".to_owned();
    assert_eq!(refused, Some((response::SYSTEM_BUSY, remark)));
}

#[test]
fn nothing_is_stored_behind_a_write_that_failed() {
    let mut core = Core::alone();
    let sent = core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"body");
    let position = position_in(&core.field(sent, "msgId"));
    core.writes = Writes::Fail;
    let waiting = core.ask(request::SEND_MESSAGE_V2, &send("0", ""), b"body");
    core.turn();
    assert_eq!(core.answer(waiting), None);
    assert_eq!(core.broker.next_closing(), Some(waiting), "nobody knows what became of it");
    let offset =
        [("consumerGroup", "group"), ("topic", "topic"), ("queueId", "0"), ("commitOffset", "1")];
    let send_back = [("offset", &*position), ("group", "group"), ("delayLevel", "0")];
    let group = br#"{"groupName":"other"}"#;
    let handle = super::time::recall_handle(core.now.wall_ms + 1_000);
    let recall = [("producerGroup", "group"), ("topic", "topic"), ("recallHandle", &*handle)];
    for (code, ext, body) in [
        (request::SEND_MESSAGE_V2, &send("0", "")[..], &b"body"[..]),
        (request::UPDATE_CONSUMER_OFFSET, &offset, b""),
        (request::CONSUMER_SEND_MSG_BACK, &send_back, b""),
        (request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group),
        (request::DELETE_TOPIC_IN_BROKER, &[("topic", "topic")], b""),
        (request::RECALL_MESSAGE, &recall, b""),
    ] {
        let (found, remark) = core.asked(code, ext, body).expect("an answer");
        assert_eq!(found, response::SERVICE_NOT_AVAILABLE, "{code}");
        assert!(remark.starts_with("service not available now: "), "{code}: {remark}");
        assert!(remark.contains(REASON), "{code}: {remark}");
    }
}

#[test]
fn requests_that_wait_for_the_disk_are_bounded() {
    let mut cold = Cold::new();
    let position = cold.position.clone();
    let ext = [("offset", &*position)];
    let waiting: Vec<_> = (0..PARKED_REQUESTS_MAX)
        .map(|_| cold.core.ask(request::VIEW_MESSAGE_BY_ID, &ext, b""))
        .collect();
    let expect = (response::SYSTEM_ERROR, "1024 requests wait for the disk already, try again");
    cold.core.check(request::VIEW_MESSAGE_BY_ID, &ext, b"", expect);
    assert!(waiting.iter().all(|it| cold.core.answer(*it).is_none()));
    assert_eq!(cold.read(Disk::Gives), 1, "one block has it");
    for connection in waiting {
        assert_eq!(cold.core.answer(connection), Some((response::SUCCESS, String::new())));
    }
}

#[test]
fn a_message_sent_back_whose_retry_topic_is_deleted_meanwhile_is_refused() {
    let mut cold = Cold::new();
    let position = cold.position.clone();
    let send_back = [("offset", &*position), ("group", "group"), ("delayLevel", "0")];
    let waiting = cold.core.ask(request::CONSUMER_SEND_MSG_BACK, &send_back, b"");
    cold.core.turn();
    let retry_topic = names::retry_topic("group");
    assert!(cold.core.broker.catalog.topic(&retry_topic).is_some());
    cold.core.ask(request::DELETE_TOPIC_IN_BROKER, &[("topic", &retry_topic)], b"");
    assert!(cold.core.broker.catalog.topic(&retry_topic).is_none());
    cold.read(Disk::Gives);
    let (code, remark) = cold.core.answer(waiting).expect("an answer");
    assert_eq!(code, response::TOPIC_NOT_EXIST);
    assert!(remark.starts_with("topic[%RETRY%group] not exist, apply first please!"), "{remark}");
}

#[test]
fn a_record_that_is_no_message_is_not_sent_back() {
    let mut core = Core::alone();
    let ext = [("offset", "64"), ("group", "group"), ("delayLevel", "0")];
    // As another core hands it on that has read it.
    let origin = Origin { has_record: true, ..core.connect() };
    core.ask_on(origin, request::CONSUMER_SEND_MSG_BACK, &ext, b"no message");
    let expect = (response::SYSTEM_ERROR, "look message by offset failed, 64".to_owned());
    assert_eq!(core.answer(origin.connection), Some(expect));
}

#[test]
fn what_nobody_waits_for_is_not_looked_for() {
    let mut cold = Cold::new();
    let ask = |cold: &mut Cold| -> Vec<_> {
        let asked = |_| cold.core.ask(request::QUERY_MESSAGE, &BY_KEY, b"");
        let asked = (0..QUERIES_AT_ONCE).map(asked).collect();
        cold.core.turn();
        asked
    };
    let queries = |cold: &Cold| cold.core.broker.queries.jobs();
    let busy = "not all shards have answered within 15000 ms, try again".to_owned();
    let mut under_way = None;
    for _ in 0..10 {
        let asked = ask(&mut cold);
        let next_read = cold.core.broker.shards[0].cold_mut().next_read();
        under_way = under_way.or(next_read);
        assert!(queries(&cold) <= QUERIES_AT_ONCE);
        cold.core.wait_ms(QUERY_MS_MAX);
        cold.core.turn();
        for connection in asked {
            let refused = Some((response::SYSTEM_BUSY, busy.clone()));
            assert_eq!(cold.core.answer(connection), refused);
        }
        assert_eq!(queries(&cold), 0);
        assert!(cold.core.broker.has_nothing_parked());
    }
    for _ in 0..10 {
        for connection in ask(&mut cold) {
            assert_eq!(cold.core.answer(connection), None);
            assert!(queries(&cold) <= QUERIES_AT_ONCE);
            cold.core.broker.closed(connection, &mut cold.core.outboxes);
        }
        assert_eq!(queries(&cold), 0);
        assert!(cold.core.broker.has_nothing_parked());
    }
    // The read that the first of them asked for ends, and serves who comes next.
    let mut read = under_way.expect("the message is on disk");
    let found = cold.core.log.get(read.offset as usize..).unwrap_or_default();
    let len = found.len().min(read.buffer.bytes().len());
    read.buffer.bytes_mut()[..len].copy_from_slice(&found[..len]);
    let blocks = cold.core.broker.shards[0].cold_mut();
    let bytes = blocks.memory_bytes();
    blocks.read_completed(read.offset, read.buffer, Ok(len));
    for connection in ask(&mut cold) {
        assert_eq!(cold.core.answer(connection), Some((response::SUCCESS, String::new())));
    }
    assert_eq!(cold.read(Disk::Gives), 0, "nothing else was wanted");
    assert_eq!(cold.core.broker.shards[0].cold_mut().memory_bytes(), bytes);
}

/// Letters that a core wrote, and to whom.
fn letters(core: &mut Core) -> Vec<(usize, Letter)> {
    std::iter::from_fn(|| core.broker.next_letter()).collect()
}

#[test]
fn other_cores_forget_what_nobody_waits_for() {
    let mut asking = Core::new(3, catalog(3, group(), Catalog::default()), opened(opening(), 0));
    let mut other = Cold::new().core;
    let gone = asking.ask(request::QUERY_MESSAGE, &BY_KEY, b"");
    asking.turn();
    let asked = letters(&mut asking);
    assert!(matches!(asked[..], [(1, Letter::Find { .. }), (2, Letter::Find { .. })]));
    // As if two cores had asked, each with this number.
    for from in [1, 2] {
        other.broker.take_letter(from, asked[0].1.clone());
    }
    other.turn();
    assert_eq!(other.broker.queries.jobs(), 2);
    asking.broker.closed(gone, &mut asking.outboxes);
    assert_eq!(asking.broker.queries.jobs(), 0);
    let told = letters(&mut asking);
    assert!(matches!(told[..], [(1, Letter::Forget { .. }), (2, Letter::Forget { .. })]));
    other.broker.take_letter(1, told[0].1.clone());
    assert_eq!(other.broker.queries.jobs(), 1, "the other one waits");

    // Where no letter comes the time ends it.
    let now = other.now;
    assert!(other.broker.wake_in_ms(now).is_some_and(|ms| ms <= QUERY_MS_MAX));
    other.wait_ms(QUERY_MS_MAX);
    other.turn();
    assert!(other.broker.has_nothing_parked());
    assert!(letters(&mut other).is_empty(), "nobody waits for an answer");

    let late = asking.ask(request::QUERY_MESSAGE, &BY_KEY, b"");
    asking.turn();
    let Some((_, Letter::Find { number, .. })) = letters(&mut asking).pop() else { panic!() };
    asking.wait_ms(QUERY_MS_MAX);
    asking.turn();
    assert_eq!(asking.answer(late).expect("an answer").0, response::SYSTEM_BUSY);
    let told = letters(&mut asking);
    assert_eq!(told.len(), 2);
    assert!(
        told.iter().all(|(_, it)| matches!(it, Letter::Forget { number: of } if *of == number))
    );
    let outcome = Err(REASON.to_owned());
    asking.broker.take_letter(1, Letter::Found { number, outcome });
    asking.turn();
    assert!(asking.broker.has_nothing_parked(), "an answer that comes late is nobody's");
}
