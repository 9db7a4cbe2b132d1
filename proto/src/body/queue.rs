//! `MessageQueue`: one queue of a topic, and the key of many tables.

use super::BodyError;
use super::json::{Json, JsonKey, emit_field, mismatch, object, read_field};
use crate::dialect::{self, Key, Style, Value, Writer};

/// One queue. `common/message/MessageQueue`.
///
/// As the key of a map it is written as an object: `{{"brokerName":..}:..}`. Orders by topic,
/// broker name, queue id, as Java's `compareTo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageQueue {
    /// Name of the topic.
    pub topic: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Number of the queue in the topic on that broker.
    pub queue_id: i32,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        Self { topic: topic.to_owned(), broker_name: broker_name.to_owned(), queue_id }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Malformed text, or a field of the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        Self::read(&dialect::parse(bytes)?)
    }

    /// Appends the body to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.emit(&mut Writer::new(out, Style::Plain));
    }
}

impl Json for MessageQueue {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let object = object(value)?;
        let mut queue = Self::default();
        read_field(object, "topic", &mut queue.topic)?;
        read_field(object, "brokerName", &mut queue.broker_name)?;
        read_field(object, "queueId", &mut queue.queue_id)?;
        Ok(queue)
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.open_object();
        emit_field(writer, "brokerName", &self.broker_name);
        emit_field(writer, "queueId", &self.queue_id);
        emit_field(writer, "topic", &self.topic);
        writer.close_object();
    }
}

impl JsonKey for MessageQueue {
    /// The object form, and the same object inside a string, which fastjson reads too
    /// (`MapDeserializer.parseMap`) and which writers of standard JSON have no way around.
    fn read_key(key: &Key<'_>) -> Result<Self, BodyError> {
        match key {
            Key::Value(value) => Self::read(value),
            Key::Text(text) => {
                let value = dialect::parse(text.as_bytes())?;
                if value.is_null() {
                    Err(mismatch("a queue as key", &value))
                } else {
                    Self::read(&value)
                }
            }
        }
    }

    fn emit_key(&self, writer: &mut Writer<'_>) {
        self.emit(writer);
        writer.object_was_key();
    }
}
