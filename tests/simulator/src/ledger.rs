//! The auditor's book: what was sent, what was answered, what was seen, and whether these agree.

use std::collections::{BTreeMap, HashMap};

/// A message by its producer and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MessageKey {
    /// The producer.
    pub producer: u32,
    /// Its count, from 0.
    pub sequence: u32,
}

/// What a producer knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Sent, not answered yet.
    Waits,
    /// Stored at this offset, the broker says.
    Stored(u64),
    /// Not stored, the broker says.
    Refused,
    /// The connection ended first, or the broker said that it may not be durable.
    Unknown,
}

#[derive(Debug)]
struct Sent {
    queue: u32,
    body: Vec<u8>,
    outcome: Outcome,
    seen_at: Option<u64>,
}

/// The book.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: HashMap<MessageKey, Sent>,
    /// For each queue what must be at an offset: because it was acknowledged or seen.
    queues: BTreeMap<u32, BTreeMap<u64, MessageKey>>,
    /// For each queue the committed offset: at least, and at the most.
    committed: BTreeMap<u32, (u64, u64)>,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages that consumers saw.
    pub seen: u64,
}

/// Bytes at the start of a body: its key.
const KEY_BYTES: usize = 8;

/// The body of a message: its key, then bytes that follow from it.
pub fn body_of(key: MessageKey, len: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(len.max(KEY_BYTES));
    body.extend_from_slice(&key.producer.to_be_bytes());
    body.extend_from_slice(&key.sequence.to_be_bytes());
    let mut state = u64::from(key.producer) << 32 | u64::from(key.sequence) | 1;
    while body.len() < len {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.push((state >> 56) as u8);
    }
    body
}

fn key_of(body: &[u8]) -> Option<MessageKey> {
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    Some(MessageKey { producer: word(0)?, sequence: word(4)? })
}

impl Ledger {
    /// A message leaves its producer.
    pub fn sends(&mut self, key: MessageKey, queue: u32, body: Vec<u8>) {
        let sent = Sent { queue, body, outcome: Outcome::Waits, seen_at: None };
        assert!(self.sent.insert(key, sent).is_none());
    }

    /// The producer learns what became of it.
    ///
    /// # Errors
    /// The finding.
    pub fn learns(&mut self, key: MessageKey, outcome: Outcome) -> Result<(), String> {
        let sent = self.sent.get_mut(&key).expect("was sent");
        if sent.outcome != Outcome::Waits {
            return Err(format!("{key:?} is answered twice: {:?}, then {outcome:?}", sent.outcome));
        }
        sent.outcome = outcome;
        let queue = sent.queue;
        match outcome {
            Outcome::Stored(offset) => {
                self.acknowledged += 1;
                if let Some(seen) = sent.seen_at.filter(|seen| *seen != offset) {
                    return Err(format!(
                        "{key:?} is acknowledged at {offset} and was seen at {seen}"
                    ));
                }
                self.place(queue, offset, key)
            }
            Outcome::Refused if sent.seen_at.is_some() => {
                Err(format!("{key:?} is refused and was seen"))
            }
            _ => Ok(()),
        }
    }

    fn place(&mut self, queue: u32, offset: u64, key: MessageKey) -> Result<(), String> {
        match self.queues.entry(queue).or_default().insert(offset, key) {
            Some(other) if other != key => {
                Err(format!("queue {queue} offset {offset} holds {key:?} and {other:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A consumer sees a body at a place.
    ///
    /// # Errors
    /// The finding.
    pub fn sees(&mut self, queue: u32, offset: u64, body: &[u8]) -> Result<(), String> {
        let at = format!("queue {queue} offset {offset}");
        let key = key_of(body).ok_or_else(|| format!("{at}: a body of {} bytes", body.len()))?;
        let sent =
            self.sent.get_mut(&key).ok_or_else(|| format!("{at}: {key:?} was never sent"))?;
        if sent.body != body {
            return Err(format!("{at}: {key:?} has another body than was sent"));
        }
        if sent.queue != queue {
            return Err(format!("{at}: {key:?} was sent to queue {}", sent.queue));
        }
        if sent.outcome == Outcome::Refused {
            return Err(format!("{at}: {key:?} was refused"));
        }
        if let Some(seen) = sent.seen_at.filter(|seen| *seen != offset) {
            return Err(format!("{at}: {key:?} was seen at {seen} too"));
        }
        if let Outcome::Stored(stored) = sent.outcome
            && stored != offset
        {
            return Err(format!("{at}: {key:?} was acknowledged at {stored}"));
        }
        self.seen += u64::from(sent.seen_at.is_none());
        sent.seen_at = Some(offset);
        self.place(queue, offset, key)
    }

    /// A whole queue was read from its start: everything that must be there was, in the producers'
    /// order.
    ///
    /// # Errors
    /// The finding.
    pub fn audits(&mut self, queue: u32, bodies: &[(u64, Vec<u8>)]) -> Result<(), String> {
        let mut last_of = HashMap::new();
        for (expected, (offset, body)) in (0..).zip(bodies) {
            if expected != *offset {
                return Err(format!("queue {queue}: offset {offset} follows {expected}"));
            }
            self.sees(queue, *offset, body)?;
            let key = key_of(body).expect("seen");
            if let Some(last) = last_of.insert(key.producer, key.sequence)
                && last >= key.sequence
            {
                return Err(format!("queue {queue} offset {offset}: {key:?} comes after {last}"));
            }
        }
        let end = bodies.len() as u64;
        let lost = self.queues.entry(queue).or_default().range(end..).next();
        if let Some((offset, key)) = lost {
            let outcome = self.sent[key].outcome;
            return Err(format!(
                "queue {queue} ends at {end}, {key:?} ({outcome:?}) was at {offset}: lost"
            ));
        }
        Ok(())
    }

    /// A whole queue was read after bytes of its log were damaged: everything that came must be what
    /// was sent. How much of what must be there did not come.
    ///
    /// # Errors
    /// The finding.
    pub fn audits_damaged(
        &mut self,
        queue: u32,
        bodies: &[(u64, Vec<u8>)],
    ) -> Result<usize, String> {
        for pair in bodies.windows(2) {
            if pair[0].0 >= pair[1].0 {
                return Err(format!("queue {queue}: offset {} after {}", pair[1].0, pair[0].0));
            }
        }
        for (offset, body) in bodies {
            self.sees(queue, *offset, body)?;
        }
        let came: std::collections::BTreeSet<u64> = bodies.iter().map(|(at, _)| *at).collect();
        let wanted = self.queues.entry(queue).or_default().keys();
        Ok(wanted.filter(|offset| !came.contains(*offset)).count())
    }

    /// A consumer asks to commit an offset.
    pub fn commits(&mut self, queue: u32, offset: u64) {
        let (_, most) = self.committed.entry(queue).or_default();
        *most = (*most).max(offset);
    }

    /// The commit was answered with success.
    pub fn committed(&mut self, queue: u32, offset: u64) {
        let (least, _) = self.committed.entry(queue).or_default();
        *least = (*least).max(offset);
    }

    /// A consumer asked for the committed offset.
    ///
    /// # Errors
    /// The finding.
    pub fn reads_committed(&mut self, queue: u32, offset: Option<u64>) -> Result<(), String> {
        let (least, most) = self.committed.get(&queue).copied().unwrap_or_default();
        let found = offset.unwrap_or(0);
        if found < least || found > most {
            return Err(format!(
                "queue {queue}: the committed offset is {offset:?}, between {least} and {most} were committed"
            ));
        }
        Ok(())
    }

    /// Whether a message waits for its answer.
    pub fn anybody_waits(&self) -> Option<MessageKey> {
        self.sent
            .iter()
            .filter(|(_, sent)| sent.outcome == Outcome::Waits)
            .map(|(key, _)| *key)
            .min()
    }
}
