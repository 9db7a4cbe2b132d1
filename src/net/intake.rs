//! Frames out of received bytes: in place where they lie whole, assembled once where they do not.
//! Owns: for each connection, the beginning of a frame that has not wholly arrived.
//! Kind: machine
//! Invariants: bytes are handed on in order, each once; a frame that must wait is handed on again

use proto::frame::{self, Frame, FrameError, Scan};

use super::limits::FRAME_BYTES_MAX;

/// The beginning of a frame that spans receive buffers.
#[derive(Debug, Default)]
pub struct Intake {
    assembly: Vec<u8>,
}

impl Intake {
    /// Bytes that wait for the rest of their frame.
    pub fn waiting_bytes(&self) -> usize {
        self.assembly.len()
    }
}

/// Walks over one lot of received bytes.
#[derive(Debug)]
pub struct Frames<'a> {
    assembly: Vec<u8>,
    received: &'a [u8],
    at: usize,
    /// Bytes of the frame that was handed on last, and where it lay.
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    None,
    InPlace(usize),
    Assembled,
}

impl<'a> Frames<'a> {
    /// Goes on with `intake` over `received` from `at`.
    pub fn new(intake: &mut Intake, received: &'a [u8], at: usize) -> Frames<'a> {
        Frames { assembly: std::mem::take(&mut intake.assembly), received, at, last: Last::None }
    }

    /// The next whole frame. The one before counts as handled.
    ///
    /// # Errors
    /// What arrived is no frame: the connection is to be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        Ok(self.next_with_rest()?.map(|(frame, _)| frame))
    }

    /// The same, with what was received behind it.
    ///
    /// # Errors
    /// As [`Frames::next_frame`].
    pub fn next_with_rest(&mut self) -> Result<Option<(Frame<'_>, &'a [u8])>, FrameError> {
        match std::mem::replace(&mut self.last, Last::None) {
            Last::None => {}
            Last::InPlace(size) => self.at += size,
            Last::Assembled => self.assembly.clear(),
        }
        let received = self.received;
        if !self.assembly.is_empty() {
            if !self.assemble()? {
                return Ok(None);
            }
            let rest = &received[self.at..];
            return Ok(Some((self.assembled()?, rest)));
        }
        let rest = &received[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        match frame::scan(rest, FRAME_BYTES_MAX)? {
            Scan::Frame { frame, size_bytes } => {
                self.last = Last::InPlace(size_bytes);
                Ok(Some((frame, &rest[size_bytes..])))
            }
            Scan::Incomplete { needed_bytes } => {
                self.assembly.reserve_exact(needed_bytes.max(rest.len()));
                self.assembly.extend_from_slice(rest);
                self.at = self.received.len();
                Ok(None)
            }
        }
    }

    /// Takes what the frame in the assembly needs. Whether it is whole.
    fn assemble(&mut self) -> Result<bool, FrameError> {
        loop {
            let needed = match frame::scan(&self.assembly, FRAME_BYTES_MAX)? {
                Scan::Frame { .. } => return Ok(true),
                Scan::Incomplete { needed_bytes } => needed_bytes,
            };
            let rest = &self.received[self.at..];
            if rest.is_empty() {
                return Ok(false);
            }
            let missing = needed.saturating_sub(self.assembly.len()).max(1).min(rest.len());
            self.assembly.reserve_exact(missing.max(needed.saturating_sub(self.assembly.len())));
            self.assembly.extend_from_slice(&rest[..missing]);
            self.at += missing;
        }
    }

    fn assembled(&mut self) -> Result<Frame<'_>, FrameError> {
        self.last = Last::Assembled;
        match frame::scan(&self.assembly, FRAME_BYTES_MAX)? {
            Scan::Frame { frame, .. } => Ok(frame),
            Scan::Incomplete { .. } => unreachable!("it was whole above"),
        }
    }

    /// The frame handed on last was not handled: it comes again. Returns where to go on from.
    pub fn put_back(mut self, intake: &mut Intake) -> usize {
        self.last = Last::None;
        intake.assembly = self.assembly;
        self.at
    }

    /// All frames were handled.
    pub fn finish(mut self, intake: &mut Intake) {
        assert!(self.last == Last::None);
        if self.assembly.is_empty() && self.assembly.capacity() > super::limits::OUTBOX_BYTES_KEPT {
            self.assembly = Vec::new();
        }
        intake.assembly = self.assembly;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::frame::Encoding;
    use proto::reply::{RequestHead, write_request};

    use super::*;

    fn stream(bodies: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            let head = RequestHead { code: 10, opaque: index as i32, flag: 0 };
            write_request(&mut out, Encoding::Json, &head, None, &vec![index as u8; *body]);
        }
        out
    }

    proptest! {
        /// However the bytes are cut, and whichever frames must wait, the same frames come out.
        #[test]
        fn cuts_and_waits_change_nothing(
            bodies in prop::collection::vec(0usize..3000, 1..30),
            cuts in prop::collection::vec(1usize..2000, 1..50),
            waits in prop::collection::vec(any::<bool>(), 30),
        ) {
            let stream = stream(&bodies);
            let mut intake = Intake::default();
            let mut seen = Vec::new();
            let (mut at, mut cut, mut wait) = (0, 0, 0);
            while at < stream.len() {
                let end = (at + cuts[cut % cuts.len()]).min(stream.len());
                cut += 1;
                let mut from = 0;
                'lot: loop {
                    let mut frames = Frames::new(&mut intake, &stream[at..end], from);
                    loop {
                        match frames.next_frame().expect("well formed") {
                            None => {
                                frames.finish(&mut intake);
                                break 'lot;
                            }
                            Some(frame) => {
                                wait += 1;
                                if waits[wait % waits.len()] && wait % 3 == 0 {
                                    from = frames.put_back(&mut intake);
                                    continue 'lot;
                                }
                                seen.push(frame.body.to_vec());
                            }
                        }
                    }
                }
                at = end;
            }
            let expected: Vec<_> =
                bodies.iter().enumerate().map(|(index, body)| vec![index as u8; *body]).collect();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(intake.waiting_bytes(), 0);
        }
    }
}
