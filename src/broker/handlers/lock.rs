//! Orderly consumption: 41 LOCK_BATCH_MQ, 42 UNLOCK_BATCH_MQ.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.lockBatchMQ and unlockBatchMQ of 5.3.3, without `lockInStrictMode`; how
//! long names may be is ours.

use proto::body::{LockBatchRequestBody, LockBatchResponseBody};
use proto::code::response;
use runtime::clock::Now;

use super::super::dispatch::{Handled, answer, answer_body};
use super::super::locks::{LOCK_NAME_BYTES_MAX, LOCK_TOPIC_BYTES_MAX};
use super::super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;

impl Broker {
    pub(in crate::broker) fn lock_queues(
        &mut self,
        now: Now,
        asker: &Asker,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let wanted = parse(body)?;
        let (group, client) = (&*wanted.consumer_group, &*wanted.client_id);
        let held = self.locks.lock(now.monotonic_ms(), group, client, wanted.mq_set.iter());
        let lock_ok_mq_set = held.into_iter().cloned().collect();
        self.copy_locks(group);
        answer_body(asker, |body| LockBatchResponseBody { lock_ok_mq_set }.write(body), outboxes)
    }

    pub(in crate::broker) fn unlock_queues(
        &mut self,
        asker: &Asker,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let wanted = parse(body)?;
        let group = &*wanted.consumer_group;
        self.locks.unlock(group, &wanted.client_id, wanted.mq_set.iter());
        self.copy_locks(group);
        answer(asker, response::SUCCESS, None, None, &[], outboxes);
        Ok(())
    }
}

fn parse(body: &[u8]) -> Result<LockBatchRequestBody, Refusal> {
    let wanted = LockBatchRequestBody::parse(body).map_err(|error| {
        Refusal::new(response::SYSTEM_ERROR, format!("queues to lock: {error}"))
    })?;
    check_name("the group", &wanted.consumer_group, LOCK_NAME_BYTES_MAX)?;
    check_name("the client id", &wanted.client_id, LOCK_NAME_BYTES_MAX)?;
    for queue in &wanted.mq_set {
        check_name("a topic", &queue.topic, LOCK_TOPIC_BYTES_MAX)?;
        check_name("a broker name", &queue.broker_name, LOCK_NAME_BYTES_MAX)?;
    }
    Ok(wanted)
}

/// Names are kept as they come, for a minute.
fn check_name(name: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    let found = text.len();
    if found <= limit {
        return Ok(());
    }
    let remark = format!("queues to lock: {name} of {found} bytes, at most {limit} are allowed");
    Err(Refusal::new(response::SYSTEM_ERROR, remark))
}

#[cfg(test)]
mod tests {
    use proto::body::MessageQueue;

    use super::*;

    #[test]
    fn names_that_are_too_long_are_refused_by_the_limit() {
        let name = |bytes| "n".repeat(bytes);
        let check = |lengths: [usize; 4], expect: Option<&str>| {
            let [group, client, topic, broker] = lengths.map(name);
            let request = LockBatchRequestBody {
                client_id: client,
                consumer_group: group,
                mq_set: [MessageQueue::new("T", "b", 0), MessageQueue::new(&topic, &broker, 0)]
                    .into(),
                ..LockBatchRequestBody::default()
            };
            let mut body = Vec::new();
            request.write(&mut body);
            let expect = expect.map(|what| {
                let remark = format!("queues to lock: {what} are allowed");
                Refusal::new(response::SYSTEM_ERROR, remark)
            });
            assert_eq!(parse(&body).err(), expect);
        };
        // The longest group's retry topic is locked like others.
        check([255, 255, 7 + 255, 255], None);
        check([256, 1, 1, 1], Some("the group of 256 bytes, at most 255"));
        check([1, 300, 1, 1], Some("the client id of 300 bytes, at most 255"));
        check([1, 1, 263, 1], Some("a topic of 263 bytes, at most 262"));
        check([1, 1, 1 << 20, 1], Some("a topic of 1048576 bytes, at most 262"));
        check([1, 1, 1, 256], Some("a broker name of 256 bytes, at most 255"));
    }
}
