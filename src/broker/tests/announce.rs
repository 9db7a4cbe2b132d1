//! Answers that are kept back until the NameServers were told.

use std::time::Duration;

use super::*;
use crate::broker::limits::FIRST_SEND_KEPT_BACK_MS;

/// The only core, whose NameServers were told of all topics.
fn core() -> Core {
    let mut core = Core::alone();
    assert!(core.broker.create_system_topics(START));
    core.turn();
    announce(&mut core);
    core
}

/// The NameServers are told.
fn announce(core: &mut Core) {
    let changes = core.broker.next_topic_changes().expect("there is something to tell");
    core.broker.announced(changes.number);
    core.turn();
}

/// Sends a message to a topic, on a connection of its own, and lets the log's writes be done.
fn send_to(core: &mut Core, topic: &str, properties: &str) -> ConnectionId {
    let mut ext = send("0", properties);
    ext[1].1 = topic;
    let connection = core.ask(request::SEND_MESSAGE_V2, &ext, b"body");
    core.turn();
    core.turn();
    connection
}

const STORED: Option<(i32, String)> = Some((response::SUCCESS, String::new()));

#[test]
fn the_send_that_makes_a_topic_is_answered_when_the_name_servers_were_told() {
    let mut core = core();
    let first = send_to(&mut core, "made", "");
    assert_eq!(core.answer(first), None, "stored, and to be announced");
    let second = send_to(&mut core, "made", "");
    assert_eq!(core.answer(second), STORED, "one waits for all");
    let changes = core.broker.next_topic_changes().expect("the topic");
    assert_eq!(changes.topics.len(), 1);
    core.turn();
    assert_eq!(core.answer(first), None, "they do not know yet");
    core.broker.announced(changes.number);
    core.turn();
    assert_eq!(core.answer(first), STORED);
    assert_eq!(core.field(first, "queueId"), "0", "the answer of a send");
    let later = send_to(&mut core, "made", "");
    assert_eq!(core.answer(later), STORED);
}

#[test]
fn the_answer_waits_for_the_log_and_for_the_name_servers_whichever_is_later() {
    let mut core = core();
    core.writes = Writes::Hang;
    let first = send_to(&mut core, "made", "");
    announce(&mut core);
    assert_eq!(core.answer(first), None, "its record is not written");
    core.writes = Writes::Done;
    core.turn();
    assert_eq!(core.answer(first), STORED);
}

#[test]
fn messages_of_every_kind_are_kept_back() {
    let mut core = core();
    for (topic, properties) in [
        ("late", "DELAY\u{1}3\u{2}"),
        ("timed", "TIMER_DELAY_MS\u{1}100000\u{2}UNIQ_KEY\u{1}key\u{2}"),
        ("half", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}group\u{2}"),
    ] {
        core.broker.settings.delay_levels_ms = vec![1_000; 18];
        let first = send_to(&mut core, topic, properties);
        assert_eq!(core.answer(first), None, "{topic}: stored, and to be announced");
        announce(&mut core);
        assert_eq!(core.answer(first), STORED, "{topic}");
    }
}

#[test]
fn a_name_server_that_is_silent_keeps_the_first_send_back_for_a_second() {
    let mut core = core();
    let first = send_to(&mut core, "made", "");
    core.wait_ms(FIRST_SEND_KEPT_BACK_MS - 1);
    core.turn();
    assert_eq!(core.answer(first), None);
    assert_eq!(core.broker.wake_in_ms(core.now), Some(1));
    core.wait_ms(1);
    core.turn();
    assert_eq!(core.answer(first), STORED);
    core.turn();
    let idle = core.broker.wake_in_ms(core.now).map(Duration::from_millis);
    assert!(idle.is_none_or(|idle| idle > Duration::from_millis(100)), "{idle:?}: nothing is due");
}

#[test]
fn a_broker_that_stops_keeps_nothing_back() {
    let mut core = core();
    let first = send_to(&mut core, "made", "");
    core.broker.drain();
    core.turn();
    assert_eq!(core.answer(first), STORED);
}

#[test]
fn another_core_keeps_the_first_send_back_that_comes_to_it() {
    let mut home = Core::new(2, catalog(2, group(), Catalog::default()), opened(opening(), 0));
    let mut other = Core::new(2, catalog(2, group(), Catalog::default()), opened(opening(), 0));
    other.broker.router = Router::new(1, 2, 2);
    assert!(home.broker.create_system_topics(START));
    home.turn();
    announce(&mut home);
    home.broker.copies_to_send().drain(..).for_each(|copy| other.broker.apply_copy(copy));
    // Its queues alternate between the shards; one of them is the other core's.
    let mut ext = send("0", "");
    ext[1].1 = "made";
    let of_home = |home: &mut Core, ext: &[(&str, &str)]| {
        let origin = home.connect();
        let bytes = request(request::SEND_MESSAGE_V2, ext, b"body");
        let Ok(Scan::Frame { frame, .. }) = scan(&bytes, bytes.len()) else { panic!("a frame") };
        let flow = home.broker.handle(home.now, origin, &frame, &mut home.outboxes);
        (origin.connection, flow.expect("a request"))
    };
    let mut elsewhere = None;
    for queue in ["0", "1"] {
        ext[4].1 = queue;
        let (_, flow) = of_home(&mut home, &ext);
        if flow != Flow::Done {
            elsewhere = Some(queue);
        }
    }
    let queue = elsewhere.expect("one of two queues is the other core's");
    home.turn();
    home.turn();
    home.broker.copies_to_send().drain(..).for_each(|copy| other.broker.apply_copy(copy));
    ext[4].1 = queue;
    let first = other.ask(request::SEND_MESSAGE_V2, &ext, b"body");
    other.turn();
    other.turn();
    assert_eq!(other.answer(first), None, "stored, and to be announced");
    announce(&mut home);
    home.broker.copies_to_send().drain(..).for_each(|copy| other.broker.apply_copy(copy));
    other.turn();
    assert_eq!(other.answer(first), STORED);
}
