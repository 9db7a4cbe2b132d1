//! Time that passes, and clocks that are set.

use engine::limits::TIMER_SPANS_MAX;
use proto::recall::RecallHandle;

use super::*;
use crate::broker::calls::CALL_MS;
use crate::broker::limits::QUERY_MS_MAX;

#[test]
fn a_query_that_a_shard_does_not_answer_is_given_up() {
    let mut core = Core::new(2, catalog(2, group(), Catalog::default()), opened(opening(), 0));
    let ext = [
        ("topic", "topic"),
        ("key", "key"),
        ("maxNum", "1"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9"),
    ];
    let connection = core.ask(request::QUERY_MESSAGE, &ext, b"");
    core.turn();
    assert!(core.broker.next_letter().is_some(), "the other core is asked, and says nothing");
    core.wait_ms(QUERY_MS_MAX - 1);
    core.turn();
    assert_eq!(core.answer(connection), None);
    assert_eq!(core.broker.wake_in_ms(core.now), Some(1));
    core.wait_ms(1);
    core.turn();
    let remark = "not all shards have answered within 15000 ms, try again".to_owned();
    assert_eq!(core.answer(connection), Some((response::SYSTEM_BUSY, remark)));
    assert!(core.broker.next_letter().is_some(), "the other core is told to look no longer");
    assert!(core.broker.has_nothing_parked());
}

#[test]
fn timers_are_refused_when_the_clock_is_set_back_again_and_again() {
    let mut core = Core::alone();
    let timer = |due_ms: u64| format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}");
    let mut due_ms = START.wall_ms + 1_000_000;
    for _ in 0..TIMER_SPANS_MAX {
        // Each fires, so that the next one lies before one that has fired.
        core.now.wall_ms = due_ms - 50;
        core.granted(request::SEND_MESSAGE_V2, &send("0", &timer(due_ms)), b"timer");
        core.wait_ms(50);
        core.turn();
        core.turn();
        due_ms -= 100;
    }
    let fired = core.broker.shards[0].timers().cursors().fired();
    assert_eq!(fired.due_ms, START.wall_ms + 1_000_000, "they have come");
    core.now.wall_ms = due_ms - 50;
    let remark = "timer message is under flow control, the clock was set back again and again while timers wait for times before it";
    let expect = (response::SYSTEM_ERROR, remark);
    core.check(request::SEND_MESSAGE_V2, &send("0", &timer(due_ms)), b"timer", expect);
    // Nothing else is, nor is a time that is not before.
    core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"now");
    let later = timer(START.wall_ms + 2_000_000);
    core.granted(request::SEND_MESSAGE_V2, &send("0", &later), b"later");
}

#[test]
fn a_time_whose_timers_have_fired_is_too_late_to_recall() {
    let mut core = Core::alone();
    let due_ms = START.wall_ms + 1_000;
    let text = format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}");
    core.granted(request::SEND_MESSAGE_V2, &send("0", &text), b"timer");
    core.wait_ms(1_000);
    core.turn();
    core.turn();
    core.now = START; // the clock is set back
    for (due_ms, expect) in [
        (due_ms - 1, (response::ILLEGAL_OPERATION, "recall failed, timestamp invalid")),
        (due_ms + 1, (response::SUCCESS, "not set any response code")),
    ] {
        let handle = recall_handle(due_ms);
        let ext = [("producerGroup", "group"), ("topic", "topic"), ("recallHandle", &*handle)];
        core.check(request::RECALL_MESSAGE, &ext, b"", expect);
    }
    // A send that calls one back is no other thing.
    for (due_ms, expect) in
        [(due_ms - 1, response::MESSAGE_ILLEGAL), (due_ms + 1, response::SUCCESS)]
    {
        let text =
            format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}TIMER_DEL_UNIQKEY\u{1}topic+another\u{2}");
        let answer = core.asked(request::SEND_MESSAGE_V2, &send("0", &text), b"cancel");
        assert_eq!(answer.expect("an answer").0, expect);
    }
}

pub(super) fn recall_handle(due_ms: u64) -> String {
    let handle = RecallHandle {
        topic: "topic".to_owned(),
        broker_name: "broker".to_owned(),
        due_ms: i64::try_from(due_ms).ok(),
        unique_key: "unique".to_owned(),
        queue_id: None,
    };
    handle.encode().expect("no blanks")
}

#[test]
fn what_waits_too_long_for_the_disk_is_told_so() {
    let mut core = Core::alone();
    core.broker.shards[0].set_flush_timeout(5_000);
    let sent = core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"body");
    let id = core.field(sent, "msgId");
    let position = i64::from_str_radix(&id[id.len() - 16..], 16).expect("a position").to_string();
    let send_back = [("offset", &*position), ("group", "group"), ("delayLevel", "-1")];
    core.writes = Writes::Hang;
    let sent = core.ask(request::SEND_MESSAGE_V2, &send("0", ""), b"body");
    let sent_back = core.ask(request::CONSUMER_SEND_MSG_BACK, &send_back, b"");
    core.turn();
    core.wait_ms(4_999);
    core.turn();
    assert_eq!((core.answer(sent), core.answer(sent_back)), (None, None));
    core.wait_ms(1);
    core.turn();
    assert_eq!(core.answer(sent), Some((response::FLUSH_DISK_TIMEOUT, String::new())));
    assert_eq!(core.field(sent, "queueOffset"), "1", "it is stored");
    let not_safe = (response::SYSTEM_ERROR, "FLUSH_DISK_TIMEOUT".to_owned());
    assert_eq!(core.answer(sent_back), Some(not_safe));
}

#[test]
fn what_is_overdue_and_what_is_called_back_keep_their_own_keys() {
    let mut core = Core::alone();
    core.broker.shards[0].set_flush_timeout(5_000);
    let due_ms = START.wall_ms + 1_000_000;
    let handle = recall_handle(due_ms);
    let recall = [("producerGroup", "group"), ("topic", "topic"), ("recallHandle", &*handle)];
    let text = format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}UNIQ_KEY\u{1}another\u{2}");
    core.writes = Writes::Hang;
    let recalled = core.ask(request::RECALL_MESSAGE, &recall, b"");
    let timer = core.ask(request::SEND_MESSAGE_V2, &send("0", &text), b"timer");
    core.turn();
    core.wait_ms(5_000);
    core.turn();
    assert_eq!(core.answer(timer), Some((response::FLUSH_DISK_TIMEOUT, String::new())));
    let told = RecallHandle::decode(&core.field(timer, "recallHandle")).expect("a handle");
    assert_eq!(told.unique_key, "another");
    assert_eq!(core.answer(recalled), None);
    core.writes = Writes::Done;
    core.turn();
    core.turn();
    assert_eq!(core.answer(recalled).expect("an answer").0, response::SUCCESS);
    assert_eq!(core.field(recalled, "msgId"), "unique");
}

#[test]
fn a_reply_that_its_requester_does_not_take_in_time_is_told_so() {
    let mut core = Core::alone();
    let refused = (response::SYSTEM_ERROR, "push reply message to memberfail.".to_owned());
    let reply = send("0", "REPLY_TO_CLIENT\u{1}member\u{2}");

    core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let late = core.ask(request::SEND_REPLY_MESSAGE_V2, &reply, b"late");
    core.wait_ms(CALL_MS - 1);
    core.turn();
    assert_eq!(core.answer(late), None);
    core.wait_ms(1);
    core.turn();
    assert_eq!(core.answer(late), Some(refused.clone()));

    let member = core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let gone = core.ask(request::SEND_REPLY_MESSAGE_V2, &reply, b"gone");
    core.broker.closed(member, &mut core.outboxes);
    assert_eq!(core.answer(gone), Some(refused));
}
