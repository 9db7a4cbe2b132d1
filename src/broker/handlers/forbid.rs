//! 353 UPDATE_AND_GET_GROUP_FORBIDDEN: a group may not read a topic, or may again.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor and SubscriptionGroupManager of 5.3.3.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::body::GroupForbidden;
use proto::code::response;
use proto::command::Command;
use proto::header::GroupForbiddenHeader;
use proto::names;
use runtime::clock::Now;

use super::super::copies::HomeCopy;
use super::super::dispatch::{Handled, Stop, answer};
use super::super::inquiry::Question;
use super::super::{Asker, Broker, Refusal};
use super::Then;
use crate::net::outbox::Outboxes;

/// What is forbidden, in the table of all groups: bit 2 is reading (`PermName.INDEX_PERM_READ`).
const READING: i32 = 1 << 2;

impl Broker {
    pub(in crate::broker) fn group_forbidden(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = GroupForbiddenHeader::parse(command)?;
        let (group, topic) = (header.group.to_cow(), header.topic.to_cow());
        if let Some(is_readable) = header.readable {
            for (name, checked) in [
                (&group, names::validate_group(&group).map_err(|error| error.to_string())),
                (&topic, names::validate_topic(&topic).map_err(|error| error.to_string())),
            ] {
                checked.map_err(|error| {
                    let remark = format!("nothing can be forbidden to or of {name}: {error}");
                    Refusal::new(response::INVALID_PARAMETER, remark)
                })?;
            }
            self.forbid(now, asker, (&group, &topic), is_readable)?;
            // Behind the record that said the same before, too, if nothing changed.
            let then = Then::Forbidden(Arc::from(&*group), Arc::from(&*topic));
            return self.ask_all(asker, Question::Confirmed, then);
        }
        self.tell_forbidden(asker, &group, &topic, outboxes);
        Ok(())
    }

    pub(super) fn tell_forbidden(
        &self,
        asker: &Asker,
        group: &str,
        topic: &str,
        outboxes: &mut Outboxes,
    ) {
        let found = GroupForbidden {
            readable: Some(!self.catalog.is_forbidden(group, topic)),
            group: Some(group.to_owned()),
            topic: Some(topic.to_owned()),
        };
        let mut body = Vec::new();
        found.write(&mut body);
        answer(asker, response::SUCCESS, Some(""), None, &body, outboxes);
    }

    /// Other cores know it before any answer leaves.
    fn forbid(
        &mut self,
        now: Now,
        asker: &Asker,
        (group, topic): (&str, &str),
        is_readable: bool,
    ) -> Result<(), Stop> {
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let changed = self.catalog_room().and_then(|()| {
            let pair = (group, topic);
            let changed = self.catalog.forbid(now.wall_ms, pair, is_readable, &mut payload);
            changed.map_err(|full| Refusal::new(response::SYSTEM_ERROR, full.to_string()).into())
        });
        if let Ok(Some(())) = changed {
            let appended = self.shards[0].append_catalog(0, &payload, None);
            appended.expect("there was room for more");
            self.copy_catalog(0, &payload);
            if let Some(topic) = self.catalog.topic(topic).filter(|_| !is_readable) {
                self.share(HomeCopy::MayNotRead(Some(topic.incarnation)));
            }
            tracing::info!(group, topic, is_readable, peer = %asker.peer, "what a group may read changed");
        }
        self.scratch.payload = payload;
        changed.map(|_| ())
    }

    /// What is forbidden, as the table of all groups (201) tells it.
    pub(super) fn forbidden_table(&self) -> BTreeMap<String, BTreeMap<String, i32>> {
        let mut table = BTreeMap::<String, BTreeMap<String, i32>>::new();
        for (group, topic) in self.catalog.forbidden() {
            table.entry(group.to_owned()).or_default().insert(topic.to_owned(), READING);
        }
        table
    }
}
