//! What a shard's log amounts to up to an offset, as bytes: the content of snapshots and the notes of
//! runs (`schema/store.fbs`, docs/decisions/0006-runs-and-snapshots.md).

use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, VerifierOptions};

use crate::generated::on_disk;

/// The queue offset that the next message of a queue gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueNext {
    /// The topic's incarnation.
    pub topic: u32,
    /// RocketMQ's queue id.
    pub queue: u32,
    /// The queue offset.
    pub next: u64,
}

/// A record of the log's own kinds, with the payload it has there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note<'a> {
    /// The kind's byte.
    pub kind: u8,
    /// The topic's incarnation, 0 for none.
    pub topic: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

/// The numbers of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateHead {
    /// Log offset: everything before it is in the state.
    pub at: u64,
    /// Newest store timestamp, ms.
    pub stored_ms: u64,
    /// Changes of the catalog so far.
    pub catalog_changes: u64,
    /// The number that the next new topic gets.
    pub next_incarnation: u32,
}

/// A state to be read in place.
#[derive(Clone, Copy, Debug)]
pub struct State<'a>(on_disk::State<'a>);

/// More tables than a store has topics, groups and records of offsets.
const TABLES_MAX: usize = 1 << 24;

/// Writes a state.
pub fn write_state<'a>(
    head: &StateHead,
    queues: &[QueueNext],
    notes: impl Iterator<Item = Note<'a>>,
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let notes: Vec<_> = notes
        .map(|note| {
            let payload = builder.create_vector(note.payload);
            let args =
                on_disk::NoteArgs { kind: note.kind, topic: note.topic, payload: Some(payload) };
            on_disk::Note::create(&mut builder, &args)
        })
        .collect();
    let notes = builder.create_vector(&notes);
    let queues = builder.create_vector_from_iter(
        queues.iter().map(|queue| on_disk::QueueNext::new(queue.topic, queue.queue, queue.next)),
    );
    let args = on_disk::StateArgs {
        at: head.at,
        stored_ms: head.stored_ms,
        catalog_changes: head.catalog_changes,
        next_incarnation: head.next_incarnation,
        queues: Some(queues),
        notes: Some(notes),
    };
    let state = on_disk::State::create(&mut builder, &args);
    builder.finish_minimal(state);
    builder.finished_data().to_vec()
}

impl<'a> State<'a> {
    /// Reads a state, after a check that nothing in it points outside.
    ///
    /// # Errors
    /// It is no state.
    pub fn read(bytes: &'a [u8]) -> Result<State<'a>, InvalidFlatbuffer> {
        let options = VerifierOptions {
            max_tables: TABLES_MAX,
            max_apparent_size: 1 << 31,
            ..VerifierOptions::default()
        };
        on_disk::root_as_state_with_opts(&options, bytes).map(State)
    }

    /// Its numbers.
    pub fn head(&self) -> StateHead {
        StateHead {
            at: self.0.at(),
            stored_ms: self.0.stored_ms(),
            catalog_changes: self.0.catalog_changes(),
            next_incarnation: self.0.next_incarnation(),
        }
    }

    /// The next queue offset of each queue.
    pub fn queues(&self) -> impl Iterator<Item = QueueNext> + use<'a> {
        self.0.queues().into_iter().flatten().map(|queue| QueueNext {
            topic: queue.topic(),
            queue: queue.queue(),
            next: queue.next(),
        })
    }

    /// Its notes, in the log's order.
    pub fn notes(&self) -> impl Iterator<Item = Note<'a>> + use<'a> {
        self.0.notes().into_iter().flatten().map(|note| Note {
            kind: note.kind(),
            topic: note.topic(),
            payload: note.payload().bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_state_is_read_back(
            at in any::<u64>(),
            queues in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u64>()), 0..50),
            notes in prop::collection::vec((any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..30)), 0..50),
        ) {
            let head = StateHead { at, stored_ms: at / 2, catalog_changes: 3, next_incarnation: 70 };
            let queues: Vec<_> = queues
                .into_iter()
                .map(|(topic, queue, next)| QueueNext { topic, queue, next })
                .collect();
            let each = || notes.iter().map(|(kind, topic, payload)| Note { kind: *kind, topic: *topic, payload });
            let bytes = write_state(&head, &queues, each());
            let state = State::read(&bytes).expect("just written");
            prop_assert_eq!(state.head(), head);
            prop_assert_eq!(state.queues().collect::<Vec<_>>(), queues);
            prop_assert!(state.notes().eq(each()));
        }

        #[test]
        fn other_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(state) = State::read(&bytes) {
                state.queues().count();
                state.notes().count();
            }
        }
    }
}
