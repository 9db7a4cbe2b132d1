//! Time that passes, and clocks that are set.

use engine::limits::TIMER_SPANS_MAX;

use super::*;
use crate::broker::limits::QUERY_MS_MAX;

#[test]
fn a_query_that_a_shard_does_not_answer_is_given_up() {
    let mut core = Core::new(2, catalog(2, group(), Catalog::default()));
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
    core.refused(request::SEND_MESSAGE_V2, &send("0", &timer(due_ms)), b"timer", expect);
    // Nothing else is, nor is a time that is not before.
    core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"now");
    let later = timer(START.wall_ms + 2_000_000);
    core.granted(request::SEND_MESSAGE_V2, &send("0", &later), b"later");
}
