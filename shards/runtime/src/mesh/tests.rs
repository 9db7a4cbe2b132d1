use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::eventfd::{EventFd, readable};
use crate::executor::{CoreOptions, spawn_core};
use crate::placement::Placement;

fn sleep_flag() -> SleepFlag {
    SleepFlag::new(EventFd::new().expect("one more descriptor"))
}

/// Parks the thread as a core does, on the eventfd, when the last look finds nothing. A lost wake-up
/// shows as a test that never ends; the minute is there to make it a failure.
fn park_unless(sleep: &SleepFlag, has_work: impl FnOnce() -> bool) {
    sleep.prepare_to_sleep();
    if !has_work() {
        let mut events = [PollFd::new(sleep.event(), PollFlags::IN)];
        let minute = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
        let rung = poll(&mut events, Some(&minute)).expect("poll an eventfd");
        assert!(rung == 1, "a wake-up was lost");
        sleep.event().drain();
    }
    sleep.wake_up();
}

#[test]
fn messages_come_out_in_order_and_only_after_a_flush() {
    let (mut peer, mut inbox) = pair(&sleep_flag(), &sleep_flag(), 4);
    peer.push(1).unwrap();
    peer.push(2).unwrap();
    assert!(inbox.is_empty());
    assert_eq!(inbox.pop(), None);
    peer.flush();
    assert_eq!(inbox.pop(), Some(1));
    assert_eq!(inbox.pop(), Some(2));
    assert_eq!(inbox.pop(), None);
}

#[test]
fn a_full_ring_gives_the_message_back_and_shows_the_others() {
    let (mut peer, mut inbox) = pair(&sleep_flag(), &sleep_flag(), 2);
    peer.push(1).unwrap();
    peer.push(2).unwrap();
    assert_eq!(peer.push(3), Err(3));
    assert!(!peer.has_room_again());
    assert_eq!(inbox.pop(), Some(1));
    assert!(peer.has_room_again());
    peer.push(3).unwrap();
    assert!(!peer.has_room_again());
    peer.flush();
    assert_eq!([inbox.pop(), inbox.pop(), inbox.pop()], [Some(2), Some(3), None]);
}

#[test]
fn batches_stop_at_the_room_there_is() {
    let (mut peer, mut inbox) = pair(&sleep_flag(), &sleep_flag(), 4);
    let mut outbound: VecDeque<u32> = (0..6).collect();
    assert_eq!(peer.push_batch(&mut outbound), 4);
    assert_eq!(outbound, [4, 5]);
    let mut batch = Vec::with_capacity(3);
    assert_eq!(inbox.pop_batch(&mut batch), 3);
    assert_eq!(batch, [0, 1, 2]);
    assert_eq!(inbox.pop_batch(&mut batch), 0, "a batch never grows");
    assert_eq!(batch.capacity(), 3);
    assert_eq!(peer.push_batch(&mut outbound), 2);
    peer.flush();
    batch.clear();
    assert_eq!(inbox.pop_batch(&mut batch), 3);
    assert_eq!(batch, [3, 4, 5]);
}

#[test]
fn only_sleepers_are_signalled() {
    let receiver = sleep_flag();
    let (mut peer, mut inbox) = pair(&sleep_flag(), &receiver, 4);
    peer.push(()).unwrap();
    assert!(!peer.flush());
    assert_eq!(receiver.event().drain(), 0);
    receiver.prepare_to_sleep();
    peer.push(()).unwrap();
    assert!(peer.flush());
    peer.push(()).unwrap();
    assert!(!peer.flush(), "one signal is enough");
    assert_eq!(receiver.event().drain(), 1);
    assert!(!peer.flush(), "nothing new, nobody to wake");
    assert!(inbox.pop().is_some());
}

#[test]
fn what_was_not_taken_is_dropped_once() {
    let message = Arc::new(());
    let (mut peer, mut inbox) = pair(&sleep_flag(), &sleep_flag(), 4);
    for _ in 0..3 {
        peer.push(message.clone()).unwrap();
    }
    peer.flush();
    drop(inbox.pop());
    assert_eq!(Arc::strong_count(&message), 3);
    drop(inbox);
    assert!(peer.is_closed());
    peer.push(message.clone()).unwrap();
    drop(peer);
    assert_eq!(Arc::strong_count(&message), 1);
}

#[test]
fn the_last_messages_of_a_closed_sender_can_be_taken() {
    let (mut peer, mut inbox) = pair(&sleep_flag(), &sleep_flag(), 4);
    peer.push(1).unwrap();
    assert!(!inbox.is_closed());
    drop(peer);
    assert!(inbox.is_closed());
    assert_eq!([inbox.pop(), inbox.pop()], [Some(1), None]);
}

#[test]
fn indices_may_wrap() {
    let (mut sender, mut receiver) = ring(2);
    for round in 0..100 {
        sender.push(round).unwrap();
        sender.push(-round).unwrap();
        assert_eq!(sender.push(0), Err(0));
        sender.publish();
        assert_eq!(
            [receiver.pop(), receiver.pop(), receiver.pop()],
            [Some(round), Some(-round), None]
        );
        receiver.release();
    }
}

#[test]
fn two_sleepy_threads_lose_neither_message_nor_wake_up() {
    const COUNT: u64 = 300_000;
    for (capacity, batch_count) in [(1, 1), (2, 1), (8, 3), (1024, 64)] {
        let (from, to) = (sleep_flag(), sleep_flag());
        let (mut peer, mut inbox) = pair(&from, &to, capacity);
        let count = if capacity < 8 { COUNT / 10 } else { COUNT };
        let sender = thread::spawn(move || {
            let mut next = 0;
            while next < count {
                let end = (next + batch_count).min(count);
                while next < end && peer.push(next).is_ok() {
                    next += 1;
                }
                peer.flush();
                if next < end {
                    park_unless(&from, || peer.has_room_again());
                }
            }
            assert!(!peer.is_closed());
        });
        let mut batch = Vec::with_capacity(16);
        let mut expect = 0;
        while expect < count {
            if inbox.pop_batch(&mut batch) == 0 {
                park_unless(&to, || !inbox.is_empty());
            }
            for message in batch.drain(..) {
                assert_eq!(message, expect);
                expect += 1;
            }
        }
        sender.join().unwrap();
    }
}

/// Each participant sends to every other one, numbered, through rings that are always full.
#[test]
fn a_mesh_delivers_from_each_to_each_in_order() {
    const COUNT: u64 = 20_000;
    const PARTICIPANTS: usize = 4;
    let flags: Vec<SleepFlag> = (0..PARTICIPANTS).map(|_| sleep_flag()).collect();
    let threads: Vec<_> = mesh::<(usize, u64)>(&flags, 4)
        .into_iter()
        .zip(flags)
        .map(|(mut port, sleep)| {
            thread::spawn(move || {
                let (index, count) = (port.index(), port.count());
                let mut sent = vec![0; count];
                let mut received = vec![0; count];
                sent[index] = COUNT;
                received[index] = COUNT;
                while sent != vec![COUNT; count] || received != vec![COUNT; count] {
                    let mut moved = false;
                    for (from, inbox) in port.inboxes() {
                        while let Some(message) = inbox.pop() {
                            assert_eq!(message, (from, received[from]));
                            received[from] += 1;
                            moved = true;
                        }
                    }
                    for (to, sent) in sent.iter_mut().enumerate() {
                        while *sent < COUNT && port.peer(to).push((index, *sent)).is_ok() {
                            *sent += 1;
                            moved = true;
                        }
                    }
                    port.flush();
                    if !moved {
                        park_unless(&sleep, || port.has_work());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// The whole way: a ball goes round three executors that park in between.
#[test]
fn cores_wake_each_other_over_the_mesh() {
    const ROUNDS: u32 = 300;
    let flags: Vec<SleepFlag> = (0..3).map(|_| sleep_flag()).collect();
    let cores: Vec<_> = mesh::<u32>(&flags, 2)
        .into_iter()
        .zip(flags)
        .map(|(mut port, sleep)| {
            let name = format!("core-{}", port.index());
            spawn_core(&name, CoreOptions::new(Placement::Free), move || async move {
                let next = (port.index() + 1) % port.count();
                if port.index() == 0 {
                    port.peer(next).send(0).expect("an empty ring has room");
                }
                loop {
                    let ball = port.inboxes().find_map(|(_, inbox)| inbox.pop());
                    if let Some(ball) = ball {
                        port.peer(next).send(ball + 1).expect("there is one ball");
                        if ball >= 3 * ROUNDS {
                            return Ok::<_, std::io::Error>(ball);
                        }
                        continue;
                    }
                    sleep.prepare_to_sleep();
                    if !port.has_work() {
                        readable(sleep.event()).await?;
                    }
                    sleep.wake_up();
                }
            })
            .unwrap()
        })
        .collect();
    let mut balls: Vec<u32> = cores.into_iter().map(|core| core.join().unwrap()).collect();
    balls.sort_unstable();
    assert_eq!(balls, [900, 901, 902]);
}
