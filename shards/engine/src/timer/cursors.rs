//! Cursors: which timers are settled, by spans of the log (docs/decisions/0010-timers.md).

use std::ops::Range;

use super::TimerKey;
use crate::limits::TIMER_SPANS_MAX;

/// Bytes of a span in a record.
const SPAN_BYTES: usize = 24;

/// Of the timers from a position to the next span's those with smaller keys are settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    from: u64,
    below: TimerKey,
}

/// See the module's first lines. Spans rise by their starts, the first begins at 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursors {
    /// Nothing fired from here on, in any span: it never falls.
    fired: TimerKey,
    spans: Vec<Span>,
    /// Positions of timers that what fires passes by, each in a span of its own. Only memory knows: after
    /// a start they are what is due first.
    held: Vec<u64>,
}

impl Default for Cursors {
    fn default() -> Self {
        Cursors {
            fired: TimerKey::MIN,
            spans: vec![Span { from: 0, below: TimerKey::MIN }],
            held: Vec::new(),
        }
    }
}

impl Cursors {
    /// Whether a timer is settled.
    pub fn is_settled(&self, key: TimerKey) -> bool {
        key < self.spans[self.span_of(key.payload)].below
    }

    fn span_of(&self, position: u64) -> usize {
        self.spans.partition_point(|span| span.from <= position) - 1
    }

    /// What is below this key is settled, of the newest timers.
    pub fn newest(&self) -> TimerKey {
        self.spans[self.spans.len() - 1].below
    }

    /// What is below this key is settled, of all timers at positions of a range.
    pub fn below_in(&self, range: &Range<u64>) -> TimerKey {
        let spans = self.spans[self.span_of(range.start)..].iter();
        let inside = spans.take_while(|span| span.from < range.end);
        inside.map(|span| span.below).min().unwrap_or(TimerKey::MIN)
    }

    /// What is below this key is settled, wherever it lies.
    pub fn below_all(&self) -> TimerKey {
        self.spans.iter().map(|span| span.below).min().unwrap_or(TimerKey::MIN)
    }

    /// Nothing fired from this key on.
    pub fn fired(&self) -> TimerKey {
        self.fired
    }

    /// Whether a timer of this time can be appended.
    pub fn takes(&self, due_ms: u64) -> bool {
        due_ms >= self.newest().due_ms || self.spans.len() < TIMER_SPANS_MAX + 2 * self.held.len()
    }

    /// Timers from a position on, where none is yet, begin anew: none of them is settled.
    pub fn begin(&mut self, from: u64) {
        assert!(self.spans[self.spans.len() - 1].from <= from);
        self.split(from);
        let last = self.spans.len() - 1;
        self.spans[last].below = TimerKey::MIN;
    }

    /// Everything below a key is settled but what is held.
    pub fn raise(&mut self, below: TimerKey) {
        self.fired = self.fired.max(below);
        for span in self.spans.iter_mut().filter(|span| !self.held.contains(&span.from)) {
            span.below = span.below.max(below);
        }
        self.join();
    }

    /// The timer at a position stays what it is, whatever fires.
    pub fn hold(&mut self, position: u64) {
        self.split(position);
        self.split(position + 1);
        self.held.push(position);
    }

    /// Nothing is held any more: what was is to fire before anything else does.
    pub fn release(&mut self) {
        self.held.clear();
    }

    /// Everything below a key is settled, of the timers at positions of a range.
    pub fn raise_in(&mut self, range: &Range<u64>, below: TimerKey) {
        self.split(range.start);
        self.split(range.end);
        let inside = self.spans.iter_mut().filter(|span| range.contains(&span.from));
        inside.for_each(|span| span.below = span.below.max(below));
        self.join();
    }

    fn split(&mut self, at: u64) {
        let index = self.span_of(at);
        if self.spans[index].from < at {
            let span = Span { from: at, ..self.spans[index] };
            self.spans.insert(index + 1, span);
        }
    }

    fn join(&mut self) {
        let is_held = |span: &Span| self.held.contains(&span.from);
        self.spans
            .dedup_by(|next, span| next.below == span.below && !is_held(next) && !is_held(span));
    }

    /// The log begins at a position: spans before it say nothing any more.
    pub fn expire(&mut self, start: u64) {
        let gone = self.span_of(start);
        self.spans.drain(..gone);
        self.spans[0].from = 0;
        self.held.retain(|position| *position >= start);
    }

    /// Number of spans.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether nothing was ever settled.
    pub fn is_empty(&self) -> bool {
        self.spans.len() == 1 && self.spans[0].below == TimerKey::MIN
    }

    /// The payload of a *fired* record: due and position behind which nothing fired, then for each span
    /// from, due and position, u64, little endian.
    pub fn write(&self) -> Vec<u8> {
        let spans = self.spans.iter().flat_map(|it| [it.from, it.below.due_ms, it.below.payload]);
        let numbers = [self.fired.due_ms, self.fired.payload].into_iter().chain(spans);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what [`Cursors::write`] wrote; `None`: it is malformed.
    pub fn read(payload: &[u8]) -> Option<Cursors> {
        let (fired, spans) = payload.split_first_chunk::<16>()?;
        let (chunks, rest) = spans.as_chunks::<SPAN_BYTES>();
        let long = |at: usize| u64::from_le_bytes(fired[at..at + 8].try_into().expect("8 bytes"));
        let fired = TimerKey { due_ms: long(0), payload: long(8) };
        let number = |chunk: &[u8; SPAN_BYTES], at: usize| {
            u64::from_le_bytes(chunk[at..at + 8].try_into().expect("8 bytes"))
        };
        let span = |chunk| Span {
            from: number(chunk, 0),
            below: TimerKey { due_ms: number(chunk, 8), payload: number(chunk, 16) },
        };
        let spans: Vec<Span> = chunks.iter().map(span).collect();
        let rises = spans.windows(2).all(|pair| pair[0].from < pair[1].from);
        let is_whole = rest.is_empty() && rises && spans.first().is_some_and(|it| it.from == 0);
        is_whole.then_some(Cursors { fired, spans, held: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(due_ms: u64, payload: u64) -> TimerKey {
        TimerKey { due_ms, payload }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Add(u64),
        Fire,
        Move(u64, u64),
        Expire(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (1..20u64).prop_map(Event::Add),
            3 => Just(Event::Fire),
            1 => (0..40u64, 1..10u64).prop_map(|(from, len)| Event::Move(from, len)),
            1 => (0..20u64).prop_map(Event::Expire),
        ]
    }

    proptest! {
        /// Against the plain set of what is pending.
        #[test]
        fn they_know_what_is_pending(events in prop::collection::vec(event(), 0..60)) {
            let (mut cursors, mut pending, mut all) =
                (Cursors::default(), BTreeSet::new(), Vec::new());
            let (mut end, mut start) = (1, 0);
            for event in events {
                match event {
                    Event::Add(due_ms) => {
                        if !cursors.takes(due_ms) {
                            continue;
                        }
                        if due_ms < cursors.newest().due_ms {
                            cursors.begin(end);
                            end += 1;
                        }
                        pending.insert(key(due_ms, end));
                        all.push(key(due_ms, end));
                        end += 1;
                    }
                    Event::Fire => {
                        if let Some(first) = pending.pop_first() {
                            cursors.raise(first.next());
                        }
                    }
                    Event::Move(from, len) => {
                        let range = from.min(end - 1)..(from + len).min(end);
                        if range.is_empty() {
                            continue;
                        }
                        cursors.raise_in(&range, TimerKey::MAX);
                        // A span for new ones behind what was moved.
                        pending.retain(|it: &TimerKey| !range.contains(&it.payload));
                    }
                    Event::Expire(to) => {
                        start = start.max(to.min(end - 1));
                        cursors.expire(start);
                        pending.retain(|it| it.payload >= start);
                    }
                }
                for it in all.iter().filter(|it| it.payload >= start) {
                    prop_assert_eq!(cursors.is_settled(*it), !pending.contains(it), "{:?}", it);
                }
                prop_assert_eq!(Cursors::read(&cursors.write()), Some(cursors.clone()));
            }
        }
    }

    #[test]
    fn a_clock_set_back_begins_a_span_that_ends_when_it_has_caught_up() {
        let mut cursors = Cursors::default();
        cursors.raise(key(1000, 51));
        assert!(!cursors.is_settled(key(1000, 60)));
        cursors.begin(100);
        assert_eq!(cursors.fired(), key(1000, 51), "what fired stays so");
        assert!(!cursors.is_settled(key(500, 101)) && cursors.is_settled(key(500, 40)));
        cursors.raise(key(500, 102));
        assert_eq!((cursors.len(), cursors.newest()), (2, key(500, 102)));
        cursors.raise(key(1000, 120));
        assert_eq!(cursors.len(), 1);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        assert_eq!(Cursors::read(&[]), None);
        assert_eq!(Cursors::read(&[0; 23]), None);
        let mut two = Cursors::default();
        two.raise(key(9, 9));
        two.begin(7);
        let bytes = two.write();
        let second = [&bytes[..16], &bytes[40..]].concat();
        assert_eq!(Cursors::read(&second), None, "the first span is missing");
        assert_eq!(Cursors::read(&[&bytes[..], &bytes[16..]].concat()), None);
    }
}
