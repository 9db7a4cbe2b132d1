//! A core and the others: connections, frames, answers and knowledge that cross.
//! Kind: shell

use proto::frame::{Scan, scan};
use runtime::Ring;
use runtime::clock::Now;

use super::Core;
use crate::broker::{Flow, Onward};
use crate::router::Origin;
use crate::router::exchange::{Arrived, CROSSINGS_MAX, Incoming, ToPeer};
use crate::router::parcel;

impl<R: Ring> Core<R> {
    /// Empties the inboxes from other cores.
    pub(super) fn take_from_peers(&mut self) {
        self.exchange.take(&mut self.arrived);
    }

    /// Handles what needs no line of what other cores sent. Whether there was anything.
    pub(super) fn handle_arrived(&mut self, now: Now) -> bool {
        let mut arrived = std::mem::take(&mut self.arrived);
        let worked = !arrived.is_empty();
        for arrived in arrived.drain(..) {
            match arrived {
                Arrived::Connection(from, socket, peer) => {
                    let connection = self.ring.adopt(socket, peer);
                    self.open(now, connection, peer);
                    self.connections[connection.index()].accepted_by = Some(from);
                }
                Arrived::ConnectionEnded(core) => self.connection_counts[core] -= 1,
                Arrived::Answers(core, mut answers) => {
                    for (connection, bytes) in answers.pieces() {
                        if let Some(outbox) = self.outboxes.of(connection) {
                            outbox.bytes().extend_from_slice(bytes);
                        }
                    }
                    answers.clear();
                    self.exchange.tell(core, ToPeer::Sent(answers));
                }
                Arrived::Close(connection) => {
                    let slot = self.connections.get(connection.index());
                    if slot.is_some_and(|it| it.id == Some(connection)) {
                        self.close(connection);
                    }
                }
                Arrived::Copy(copy) => self.broker.apply_copy(copy),
                Arrived::Letter(from, letter) => self.broker.take_letter(from, letter),
                Arrived::PullHandled(connection) => {
                    let connected = &mut self.connections[connection.index()];
                    if connected.id == Some(connection) {
                        connected.crossing_pulls -= 1;
                    }
                }
            }
        }
        self.arrived = arrived;
        worked
    }

    /// Handles what other cores sent on, each line until it has to wait. Whether there was anything.
    pub(super) fn take_incoming(&mut self, now: Now) -> bool {
        let mut worked = false;
        if self.phase.is_closing() {
            return false;
        }
        for from in self.exchange.others_from(self.turns / 2) {
            // Those that crossed most often first: they hold room of every number.
            for crossings in (1..=CROSSINGS_MAX).rev() {
                while let Some(incoming) = self.exchange.next_incoming(from, crossings) {
                    match incoming {
                        Incoming::Ended(connection) => {
                            self.broker.closed(connection, &mut self.outboxes);
                        }
                        Incoming::Frames { frames, next } => {
                            let at = self.handle_frames(now, (from, crossings), &frames, next);
                            if at < frames.len() {
                                // With too much to answer the next turn goes on, whatever happens.
                                worked |= at > next || self.outboxes.is_remote_full(from);
                                self.exchange.put_back(from, crossings, frames, at);
                                break;
                            }
                            self.exchange.handled(from, crossings, frames);
                        }
                    }
                    worked = true;
                }
            }
        }
        worked
    }

    /// Handles frames of other cores' connections from `next` on, and returns the first that has to wait.
    fn handle_frames(
        &mut self,
        now: Now,
        (from, crossings): (usize, usize),
        frames: &parcel::Frames,
        next: usize,
    ) -> usize {
        for at in next..frames.len() {
            if self.outboxes.is_remote_full(from) {
                return at;
            }
            let (asked, frame) = frames.frame(at);
            let parcel::Asked { connection, peer, has_record, .. } = asked;
            let origin = Origin { connection, peer, crossings, has_record };
            let is_taken = match self.broker.handle(now, origin, &frame, &mut self.outboxes) {
                Ok(Flow::Done) => true,
                Ok(Flow::Wait) => false,
                Ok(Flow::To { core, is_pull }) => {
                    self.exchange.send_on(core, origin, &frame, is_pull)
                }
                // It was decoded where it came from.
                Err(error) => {
                    tracing::error!(peer = %asked.peer, %error, "connection closed");
                    self.exchange.tell(asked.connection.core(), ToPeer::Close(asked.connection));
                    true
                }
            };
            if !is_taken {
                return at;
            }
        }
        frames.len()
    }

    /// Sends on what the broker made for other cores, as far as there is room.
    pub(super) fn send_onward(&mut self) {
        while let Some((core, letter)) = self.broker.next_letter() {
            self.exchange.tell(core, ToPeer::Letter(letter));
        }
        let home = self.broker.router().home();
        while let Some(part) = self.broker.next_part() {
            self.exchange.tell(home, ToPeer::Copy(part));
        }
        while let Some(onward) = self.broker.next_onward() {
            let Onward { core, origin, bytes } = &onward;
            let frame = match scan(bytes, bytes.len()) {
                Ok(Scan::Frame { frame, .. }) => frame,
                other => unreachable!("the broker made a whole frame: {other:?}"),
            };
            if !self.exchange.send_on(*core, *origin, &frame, false) {
                self.broker.put_back_onward(onward);
                return;
            }
        }
    }

    /// Copies do not fit another core's ring, so this turn's answers wait: records among them are copied,
    /// because their memory is only this turn's.
    pub(super) fn copy_waiting_answers(&mut self) {
        self.outboxes.keep(&self.broker.shards);
    }
}
