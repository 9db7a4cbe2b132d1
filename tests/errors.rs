//! Every refusal of docs/errors.md, provoked through the wire: by a server with one shard on one core and
//! by one with three shards on two, which give the same answers.

mod support;

use proto::batch::BatchRecord;
use proto::frame::Encoding;
use proto::reply::{RequestHead, write_request};
use support::{Client, Reply, Server, write_config};

/// Shards and cores of the servers that are asked the same.
const SHAPES: [(&str, &str); 2] = [("1", "1"), ("3", "2")];

const ONEWAY: i32 = 2;

/// One connection to a server, which keeps what was answered.
struct Talk {
    client: Client,
    said: Vec<String>,
}

impl Talk {
    fn ask(&mut self, request: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
        let reply = self.client.ask(request, ext, body);
        self.said.push(format!("{request} {} {}", reply.code, without_ports(&reply.remark)));
        reply
    }

    /// Asks, and expects a refusal with this code and a remark that holds this.
    fn refused(
        &mut self,
        request: i32,
        ext: &[(&str, &str)],
        body: &[u8],
        (code, remark): (i32, &str),
    ) {
        let reply = self.ask(request, ext, body);
        let shown: Vec<_> = ext.iter().filter(|(_, value)| value.len() < 200).collect();
        assert_eq!(reply.code, code, "{request} {shown:?}: {}", reply.remark);
        assert!(reply.remark.contains(remark), "{request} {shown:?}: {}", reply.remark);
    }

    fn granted(&mut self, request: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
        let reply = self.ask(request, ext, body);
        assert_eq!(reply.code, 0, "{request} {ext:?}: {}", reply.remark);
        reply
    }
}

/// A remark without what differs from server to server: the ports.
fn without_ports(remark: &str) -> String {
    let mut parts = remark.split("127.0.0.1:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("127.0.0.1:*");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

/// Has the same conversation with a server of each shape, and compares what they said.
fn on_each_shape(config: &str, converse: impl Fn(&mut Talk)) {
    let mut said = Vec::new();
    for (shards, cores) in SHAPES {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let file = write_config(directory.path(), 64 << 20, config);
        let flags = ["--shards", shards, "--cores", cores, "--log-level", "error", "-c"];
        let flags = [&flags[..], &[file.as_str()]].concat();
        let server = Server::start(&directory.path().join("store"), &flags);
        let mut talk = Talk { client: Client::connect(server.broker), said: Vec::new() };
        converse(&mut talk);
        server.stop();
        said.push(talk.said);
    }
    assert!(!said[0].is_empty());
    assert_eq!(said[0], said[1], "the same frames get the same answers");
}

/// Fields of a send in their short names; `changes` replace or add some.
fn send<'a>(topic: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", ""),
        ("m", "false"),
    ];
    changed(&usual, changes)
}

/// Fields of a pull with a subscription to everything; `changes` replace or add some.
fn pull<'a>(topic: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("consumerGroup", "pullers"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    changed(&usual, changes)
}

/// Fields of 17; `changes` replace or add some.
fn topic<'a>(name: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("topic", name),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    changed(&usual, changes)
}

fn changed<'a>(
    usual: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let is_kept = |key: &str| changes.iter().all(|(changed, _)| *changed != key);
    usual.iter().filter(|(key, _)| is_kept(key)).chain(changes).copied().collect()
}

/// Where a message is that was sent.
fn position_of(reply: &Reply) -> String {
    let id = reply.field("msgId").expect("an id");
    i64::from_str_radix(&id[16..], 16).expect("a position").to_string()
}

fn without<'a>(fields: &[(&'a str, &'a str)], key: &str) -> Vec<(&'a str, &'a str)> {
    fields.iter().filter(|(name, _)| *name != key).copied().collect()
}

/// A heartbeat's body with one consumer group of one subscription.
fn heartbeat(group: &str, model: &str, subscription: &str) -> String {
    format!(
        r#"{{"clientID":"client","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"{model}","subscriptionDataSet":[{{{subscription}}}],"unitMode":false}}],"producerDataSet":[]}}"#
    )
}

#[test]
fn sends_are_refused() {
    on_each_shape("", |talk| {
        let long = "t".repeat(128);
        let properties = "k".repeat(32_700);
        let value = format!("{properties}\u{1}v\u{2}");
        talk.granted(310, &send("Sent", &[]), b"x");
        for (changes, expect) in [
            (vec![("b", " ")], (29, "The specified topic is blank.")),
            (
                vec![("b", "no blanks")],
                (29, "illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
            ),
            (vec![("b", &*long)], (29, "The specified topic is longer than topic max length.")),
            (vec![("b", "Unknown"), ("c", "NoTemplate")], (17, "topic[Unknown] not exist, apply")),
            (vec![("e", "4")], (29, "request queueId[4] is illegal")),
            (vec![("e", "x")], (1, "the field queueId has the invalid value 'x'")),
            (vec![("i", &*value)], (13, "properties of ")),
            (vec![("f", "4")], (13, "transaction bits without the property TRAN_MSG")),
            (
                vec![("i", "TRAN_MSG\u{1}true\u{2}")],
                (13, "a half message needs the property PGROUP"),
            ),
            (vec![("i", "DELAY\u{1}abc\u{2}")], (1, "DELAY is no number: abc")),
        ] {
            talk.refused(310, &send("Sent", &changes), b"x", expect);
        }
        talk.refused(310, &send("Sent", &[]), b"", (1, "the request has no body"));
        let large = vec![b'x'; (4 << 20) + 1];
        talk.refused(310, &send("Sent", &[]), &large, (13, "msg body length limit 4194304B"));
        talk.refused(310, &without(&send("Sent", &[]), "b"), b"x", (1, "field topic is missing"));
        talk.refused(10, &[("topic", "Sent")], b"x", (1, "is missing"));
        let long_names = [
            ("producerGroup", "producers"),
            ("topic", "Sent"),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "4"),
            ("sysFlag", "0"),
            ("bornTimestamp", "1"),
            ("flag", "0"),
        ];
        talk.refused(10, &long_names, b"x", (29, "request queueId[4] is illegal"));
        let reply = talk.ask(310, &send("Sent", &[("e", "9")]), b"x");
        assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"));
        assert_eq!(reply.field("TRACE_ON"), Some("true"));
        assert_eq!(talk.granted(310, &send("Sent", &[]), b"x").number("queueOffset"), 1);
    });
}

#[test]
fn sends_to_topics_of_the_broker_are_refused_and_make_nothing() {
    on_each_shape("", |talk| {
        for name in [
            "SCHEDULE_TOPIC_XXXX",
            "RMQ_SYS_TRANS_HALF_TOPIC",
            "RMQ_SYS_TRANS_OP_HALF_TOPIC",
            "TRANS_CHECK_MAX_TIME_TOPIC",
            "SELF_TEST_TOPIC",
            "OFFSET_MOVED_EVENT",
            "rmq_sys_wheel_timer",
        ] {
            let remark = format!("Sending message to topic[{name}] is forbidden.");
            talk.refused(310, &send(name, &[]), b"x", (16, &remark));
        }
        let name = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
        talk.refused(11, &pull(name, &[]), b"", (17, "not exist, apply first please!"));
    });
}

#[test]
fn a_oneway_request_that_is_refused_gets_no_answer() {
    on_each_shape("", |talk| {
        let mut frames = Vec::new();
        let fields = send("no blanks", &[]);
        for (code, opaque) in [(310, -1), (9999, -2), (15, -3), (11, -4), (36, -5)] {
            let head = RequestHead { code, opaque, flag: ONEWAY };
            write_request(&mut frames, Encoding::Json, &head, Some(&fields), b"x");
        }
        talk.client.write_raw(&frames);
        // The next frame that comes is this one's answer, on every core that refused something.
        let opaque = talk.client.write(310, &send("Sent", &[]), b"x");
        let reply = talk.client.read().expect("an answer");
        assert_eq!((reply.opaque, reply.code), (opaque, 0), "{}", reply.remark);
        let opaque = talk.client.write(9999, &[], b"");
        let reply = talk.client.read().expect("an answer");
        assert_eq!((reply.opaque, reply.code), (opaque, 3), "{}", reply.remark);
        talk.said.push(reply.remark);
    });
}

#[test]
fn batches_are_refused() {
    on_each_shape("", |talk| {
        let record = |body: &[u8], properties: &[u8]| {
            let mut bytes = Vec::new();
            BatchRecord { flag: 0, body, properties }.encode(&mut bytes);
            bytes
        };
        let good = record(b"body", b"");
        let batch = |changes: &[(&'static str, &'static str)]| {
            send("Batches", &[&[("m", "true")], changes].concat())
        };
        talk.granted(320, &batch(&[]), &good);
        talk.granted(11, &pull("Batches", &[("consumerGroup", "again")]), b"");
        for (changes, expect) in [
            (&[("b", "%RETRY%again")][..], (13, "batch request does not support retry group")),
            (&[("f", "4")][..], (13, "a batch cannot be a transaction")),
            (&[("i", "DELAY\u{1}3\u{2}")][..], (13, "a batch cannot be delayed")),
            (&[("i", "TIMER_DELAY_SEC\u{1}3\u{2}")][..], (13, "a batch cannot be delayed")),
            (&[("i", "DELAY\u{1}x\u{2}")][..], (1, "DELAY is no number: x")),
            (&[("i", "TRAN_MSG\u{1}true\u{2}")][..], (13, "a batch cannot be a transaction")),
            (&[("e", "4")][..], (29, "request queueId[4] is illegal")),
        ] {
            talk.refused(320, &batch(changes), &good, expect);
        }
        talk.refused(320, &batch(&[]), b"", (1, "the request has no body"));
        let cut = &good[..good.len() - 1];
        talk.refused(320, &batch(&[]), cut, (13, "ends behind the batch's"));
        let large = record(b"x", &vec![b'p'; 32_767]);
        talk.refused(320, &batch(&[]), &large, (13, "properties of "));
        let large = record(&vec![b'x'; 4 << 20], b"");
        talk.refused(320, &batch(&[]), &large, (13, "body of "));
        let many = good.repeat(60_000);
        talk.refused(320, &batch(&[]), &many, (13, "bytes in the log, more than a batch may"));
        assert_eq!(talk.granted(310, &batch(&[]), &good).number("queueOffset"), 1);
    });
}

#[test]
fn properties_that_are_no_text_are_refused() {
    on_each_shape("", |talk| {
        for (request, batch) in [(310, "false"), (320, "true"), (325, "false")] {
            let header = format!(
                r#"{{"code":{request},"extFields":{{"a":"p","b":"Text","c":"TBW102","d":"4","e":"0","f":"0","g":"1","h":"0","i":"K\u00zz","m":"{batch}"}},"flag":0,"language":"JAVA","opaque":77,"version":479}}"#
            );
            let body = b"\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03abc\0\x07TAGS\x01x\x02";
            let total = 4 + header.len() + body.len();
            let lengths = [(total as u32).to_be_bytes(), (header.len() as u32).to_be_bytes()];
            talk.client.write_raw(&[&lengths.concat(), header.as_bytes(), body].concat());
            let reply = talk.client.read().expect("an answer");
            assert_eq!((reply.opaque, reply.code), (77, 13), "{}", reply.remark);
            assert!(reply.remark.contains("the properties are not text"), "{}", reply.remark);
            talk.said.push(reply.remark);
        }
    });
}

#[test]
fn pulls_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(17, &topic("Pulled", &[]), b"");
        talk.granted(17, &topic("Unreadable", &[("perm", "2")]), b"");
        let other = r#""expressionType":"TAG","subString":"*","subVersion":5,"topic":"Other""#;
        talk.granted(34, &[], heartbeat("others", "CLUSTERING", other).as_bytes());
        talk.granted(17, &topic("Other", &[]), b"");
        let own = ("sysFlag", "0");
        for request in [11, 361] {
            let fields = without(&pull("Pulled", &[]), "queueOffset");
            talk.refused(request, &fields, b"", (1, "field queueOffset is missing"));
            let fields = pull("Unreadable", &[]);
            assert_eq!(talk.ask(request, &fields, b"").number("forbiddenType"), 3);
            for (name, changes, expect) in [
                ("Missing", vec![], (17, "topic[Missing] not exist, apply first please!")),
                ("Unreadable", vec![], (16, "the topic[Unreadable] pulling message is forbidden")),
                ("Pulled", vec![("queueId", "4")], (29, "queueId[4] is illegal, topic:[Pulled]")),
                ("Pulled", vec![("queueId", "-1")], (29, "queueId[-1] is illegal")),
                ("Pulled", vec![("consumerGroup", "a.b")], (26, "group [a.b] does not exist")),
                ("Pulled", vec![("subscription", "||")], (23, "subscription failed")),
                ("Pulled", vec![own], (24, "the consumer's group info not exist")),
                (
                    "Pulled",
                    vec![own, ("consumerGroup", "others")],
                    (24, "the consumer's subscription not exist"),
                ),
                (
                    "Other",
                    vec![own, ("consumerGroup", "others"), ("subVersion", "6")],
                    (25, "the consumer's subscription not latest"),
                ),
            ] {
                talk.refused(request, &pull(name, &changes), b"", expect);
            }
        }
    });
}

#[test]
fn expressions_in_pulls_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(310, &send("Pulled", &[("i", "a\u{1}2\u{2}")]), b"x");
        let nested = format!("{}a{}", "(".repeat(129), ")".repeat(129));
        let long = format!("a = '{}'", "x".repeat(32 << 10));
        let names: Vec<_> = (0..65).map(|number| format!("p{number} = 1")).collect();
        let many = names.join(" OR ");
        for (kind, text, expect) in [
            ("SQL92", "", (23, "subscription failed: Expression can't be null!")),
            ("SQL", "a > 1", (23, "there is no expression type SQL, only TAG and SQL92")),
            ("SQL92", "a >", (23, "Invalid MessageSelector. line 1, column 4: found the end")),
            ("SQL92", "a > 1 + 2", (23, "line 1, column 7: + follows a complete expression")),
            ("SQL92", "a > 'x'", (23, "only numbers and properties can be compared by size")),
            ("SQL92", &nested, (23, "more than 128 conditions are nested in each other")),
            ("SQL92", &long, (23, "the expression has more than 32768 bytes")),
            ("SQL92", &many, (23, "the expression names more than 64 properties")),
        ] {
            for request in [11, 361] {
                let fields = pull("Pulled", &[("expressionType", kind), ("subscription", text)]);
                talk.refused(request, &fields, b"", expect);
            }
        }
        let fields = pull("Pulled", &[("expressionType", "SQL92"), ("subscription", "a > 1")]);
        assert_eq!(talk.granted(11, &fields, b"").number("nextBeginOffset"), 1);
    });
}

#[test]
fn expressions_in_heartbeats_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(17, &topic("Pulled", &[]), b"");
        let say = |talk: &mut Talk, kind: &str, text: &str, version: &str| {
            let sql = format!(
                r#""expressionType":"{kind}","subString":"{text}","subVersion":{version},"topic":"Pulled""#
            );
            talk.granted(34, &[], heartbeat("sql", "CLUSTERING", &sql).as_bytes());
        };
        let asked = |version: &'static str| {
            let own = [("sysFlag", "0"), ("consumerGroup", "sql"), ("subVersion", version)];
            pull("Pulled", &own)
        };
        let none =
            (27, "The broker's consumer filter data is not exist!Your expression may be wrong!");
        say(talk, "SQL92", "", "4");
        talk.refused(11, &asked("4"), b"", none);
        say(talk, "SQL92", "a > 1", "5");
        assert_eq!(talk.ask(11, &asked("5"), b"").code, 19);
        talk.refused(11, &asked("6"), b"", (25, "the consumer's subscription not latest"));
        say(talk, "SQL92", "", "6");
        talk.refused(11, &asked("6"), b"", (28, "the consumer's consumer filter data not latest"));
        assert_eq!(talk.ask(11, &asked("5"), b"").code, 19, "what is known is new enough for it");
        for (version, kind, text) in [("7", "SQL92", "a >"), ("8", "OTHER", "a > 1")] {
            say(talk, kind, text, version);
            talk.refused(361, &asked("5"), b"", none);
        }
    });
}

#[test]
fn expressions_are_refused_where_the_configuration_says_so() {
    on_each_shape("enablePropertyFilter = false\n", |talk| {
        talk.granted(17, &topic("Pulled", &[]), b"");
        let sql = r#""expressionType":"SQL92","subString":"a > 1","subVersion":5,"topic":"Pulled""#;
        talk.granted(34, &[], heartbeat("sql", "CLUSTERING", sql).as_bytes());
        let expect = (1, "The broker does not support consumer to filter message by SQL92");
        let group = [("sysFlag", "0"), ("consumerGroup", "sql"), ("subVersion", "5")];
        let own = [("expressionType", "SQL92"), ("subscription", "a >")];
        for request in [11, 361] {
            talk.refused(request, &pull("Pulled", &group), b"", expect);
            talk.refused(request, &pull("Pulled", &own), b"", expect);
        }
        let config = r#"{"clientId":"c","group":"g","subscriptionData":{"expressionType":"SQL92","subString":"a >","topic":"T"}}"#;
        talk.refused(46, &[], config.as_bytes(), expect);
    });
}

#[test]
fn pulls_that_find_nothing_say_where_to_go_on() {
    on_each_shape("", |talk| {
        for _ in 0..2 {
            talk.granted(310, &send("Found", &[("i", "TAGS\u{1}A\u{2}")]), b"x");
        }
        for (changes, code, remark, next) in [
            (vec![], 0, "FOUND", 2),
            (vec![("subscription", "B")], 20, "NO_MATCHED_MESSAGE", 2),
            (vec![("queueOffset", "2")], 19, "OFFSET_OVERFLOW_ONE", 2),
            (vec![("queueOffset", "3")], 21, "OFFSET_OVERFLOW_BADLY", 2),
            (vec![("queueOffset", "-1")], 21, "OFFSET_TOO_SMALL", 0),
            (vec![("queueId", "1")], 19, "NO_MESSAGE_IN_QUEUE", 0),
            (vec![("queueId", "1"), ("queueOffset", "1")], 21, "NO_MESSAGE_IN_QUEUE", 0),
            (vec![("queueId", "1"), ("queueOffset", "-1")], 21, "NO_MESSAGE_IN_QUEUE", 0),
        ] {
            for request in [11, 361] {
                let reply = talk.ask(request, &pull("Found", &changes), b"");
                let found = (reply.code, &*reply.remark, reply.number("nextBeginOffset"));
                assert_eq!(found, (code, remark, next), "{changes:?}");
            }
        }
    });
}

#[test]
fn offsets_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(17, &topic("Kept", &[]), b"");
        let queue = [("consumerGroup", "keepers"), ("topic", "Kept"), ("queueId", "0")];
        let commit = |changes: &[(&'static str, &'static str)]| {
            changed(&[&queue[..], &[("commitOffset", "7")]].concat(), changes)
        };
        talk.refused(15, &commit(&[]), b"", (26, "subscription group not exist, keepers"));
        talk.ask(11, &pull("Kept", &[("consumerGroup", "keepers")]), b"");
        let gone = [("topic", "Gone")];
        talk.refused(15, &commit(&gone), b"", (17, "topic[Gone] not exist, apply first please!"));
        let none = [("queueId", "-1")];
        talk.refused(15, &commit(&none), b"", (17, "topic[Kept] not exist, apply first please!"));
        let negative = [("commitOffset", "-1")];
        talk.refused(15, &commit(&negative), b"", (29, "commitOffset -1 is negative"));
        for field in ["queueId", "commitOffset"] {
            let remark = format!("{field} is null");
            talk.refused(15, &without(&commit(&[]), field), b"", (29, &remark));
        }
        talk.refused(15, &without(&commit(&[]), "topic"), b"", (1, "field topic is missing"));
        let text = [("commitOffset", "seven")];
        talk.refused(15, &commit(&text), b"", (1, "field commitOffset has the invalid value"));

        talk.refused(14, &queue, b"", (22, "Not found, V3_0_6_SNAPSHOT maybe this group"));
        for request in [14, 29, 30, 31, 32] {
            talk.refused(request, &queue[..2], b"", (1, "field queueId is missing"));
        }
        talk.refused(29, &queue, b"", (1, "timestamp is missing"));
        for name in ["Kept", "Gone"] {
            let asked = [("topic", name), ("queueId", "9"), ("timestamp", "1")];
            for (request, key, number) in
                [(29, "offset", 0), (30, "offset", 0), (31, "offset", 0), (32, "timestamp", -1)]
            {
                assert_eq!(talk.granted(request, &asked, b"").number(key), number, "{request}");
            }
        }
        talk.granted(15, &commit(&[]), b"");
        assert_eq!(talk.granted(14, &queue, b"").number("offset"), 7);
    });
}

#[test]
fn queries_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(310, &send("Queried", &[("i", "KEYS\u{1}mine\u{2}")]), b"x");
        let query = [
            ("topic", "Queried"),
            ("key", "mine"),
            ("maxNum", "9"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ];
        talk.granted(12, &query, b"");
        let nothing = (22, "can not find message, maybe time range not correct");
        for change in [
            ("topic", "Unknown"),
            ("key", "theirs"),
            ("key", ""),
            ("maxNum", "0"),
            ("maxNum", "-7"),
            ("beginTimestamp", "9223372036854775807"),
            ("endTimestamp", "-1"),
            ("endTimestamp", "1"),
        ] {
            talk.refused(12, &changed(&query, &[change]), b"", nothing);
        }
        for (field, _) in query {
            let remark = format!("field {field} is missing");
            talk.refused(12, &without(&query, field), b"", (1, &remark));
        }
        let text = changed(&query, &[("maxNum", "many")]);
        talk.refused(12, &text, b"", (1, "field maxNum has the invalid value"));

        for offset in ["1", "-1", "1000000000000", "7205759403792793600", "9223372036854775807"] {
            let remark = format!("can not find message by the offset, {offset}");
            talk.refused(33, &[("offset", offset)], b"", (1, &remark));
        }
        talk.refused(33, &[], b"", (1, "field offset is missing"));

        let entries = [("topic", "Queried"), ("queueId", "3"), ("index", "0"), ("count", "9")];
        talk.refused(321, &entries, b"", (1, "3@Queried is not exist!"));
        let negative = changed(&entries, &[("queueId", "-1")]);
        talk.refused(321, &negative, b"", (1, "-1@Queried is not exist!"));
        talk.refused(321, &entries[1..], b"", (1, "field topic is missing"));
        let text = changed(&entries, &[("index", "first")]);
        talk.refused(321, &text, b"", (1, "field index has the invalid value"));
    });
}

#[test]
fn clients_are_refused() {
    on_each_shape("", |talk| {
        for body in ["", "[]", "{\"clientID\":", "{\"consumerDataSet\":7}"] {
            talk.refused(34, &[], body.as_bytes(), (1, "heartbeat: "));
        }
        let producers: Vec<_> =
            (0..1025).map(|number| format!(r#"{{"groupName":"p{number}"}}"#)).collect();
        let body = format!(r#"{{"clientID":"c","producerDataSet":[{}]}}"#, producers.join(","));
        let expect = (1, "no room in the broker's membership: more than 1024");
        talk.refused(34, &[], body.as_bytes(), expect);
        let consumer = r#""expressionType":"TAG","subString":"*","subVersion":5,"topic":"T""#;
        let body = heartbeat("g", "CLUSTERING", consumer);
        let body = body.replace("\"client\"", &format!("\"{}\"", "c".repeat(256)));
        talk.refused(34, &[], body.as_bytes(), (1, "no room in the broker's membership"));

        talk.refused(35, &[("consumerGroup", "g")], b"", (1, "field clientID is missing"));
        talk.refused(38, &[], b"", (1, "field consumerGroup is missing"));
        let nobody = [("consumerGroup", "nobody")];
        talk.refused(38, &nobody, b"", (1, "no consumer for this group, nobody"));
        for request in [41, 42] {
            for body in ["", "{\"mqSet\":"] {
                talk.refused(request, &[], body.as_bytes(), (1, "queues to lock: "));
            }
            let body = format!(r#"{{"clientId":"c","consumerGroup":"{}"}}"#, "g".repeat(256));
            let expect = (1, "queues to lock: the group of 256 bytes, at most 255 are allowed");
            talk.refused(request, &[], body.as_bytes(), expect);
        }
        talk.refused(46, &[], b"", (1, "client config: "));
        talk.refused(46, &[], b"{", (1, "client config: "));
        let config = |kind: &str, text: &str| {
            format!(
                r#"{{"clientId":"c","group":"g","subscriptionData":{{"expressionType":"{kind}","subString":"{text}","topic":"T"}}}}"#
            )
        };
        for (kind, text, expect) in [
            (
                "SQL92",
                "a LIKE 'x'",
                (23, "Invalid MessageSelector. line 1, column 3: LIKE follows"),
            ),
            ("SQL92", "", (23, "Invalid MessageSelector. line 1, column 1: found the end")),
            ("SQL", "a = 1", (23, "there is no expression type SQL")),
        ] {
            talk.refused(46, &[], config(kind, text).as_bytes(), expect);
        }
        talk.granted(46, &[], config("SQL92", "a = 1").as_bytes());
        talk.granted(46, &[], config("TAG", "a").as_bytes());
    });
}

#[test]
fn topics_are_refused() {
    on_each_shape("", |talk| {
        let long = "t".repeat(128);
        for (name, expect) in [
            (" ", (29, "The specified topic is blank.")),
            ("a.b", (29, "illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")),
            (&*long, (29, "The specified topic is longer than topic max length.")),
            ("TBW102", (29, "The topic[TBW102] is conflict with system topic.")),
            ("rmq_sys_any", (29, "The topic[rmq_sys_any] is conflict with system topic.")),
        ] {
            talk.refused(17, &topic(name, &[]), b"", expect);
        }
        talk.refused(17, &without(&topic("T", &[]), "perm"), b"", (1, "field perm is missing"));
        for key in ["readQueueNums", "writeQueueNums"] {
            for count in ["-1", "65537"] {
                let remark = format!("topic[T] with {count} queues: from 0 to 65536 are allowed");
                talk.refused(17, &topic("T", &[(key, count)]), b"", (29, &remark));
            }
        }
        let altered = |text| topic("T", &[("attributes", text)]);
        for (text, expect) in [
            ("+colour=red", (1, "unsupported key: colour")),
            ("-reserve.time", (1, "only add attribute is supported while creating topic. key: ")),
            ("reserve.time=1", (1, "add/alter attribute format is wrong: reserve.time")),
            ("+reserve.time", (1, "delete attribute format is wrong: +reserve.time")),
            ("+reserve.time=", (1, "the attribute +reserve.time has no value")),
            ("+a=1,+a=2", (1, "key duplication: +a")),
            ("+message.type=FIFO,-message.type", (1, "alter duplication key. key: message.type")),
            ("++a=1", (1, "kv string format wrong.")),
            ("+=1", (1, "kv string format wrong.")),
            ("+reserve.time=-2", (1, "value is not in range(-1, 9223372036854775807)")),
            ("+reserve.time=soon", (1, "value is not in range(-1, 9223372036854775807)")),
            ("+message.type=ODD", (1, "value is not in set: message.type=ODD")),
            ("+queue.type=ODD", (1, "value is not in set: queue.type=ODD")),
            ("+cleanup.policy=ODD", (1, "value is not in set: cleanup.policy=ODD")),
            ("+message.type=MIXED", (29, "MIXED message type is not supported.")),
            ("+queue.type=BatchCQ", (1, "queue.type=BatchCQ is not supported yet")),
            ("+cleanup.policy=COMPACTION", (1, "cleanup.policy=COMPACTION is not supported yet")),
        ] {
            talk.refused(17, &altered(text), b"", expect);
        }
        talk.refused(11, &pull("T", &[]), b"", (17, "not exist, apply first please!"));
        talk.granted(17, &altered("+message.type=FIFO,+queue.type=SimpleCQ"), b"");
        let text = "-reserve.time";
        talk.refused(
            17,
            &altered(text),
            b"",
            (1, "attempt to delete a nonexistent key: reserve.time"),
        );
        for (text, key) in
            [("+queue.type=SimpleCQ", "queue.type"), ("+cleanup.policy=DELETE", "cleanup.policy")]
        {
            let remark = format!("attempt to update an unchangeable attribute. key: {key}");
            talk.refused(17, &altered(text), b"", (1, &remark));
        }
        talk.refused(17, &altered("x+y=1"), b"", (1, "kv string format wrong."));
        talk.granted(17, &altered("-message.type,+reserve.time=-1"), b"");
        let filter = topic("T", &[("topicFilterType", "ANY")]);
        talk.refused(17, &filter, b"", (1, "topicFilterType = [ANY] value invalid"));
        let list = |topics: &str| format!(r#"{{"topicConfigList":[{topics}]}}"#).into_bytes();
        talk.refused(18, &[], b"{", (1, "list of topics: "));
        talk.refused(18, &[], &list(r#"{"topicName":"a.b"}"#), (29, "illegal characters"));
        let signless = r#"{"topicName":"T","attributes":{"?a":"1"}}"#;
        talk.refused(18, &[], &list(signless), (1, "wrong format key: a"));
        talk.refused(215, &[], b"", (1, "field topic is missing"));
        talk.refused(215, &[("topic", " ")], b"", (29, "The specified topic is blank."));
        for name in
            ["TBW102", "SCHEDULE_TOPIC_XXXX", "DefaultCluster", "DefaultCluster_REPLY_TOPIC"]
        {
            talk.refused(215, &[("topic", name)], b"", (29, "is conflict with system topic."));
        }
        talk.granted(215, &[("topic", "never.made")], b"");
    });
}

#[test]
fn tools_are_refused() {
    on_each_shape("", |talk| {
        for (body, expect) in [
            ("{", (1, "subscription group: ")),
            (r#"{"groupName":" "}"#, (29, "the specified group is blank")),
            (r#"{"groupName":"a.b"}"#, (29, "contains illegal characters")),
            (r#"{"groupName":"g","retryQueueNums":65537}"#, (29, "retryQueueNums 65537: ")),
            (r#"{"groupName":"g","attributes":{"+a":"b"}}"#, (1, "unsupported key: a")),
        ] {
            talk.refused(200, &[], body.as_bytes(), expect);
        }
        talk.refused(225, &[], b"{", (1, "list of subscription groups: "));
        talk.refused(225, &[], br#"{"groupConfigList":[{"groupName":"a.b"}]}"#, (29, "illegal"));
        talk.refused(352, &[("group", "a.b")], b"", (26, "No group in this broker"));
        talk.refused(207, &[], b"", (1, "field groupName is missing"));
        for (code, field) in [
            (202, "topic"),
            (351, "topic"),
            (300, "topic"),
            (343, "group"),
            (345, "group"),
            (208, "consumerGroup"),
            (203, "consumerGroup"),
            (204, "producerGroup"),
            (222, "group"),
            (314, "srcGroup"),
            (308, "compareGroup"),
            (307, "consumerGroup"),
            (309, "consumerGroup"),
        ] {
            talk.refused(code, &[], b"", (1, &format!("field {field} is missing")));
        }
        talk.refused(303, &[("group", "g")], b"", (1, "field topic is missing"));
        talk.refused(223, &[("group", "g")], b"", (1, "field topic is missing"));
        let nobody = (1, "No Any Consumer online in the consumer group: [g]");
        talk.refused(223, &[("group", "g"), ("topic", "T")], b"", nobody);
        let direct = [("consumerGroup", "g"), ("clientId", "m")];
        talk.refused(309, &direct, b"", (1, "field msgId is missing"));
        for (id, remark) in [
            ("none", "no message has the id none here"),
            ("7F00000100002A9F0000000000000001", "no message has the id 1 here"),
            ("7F00000100002A9F7F80000000000001", "its shard is not in this store"),
        ] {
            let direct = [("consumerGroup", "g"), ("clientId", "m"), ("msgId", id)];
            talk.refused(309, &direct, b"", (1, remark));
        }
        // A topic that cannot be read, and two that no answer can tell of.
        talk.granted(17, &topic("Closed", &[("readQueueNums", "0")]), b"");
        talk.granted(200, &[], br#"{"groupName":"g"}"#);
        let reset = [("group", "g"), ("topic", "Closed"), ("timestamp", "0"), ("isForce", "true")];
        talk.refused(222, &reset, b"", (1, "No queues to reset."));
        for name in ["Wide", "Broad"] {
            talk.granted(17, &topic(name, &[("readQueueNums", "40000")]), b"");
            let commit =
                [("consumerGroup", "g"), ("topic", name), ("queueId", "1"), ("commitOffset", "1")];
            talk.granted(15, &commit, b"");
        }
        let expect = (1, "the group consumes 80000 queues, and an answer tells of 65536");
        talk.refused(208, &[("consumerGroup", "g")], b"", expect);
        talk.granted(208, &[("consumerGroup", "g"), ("topic", "Wide")], b"");
        for code in [324, 325] {
            talk.refused(code, &[], b"x", (1, "is missing"));
            talk.refused(code, &send("SCHEDULE_TOPIC_XXXX", &[]), b"x", (16, "is forbidden."));
        }
    });
}

#[test]
fn messages_sent_back_are_refused() {
    on_each_shape("", |talk| {
        talk.granted(310, &send("Back", &[]), b"x");
        let back =
            |offset: &'static str| [("group", "back"), ("offset", offset), ("delayLevel", "3")];
        talk.refused(36, &back("0")[..2], b"", (1, "field delayLevel is missing"));
        for offset in ["1", "1000000000000", "-1"] {
            let remark = format!("look message by offset failed, {offset}");
            talk.refused(36, &back(offset), b"", (1, &remark));
        }
        // As many properties as there may be: none can be added.
        let longest = (0..400).find_map(|less| {
            let text = format!("PADDING\u{1}{}\u{2}", "x".repeat(32_767 - less));
            let reply = talk.ask(310, &send("Back", &[("i", &text)]), b"x");
            (reply.code == 0).then(|| position_of(&reply))
        });
        let longest = longest.expect("some are taken");
        talk.refused(36, &changed(&back("0"), &[("offset", &longest)]), b"", (13, "properties of"));
        // Said to have been consumed so often.
        for times in ["-3", "-2147483648", "2147483647"] {
            let reply = talk.ask(310, &send("Back", &[("j", times)]), b"x");
            let position = position_of(&reply);
            let ext = [("group", "back"), ("offset", &*position), ("delayLevel", "0")];
            talk.granted(36, &ext, b"");
        }
        // A position in shard 200.
        let nowhere = back("7205759403792793600");
        talk.refused(36, &nowhere, b"", (1, "its shard is not in this store"));
        talk.granted(17, &topic("%RETRY%locked", &[("perm", "4")]), b"");
        let locked = changed(&back("0"), &[("group", "locked")]);
        talk.refused(
            36,
            &locked,
            b"",
            (16, "the topic[%RETRY%locked] sending message is forbidden"),
        );
        let illegal = changed(&back("0"), &[("group", "a.b")]);
        talk.refused(36, &illegal, b"", (26, "subscription group not exist, a.b"));
    });
}

#[test]
fn a_broker_that_makes_neither_topics_nor_groups_refuses_those_it_does_not_know() {
    let config = "autoCreateTopicEnable = false\nautoCreateSubscriptionGroup = false\n";
    on_each_shape(config, |talk| {
        talk.refused(310, &send("New", &[]), b"x", (17, "topic[New] not exist, apply first"));
        talk.granted(17, &topic("Known", &[]), b"");
        let expect = (26, "subscription group [pullers] does not exist");
        talk.refused(11, &pull("Known", &[]), b"", expect);
        let expect = (26, "subscription group not exist, strangers");
        talk.refused(310, &send("%RETRY%strangers", &[]), b"x", expect);
        let back = [("group", "strangers"), ("offset", "0"), ("delayLevel", "3")];
        talk.refused(36, &back, b"", expect);
    });
}

#[test]
fn a_broker_without_permissions_refuses() {
    on_each_shape("brokerPermission = 2\n", |talk| {
        talk.granted(310, &send("Sent", &[]), b"x");
        let expect = (16, "pulling message is forbidden");
        talk.refused(11, &pull("Sent", &[]), b"", expect);
        talk.refused(361, &pull("Missing", &[]), b"", expect);
        assert_eq!(talk.ask(11, &pull("Sent", &[]), b"").number("forbiddenType"), 1);
    });
    on_each_shape("brokerPermission = 4\n", |talk| {
        talk.granted(310, &send("Plain", &[]), b"x");
        talk.granted(17, &topic("Ordered", &[("order", "true")]), b"");
        let expect = (16, "sending message is forbidden");
        talk.refused(310, &send("Ordered", &[]), b"x", expect);
        let back = [("group", "back"), ("offset", "0"), ("delayLevel", "3")];
        talk.refused(36, &back, b"", expect);
    });
}

#[test]
fn codes_that_are_not_supported_are_refused() {
    let document = include_str!("../docs/compatibility.md");
    let rows = document.split("\n## The others").nth(1).expect("the section is there");
    let codes: Vec<i32> = rows
        .lines()
        .filter(|line| line.starts_with('|') && line.contains("code 3"))
        .filter_map(|line| line.split('|').nth(1)?.trim().parse().ok())
        .collect();
    assert!(codes.len() > 40, "the table of codes moved: {codes:?}");
    // The NameServer's, one that nobody knows, and numbers that are none.
    let others = [105, 103, 9999, 0, -1, i32::MAX];
    on_each_shape("", |talk| {
        for code in codes.iter().chain(&others) {
            let remark = format!(" request type {code} not supported");
            talk.refused(*code, &[("topic", "T"), ("queueId", "0")], b"", (3, &remark));
        }
    });
}
