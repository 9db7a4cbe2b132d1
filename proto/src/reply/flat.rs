//! Headers of our flatbuffers encoding, written forwards into the caller's buffer.
//!
//! flatc's builder writes backwards into a buffer of its own, which would have to be allocated and
//! copied for each frame. A flatbuffer may as well be laid out forwards: a table is preceded by its
//! vtable and followed by what it refers to.
//!
//! ```text
//! u32 root | padding, vtable, Command | strings | padding, vtable, typed table | its strings …
//! ```
//! The tests read what is written here with flatc's verifier and readers.

use flatbuffers::VOffsetT;

use super::{PullReply, PullRequest, SendReply, SendRequest};
use crate::generated::{
    self, Command, CommandHead, ExtField, PullAnswerNumbers, PullNumbers, SendAnswerNumbers,
    SendNumbers, Typed,
};
use crate::header::Head;
use crate::language::Language;
use crate::version;

/// Writes a command with its fields in a map.
pub(super) fn write_generic(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, &str)]) {
    let mut flat = Flat::begin(out);
    let fields_at = write_command(&mut flat, head, Content::Fields);
    let first = flat.vector(fields_at, ext.len());
    for (index, (key, value)) in ext.iter().enumerate() {
        let mut table = flat.table(ExtField::VT_VALUE);
        let key_at = table.reference(ExtField::VT_KEY);
        let value_at = table.reference(ExtField::VT_VALUE);
        let table_at = table.end();
        flat.refer(first + index * 4, table_at);
        flat.string(key_at, key);
        flat.string(value_at, value);
    }
}

/// Writes the answer to a send whose message is stored; one that is not has no typed table.
pub(super) fn write_send_reply(out: &mut Vec<u8>, head: &Head<'_>, reply: &SendReply<'_>) {
    use generated::SendAnswer as Answer;
    let Some(stored) = &reply.stored else {
        let trace_on = if reply.trace_on { "true" } else { "false" };
        let ext = [("TRACE_ON", trace_on), ("MSG_REGION", reply.region)];
        return write_generic(out, head, &ext);
    };
    let mut flat = Flat::begin(out);
    let typed_at = write_command(&mut flat, head, Content::Typed(Typed::SendAnswer));
    let numbers = SendAnswerNumbers::new(stored.queue_offset, stored.queue_id, reply.trace_on);
    let mut table = flat.table(Answer::VT_REGION);
    table.numbers(Answer::VT_NUMBERS, numbers.0);
    let message_id_at = table.reference(Answer::VT_MESSAGE_ID);
    let transaction_id_at = table.reference(Answer::VT_TRANSACTION_ID);
    let handle_at = stored.recall_handle.map(|_| table.reference(Answer::VT_RECALL_HANDLE));
    let region_at = table.reference(Answer::VT_REGION);
    let table_at = table.end();
    flat.refer(typed_at, table_at);
    flat.string_of_bytes(message_id_at, stored.message_id);
    flat.bytes(transaction_id_at, stored.transaction_id);
    if let (Some(handle_at), Some(handle)) = (handle_at, stored.recall_handle) {
        flat.string(handle_at, handle);
    }
    flat.string(region_at, reply.region);
}

/// Writes the answer to a pull.
pub(super) fn write_pull_reply(out: &mut Vec<u8>, head: &Head<'_>, reply: &PullReply<'_>) {
    use generated::PullAnswer as Answer;
    let mut flat = Flat::begin(out);
    let typed_at = write_command(&mut flat, head, Content::Typed(Typed::PullAnswer));
    let numbers = PullAnswerNumbers::new(
        reply.suggest_which_broker_id,
        reply.next_begin_offset,
        reply.min_offset,
        reply.max_offset,
        reply.topic_sys_flag,
        reply.group_sys_flag,
    );
    let mut table = flat.table(Answer::VT_NUMBERS);
    table.numbers(Answer::VT_NUMBERS, numbers.0);
    let table_at = table.end();
    flat.refer(typed_at, table_at);
}

/// Writes a send.
pub(super) fn write_send_request(out: &mut Vec<u8>, head: &Head<'_>, send: &SendRequest<'_>) {
    use generated::SendRequest as Request;
    let mut flat = Flat::begin(out);
    let typed_at = write_command(&mut flat, head, Content::Typed(Typed::SendRequest));
    let numbers = SendNumbers::new(
        send.born_timestamp,
        send.default_topic_queue_count,
        send.queue_id,
        send.sys_flag,
        send.flag,
        send.reconsume_times,
        send.unit_mode,
        send.batch,
    );
    let mut table = flat.table(Request::VT_MAX_RECONSUME_TIMES);
    table.numbers(Request::VT_NUMBERS, numbers.0);
    if let Some(max_reconsume_times) = send.max_reconsume_times {
        table.i32(Request::VT_MAX_RECONSUME_TIMES, max_reconsume_times);
    }
    let group_at = table.reference(Request::VT_PRODUCER_GROUP);
    let topic_at = table.reference(Request::VT_TOPIC);
    let default_topic_at = table.reference(Request::VT_DEFAULT_TOPIC);
    let properties_at = table.reference(Request::VT_PROPERTIES);
    let broker_name_at = send.broker_name.map(|_| table.reference(Request::VT_BROKER_NAME));
    let table_at = table.end();
    flat.refer(typed_at, table_at);
    flat.string(group_at, send.producer_group);
    flat.string(topic_at, send.topic);
    flat.string(default_topic_at, send.default_topic);
    flat.bytes(properties_at, send.properties);
    flat.string_optional(broker_name_at, send.broker_name);
}

/// Writes a pull.
pub(super) fn write_pull_request(out: &mut Vec<u8>, head: &Head<'_>, pull: &PullRequest<'_>) {
    use generated::PullRequest as Request;
    let mut flat = Flat::begin(out);
    let typed_at = write_command(&mut flat, head, Content::Typed(Typed::PullRequest));
    let numbers = PullNumbers::new(
        pull.queue_offset,
        pull.commit_offset,
        pull.suspend_timeout_ms,
        pull.subscription_version,
        pull.queue_id,
        pull.message_count_max,
        pull.sys_flag,
    );
    let mut table = flat.table(Request::VT_REQUEST_SOURCE);
    table.numbers(Request::VT_NUMBERS, numbers.0);
    if let Some(message_bytes_max) = pull.message_bytes_max {
        table.i32(Request::VT_MESSAGE_BYTES_MAX, message_bytes_max);
    }
    let group_at = table.reference(Request::VT_CONSUMER_GROUP);
    let topic_at = table.reference(Request::VT_TOPIC);
    let subscription_at = pull.subscription.map(|_| table.reference(Request::VT_SUBSCRIPTION));
    let type_at = pull.expression_type.map(|_| table.reference(Request::VT_EXPRESSION_TYPE));
    let broker_name_at = pull.broker_name.map(|_| table.reference(Request::VT_BROKER_NAME));
    let table_at = table.end();
    flat.refer(typed_at, table_at);
    flat.string(group_at, pull.consumer_group);
    flat.string(topic_at, pull.topic);
    flat.string_optional(subscription_at, pull.subscription);
    flat.string_optional(type_at, pull.expression_type);
    flat.string_optional(broker_name_at, pull.broker_name);
}

/// What a command refers to besides its remark.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Fields,
    Typed(Typed),
}

/// Writes the root table and returns where its reference to the content is.
fn write_command(flat: &mut Flat<'_>, head: &Head<'_>, content: Content) -> usize {
    let language = Language::Java.code();
    let numbers = CommandHead::new(head.code, head.opaque, head.flag, version::CURRENT, language);
    let mut table = flat.table(Command::VT_TYPED);
    table.numbers(Command::VT_HEAD, numbers.0);
    let remark_at = head.remark.map(|_| table.reference(Command::VT_REMARK));
    let content_at = match content {
        Content::Fields => table.reference(Command::VT_EXT_FIELDS),
        Content::Typed(tag) => {
            let typed_at = table.reference(Command::VT_TYPED);
            table.u8(Command::VT_TYPED_TYPE, tag.0);
            typed_at
        }
    };
    let table_at = table.end();
    flat.refer(flat.base, table_at);
    flat.string_optional(remark_at, head.remark);
    content_at
}

/// A flatbuffer that grows at the end of `out`; places are indices into `out`.
struct Flat<'o> {
    out: &'o mut Vec<u8>,
    /// Where the flatbuffer begins: alignment counts from there.
    base: usize,
}

impl<'o> Flat<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        let base = out.len();
        out.extend_from_slice(&[0; 4]);
        Self { out, base }
    }

    /// Begins a table whose highest field is `last`; fields are added in order of falling alignment.
    fn table(&mut self, last: VOffsetT) -> Table<'_> {
        let vtable_bytes = usize::from(last) + 2;
        // The first field, 4 bytes into the table, is aligned to 8.
        let table_at = (self.out.len() - self.base + vtable_bytes).next_multiple_of(8) + 4;
        let table_at = self.base + table_at;
        let vtable_at = table_at - vtable_bytes;
        self.out.resize(table_at, 0);
        self.patch(vtable_at, (vtable_bytes as u16).to_le_bytes());
        self.out.extend_from_slice(&(vtable_bytes as i32).to_le_bytes());
        Table { out: self.out, vtable_at, table_at }
    }

    /// Appends a vector of `count` references, to be set one by one, and returns where they begin.
    fn vector(&mut self, reference_at: usize, count: usize) -> usize {
        self.align(4);
        self.refer(reference_at, self.out.len());
        self.out.extend_from_slice(&(count as u32).to_le_bytes());
        let first = self.out.len();
        self.out.resize(first + count * 4, 0);
        first
    }

    fn string_optional(&mut self, reference_at: Option<usize>, value: Option<&str>) {
        if let (Some(reference_at), Some(value)) = (reference_at, value) {
            self.string(reference_at, value);
        }
    }

    fn string(&mut self, reference_at: usize, value: &str) {
        self.string_of_bytes(reference_at, value.as_bytes());
    }

    /// A string whose bytes are known to be ASCII.
    fn string_of_bytes(&mut self, reference_at: usize, value: &[u8]) {
        self.bytes(reference_at, value);
        self.out.push(0);
    }

    fn bytes(&mut self, reference_at: usize, value: &[u8]) {
        self.align(4);
        self.refer(reference_at, self.out.len());
        self.out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.out.extend_from_slice(value);
    }

    /// Makes the reference point at a later place.
    fn refer(&mut self, reference_at: usize, target: usize) {
        assert!(reference_at < target);
        self.patch(reference_at, ((target - reference_at) as u32).to_le_bytes());
    }

    fn align(&mut self, alignment: usize) {
        let length = (self.out.len() - self.base).next_multiple_of(alignment);
        self.out.resize(self.base + length, 0);
    }

    fn patch<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.out[at..at + N].copy_from_slice(&bytes);
    }
}

/// A table whose fields are being added; one that is not added has its default.
struct Table<'b> {
    out: &'b mut Vec<u8>,
    vtable_at: usize,
    table_at: usize,
}

impl Table<'_> {
    /// A struct, which must be the first field.
    fn numbers<const N: usize>(&mut self, slot: VOffsetT, value: [u8; N]) {
        self.field::<8, N>(slot, value);
    }

    fn i32(&mut self, slot: VOffsetT, value: i32) {
        self.field::<4, 4>(slot, value.to_le_bytes());
    }

    fn u8(&mut self, slot: VOffsetT, value: u8) {
        self.field::<1, 1>(slot, [value]);
    }

    /// A reference to be set later; returns its place.
    fn reference(&mut self, slot: VOffsetT) -> usize {
        self.field::<4, 4>(slot, [0; 4]);
        self.out.len() - 4
    }

    fn field<const ALIGNMENT: usize, const N: usize>(&mut self, slot: VOffsetT, value: [u8; N]) {
        let offset = self.out.len() - self.table_at;
        assert!((offset + 4).is_multiple_of(ALIGNMENT));
        self.patch(self.vtable_at + usize::from(slot), offset as u16);
        self.out.extend_from_slice(&value);
    }

    /// Ends the table and returns its place.
    fn end(self) -> usize {
        let mut table = self;
        let table_bytes = (table.out.len() - table.table_at) as u16;
        table.patch(table.vtable_at + 2, table_bytes);
        table.table_at
    }

    fn patch(&mut self, at: usize, value: u16) {
        self.out[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}
