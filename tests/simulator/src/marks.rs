//! What a message carries besides its body: a tag, keys, two properties, a flag. All of it follows from its
//! number, so that an auditor can say of each filter and key exactly which messages answer to it.

use proto::properties::{self, name};

use crate::ledger::MessageKey;

/// Values of the property `part`, in the order of the residues that have them; the last has none.
const PARTS: [Option<&str>; 4] = [Some("north"), Some("south"), Some("7"), None];

/// What a pull wants of a queue, as text and as the auditor has it.
#[derive(Clone, Copy)]
pub struct Filter {
    /// `TAG` or `SQL92`.
    pub kind: &'static str,
    /// The expression.
    pub text: &'static str,
    /// Whether a message answers to it.
    pub takes: fn(MessageKey) -> bool,
}

/// All filters. Missing properties are NULL: what is unknown does not come, nor does its opposite.
pub const FILTERS: [Filter; 11] = [
    Filter { kind: "TAG", text: "even", takes: |key| tag_of(key) == Some("even") },
    Filter {
        kind: "TAG",
        text: "odd || even || none",
        takes: |key| tag_of(key).is_some_and(|tag| tag != "other"),
    },
    Filter { kind: "SQL92", text: "size > 2", takes: |key| size_of(key).is_some_and(|it| it > 2) },
    Filter {
        kind: "SQL92",
        text: "NOT (size > 2)",
        takes: |key| size_of(key).is_some_and(|it| it <= 2),
    },
    Filter { kind: "SQL92", text: "size IS NULL", takes: |key| size_of(key).is_none() },
    Filter {
        kind: "SQL92",
        text: "size BETWEEN 1 AND 3 OR part IS NULL",
        takes: |key| size_of(key).is_some_and(|it| (1..=3).contains(&it)) || part_of(key).is_none(),
    },
    Filter {
        kind: "SQL92",
        text: "part IN ('north', '7') AND TAGS = 'odd'",
        takes: |key| matches!(part_of(key), Some("north" | "7")) && tag_of(key) == Some("odd"),
    },
    Filter {
        kind: "SQL92",
        text: "part NOT IN ('north')",
        takes: |key| part_of(key).is_some_and(|part| part != "north"),
    },
    Filter {
        kind: "SQL92",
        text: "part <> 'south' AND size < 4",
        takes: |key| {
            part_of(key).is_some_and(|part| part != "south")
                && size_of(key).is_some_and(|size| size < 4)
        },
    },
    Filter {
        kind: "SQL92",
        text: "part CONTAINS 'out' OR (part STARTSWITH 'n' AND part ENDSWITH 'th')",
        takes: |key| matches!(part_of(key), Some("north" | "south")),
    },
    Filter { kind: "SQL92", text: "nothing = 'x' OR nothing <> 'x'", takes: |_| false },
];

/// A question by key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// The unique key of one message; the client may say that it is one.
    Unique {
        /// It does.
        is_said: bool,
    },
    /// The first or second of its KEYS, which its neighbours have, too.
    Shared(u8),
}

impl Wanted {
    /// The key as it is asked for, by one of the messages that have it.
    pub fn text(self, key: MessageKey) -> String {
        match self {
            Wanted::Unique { .. } => unique_key(key),
            Wanted::Shared(which) => shared_key(key, which),
        }
    }

    /// Whether another message has it, too.
    pub fn is_of(self, key: MessageKey, other: MessageKey) -> bool {
        self.text(key) == self.text(other)
    }
}

/// `UNIQ_KEY`.
pub fn unique_key(key: MessageKey) -> String {
    format!("{:016X}{:016X}", key.producer, key.sequence)
}

fn shared_key(key: MessageKey, which: u8) -> String {
    let width = [4, 3][usize::from(which)];
    format!("{}{}x{}", ['a', 'c'][usize::from(which)], key.producer, key.sequence / width)
}

/// The tag of a message, if it has one.
pub fn tag_of(key: MessageKey) -> Option<&'static str> {
    match key.sequence % 5 {
        0 | 2 => Some("even"),
        1 => Some("odd"),
        3 => Some("other"),
        _ => None,
    }
}

fn size_of(key: MessageKey) -> Option<u32> {
    Some(key.sequence / 2 % 7).filter(|size| *size < 6)
}

fn part_of(key: MessageKey) -> Option<&'static str> {
    PARTS[(key.sequence / 3) as usize % PARTS.len()]
}

/// The flag of a message, which is its application's own.
pub fn flag_of(key: MessageKey) -> i32 {
    (key.sequence as i32).wrapping_mul(0x0101_0101)
}

/// Appends the properties.
pub fn append(text: &mut Vec<u8>, key: MessageKey) {
    properties::append(text, name::UNIQ_KEY, unique_key(key).as_bytes());
    let keys = format!("{} {}", shared_key(key, 0), shared_key(key, 1));
    properties::append(text, name::KEYS, keys.as_bytes());
    if let Some(tag) = tag_of(key) {
        properties::append(text, name::TAGS, tag.as_bytes());
    }
    if let Some(size) = size_of(key) {
        properties::append(text, "size", size.to_string().as_bytes());
    }
    if let Some(part) = part_of(key) {
        properties::append(text, "part", part.as_bytes());
    }
}
