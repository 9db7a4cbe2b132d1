//! Every order in which two threads can touch a ring and its flags.

use loom::sync::{Condvar, Mutex};

/// The model of an eventfd: it remembers a signal until it is waited for.
#[derive(Debug)]
pub struct EventFd {
    signalled: Mutex<bool>,
    rung: Condvar,
}

impl EventFd {
    pub(super) fn new() -> EventFd {
        EventFd { signalled: Mutex::new(false), rung: Condvar::new() }
    }

    pub(super) fn signal(&self) {
        *self.signalled.lock().unwrap() = true;
        self.rung.notify_one();
    }

    /// What parking on it is. A lost wake-up leaves this waiting, which loom reports as a deadlock.
    pub(super) fn wait(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.rung.wait(signalled).unwrap();
        }
        *signalled = false;
    }
}

use super::*;

fn check(threads_preempted_max: Option<usize>, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = threads_preempted_max;
    model.check(scenario);
}

/// A participant that only receives: takes `count` messages, parks whenever there is none.
fn receive_all(inbox: &mut Inbox<u32>, sleep: &SleepFlag, count: u32) {
    let mut expect = 0;
    while expect < count {
        if let Some(message) = inbox.pop() {
            assert_eq!(message, expect);
            expect += 1;
            continue;
        }
        sleep.prepare_to_sleep();
        if inbox.is_empty() {
            sleep.event().wait();
        }
        sleep.wake_up();
    }
}

/// A participant that only sends: parks whenever the ring is full.
fn send_all(peer: &mut Peer<u32>, sleep: &SleepFlag, count: u32) {
    let mut next = 0;
    while next < count {
        if peer.send(next).is_ok() {
            next += 1;
            continue;
        }
        sleep.prepare_to_sleep();
        if !peer.has_room_again() {
            sleep.event().wait();
        }
        sleep.wake_up();
    }
}

#[test]
fn a_message_reaches_a_receiver_that_goes_to_sleep() {
    check(None, || {
        let (from, to) = (SleepFlag::new(EventFd::new()), SleepFlag::new(EventFd::new()));
        let (mut peer, mut inbox) = pair(&from, &to, 2);
        let sender = loom::thread::spawn(move || {
            peer.send(0).unwrap();
            peer
        });
        receive_all(&mut inbox, &to, 1);
        drop(sender.join().unwrap());
    });
}

#[test]
fn two_peers_wake_one_sleeper() {
    check(Some(3), || {
        let to = SleepFlag::new(EventFd::new());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (mut peer, inbox) = pair(&SleepFlag::new(EventFd::new()), &to, 1);
                let thread = loom::thread::spawn(move || {
                    peer.send(()).unwrap();
                    peer
                });
                (thread, inbox)
            })
            .collect();
        let (threads, mut inboxes): (Vec<_>, Vec<_>) = senders.into_iter().unzip();
        let mut missing = inboxes.len();
        while missing > 0 {
            let count = inboxes.iter_mut().filter_map(Inbox::pop).count();
            missing -= count;
            if count == 0 {
                to.prepare_to_sleep();
                if inboxes.iter().all(Inbox::is_empty) {
                    to.event().wait();
                }
                to.wake_up();
            }
        }
        for thread in threads {
            drop(thread.join().unwrap());
        }
    });
}

#[test]
fn a_full_ring_wakes_its_sender_when_there_is_room() {
    check(Some(4), || {
        let (from, to) = (SleepFlag::new(EventFd::new()), SleepFlag::new(EventFd::new()));
        let (mut peer, mut inbox) = pair(&from, &to, 1);
        let sender = loom::thread::spawn(move || {
            send_all(&mut peer, &from, 3);
            peer
        });
        receive_all(&mut inbox, &to, 3);
        drop(sender.join().unwrap());
    });
}

#[test]
fn slots_are_handed_over_and_back() {
    check(Some(3), || {
        let (mut sender, mut receiver) = ring(2);
        let thread = loom::thread::spawn(move || {
            // What does not fit is dropped here: this is about slots, not about waiting.
            let pushed = (0..4).filter(|message| sender.push(Box::new(*message)).is_ok()).count();
            sender.publish();
            pushed
        });
        let mut last = -1;
        for _ in 0..3 {
            if let Some(message) = receiver.pop() {
                assert!(*message > last, "messages keep their order");
                last = *message;
                receiver.release();
            }
        }
        assert!(thread.join().unwrap() >= 2);
    });
}
