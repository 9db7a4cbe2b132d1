//! What a send is made of its properties: the broker's additions, and what matters among them.
//! Kind: machine
//!
//! Order of checks and codes: SendMessageProcessor, HookUtils and TransactionalMessageBridge of 5.3.3.

use engine::shard::FoundBy;
use proto::code::response;
use proto::header::SendHeader;
use proto::ids::UniqueKey;
use proto::limits::PROPERTIES_BYTES_MAX;
use proto::properties::{self, Known, WellKnown, name};
use proto::record::sys_flag::TRANSACTION_MASK;
use runtime::clock::Now;

use super::super::super::check::own_check_ms;
use super::super::super::dispatch::Stop;
use super::super::super::{Broker, Refusal};
use super::super::timer::{TIMES, Timed, timer_properties};
use super::illegal;
use crate::observe::MessageType;

/// Properties that a half message comes without, or has from its broker.
const NOT_OF_HALVES: [&str; 8] = [
    name::POP_CK,
    name::DELAY,
    name::TIMER_DELIVER_MS,
    name::TIMER_DELAY_SEC,
    name::TIMER_DELAY_MS,
    name::TRANSACTION_ID,
    name::REAL_TOPIC,
    name::REAL_QID,
];

/// What was found in and made of a message's properties.
pub(super) struct Made {
    pub half: Option<Half>,
    pub delay_level: Option<usize>,
    pub timed: Option<Timed>,
    pub found_by: FoundBy,
    pub kind: MessageType,
}

/// A half message.
pub(super) struct Half {
    /// After how long its producer is to be asked, if it says so itself, ms.
    pub own_ms: Option<u64>,
}

impl Broker {
    /// Fills `text` with the message's properties and the broker's additions, and reads what matters.
    pub(super) fn make_properties(
        &mut self,
        now: Now,
        header: &SendHeader<'_>,
        topic: &str,
        (queue_id, is_dead_letter): (i32, bool),
        text: &mut Vec<u8>,
    ) -> Result<Made, Stop> {
        let known = WellKnown::unescape(header.properties, text)
            .map_err(|error| illegal(format!("the properties are not text: {error}")))?;
        if known.transaction.is_some_and(|it| is_true(it, text)) {
            let is_retry = header.reconsume_times > 0 && has_delay(&known, text);
            // A client before 4.6.1 that sends a committed message back leaves the property on it.
            if !is_dead_letter && !is_retry {
                return self.make_half_properties(now, (topic, queue_id), known, text);
            }
        } else if header.sys_flag & TRANSACTION_MASK != 0 {
            return Err(illegal("transaction bits without the property TRAN_MSG".to_owned()));
        }
        // They stay where they are unless something is taken out of the text below.
        let mut found_by = FoundBy::of(&known, text);
        let delay =
            known.delay.map(|delay| parse_delay(delay.value(text))).transpose()?.unwrap_or(0);
        let has_receipt = known.pop_receipt.is_some();
        if has_receipt {
            properties::remove(text, name::POP_CK);
        }
        properties::terminate(text);
        let has_timer = known.timer.is_some();
        let mut timed = None;
        if has_timer && delay > 0 {
            properties::remove_all(text, &TIMES); // the level counts
        } else if has_timer && !is_dead_letter {
            timed = self.timed(now, text)?;
        }
        if known.unique_key.is_none() {
            let key = self.next_unique_key(now);
            found_by.unique_key = (text.len() + name::UNIQ_KEY.len() + 1, key.len());
            properties::append(text, name::UNIQ_KEY, &key);
        }
        self.append_own_properties(text);
        let levels = self.settings.delay_levels_ms.len();
        let delay_level = (delay > 0 && !is_dead_letter)
            .then(|| usize::try_from(delay).map_or(levels, |it| it.min(levels)));
        if is_dead_letter {
            properties::set(text, name::DELAY, b"-1");
        }
        if let Some(level) = delay_level {
            delay_properties(text, level, delay, topic, queue_id);
        }
        if let Some(timed) = timed {
            timer_properties(text, timed.due_ms, topic, queue_id);
        }
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        if has_receipt || has_timer || is_dead_letter || delay_level.is_some() {
            found_by = FoundBy::read(text);
        }
        let kind = match (known.sharding_key, known.delay.or(known.timer)) {
            (Some(_), _) => MessageType::Fifo,
            (None, Some(_)) => MessageType::Delay,
            (None, None) => MessageType::Normal,
        };
        Ok(Made { delay_level, half: None, timed, found_by, kind })
    }

    /// The same for a half message, which waits in RMQ_SYS_TRANS_HALF_TOPIC
    /// (`TransactionalMessageBridge.parseHalfMessageInner`).
    fn make_half_properties(
        &mut self,
        now: Now,
        (topic, queue_id): (&str, i32),
        mut known: WellKnown,
        text: &mut Vec<u8>,
    ) -> Result<Made, Stop> {
        let rules = self.settings.transactions;
        if rules.rejects {
            let ip = self.settings.advertised.ip();
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the broker[{ip}] sending transaction message is forbidden"),
            )
            .into());
        }
        if known.producer_group.is_none() {
            return Err(illegal(
                "a half message needs the property PGROUP: nobody could commit it".to_owned(),
            ));
        }
        // It cannot wait for a time and for its producer; Java clients take the level out themselves.
        let late = known.pop_receipt.or(known.delay).or(known.timer);
        // What the broker says itself.
        let said = known.transaction_id.or(known.real_topic).or(known.real_queue);
        if late.or(said).is_some() {
            properties::remove_all(text, &NOT_OF_HALVES);
            known = WellKnown::collect(text);
        }
        properties::terminate(text);
        let mut found_by = FoundBy::of(&known, text);
        if known.unique_key.is_none() {
            let key = self.next_unique_key(now);
            found_by.unique_key = (text.len() + name::UNIQ_KEY.len() + 1, key.len());
            properties::append(text, name::UNIQ_KEY, &key);
        }
        let (key_at, key_len) = found_by.unique_key;
        properties::append_copy(text, name::TRANSACTION_ID, key_at..key_at + key_len);
        self.append_own_properties(text);
        properties::append(text, name::REAL_TOPIC, topic.as_bytes());
        properties::append(text, name::REAL_QID, itoa::Buffer::new().format(queue_id).as_bytes());
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        let own_ms = known.check_immunity.map(|it| own_check_ms(it.value(text), &rules));
        Ok(Made {
            delay_level: None,
            timed: None,
            half: Some(Half { own_ms }),
            found_by,
            kind: MessageType::Transaction,
        })
    }

    /// What the broker says of itself in each message.
    pub(super) fn append_own_properties(&self, text: &mut Vec<u8>) {
        let trace = if self.settings.trace_on { "true" } else { "false" };
        properties::append(text, name::MSG_REGION, self.settings.region_id.as_bytes());
        properties::append(text, name::TRACE_ON, trace.as_bytes());
        properties::append(text, name::CLUSTER, self.settings.cluster_name.as_bytes());
    }

    /// A key like the ones clients make (`MessageClientIDSetter`), unique to this process.
    pub(in crate::broker) fn next_unique_key(&mut self, now: Now) -> [u8; UniqueKey::CHARACTERS] {
        self.unique_keys += 1;
        let std::net::IpAddr::V4(ip) = self.settings.advertised.ip().to_canonical() else {
            return self.unique_key(now, std::net::Ipv4Addr::UNSPECIFIED);
        };
        self.unique_key(now, ip)
    }

    fn unique_key(&self, now: Now, ip: std::net::Ipv4Addr) -> [u8; UniqueKey::CHARACTERS] {
        UniqueKey {
            ip,
            pid: (self.settings.process_tag >> 16) as u16,
            generator: self.settings.process_tag,
            month_ms: UniqueKey::month_ms(now.wall_ms),
            counter: self.unique_keys as u16,
        }
        .encode()
    }
}

/// What a message gets that waits in SCHEDULE_TOPIC_XXXX (`HookUtils.transformDelayLevelMessage`).
pub(in crate::broker) fn delay_properties(
    text: &mut Vec<u8>,
    level: usize,
    asked: i64,
    topic: &str,
    queue_id: i32,
) {
    if asked != level as i64 {
        properties::set(text, name::DELAY, level.to_string().as_bytes());
    }
    properties::set(text, name::REAL_TOPIC, topic.as_bytes());
    properties::set(text, name::REAL_QID, queue_id.to_string().as_bytes());
}

pub(super) fn parse_delay(value: &[u8]) -> Result<i64, Stop> {
    proto::text::parse_i64(value).ok_or_else(|| {
        let found = String::from_utf8_lossy(value).into_owned();
        Refusal::new(response::SYSTEM_ERROR, format!("DELAY is no number: {found}")).into()
    })
}

fn has_delay(known: &WellKnown, text: &[u8]) -> bool {
    known.delay.is_some_and(|delay| delay.value(text) != b"0")
}

/// As `Boolean.parseBoolean`.
pub(super) fn is_true(value: Known, text: &[u8]) -> bool {
    value.value(text).eq_ignore_ascii_case(b"true")
}
