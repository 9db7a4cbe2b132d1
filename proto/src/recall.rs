//! The handle with which a message that waits for its time is called back (`RecallMessageHandle`, 5.3.3):
//! five words with blanks between them, `v1 topic brokerName timestamp messageId`, in URL-safe Base64.

const VERSION: &str = "v1";

/// Characters of a handle, at the most: a topic, a broker's name, two numbers and a unique key, all long.
const HANDLE_CHARACTERS_MAX: usize = 4096;

/// What a handle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// Topic of the message.
    pub topic: String,
    /// Name of its broker.
    pub broker_name: String,
    /// When it is due, ms; `None`: that word is no number.
    pub due_ms: Option<i64>,
    /// Its unique key.
    pub unique_key: String,
    /// The queue it is for: a sixth word of ours, which Apache's decoder ignores.
    pub queue_id: Option<i32>,
}

impl RecallHandle {
    /// The handle as it is told to producers. `None` where a word cannot be told: a handle's words hold no
    /// blank.
    pub fn encode(&self) -> Option<String> {
        let due_ms = self.due_ms.unwrap_or(-1).to_string();
        let mut words = vec![VERSION, &self.topic, &self.broker_name, &due_ms, &self.unique_key];
        let queue_id = self.queue_id.map(|queue_id| queue_id.to_string());
        words.extend(queue_id.as_deref());
        let is_whole = words.iter().all(|word| !word.is_empty() && !word.contains(' '));
        is_whole.then(|| to_base64(words.join(" ").as_bytes()))
    }

    /// Reads a handle; `None`: it is none.
    pub fn decode(handle: &str) -> Option<RecallHandle> {
        if handle.is_empty() || handle.len() > HANDLE_CHARACTERS_MAX {
            return None;
        }
        let text = String::from_utf8(of_base64(handle.as_bytes())?).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let [VERSION, topic, broker_name, due_ms, unique_key, more @ ..] = &words[..] else {
            return None;
        };
        Some(RecallHandle {
            topic: (*topic).to_owned(),
            broker_name: (*broker_name).to_owned(),
            due_ms: crate::text::parse_i64(due_ms.as_bytes()),
            unique_key: (*unique_key).to_owned(),
            queue_id: more.first().and_then(|word| word.parse().ok()),
        })
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let six = (bits >> (18 - 6 * index)) as usize & 63;
            out.push(if index > chunk.len() { '=' } else { char::from(ALPHABET[six]) });
        }
    }
    out
}

/// `Base64.getUrlDecoder`: with padding or without.
fn of_base64(text: &[u8]) -> Option<Vec<u8>> {
    let is_padded = text.len().is_multiple_of(4);
    let unpadded = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if is_padded => rest,
        _ => text,
    };
    if unpadded.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(unpadded.len() / 4 * 3 + 2);
    for chunk in unpadded.chunks(4) {
        let mut bits = 0u32;
        for character in chunk {
            let six = ALPHABET.iter().position(|it| it == character)?;
            bits = bits << 6 | six as u32;
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From the answer of an Apache RocketMQ 5.3.3 (tests/golden/broker-310-resp-timer.hex).
    const CAPTURED: &str = "djEgVkJUIHZiLWIgMTc5NTM0MjU2MDAwMSBUSU1FUlVLMQ==";

    #[test]
    fn a_captured_handle_is_read_and_made() {
        let handle = RecallHandle {
            topic: "VBT".to_owned(),
            broker_name: "vb-b".to_owned(),
            due_ms: Some(1_795_342_560_001),
            unique_key: "TIMERUK1".to_owned(),
            queue_id: None,
        };
        assert_eq!(handle.encode().as_deref(), Some(CAPTURED));
        assert_eq!(RecallHandle::decode(CAPTURED), Some(handle.clone()));
        assert_eq!(RecallHandle::decode(CAPTURED.trim_end_matches('=')), Some(handle.clone()));
        let queue = RecallHandle { queue_id: Some(3), ..handle };
        assert_eq!(RecallHandle::decode(&queue.encode().expect("no blanks")), Some(queue));
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let wrong = ["", "!", "djEg", "djEgVkJU", "a", &"A".repeat(5000), "djIgYSBiIDEgYw=="];
        for text in wrong {
            assert_eq!(RecallHandle::decode(text), None, "{text}");
        }
        let late = RecallHandle::decode(&to_base64(b"v1 t b soon k")).expect("five words");
        assert_eq!(late.due_ms, None);
    }

    proptest! {
        #[test]
        fn base64_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = to_base64(&bytes);
            prop_assert_eq!(of_base64(text.as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(of_base64(text.trim_end_matches('=').as_bytes()), Some(bytes));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            RecallHandle::decode(&text);
        }
    }
}
