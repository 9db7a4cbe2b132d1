//! Dispatch: a frame becomes a command, a command finds its handler, a refusal becomes an answer.
//! Kind: machine

use engine::catalog::Placement;
use engine::limits::OPEN_TRANSACTIONS_MAX;
use engine::shard::AppendRefused;
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::Frame;
use proto::header::{HeaderError, ScannedSend, SendHeader, peek_topic};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{ResponseHead, write_response};
use proto::version;
use runtime::clock::Now;

use super::handlers::Told;
use super::{Asker, Broker, Flow, Refusal};
use crate::net::outbox::Outboxes;
use crate::router::exchange::CROSSINGS_MAX;
use crate::router::{Origin, Owner};

/// Why a handler stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The request is answered with this.
    Refuse(Refusal),
    /// The log has no room now: the frame is to come again, and finds what it needs (a topic, a group)
    /// made or not made, nothing half done.
    Wait,
    /// Another core owns what the request is about; nothing was done here.
    Elsewhere(usize),
}

/// A handler answered, left a ticket or parked the request.
pub(super) type Handled = Result<(), Stop>;

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refuse(refusal)
    }
}

impl From<HeaderError> for Stop {
    fn from(error: HeaderError) -> Stop {
        Stop::Refuse(error.into())
    }
}

impl From<AppendRefused> for Stop {
    fn from(refused: AppendRefused) -> Stop {
        Stop::Refuse(match refused {
            AppendRefused::Wait => return Stop::Wait,
            AppendRefused::NoSpace(reason) => Refusal::new(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now: the disk has no space: {reason}"),
            ),
            AppendRefused::Poisoned(poison) => Refusal::new(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now: {poison}"),
            ),
            AppendRefused::TransactionsFull => Refusal::new(
                response::SYSTEM_BUSY,
                format!(
                    "[TRANSACTIONS]broker busy, {OPEN_TRANSACTIONS_MAX} half messages of the queue's shard are open already, try again later"
                ),
            ),
            AppendRefused::TooLarge { found_bytes } => Refusal::new(
                response::MESSAGE_ILLEGAL,
                format!(
                    "the message is illegal: it takes {found_bytes} bytes in the log, more than a batch may"
                ),
            ),
        })
    }
}

impl Broker {
    /// Handles one frame of a connection.
    ///
    /// # Errors
    /// The header cannot be decoded: the connection is to be closed.
    pub fn handle(
        &mut self,
        now: Now,
        origin: Origin,
        frame: &Frame<'_>,
        outboxes: &mut Outboxes,
    ) -> Result<Flow, HeaderError> {
        if let Some(send) = ScannedSend::scan(frame) {
            let request = (send.opaque, send.flag, send.version);
            let asker = asker_of(origin, frame, request);
            return Ok(self.send(now, &asker, Ok(&send.header), frame.body, outboxes));
        }
        self.handle_decoded(now, origin, frame, outboxes)
    }

    /// These bytes are handled next: asks for the memory that they need, if they are a send.
    pub fn prefetch_for(&self, bytes: &[u8]) {
        if self.catalog.is_large()
            && let Some(topic) = peek_topic(bytes)
        {
            self.catalog.prefetch_send_target(topic);
        }
    }

    /// The broker is about to stop: who can go elsewhere is told so. The others hear nothing, and their
    /// connections end.
    pub fn turn_away(&mut self, origin: Origin, frame: &Frame<'_>, outboxes: &mut Outboxes) {
        let Ok(command) = Command::decode(frame) else { return };
        if command.is_response() || command.version <= version::V5_3_1 {
            return;
        }
        let request = (command.opaque, command.flag, command.version);
        let asker = asker_of(origin, frame, request);
        refuse(&asker, &Refusal::new(response::GO_AWAY, "please go away"), outboxes);
    }

    /// Everything but sends in their usual form.
    fn handle_decoded(
        &mut self,
        now: Now,
        origin: Origin,
        frame: &Frame<'_>,
        outboxes: &mut Outboxes,
    ) -> Result<Flow, HeaderError> {
        let command = Command::decode(frame)?;
        if command.is_response() {
            if !self.router.is_home() {
                return Ok(Flow::To { core: self.router.home(), is_pull: false });
            }
            self.called_back(origin.connection, &command, frame.body, outboxes);
            return Ok(Flow::Done);
        }
        let request = (command.opaque, command.flag, command.version);
        let asker = asker_of(origin, frame, request);
        let handled = match command.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                let header = SendHeader::parse(&command);
                return Ok(self.send(now, &asker, header.as_ref(), frame.body, outboxes));
            }
            request::SEND_REPLY_MESSAGE | request::SEND_REPLY_MESSAGE_V2 => {
                let header = SendHeader::parse(&command);
                return Ok(self.reply(now, &asker, header.as_ref(), frame.body, outboxes));
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
                self.pull(now, &asker, &command, outboxes)
            }
            request::QUERY_CONSUMER_OFFSET => self.query_offset(&asker, &command, outboxes),
            request::UPDATE_CONSUMER_OFFSET => self.update_offset(now, &asker, &command, outboxes),
            request::SEARCH_OFFSET_BY_TIMESTAMP => {
                self.search_offset(now, &asker, &command, outboxes)
            }
            request::GET_MAX_OFFSET => self.max_offset(&asker, &command, outboxes),
            request::GET_MIN_OFFSET => self.min_offset(&asker, &command, outboxes),
            request::GET_EARLIEST_MSG_STORETIME => {
                self.earliest_store_time(now, &asker, &command, outboxes)
            }
            request::QUERY_MESSAGE => self.query_message(&asker, &command, outboxes),
            request::VIEW_MESSAGE_BY_ID => self.view_message(now, &asker, &command, outboxes),
            request::QUERY_CONSUME_QUEUE => {
                self.query_consume_queue(now, &asker, &command, outboxes)
            }
            request::HEART_BEAT => self.heartbeat(now, &asker, &command, frame.body, outboxes),
            request::UNREGISTER_CLIENT => self.unregister_client(&asker, &command, outboxes),
            request::CONSUMER_SEND_MSG_BACK => {
                self.send_back(now, &asker, &command, frame.body, outboxes)
            }
            request::END_TRANSACTION => self.end_transaction(now, &asker, &command, outboxes),
            request::CHECK_TRANSACTION_STATE if asker.has_record => {
                self.ask_producer(now, frame, outboxes);
                Ok(())
            }
            request::RECALL_MESSAGE => self.recall(now, &asker, &command),
            request::LOCK_BATCH_MQ => self.lock_queues(now, &asker, frame.body, outboxes),
            request::UNLOCK_BATCH_MQ => self.unlock_queues(&asker, frame.body, outboxes),
            request::CHECK_CLIENT_CONFIG => self.check_client_config(&asker, frame.body, outboxes),
            request::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(&asker, &command, outboxes),
            request::UPDATE_AND_CREATE_TOPIC => self.create_topic(now, &asker, &command, outboxes),
            request::UPDATE_AND_CREATE_TOPIC_LIST => {
                self.create_topics(now, &asker, frame.body, outboxes)
            }
            request::DELETE_TOPIC_IN_BROKER => {
                self.delete_topic_in_broker(now, &asker, &command, outboxes)
            }
            request::GET_ALL_TOPIC_CONFIG => self.all_topics(&asker, outboxes),
            request::GET_TOPIC_CONFIG => self.topic_config(&asker, &command, outboxes),
            request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => {
                self.system_topics_of_broker(&asker, outboxes)
            }
            request::GET_TOPIC_STATS_INFO => self.topic_stats(&asker, &command),
            request::GET_CONSUME_STATS => self.consume_stats(&asker, &command, outboxes),
            request::QUERY_CONSUME_TIME_SPAN => self.consume_time_span(&asker, &command),
            request::QUERY_TOPIC_CONSUME_BY_WHO => self.topic_consumers(&asker, &command),
            request::QUERY_TOPICS_BY_CONSUMER => self.topics_of_consumer(&asker, &command),
            request::QUERY_CORRECTION_OFFSET => self.correction_offset(&asker, &command),
            request::GET_BROKER_RUNTIME_INFO => self.ask_runtime(&asker, Told::RuntimeInfo),
            request::GET_ALL_DELAY_OFFSET => self.ask_runtime(&asker, Told::DelayOffsets),
            request::GET_TIMER_CHECK_POINT => self.ask_runtime(&asker, Told::TimerCheckpoint),
            request::GET_TIMER_METRICS => self.ask_runtime(&asker, Told::TimerMetrics),
            request::GET_ALL_CONSUMER_OFFSET => self.all_offsets(&asker),
            request::GET_BROKER_CONSUME_STATS => self.broker_consume_stats(&asker, &command),
            request::GET_BROKER_CONFIG => self.broker_config(&asker, outboxes),
            request::UPDATE_BROKER_CONFIG => {
                self.update_broker_config(now, &asker, frame.body, outboxes)
            }
            request::UPDATE_AND_GET_GROUP_FORBIDDEN => {
                self.group_forbidden(now, &asker, &command, outboxes)
            }
            request::RESUME_CHECK_HALF_MESSAGE => {
                self.resume_check(now, &asker, &command, outboxes)
            }
            request::VIEW_BROKER_STATS_DATA => self.view_stats(&asker, &command),
            request::CLEAN_EXPIRED_CONSUMEQUEUE | request::CLEAN_UNUSED_TOPIC => {
                self.nothing_to_clean(&asker, outboxes)
            }
            request::DELETE_EXPIRED_COMMITLOG => self.delete_expired_log(&asker),
            request::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offset(&asker, &command),
            request::CLONE_GROUP_OFFSET => self.clone_offset(&asker, &command),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                self.create_group(now, &asker, frame.body)
            }
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
                self.create_groups(now, &asker, frame.body)
            }
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(&asker, outboxes),
            request::GET_SUBSCRIPTIONGROUP_CONFIG => {
                self.group_config(now, &asker, &command, outboxes)
            }
            request::DELETE_SUBSCRIPTIONGROUP => self.delete_group(now, &asker, &command),
            request::GET_CONSUMER_CONNECTION_LIST => {
                self.consumer_connections(&asker, &command, outboxes)
            }
            request::GET_PRODUCER_CONNECTION_LIST => {
                self.producer_connections(&asker, &command, outboxes)
            }
            request::GET_ALL_PRODUCER_INFO => self.all_producers(now, &asker, outboxes),
            request::GET_CONSUMER_RUNNING_INFO => {
                self.running_info(now, &asker, &command, outboxes)
            }
            request::CONSUME_MESSAGE_DIRECTLY => {
                self.consume_directly(now, &asker, &command, frame.body, outboxes)
            }
            request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
                self.consumer_status(now, &asker, &command, outboxes)
            }
            request::QUERY_SUBSCRIPTION_BY_CONSUMER => {
                self.subscription_of(&asker, &command, outboxes)
            }
            code => Err(Stop::Refuse(Refusal::new(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {code} not supported"),
            ))),
        };
        let is_pull = matches!(command.code, request::PULL_MESSAGE | request::LITE_PULL_MESSAGE);
        Ok(match flow_of(&asker, handled) {
            Ok(Flow::To { core, .. }) => Flow::To { core, is_pull },
            Ok(flow) => flow,
            Err(refusal) => {
                refuse(&asker, &refusal, outboxes);
                Flow::Done
            }
        })
    }

    /// Only the home core does what follows.
    pub(super) fn check_home(&self) -> Result<(), Stop> {
        if self.router.is_home() { Ok(()) } else { Err(Stop::Elsewhere(self.router.home())) }
    }

    /// The place here of the shard that owns a topic's queue.
    pub(super) fn place_of(&self, placement: Placement, queue: u32) -> Result<usize, Stop> {
        here(self.router.of_queue(placement, queue))
    }
}

/// The place of an owner that is here.
pub(super) fn here(owner: Owner) -> Result<usize, Stop> {
    match owner {
        Owner::Here(place) => Ok(place),
        Owner::There { core } => Err(Stop::Elsewhere(core)),
        Owner::Nobody => {
            let remark = "its shard is not in this store: was it made with more shards?";
            Err(Refusal::new(response::SYSTEM_ERROR, remark).into())
        }
    }
}

/// What is to be done with a request's frame, or how it is refused.
pub(super) fn flow_of(asker: &Asker, handled: Handled) -> Result<Flow, Refusal> {
    match handled {
        Ok(()) => Ok(Flow::Done),
        Err(Stop::Wait) => Ok(Flow::Wait),
        Err(Stop::Elsewhere(core)) if asker.crossings < CROSSINGS_MAX => {
            Ok(Flow::To { core, is_pull: false })
        }
        Err(Stop::Elsewhere(_)) => {
            let remark = "what the request is about moved while it was on its way, try again";
            Err(Refusal::new(response::SYSTEM_BUSY, remark))
        }
        Err(Stop::Refuse(refusal)) => Err(refusal),
    }
}

fn asker_of(
    Origin { connection, peer, crossings, has_record }: Origin,
    frame: &Frame<'_>,
    (opaque, flag, version): (i32, i32, i32),
) -> Asker {
    let is_oneway = flag & FLAG_ONEWAY != 0;
    let encoding = frame.encoding;
    Asker { connection, peer, opaque, encoding, is_oneway, version, crossings, has_record }
}

/// Turns a refusal into an answer: the one place for requests other than sends.
pub(super) fn refuse(asker: &Asker, refusal: &Refusal, outboxes: &mut Outboxes) {
    let forbidden = refusal.forbidden.map(|by| [("forbiddenType", by.number())]);
    let ext = forbidden.as_ref().map(|ext| &ext[..]);
    answer(asker, refusal.code, Some(&refusal.remark), ext, &[], outboxes);
}

/// Bytes of a frame besides its body, more than the header of an answer with a body takes.
const HEAD_BYTES: usize = 1024;

/// Answers a request with success and a body, if anybody waits.
///
/// # Errors
/// A frame cannot hold the body.
pub(super) fn answer_body(
    asker: &Asker,
    write: impl FnOnce(&mut Vec<u8>),
    outboxes: &mut Outboxes,
) -> Handled {
    let mut body = Vec::new();
    write(&mut body);
    answer_body_with(asker, None, &body, outboxes)
}

/// The same with fields, which are few.
pub(super) fn answer_body_with(
    asker: &Asker,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
    outboxes: &mut Outboxes,
) -> Handled {
    if body.len() > FRAME_BYTES_MAX - HEAD_BYTES {
        let remark = format!(
            "the answer takes {} bytes, more than the {FRAME_BYTES_MAX} of a frame",
            body.len()
        );
        return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
    }
    answer(asker, response::SUCCESS, None, ext, body, outboxes);
    Ok(())
}

/// Answers a request, if anybody waits.
pub(super) fn answer(
    asker: &Asker,
    code: i32,
    remark: Option<&str>,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
    outboxes: &mut Outboxes,
) {
    if asker.is_oneway {
        return;
    }
    let Some(outbox) = outboxes.of(asker.connection) else { return };
    let head = ResponseHead { opaque: asker.opaque, code, remark };
    write_response(outbox.bytes(), asker.encoding, &head, ext, body);
}
