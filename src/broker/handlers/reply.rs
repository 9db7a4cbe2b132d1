//! Replies to request messages: 324 SEND_REPLY_MESSAGE, 325 SEND_REPLY_MESSAGE_V2;
//! 326 PUSH_REPLY_MESSAGE_TO_CLIENT.
//! Kind: machine
//!
//! Source: ReplyMessageProcessor of 5.3.3. The home core knows which connection the requester has, calls it,
//! and answers when it has answered. Then the reply is stored like any message, in the queue's shard; if that
//! is refused, it was delivered all the same.

use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::{Scan, scan};
use proto::header::{HeaderError, SendHeader};
use proto::limits::{GROUP_BYTES_MAX, PROPERTIES_BYTES_MAX};
use proto::properties::{self, WellKnown, name};
use proto::reply::{
    RequestHead, SendReply, SendRequest, Stored, write_send_request, write_send_response,
};
use runtime::clock::Now;

use super::super::calls::{CALL_MS, Called, Calling};
use super::super::dispatch::{Handled, Stop, flow_of};
use super::super::{Asker, Broker, Flow, Refusal};
use super::send::check_takes_messages;
use crate::net::outbox::Outboxes;

impl Broker {
    pub(in crate::broker) fn reply(
        &mut self,
        now: Now,
        asker: &Asker,
        header: Result<&SendHeader<'_>, &HeaderError>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Flow {
        let header = header.map_err(|error| Stop::from(error.clone()));
        if asker.has_record {
            let stored = header.and_then(|header| self.try_send(now, asker, header, body));
            return flow_of(asker, stored).unwrap_or_else(|refusal| {
                // It was pushed. Whoever replied would push it again if told of a full disk.
                self.tally.refused(refusal.code);
                self.answer_unstored(asker, outboxes);
                Flow::Done
            });
        }
        let handled = header.and_then(|header| self.try_reply(now, asker, header, body, outboxes));
        flow_of(asker, handled).unwrap_or_else(|refusal| {
            self.refuse_send(asker, &refusal, outboxes);
            Flow::Done
        })
    }

    fn try_reply(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        self.check_reply_topic(now, asker, header)?;
        let illegal = |remark: String| Refusal::new(response::MESSAGE_ILLEGAL, remark);
        let mut text = Vec::new();
        WellKnown::unescape(header.properties, &mut text)
            .map_err(|error| illegal(format!("the properties are not text: {error}")))?;
        // They are told to the requester, in a header of its own.
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        for (what, name) in
            [("producer group", header.producer_group), ("default topic", header.default_topic)]
        {
            let found = name.raw().len();
            if found > GROUP_BYTES_MAX {
                let remark = format!("the {what} has {found} bytes, more than {GROUP_BYTES_MAX}");
                return Err(illegal(remark).into());
            }
        }
        let requester = properties::find(&text, name::REPLY_TO_CLIENT)
            .map(|id| String::from_utf8_lossy(id).into_owned());
        let failed = |remark: String| Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        let Some(client_id) = requester else {
            self.store_unpushed(asker, header, body);
            return failed("reply message properties[REPLY_TO_CLIENT] is null".to_owned());
        };
        let Some(connection) = self.membership.producer_of(&client_id) else {
            self.store_unpushed(asker, header, body);
            return failed(format!("push reply message fail, channel of <{client_id}> not found."));
        };
        properties::terminate(&mut text);
        properties::append(&mut text, name::PUSH_REPLY_TIME, now.wall_ms.to_string().as_bytes());
        // What is no UTF-8 is replaced, as Java does when it reads a header.
        let text = String::from_utf8_lossy(&text);
        let frame = match self.settings.store_replies {
            true => frame_of(asker, header, body, Waits::ForAnswer),
            false => Vec::new(),
        };
        let ext = [
            ("bornHost", &*asker.peer.to_string()),
            ("storeHost", &*self.settings.advertised.to_string()),
            ("storeTimestamp", &*now.wall_ms.to_string()),
            ("producerGroup", &*header.producer_group.to_cow()),
            ("topic", &*header.topic.to_cow()),
            ("defaultTopic", &*header.default_topic.to_cow()),
            ("defaultTopicQueueNums", &*header.default_topic_queue_count.to_string()),
            ("queueId", &*header.queue_id.to_string()),
            ("sysFlag", &*header.sys_flag.to_string()),
            ("bornTimestamp", &*header.born_timestamp.to_string()),
            ("flag", &*header.flag.to_string()),
            ("properties", &*text),
            ("reconsumeTimes", &*header.reconsume_times.to_string()),
            ("unitMode", if header.unit_mode { "true" } else { "false" }),
        ];
        let code = request::PUSH_REPLY_MESSAGE_TO_CLIENT;
        let calling = Calling { connection, code, ext: &ext, body, wait_ms: CALL_MS };
        self.call(now, asker, &calling, Called::Reply { client_id, frame }, outboxes)
    }

    /// The topic is there, or made as by a send.
    fn check_reply_topic(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
    ) -> Result<(), Stop> {
        let topic = header.topic.to_cow();
        check_takes_messages(&topic)?;
        let (default, count) = (header.default_topic.to_cow(), header.default_topic_queue_count);
        self.ensure_topic_for_send(now, &topic, &default, count)?;
        self.check_queue(asker, header, &topic)
    }

    fn store_unpushed(&mut self, asker: &Asker, header: &SendHeader<'_>, body: &[u8]) {
        if self.settings.store_replies {
            let frame = frame_of(asker, header, body, Waits::ForNothing);
            self.store_reply(asker, frame);
        }
    }

    /// The requester has answered, or did not.
    pub(in crate::broker) fn reply_pushed(
        &mut self,
        asker: &Asker,
        (is_taken, client_id): (bool, &str),
        frame: Vec<u8>,
        outboxes: &mut Outboxes,
    ) {
        if !is_taken {
            let remark = format!("push reply message to {client_id}fail.");
            self.refuse_send(asker, &Refusal::new(response::SYSTEM_ERROR, remark), outboxes);
        }
        match (is_taken, frame.is_empty()) {
            (true, false) => self.store_reply(asker, frame),
            (false, false) => {
                let unanswered = without_answer(asker, &frame);
                self.store_reply(asker, unanswered);
            }
            (true, true) => self.answer_unstored(asker, outboxes),
            (false, true) => {}
        }
    }

    /// "0" where the id would be: clients want a text there.
    fn answer_unstored(&self, asker: &Asker, outboxes: &mut Outboxes) {
        let Some(outbox) = outboxes.of(asker.connection).filter(|_| !asker.is_oneway) else {
            return;
        };
        let stored = Stored {
            message_id: b"0",
            queue_id: 0,
            queue_offset: 0,
            transaction_id: b"",
            recall_handle: None,
        };
        let reply = SendReply {
            opaque: asker.opaque,
            code: response::SUCCESS,
            remark: None,
            stored: Some(stored),
            region: &self.settings.region_id,
            trace_on: self.settings.trace_on,
        };
        write_send_response(outbox.bytes(), asker.encoding, &reply);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    ForAnswer,
    ForNothing,
}

/// The reply as a frame that is to be stored.
fn frame_of(asker: &Asker, header: &SendHeader<'_>, body: &[u8], waits: Waits) -> Vec<u8> {
    let mut text = Vec::new();
    let known = WellKnown::unescape(header.properties, &mut text);
    known.expect("it was read before or is refused when it is stored");
    let request = SendRequest {
        producer_group: &header.producer_group.to_cow(),
        topic: &header.topic.to_cow(),
        default_topic: &header.default_topic.to_cow(),
        default_topic_queue_count: header.default_topic_queue_count,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: &text,
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode,
        max_reconsume_times: header.max_reconsume_times,
        batch: false,
        broker_name: None,
    };
    let is_oneway = asker.is_oneway || waits == Waits::ForNothing;
    let head = RequestHead {
        code: request::SEND_REPLY_MESSAGE_V2,
        opaque: asker.opaque,
        flag: if is_oneway { FLAG_ONEWAY } else { 0 },
    };
    let mut frame = Vec::new();
    write_send_request(&mut frame, asker.encoding, &head, &request, body.len());
    frame.extend_from_slice(body);
    frame
}

/// The same frame for which nobody waits.
fn without_answer(asker: &Asker, frame: &[u8]) -> Vec<u8> {
    let Ok(Scan::Frame { frame, .. }) = scan(frame, frame.len()) else {
        unreachable!("made here as a whole frame")
    };
    let command = Command::decode(&frame).expect("made here");
    let header = SendHeader::parse(&command).expect("made here");
    frame_of(asker, &header, frame.body, Waits::ForNothing)
}
