//! Calls that tools ask for: 307 GET_CONSUMER_RUNNING_INFO, 309 CONSUME_MESSAGE_DIRECTLY,
//! 223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.callConsumer and consumeMessageDirectly, Broker2Client.getConsumeStatus
//! of 5.3.3.

use engine::shard::Lookup;
use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Scan, scan};
use proto::header::{ConsumerHeader, GroupHeader, HeaderError};
use proto::ids::{OffsetMessageId, Position};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{RequestHead, write_request};
use proto::version;
use runtime::clock::Now;

use super::super::calls::{CALL_MS, Called, Calling, STATUS_MS};
use super::super::dispatch::{Handled, Stop, answer_body, here};
use super::super::limits::PARKED_REQUESTS_MAX;
use super::super::parked::Request;
use super::super::{Asker, Broker, Onward, Refusal};
use super::reset::too_old;
use crate::net::outbox::Outboxes;
use crate::router::Origin;

/// A message that a member is to consume now, once it is read.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Direct {
    position: Position,
    ext: Vec<(String, String)>,
}

impl Broker {
    pub(in crate::broker) fn running_info(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let ext = fields_of(command);
        self.call_consumer(now, asker, command, (&ext, &[]), outboxes)
    }

    pub(in crate::broker) fn consume_directly(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = ConsumerHeader::parse(command)?;
        if asker.has_record {
            return self.direct(now, asker, command, body, outboxes);
        }
        let id = header.message_id.ok_or(HeaderError::Missing { field: "msgId" })?.to_cow();
        let Ok(id) = OffsetMessageId::decode(id.as_bytes()) else {
            return Err(no_message(&id));
        };
        here(self.router.of_position(id.position))?;
        let direct = Direct { position: id.position, ext: fields_of(command) };
        self.try_or_park(now, asker, Request::Direct(direct), outboxes)
    }

    /// `false`: the message is being read.
    pub(in crate::broker) fn try_direct(
        &mut self,
        asker: &Asker,
        direct: &Direct,
    ) -> Result<bool, Stop> {
        let place = here(self.router.of_position(direct.position))?;
        let mut record = Vec::new();
        match self.shards[place].lookup(direct.position.offset().bytes(), &mut record) {
            Lookup::Found => {}
            Lookup::Cold => return Ok(false),
            Lookup::None => return Err(no_message(&direct.position.to_i64().to_string())),
            Lookup::Failed(reason) => {
                return Err(Refusal::unreadable("the message", &reason).into());
            }
        }
        if self.onward.len() >= PARKED_REQUESTS_MAX {
            return Err(Stop::Wait);
        }
        let head =
            RequestHead { code: request::CONSUME_MESSAGE_DIRECTLY, opaque: asker.opaque, flag: 0 };
        let ext: Vec<_> = direct.ext.iter().map(|(key, value)| (&**key, &**value)).collect();
        let mut bytes = Vec::new();
        write_request(&mut bytes, asker.encoding, &head, Some(&ext), &record);
        if !is_readable(&bytes) {
            let remark = "the fields of the request are too long to be passed on";
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        if self.router.is_home() {
            self.store_reply(asker, bytes); // handled next, here
        } else {
            let Asker { connection, peer, crossings, .. } = *asker;
            let origin = Origin { connection, peer, crossings, has_record: true };
            self.onward.push_back(Onward { core: self.router.home(), origin, bytes });
        }
        Ok(true)
    }

    fn direct(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        record: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = ConsumerHeader::parse(command)?;
        let mut ext = fields_of(command);
        ext.retain(|(key, _)| key != "brokerName");
        ext.push(("brokerName".to_owned(), self.settings.broker_name.clone()));
        let topic = header.topic.and_then(|topic| self.catalog.topic(&topic.to_cow()));
        if let Some(topic) = topic {
            ext.push(("topicSysFlag".to_owned(), topic.config.topic_sys_flag.to_string()));
        }
        if let Some(group) = self.catalog.group(&header.group.to_cow()) {
            ext.push(("groupSysFlag".to_owned(), group.group_sys_flag.to_string()));
        }
        self.call_consumer(now, asker, command, (&ext, record), outboxes)
    }

    fn call_consumer(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        (ext, body): (&[(String, String)], &[u8]),
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = ConsumerHeader::parse(command)?;
        let group = header.group.to_cow().into_owned();
        let client_id = header.client_id.map(|id| id.to_cow().into_owned()).unwrap_or_default();
        let members = self.membership.group(&group).into_iter().flat_map(|it| it.members());
        let member = members.into_iter().find(|(_, client)| client.id == client_id);
        let Some((connection, client)) = member else {
            let remark = format!("The Consumer <{group}> <{client_id}> not online");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        };
        if client.version < version::V3_1_8_SNAPSHOT {
            let found = version::describe(client.version);
            let remark = format!(
                "The Consumer <{client_id}> Version <{found}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        let ext: Vec<_> = ext.iter().map(|(key, value)| (&**key, &**value)).collect();
        let code = command.code;
        let calling = Calling { connection, code, ext: &ext, body, wait_ms: CALL_MS };
        self.call(now, asker, &calling, Called::Relay { group, client_id }, outboxes)
    }

    pub(in crate::broker) fn consumer_status(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = GroupHeader::parse(command)?;
        let group = header.group.to_cow();
        let topic = header.topic.ok_or(HeaderError::Missing { field: "topic" })?.to_cow();
        let only = header.client_address.map(|id| id.to_cow());
        let members = self.membership.group(&group).into_iter().flat_map(|it| it.members());
        let members: Vec<_> = members
            .into_iter()
            .map(|(connection, it)| (connection, it.id.clone(), it.version))
            .collect();
        if members.is_empty() {
            let remark = format!("No Any Consumer online in the consumer group: [{group}]");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        if let Some((_, _, old)) = members.iter().find(|(.., it)| *it < version::V3_0_7_SNAPSHOT) {
            return Err(too_old(*old));
        }
        let is_asked = |id: &str| only.as_deref().is_none_or(|only| only == id);
        let members: Vec<_> = members.into_iter().filter(|(_, id, _)| is_asked(id)).collect();
        if members.is_empty() {
            return answer_body(
                asker,
                |body| proto::body::GetConsumerStatusBody::default().write(body),
                outboxes,
            );
        }
        self.check_calls(members.len())?;
        let id = self.calls.gather(asker, members.len());
        let ext = [("topic", &*topic), ("group", &*group)];
        for (connection, client_id, _) in members {
            let code = request::GET_CONSUMER_STATUS_FROM_CLIENT;
            let calling = Calling { connection, code, ext: &ext, body: &[], wait_ms: STATUS_MS };
            let then = Called::Status { id, client_id };
            self.call(now, asker, &calling, then, outboxes).expect("looked at above");
        }
        Ok(())
    }
}

fn fields_of(command: &Command<'_>) -> Vec<(String, String)> {
    let fields = command.ext.iter();
    fields.map(|(key, value)| (key.to_cow().into_owned(), value.to_cow().into_owned())).collect()
}

/// Whether what was made of a peer's text is a request again: what is no UTF-8 became longer.
pub(in crate::broker) fn is_readable(bytes: &[u8]) -> bool {
    match scan(bytes, FRAME_BYTES_MAX) {
        Ok(Scan::Frame { frame, .. }) => Command::decode(&frame).is_ok(),
        _ => false,
    }
}

fn no_message(id: &str) -> Stop {
    let remark = format!("no message has the id {id} here");
    Refusal::new(response::SYSTEM_ERROR, remark).into()
}
