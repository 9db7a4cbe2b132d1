//! Orderly consumption: 41 LOCK_BATCH_MQ, 42 UNLOCK_BATCH_MQ.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.lockBatchMQ and unlockBatchMQ of 5.3.3, without `lockInStrictMode`.

use proto::body::{LockBatchRequestBody, LockBatchResponseBody};
use proto::code::response;
use runtime::clock::Now;

use super::super::dispatch::{Handled, answer, answer_body};
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
        answer_body(asker, |body| LockBatchResponseBody { lock_ok_mq_set }.write(body), outboxes);
        Ok(())
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
    LockBatchRequestBody::parse(body)
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, format!("queues to lock: {error}")))
}
