//! Transactions through the wire, with one shard on one core and with three on two: what is seen when, what
//! wrong words are answered, how producers are asked, and that all of it survives a kill at any step.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::ids::OffsetMessageId;
use proto::properties;
use proto::record::Record;
use support::{Client, Reply, Server, decoded, now_ms, write_config};

/// Shards and cores.
const SIZES: [(&str, &str); 2] = [("1", "1"), ("3", "2")];

const TOPIC: &str = "TransactionTopic";
const GROUP: &str = "TransactionProducers";
const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Queues of the topic: each shard has several.
const QUEUES: i32 = 6;

/// Codes of RocketMQ.
const SEND_MESSAGE: i32 = 10;
const GET_MAX_OFFSET: i32 = 30;
const HEART_BEAT: i32 = 34;
const END_TRANSACTION: i32 = 37;
const CHECK_TRANSACTION_STATE: i32 = 39;
const RESUME_CHECK: i32 = 323;

const COMMIT: &str = "8";
const ROLLBACK: &str = "12";
const UNKNOWN: &str = "0";

const NOT_FOUND: &str = "Find prepared transaction message failed";

/// A broker that can be killed and started again.
struct Broker {
    // Ends before its folder goes.
    server: Option<Server>,
    folder: tempfile::TempDir,
    size: (&'static str, &'static str),
}

impl Broker {
    /// With these lines in its broker.conf.
    fn start(size: (&'static str, &'static str), config: &str) -> Broker {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        write_config(folder.path(), 16 << 20, config);
        let mut broker = Broker { server: None, folder, size };
        broker.start_again();
        broker.client().create_topic(TOPIC, QUEUES);
        broker
    }

    fn start_again(&mut self) {
        let config = self.folder.path().join("broker.conf");
        let flags = [
            "-c",
            config.to_str().expect("text"),
            "--log-level",
            "error",
            "--shards",
            self.size.0,
            "--cores",
            self.size.1,
        ];
        self.server = Some(Server::start(&self.store(), &flags));
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// kill -9, and a start on what it left.
    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
        self.start_again();
    }

    fn client(&self) -> Client {
        Client::connect(self.server.as_ref().expect("it runs").broker)
    }

    fn shards(&self) -> i32 {
        self.size.0.parse().expect("a number")
    }
}

/// A half message as its producer knows it.
#[derive(Clone, Debug)]
struct Half {
    queue: i32,
    position: i64,
    offset: i64,
    key: String,
    body: Vec<u8>,
}

fn send(client: &mut Client, queue: i32, properties: &str, sys_flag: &str, body: &[u8]) -> Reply {
    let (queue, born) = (queue.to_string(), now_ms().to_string());
    let fields = [
        ("producerGroup", GROUP),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", &*queue),
        ("sysFlag", sys_flag),
        ("bornTimestamp", &*born),
        ("flag", "7"),
        ("properties", properties),
    ];
    client.ask(SEND_MESSAGE, &fields, body)
}

fn send_half(client: &mut Client, queue: i32, name: &str, more: &str) -> Half {
    let key = format!("{name:0>32}");
    let properties = format!(
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}UNIQ_KEY\u{1}{key}\u{2}TAGS\u{1}{name}\u{2}{more}"
    );
    let reply = send(client, queue, &properties, "4", name.as_bytes());
    assert_eq!((reply.code, &*reply.remark), (0, ""), "{name}");
    assert_eq!(reply.number("queueId"), i64::from(queue), "the real queue, as Apache says");
    assert_eq!(reply.field("transactionId"), Some(&*key));
    let id = reply.field("msgId").expect("an id");
    let position = OffsetMessageId::decode(id.as_bytes()).expect("an id").position.to_i64();
    Half { queue, position, offset: reply.number("queueOffset"), key, body: name.into() }
}

fn end_as(client: &mut Client, half: &Half, group: &str, word: &str, from_check: bool) -> Reply {
    let (offset, position) = (half.offset.to_string(), half.position.to_string());
    let fields = [
        ("topic", TOPIC),
        ("producerGroup", group),
        ("tranStateTableOffset", &*offset),
        ("commitLogOffset", &*position),
        ("commitOrRollback", word),
        ("fromTransactionCheck", if from_check { "true" } else { "false" }),
        ("msgId", &*half.key),
        ("transactionId", &*half.key),
    ];
    client.ask(END_TRANSACTION, &fields, &[])
}

fn end(client: &mut Client, half: &Half, word: &str) {
    let reply = end_as(client, half, GROUP, word, false);
    assert_eq!((reply.code, &*reply.remark), (0, ""), "{half:?} {word}");
}

fn produce_for(client: &mut Client, group: &str) {
    let body = format!(
        r#"{{"clientID":"{group}@1","consumerDataSet":[],"producerDataSet":[{{"groupName":"{group}"}}]}}"#
    );
    assert_eq!(client.ask(HEART_BEAT, &[], body.as_bytes()).code, 0);
}

fn max_offset(client: &mut Client, topic: &str, queue: i32) -> i64 {
    let queue = queue.to_string();
    client.ask(GET_MAX_OFFSET, &[("topic", topic), ("queueId", &*queue)], &[]).number("offset")
}

fn bodies(client: &mut Client, topic: &str, queue: i32) -> Vec<Vec<u8>> {
    let records = support::records(&client.pull(topic, queue, 0).body);
    records.into_iter().map(|(_, body)| body).collect()
}

/// Until a condition holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < support::DEADLINE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The next check that comes for a producer.
fn next_check(client: &mut Client) -> Reply {
    loop {
        let asked = client.read().expect("the connection is open");
        if asked.code == CHECK_TRANSACTION_STATE {
            return asked;
        }
    }
}

fn checks_of(record: &[u8]) -> u32 {
    let (record, _) = Record::decode(record).expect("a record");
    let value = properties::find(record.fields().properties, "TRANSACTION_CHECK_TIMES");
    value.map_or(0, |value| String::from_utf8_lossy(value).parse().expect("a number"))
}

#[test]
fn what_is_committed_is_seen_once_and_what_is_rolled_back_never() {
    for size in SIZES {
        let broker = Broker::start(size, "");
        let (mut one, mut other) = (broker.client(), broker.client());
        let mut half = Vec::new();
        for number in 0..4 {
            for queue in 0..QUEUES {
                let name = format!("m{queue}x{number}");
                half.push(send_half(&mut one, queue, &name, ""));
            }
        }
        for queue in 0..QUEUES {
            assert_eq!(max_offset(&mut other, TOPIC, queue), 0, "nothing is visible");
        }
        // Over another connection than the one it was sent on, every word twice, and against each other.
        for (index, half) in half.iter().enumerate() {
            let words = if (index / QUEUES as usize).is_multiple_of(2) {
                [COMMIT, ROLLBACK, COMMIT]
            } else {
                [ROLLBACK, COMMIT, ROLLBACK]
            };
            words.iter().for_each(|word| end(&mut other, half, word));
        }
        for queue in 0..QUEUES {
            let expected = [0, 2].map(|number| format!("m{queue}x{number}").into_bytes());
            assert_eq!(bodies(&mut one, TOPIC, queue), expected, "queue {queue} of {size:?}");
        }
        let half_messages: i64 =
            (0..broker.shards()).map(|shard| max_offset(&mut one, HALF_TOPIC, shard)).sum();
        assert_eq!(half_messages, half.len() as i64);
    }
}

#[test]
fn a_committed_message_is_what_apache_makes_of_it() {
    for size in SIZES {
        let broker = Broker::start(size, "");
        let mut client = broker.client();
        let half = send_half(&mut client, 1, "looked-at", "DELAY\u{1}3\u{2}own\u{1}property\u{2}");
        end(&mut client, &half, COMMIT);
        let reply = client.pull(TOPIC, 1, 0);
        let (record, _) = Record::decode(&reply.body).expect("it is there at once");
        let fields = record.fields();
        assert_eq!((fields.queue_id, fields.queue_offset, fields.flag), (1, 0, 7));
        assert_eq!(fields.sys_flag & 0xC, 8, "committed");
        assert_eq!(fields.prepared_transaction_offset, half.position);
        assert!(fields.physic_offset > half.position);
        assert!((fields.store_timestamp - fields.born_timestamp).abs() < 60_000);
        let of =
            |name| properties::find(fields.properties, name).map(|it| String::from_utf8_lossy(it));
        for (name, value) in [
            ("TRAN_MSG", Some("true")),
            ("PGROUP", Some(GROUP)),
            ("UNIQ_KEY", Some(&*half.key)),
            ("__transactionId__", Some(&*half.key)),
            ("REAL_TOPIC", Some(TOPIC)),
            ("REAL_QID", Some("1")),
            ("TAGS", Some("looked-at")),
            ("own", Some("property")),
            ("CLUSTER", Some("DefaultCluster")),
            ("DELAY", None),
            ("TRANSACTION_CHECK_TIMES", None),
        ] {
            assert_eq!(of(name).as_deref(), value, "{name}");
        }
    }
}

/// What is wrong with what a producer says.
type Change<'a> = &'a dyn Fn(&mut Half);

#[test]
fn wrong_words_are_answered_as_apache_does_and_store_nothing() {
    for size in SIZES {
        let broker = Broker::start(size, "");
        let mut client = broker.client();
        let half = send_half(&mut client, 2, "wronged", "");
        let plain = send(&mut client, 2, "", "0", b"plain");
        let id = plain.field("msgId").expect("an id");
        let plain_position = OffsetMessageId::decode(id.as_bytes()).expect("an id").position;
        let wrong = |change: Change<'_>| {
            let mut wrong = half.clone();
            change(&mut wrong);
            wrong
        };
        let other_group = end_as(&mut client, &half, "Others", COMMIT, false);
        assert_eq!((other_group.code, &*other_group.remark), (1, "The producer group wrong"));
        let cases: [(Change<'_>, &str); 9] = [
            (&|it| it.offset += 1, "The transaction state table offset wrong"),
            (&|it| it.offset = -1, "The transaction state table offset wrong"),
            (&|it| it.offset = i64::MAX, "The transaction state table offset wrong"),
            (&|it| it.position += 8, NOT_FOUND),
            (&|it| it.position = 0, NOT_FOUND),
            (&|it| it.position = -1, NOT_FOUND),
            (&|it| it.position = i64::MAX, NOT_FOUND),
            (&|it| it.position |= 40 << 20, NOT_FOUND),
            (&|it| it.position = plain_position.to_i64(), NOT_FOUND),
        ];
        for (change, remark) in cases {
            for word in [COMMIT, ROLLBACK] {
                let wrong = wrong(change);
                let reply = end_as(&mut client, &wrong, GROUP, word, false);
                assert_eq!((reply.code, &*reply.remark), (1, remark), "{wrong:?}");
            }
        }
        for (word, remark) in [
            ("4", "commitOrRollback field wrong"),
            ("9", "commitOrRollback field wrong"),
            ("x", "the field commitOrRollback has the invalid value 'x'"),
        ] {
            let reply = end_as(&mut client, &half, GROUP, word, false);
            assert_eq!((reply.code, &*reply.remark), (1, remark));
        }
        let reply = client.ask(END_TRANSACTION, &[("producerGroup", GROUP)], &[]);
        assert_eq!(
            (reply.code, &*reply.remark),
            (1, "the required field tranStateTableOffset is missing")
        );
        // Who does not know yet is not answered: the next answer is another request's.
        let (offset, position) = (half.offset.to_string(), half.position.to_string());
        let fields = [
            ("producerGroup", GROUP),
            ("tranStateTableOffset", &*offset),
            ("commitLogOffset", &*position),
            ("commitOrRollback", UNKNOWN),
            ("msgId", ""),
        ];
        client.write(END_TRANSACTION, &fields, &[]);
        let asked = client.write(GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "2")], &[]);
        let answer = client.read().expect("an answer");
        assert_eq!((answer.opaque, answer.number("offset")), (asked, 1), "only the plain one");
        end(&mut client, &half, COMMIT);
        assert_eq!(bodies(&mut client, TOPIC, 2), [b"plain".to_vec(), b"wronged".to_vec()]);
    }
}

#[test]
fn half_messages_that_cannot_be_are_refused() {
    let broker = Broker::start(SIZES[0], "rejectTransactionMessage=true\n");
    let mut client = broker.client();
    let reply = send(&mut client, 0, "TRAN_MSG\u{1}TRUE\u{2}PGROUP\u{1}G\u{2}", "4", b"x");
    assert_eq!(reply.code, 16);
    assert!(reply.remark.contains("sending transaction message is forbidden"), "{}", reply.remark);
    drop(broker);
    for size in SIZES {
        let broker = Broker::start(size, "");
        let mut client = broker.client();
        let reply = send(&mut client, 0, "TRAN_MSG\u{1}true\u{2}", "4", b"x");
        assert_eq!(reply.code, 13);
        assert!(reply.remark.contains("needs the property PGROUP"), "{}", reply.remark);
        let reply = send(&mut client, 0, "PGROUP\u{1}G\u{2}", "4", b"x");
        assert_eq!(reply.code, 13);
        assert!(reply.remark.contains("without the property TRAN_MSG"), "{}", reply.remark);
        // No half message: Java's Boolean.parseBoolean.
        let reply = send(&mut client, 0, "TRAN_MSG\u{1}yes\u{2}", "0", b"plain");
        assert_eq!(reply.code, 0, "{}", reply.remark);
        assert_eq!(bodies(&mut client, TOPIC, 0), [b"plain".to_vec()]);
    }
}

#[test]
fn producers_are_asked_until_they_know() {
    let config = "transactionTimeOut=200\ntransactionCheckInterval=200\n";
    for size in SIZES {
        let broker = Broker::start(size, config);
        let mut sender = broker.client();
        let half: Vec<_> = (0..QUEUES)
            .map(|queue| send_half(&mut sender, queue, &format!("asked{queue}"), ""))
            .collect();
        let mut stranger = broker.client();
        produce_for(&mut stranger, "Strangers");
        // The one that sent is gone: any of its group is asked.
        drop(sender);
        let mut producer = broker.client();
        produce_for(&mut producer, GROUP);
        let mut asked_often = vec![0; half.len()];
        while asked_often.iter().any(|checks| *checks < 3) {
            let asked = next_check(&mut producer);
            assert_eq!(asked.field("topic"), Some(HALF_TOPIC));
            let key = asked.field("msgId").expect("a key");
            let index = half.iter().position(|it| it.key == key).expect("one of them");
            let Half { queue, position, offset, key, body } = &half[index];
            assert_eq!(asked.field("transactionId"), Some(&**key));
            assert_eq!(asked.number("tranStateTableOffset"), *offset);
            assert_eq!(asked.number("commitLogOffset"), *position);
            let id = asked.field("offsetMsgId").expect("an id");
            let id = OffsetMessageId::decode(id.as_bytes()).expect("an id");
            assert_eq!(id.position.to_i64(), *position);
            let (record, _) = Record::decode(&asked.body).expect("a record");
            let fields = record.fields();
            assert_eq!(fields.topic, TOPIC.as_bytes());
            assert_eq!((fields.queue_id, fields.queue_offset), (*queue, *offset));
            assert!(fields.body == body && record.is_body_intact() && fields.flag == 7);
            let checks = checks_of(&asked.body);
            assert!(checks > asked_often[index], "it counts up");
            asked_often[index] = checks;
        }
        for (half, word) in half.iter().zip([COMMIT, ROLLBACK].into_iter().cycle()) {
            let reply = end_as(&mut producer, half, GROUP, word, true);
            assert_eq!(reply.code, 0, "{}", reply.remark);
        }
        for half in &half {
            let expected = if half.queue % 2 == 0 { vec![half.body.clone()] } else { vec![] };
            assert_eq!(bodies(&mut producer, TOPIC, half.queue), expected);
        }
        let committed = producer.pull(TOPIC, 0, 0);
        assert!(checks_of(&committed.body) >= 3, "consumers see how often it was asked");
        // All is settled: nobody is asked any more. What was on its way comes before this answer.
        max_offset(&mut producer, TOPIC, 0);
        std::thread::sleep(Duration::from_millis(500));
        let asked = producer.write(GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "0")], &[]);
        assert_eq!(producer.read().expect("an answer").opaque, asked);
        let asked = stranger.write(GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "0")], &[]);
        assert_eq!(
            stranger.read().expect("an answer").opaque,
            asked,
            "another group hears nothing"
        );
    }
}

#[test]
fn producers_of_a_group_take_turns() {
    let broker = Broker::start(
        SIZES[1],
        "transactionTimeOut=100\ntransactionCheckInterval=100\ntransactionCheckMax=1000\n",
    );
    let mut producers: Vec<_> = (0..3).map(|_| broker.client()).collect();
    producers.iter_mut().for_each(|producer| produce_for(producer, GROUP));
    send_half(&mut broker.client(), 0, "turns", "");
    let mut seen: Vec<_> = producers.iter_mut().map(|it| checks_of(&next_check(it).body)).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3, "each was asked another time");
}

#[test]
fn what_nobody_knows_is_given_up_after_the_last_check() {
    let config = "transactionTimeOut=100\ntransactionCheckInterval=100\ntransactionCheckMax=2\n";
    for size in SIZES {
        let broker = Broker::start(size, config);
        let mut client = broker.client();
        // Of its own: who waits for answers passes over what it is asked meanwhile.
        let mut producer = broker.client();
        produce_for(&mut producer, GROUP);
        let half: Vec<_> = (0..QUEUES)
            .map(|queue| send_half(&mut client, queue, &format!("lost{queue}"), ""))
            .collect();
        let mut reader = broker.client();
        let mut given_up = Vec::new();
        wait_until("the topic of what is given up", || {
            given_up = (0..broker.shards())
                .flat_map(|shard| {
                    let body = reader.pull(GIVEN_UP_TOPIC, shard, 0).body;
                    let checks = if body.is_empty() { 2 } else { checks_of(&body) };
                    assert_eq!(checks, 2, "after exactly as many checks as configured");
                    bodies(&mut reader, GIVEN_UP_TOPIC, shard)
                })
                .collect();
            given_up.len() == half.len()
        });
        given_up.sort();
        let expected: Vec<_> = half.iter().map(|it| it.body.clone()).collect();
        assert_eq!(given_up, expected);
        let mut asked = Vec::new();
        while asked.len() < 2 * half.len() {
            asked.push(checks_of(&next_check(&mut producer).body));
        }
        asked.sort_unstable();
        assert_eq!(asked.iter().filter(|checks| **checks == 1).count(), half.len());
        assert_eq!(asked.iter().filter(|checks| **checks == 2).count(), half.len());
        // A word that comes too late is answered and changes nothing.
        for half in &half {
            end(&mut client, half, COMMIT);
            assert_eq!(max_offset(&mut client, TOPIC, half.queue), 0);
        }
    }
}

/// Offset message ids of what was given up.
fn ids_of_given_up(client: &mut Client, shards: i32) -> Vec<String> {
    let mut ids = Vec::new();
    for shard in 0..shards {
        let body = client.pull(GIVEN_UP_TOPIC, shard, 0).body;
        for fields in decoded(&body) {
            let position = proto::ids::Position::from_i64(fields.physic_offset).expect("one");
            let id = OffsetMessageId { host: fields.store_host, position }.encode();
            ids.push(id.as_str().to_owned());
        }
    }
    ids
}

#[test]
fn what_was_given_up_waits_again_when_it_is_told_to() {
    let config = "transactionTimeOut=100\ntransactionCheckInterval=100\ntransactionCheckMax=1\n";
    for size in SIZES {
        let mut broker = Broker::start(size, config);
        let mut client = broker.client();
        for queue in 0..QUEUES {
            send_half(&mut client, queue, &format!("lost{queue}"), "");
        }
        let (shards, mut ids) = (broker.shards(), Vec::new());
        wait_until("all are given up", || {
            ids = ids_of_given_up(&mut client, shards);
            ids.len() == QUEUES as usize
        });
        for id in &ids {
            let resumed = client.ask(RESUME_CHECK, &[("topic", TOPIC), ("msgId", id)], &[]);
            assert_eq!((resumed.code, &*resumed.remark), (0, ""));
        }
        // They wait, and nobody is there to ask; what was answered is durable.
        broker.kill();
        let mut producer = broker.client();
        produce_for(&mut producer, GROUP);
        let mut client = broker.client();
        let mut left: std::collections::BTreeSet<_> = (0..QUEUES).collect();
        while !left.is_empty() {
            // Whoever was asked once, and was not heard in time, was given up again: it waits once more.
            let asked = next_check(&mut producer);
            let (record, _) = Record::decode(&asked.body).expect("a record");
            let name = String::from_utf8_lossy(record.fields().body).into_owned();
            assert_eq!(checks_of(&asked.body), 1, "it begins anew");
            let half = Half {
                queue: record.fields().queue_id,
                position: asked.number("commitLogOffset"),
                offset: asked.number("tranStateTableOffset"),
                key: asked.field("msgId").expect("a key").to_owned(),
                body: name.clone().into(),
            };
            let ended = end_as(&mut client, &half, GROUP, COMMIT, true);
            assert_eq!(ended.code, 0, "{}", ended.remark);
            let seen = bodies(&mut client, TOPIC, half.queue);
            match seen.len() {
                0 => {
                    let before = ids.len();
                    wait_until("it is given up again", || {
                        ids = ids_of_given_up(&mut client, shards);
                        ids.len() > before
                    });
                    let id = &ids[ids.len() - 1];
                    let fields = [("topic", TOPIC), ("msgId", &**id)];
                    assert_eq!(client.ask(RESUME_CHECK, &fields, &[]).code, 0);
                }
                _ => {
                    assert_eq!(seen, [name.into_bytes()], "once, and the one that was lost");
                    left.remove(&half.queue);
                }
            }
        }
    }
}

#[test]
fn only_what_was_given_up_can_be_resumed_and_others_are_refused() {
    let remark = "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.";
    for size in SIZES {
        let broker = Broker::start(size, "transactionTimeOut=100000");
        let mut client = broker.client();
        let half = send_half(&mut client, 0, "open", "");
        let sent = send(&mut client, 1, "", "0", b"plain");
        let id = sent.field("msgId").expect("an id").to_owned();
        let position = proto::ids::Position::from_i64(half.position).expect("one");
        let host = "127.0.0.1:1".parse().expect("an address");
        let open = OffsetMessageId { host, position }.encode().as_str().to_owned();
        let nowhere = format!("{}{:016X}", &id[..16], 1_u64 << 40);
        for id in [&*id, &*open, &*nowhere, "nonsense"] {
            let refused = client.ask(RESUME_CHECK, &[("topic", TOPIC), ("msgId", id)], &[]);
            assert_eq!((refused.code, &*refused.remark), (1, remark), "{id}");
        }
        assert_eq!(client.ask(RESUME_CHECK, &[("topic", TOPIC)], &[]).code, 1);
        end(&mut client, &half, COMMIT);
        assert_eq!(bodies(&mut client, TOPIC, 0).len(), 1, "it was left alone");
    }
}

#[test]
fn a_half_message_may_have_a_time_of_its_own() {
    let config = "transactionTimeOut=3600000\ntransactionCheckInterval=50\n";
    for size in SIZES {
        let broker = Broker::start(size, config);
        let mut client = broker.client();
        produce_for(&mut client, GROUP);
        let own = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}";
        let usual = send_half(&mut client, 0, "usual", "");
        let begun = Instant::now();
        let soon = send_half(&mut client, 1, "soon", own);
        let asked = next_check(&mut client);
        assert!(begun.elapsed() >= Duration::from_millis(990), "not before its time");
        assert_eq!(asked.field("msgId"), Some(&*soon.key), "the other one waits an hour");
        // The usual time is longer, so no word comes too late (Apache: the longer of the two).
        end(&mut client, &soon, COMMIT);
        end(&mut client, &usual, COMMIT);
        drop(broker);

        let broker =
            Broker::start(size, "transactionTimeOut=1\ntransactionCheckInterval=3600000\n");
        let mut client = broker.client();
        let half = send_half(&mut client, 0, "late", own);
        std::thread::sleep(Duration::from_millis(1_100));
        for word in [COMMIT, ROLLBACK] {
            let reply = end_as(&mut client, &half, GROUP, word, false);
            assert_eq!((reply.code, &*reply.remark), (604, ""), "its producer is asked instead");
        }
        assert_eq!(end_as(&mut client, &half, GROUP, COMMIT, true).code, 0);
        assert_eq!(bodies(&mut client, TOPIC, 0), [b"late".to_vec()]);
    }
}

#[test]
fn every_step_survives_a_kill() {
    let config = "transactionTimeOut=100\ntransactionCheckInterval=100\ntransactionCheckMax=1000\n";
    for size in SIZES {
        let mut broker = Broker::start(size, config);
        let mut client = broker.client();
        let half: Vec<_> = (0..QUEUES)
            .map(|queue| send_half(&mut client, queue, &format!("kept{queue}"), ""))
            .collect();
        // Sent.
        broker.kill();
        let mut client = broker.client();
        for queue in 0..QUEUES {
            assert_eq!(max_offset(&mut client, TOPIC, queue), 0, "a start shows nothing");
        }
        end(&mut client, &half[0], COMMIT);
        end(&mut client, &half[1], ROLLBACK);
        // Settled.
        broker.kill();
        let mut client = broker.client();
        end(&mut client, &half[0], COMMIT);
        end(&mut client, &half[1], COMMIT);
        assert_eq!(bodies(&mut client, TOPIC, 0), [half[0].body.clone()], "once");
        assert_eq!(max_offset(&mut client, TOPIC, 1), 0);
        // Asked.
        produce_for(&mut client, GROUP);
        let mut checks = vec![0; half.len()];
        let mut ask_until = |client: &mut Client, least: u32| {
            while checks[2..].iter().any(|checks| *checks < least) {
                let asked = next_check(client);
                let key = asked.field("msgId").expect("a key");
                let index = half.iter().position(|it| it.key == key).expect("one of them");
                assert!(index >= 2, "what is settled is not asked for");
                let count = checks_of(&asked.body);
                assert!(count > checks[index], "{count} after {} checks", checks[index]);
                checks[index] = count;
            }
        };
        ask_until(&mut client, 3);
        // What was asked is confirmed when what came later is.
        for queue in 0..QUEUES {
            assert_eq!(send(&mut client, queue, "", "0", b"later").code, 0);
        }
        broker.kill();
        let mut client = broker.client();
        produce_for(&mut client, GROUP);
        ask_until(&mut client, 6);
        // Settled by a check.
        for half in &half[2..] {
            assert_eq!(end_as(&mut client, half, GROUP, COMMIT, true).code, 0);
        }
        broker.kill();
        let mut client = broker.client();
        for half in &half[2..] {
            end(&mut client, half, ROLLBACK);
            let expected = [b"later".to_vec(), half.body.clone()];
            assert_eq!(bodies(&mut client, TOPIC, half.queue), expected);
        }
    }
}

fn segments(store: &Path, shard: &str) -> Vec<String> {
    let names = std::fs::read_dir(store.join(shard)).expect("a shard");
    let names = names.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.len() == 20).collect();
    names.sort();
    names
}

#[test]
fn half_messages_outlive_their_segments() {
    let config = "ringmqLogBytesMax=33554432\ntransactionTimeOut=3600000\n";
    let mut broker = Broker::start(SIZES[0], config);
    let mut client = broker.client();
    let half: Vec<_> = (0..60)
        .map(|number| send_half(&mut client, number % QUEUES, &format!("old{number:02}"), ""))
        .collect();
    let settled = send_half(&mut client, 0, "settled", "");
    end(&mut client, &settled, ROLLBACK);
    let first = segments(&broker.store(), "shard-000")[0].clone();
    let large = vec![b'x'; 1 << 20];
    // Their segment goes, and so does that of their copies.
    for round in 0..2 {
        let oldest = segments(&broker.store(), "shard-000")[0].clone();
        wait_until("a segment goes", || {
            assert_eq!(send(&mut client, 0, "", "0", &large).code, 0);
            segments(&broker.store(), "shard-000")[0] > oldest
        });
        broker.kill();
        client = broker.client();
        let (committed, rolled_back) = (&half[round], &half[10 + round]);
        end(&mut client, committed, COMMIT);
        end(&mut client, rolled_back, ROLLBACK);
    }
    assert!(segments(&broker.store(), "shard-000")[0] > first);
    // What was settled before is gone with its segment.
    let reply = end_as(&mut client, &settled, GROUP, COMMIT, false);
    assert_eq!((reply.code, &*reply.remark), (1, NOT_FOUND));
    broker.kill();
    let mut client = broker.client();
    for (index, half) in half.iter().enumerate() {
        let before = max_offset(&mut client, TOPIC, half.queue);
        let is_settled = matches!(index, 0 | 1 | 10 | 11);
        let reply = end_as(&mut client, half, GROUP, COMMIT, false);
        let expected = if is_settled { (1, NOT_FOUND) } else { (0, "") };
        assert_eq!((reply.code, &*reply.remark), expected, "{half:?}");
        let after = max_offset(&mut client, TOPIC, half.queue);
        assert_eq!(after - before, i64::from(!is_settled));
    }
}
