//! What was counted, and what can be cleaned: 315 VIEW_BROKER_STATS_DATA, 306 CLEAN_EXPIRED_CONSUMEQUEUE,
//! 316 CLEAN_UNUSED_TOPIC, 329 DELETE_EXPIRED_COMMITLOG.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor, BrokerStatsManager and StatsItem of 5.3.3.

use std::sync::Arc;

use proto::body::{BrokerStatsData, BrokerStatsItem};
use proto::code::response;
use proto::command::Command;
use proto::header::BrokerStatsHeader;

use super::super::dispatch::{Handled, answer, answer_body};
use super::super::inquiry::{Counted, Part, Question};
use super::super::{Asker, Broker, Refusal};
use super::Then;
use super::stats::wire;
use crate::net::outbox::Outboxes;
use crate::observe::Course;

/// What 315 is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::broker) struct Viewed {
    name: String,
    key: String,
}

impl Viewed {
    fn not_there(&self) -> Refusal {
        let Viewed { name, key } = self;
        Refusal::new(response::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist"))
    }
}

impl Broker {
    pub(in crate::broker) fn view_stats(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let header = BrokerStatsHeader::parse(command)?;
        let viewed = Viewed {
            name: header.name.to_cow().into_owned(),
            key: header.key.to_cow().into_owned(),
        };
        let cluster = &self.settings.cluster_name;
        let counted = match (&*viewed.name, &*viewed.key) {
            ("TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE", topic) => Some(Counted::Topic(topic.into())),
            ("GROUP_GET_NUMS" | "GROUP_GET_SIZE", key) => {
                key.split_once('@').map(|(topic, group)| Counted::Group(topic.into(), group.into()))
            }
            ("BROKER_PUT_NUMS", key) if key == cluster => Some(Counted::Incoming),
            ("BROKER_GET_NUMS", key) if key == cluster => Some(Counted::Outgoing),
            _ => None,
        };
        let Some(counted) = counted else { return Err(viewed.not_there().into()) };
        self.ask_all(asker, Question::Counted(Arc::new(counted)), Then::Counted(viewed))
    }

    pub(super) fn tell_counted(
        &self,
        asker: &Asker,
        viewed: &Viewed,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let courses: Vec<_> = parts
            .into_iter()
            .filter_map(|part| match part {
                Part::Counted(courses) => courses,
                _ => None,
            })
            .collect();
        if courses.is_empty() {
            return Err(viewed.not_there().into());
        }
        let is_size = viewed.name.ends_with("_SIZE");
        let item = |index: usize| item(courses.iter().map(|spans| spans[index]), is_size);
        let data =
            BrokerStatsData { stats_minute: item(0), stats_hour: item(1), stats_day: item(2) };
        answer_body(asker, |body| data.write(body), outboxes)
    }

    /// 306 and 316: a queue's entries go with the log's segment that they point into, and a topic's with its
    /// deletion, so nothing is left that nobody needs.
    pub(in crate::broker) fn nothing_to_clean(
        &mut self,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        answer(asker, response::SUCCESS, None, None, &[], outboxes);
        Ok(())
    }

    /// 329: segments that are old enough go now, whatever `deleteWhen` says.
    pub(in crate::broker) fn delete_expired_log(&mut self, asker: &Asker) -> Handled {
        self.ask_all(asker, Question::Clean, Then::Done)?;
        tracing::info!(peer = %asker.peer, "old segments are removed now: DELETE_EXPIRED_COMMITLOG");
        Ok(())
    }
}

/// One span of all cores.
fn item(courses: impl Iterator<Item = Course>, is_size: bool) -> BrokerStatsItem {
    let (mut messages, mut sum, mut tps) = (0, 0, 0.0);
    for Course { traffic, took_ms } in courses {
        let value = if is_size { traffic.bytes } else { traffic.messages };
        messages += traffic.messages;
        sum += value;
        if took_ms > 0 {
            tps += value as f64 * 1000.0 / took_ms as f64;
        }
    }
    let avgpt = if messages > 0 { sum as f64 / messages as f64 } else { 0.0 };
    BrokerStatsItem { avgpt, sum: wire(sum), tps }
}
