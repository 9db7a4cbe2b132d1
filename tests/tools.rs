//! What mqadmin, the dashboard and operators ask a broker about itself: the same with one shard and with
//! several, whichever connection asks.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::body::{
    BrokerStatsData, ConsumeStatsList, ConsumerOffsetSerializeWrapper, DataVersion,
    DelayOffsetSerializeWrapper, GroupForbidden, KVTable, MessageQueue, SubscriptionGroupWrapper,
    TimerMetricsSerializeWrapper,
};
use proto::frame::Encoding;
use proto::reply::{RequestHead, SendRequest, write_send_request};
use support::tools::{MESSAGES, QUEUES, SIZES, Tools};
use support::{Client, DEADLINE, Reply, Server, write_config};

impl Tools {
    fn refused(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> (i32, String) {
        let reply = self.ask(code, ext, body);
        assert_ne!(reply.code, 0, "{code} {ext:?}");
        (reply.code, reply.remark)
    }

    fn send_with(&mut self, topic: &str, queue_id: i32, properties: &str) -> Reply {
        let request = SendRequest {
            producer_group: "p",
            topic,
            default_topic: "TBW102",
            default_topic_queue_count: 4,
            queue_id,
            sys_flag: 0,
            born_timestamp: 1,
            flag: 0,
            properties: properties.as_bytes(),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        let head = RequestHead { code: 310, opaque: 1_000_000, flag: 0 };
        let mut frame = Vec::new();
        write_send_request(&mut frame, Encoding::Json, &head, &request, 4);
        frame.extend_from_slice(b"body");
        let client = self.next();
        client.write_raw(&frame);
        client.read().expect("an answer")
    }

    fn make_group(&mut self, group: &str) {
        self.granted(352, &[("group", group)], &[]);
    }

    fn config(&mut self) -> BTreeMap<String, String> {
        let reply = self.ask(26, &[], &[]);
        let version = reply.field("version").expect("a version");
        assert!(DataVersion::parse(version.as_bytes()).expect("JSON").timestamp > 0);
        let text = String::from_utf8(reply.body).expect("text");
        let lines = text.lines().map(|line| line.split_once('=').expect("key=value"));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn forbid(&mut self, group: &str, topic: &str, readable: Option<&str>) -> bool {
        let mut ext = vec![("group", group), ("topic", topic)];
        ext.extend(readable.map(|readable| ("readable", readable)));
        let found = GroupForbidden::parse(&self.granted(353, &ext, &[])).expect("an answer");
        assert_eq!((found.group.as_deref(), found.topic.as_deref()), (Some(group), Some(topic)));
        found.readable.expect("it says so")
    }

    /// A pull with the group's own subscription: code, remark and who forbids it.
    fn pull(&mut self, group: &str, topic: &str, queue: i32) -> (i32, String, Option<String>) {
        let queue = queue.to_string();
        let ext = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &*queue),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "0"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", "0"),
        ];
        let reply = self.ask(11, &ext, &[]);
        let by = reply.field("forbiddenType").map(str::to_owned);
        (reply.code, reply.remark, by)
    }

    fn runtime(&mut self) -> BTreeMap<String, String> {
        KVTable::parse(&self.granted(28, &[], &[])).expect("a table").table
    }

    fn counted(&mut self, name: &str, key: &str) -> Result<BrokerStatsData, String> {
        let reply = self.ask(315, &[("statsName", name), ("statsKey", key)], &[]);
        match reply.code {
            0 => Ok(BrokerStatsData::parse(&reply.body).expect("figures")),
            code => Err(format!("{code} {}", reply.remark)),
        }
    }
}

fn start(directory: &Path, (shards, cores): (&str, &str), more: &str) -> Server {
    let config = write_config(
        directory,
        16 << 20,
        &format!("brokerName = b\nbrokerClusterName = c\n{more}"),
    );
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join("store"), &flags)
}

fn on_each_size(more: &str, test: impl Fn(&Path, &dyn Fn() -> Server, u64)) {
    for size in SIZES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shards = size.0.parse().expect("a number");
        test(directory.path(), &|| start(directory.path(), size, more), shards);
    }
}

/// Asks again until it is so.
fn await_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn the_runtime_table_has_what_tools_read() {
    on_each_size("", |_, start, shards| {
        let server = start();
        let mut tools = Tools::new(&server);
        let fresh = tools.runtime();
        assert_eq!(fresh["msgPutTotalTodayNow"], "0");
        assert_eq!(fresh["earliestMessageTimeStamp"], "-1", "there is no message");
        tools.fill("t");
        let count = u64::try_from(MESSAGES * i64::from(QUEUES)).expect("few");
        for queue in 0..QUEUES {
            assert_eq!(tools.next().pull_as("g", "t", queue, 0).code, 0);
            assert_ne!(tools.next().pull_as("g", "t", queue, MESSAGES).code, 0);
        }
        assert_eq!(tools.send_with("t", 2, "UNIQ_KEY\u{1}k\u{2}DELAY\u{1}18\u{2}").code, 0);
        let later = "UNIQ_KEY\u{1}l\u{2}TIMER_DELAY_SEC\u{1}5000\u{2}";
        assert_eq!(tools.send_with("t", 3, later).code, 0);
        // The disk is looked at a moment after the start.
        await_until("the disk is told", || tools.runtime().contains_key("commitLogDiskRatio"));
        let table = tools.runtime();
        assert_eq!(table["brokerActive"], "true");
        assert_eq!(table["brokerVersionDesc"], "V5_3_3");
        assert_eq!(table["brokerVersion"], "479");
        assert_eq!(table["msgPutTotalTodayNow"], (count + 2).to_string());
        assert_eq!(table["msgGetTotalTodayNow"], count.to_string());
        assert_eq!(table["putMessageTimesTotal"], (count + 2).to_string());
        assert_eq!(table["dispatchBehindBytes"], "0");
        assert_eq!(table["timerCongestNum"], "1");
        assert_eq!(table["timerReadBehind"], "0");
        // Levels of one shard lie behind those of another.
        let delayed: Vec<_> =
            table.keys().filter(|key| key.starts_with("scheduleMessageOffset_")).collect();
        assert_eq!(delayed.len(), 1, "{delayed:?}");
        let (_, level) = delayed[0].rsplit_once('_').expect("a level");
        assert_eq!(level.parse::<u64>().expect("a number") % 18, 0);
        assert!(level.parse::<u64>().expect("a number") <= 18 * shards);
        assert_eq!(table[delayed[0]], "0,1");
        // What ClusterListSubCommand and ExportMetricsCommand take apart.
        for key in ["putTps", "getTransferredTps", "getFoundTps", "getMissTps", "getTotalTps"] {
            let rates: Vec<f64> =
                table[key].split(' ').map(|it| it.parse().expect("a number")).collect();
            assert_eq!(rates.len(), 3, "{key}");
            assert!(rates[0] > 0.0, "{key}: {rates:?}");
        }
        for key in [
            "msgPutTotalYesterdayMorning",
            "msgPutTotalTodayMorning",
            "msgGetTotalYesterdayMorning",
            "msgGetTotalTodayMorning",
            "timerOffsetBehind",
            "sendThreadPoolQueueSize",
            "pullThreadPoolQueueSize",
            "ackThreadPoolQueueSize",
            "sendThreadPoolQueueHeadWaitTimeMills",
            "pullThreadPoolQueueHeadWaitTimeMills",
            "ackThreadPoolQueueHeadWaitTimeMills",
            "pageCacheLockTimeMills",
            "EndTransactionQueueSize",
            "dispatchMaxBuffer",
            "getMessageEntireTimeMax",
            "putMessageEntireTimeMax",
            "remainTransientStoreBufferNumbs",
        ] {
            assert_eq!(table[key], "0", "{key}");
        }
        // What rocketmq-exporter (BrokerRuntimeStats) reads besides, and gives up without.
        for key in [
            "queryThreadPoolQueueHeadWaitTimeMills",
            "queryThreadPoolQueueSize",
            "queryThreadPoolQueueCapacity",
            "sendThreadPoolQueueCapacity",
            "pullThreadPoolQueueCapacity",
            "bootTimestamp",
            "commitLogMinOffset",
            "commitLogMaxOffset",
            "startAcceptSendRequestTimeStamp",
            "putMessageSizeTotal",
        ] {
            assert!(table[key].parse::<i64>().is_ok(), "{key}");
        }
        let unflushed = table["remainHowManyDataToFlush"].split(' ').next().expect("a number");
        assert!(unflushed.parse::<f64>().is_ok(), "{unflushed}");
        assert_eq!(table["putMessageDistributeTime"], "null");
        for key in ["timerEnqueueTps", "timerDequeueTps", "putMessageAverageSize"] {
            assert!(table[key].parse::<f64>().expect("a number") >= 0.0, "{key}");
        }
        let ratio: f64 = table["commitLogDiskRatio"].parse().expect("a number");
        assert!((0.0..=1.0).contains(&ratio));
        assert!(table["commitLogDirCapacity"].starts_with("Total : "));
        let earliest: u64 = table["earliestMessageTimeStamp"].parse().expect("a time");
        let booted: u64 = table["bootTimestamp"].parse().expect("a time");
        assert!(earliest >= booted && booted > 1_600_000_000_000);
        let ends = ["commitLogMinOffset", "commitLogMaxOffset"]
            .map(|key| table[key].parse::<u64>().expect("a position"));
        assert_eq!([ends[0], ends[1] >> 55], [0, shards - 1]);
    });
}

#[test]
fn timers_and_delays_are_told() {
    on_each_size("", |_, start, shards| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.next().create_topic("t", QUEUES);
        for queue in 0..QUEUES {
            let text = format!("UNIQ_KEY\u{1}k{queue}\u{2}TIMER_DELAY_SEC\u{1}4000\u{2}");
            assert_eq!(tools.send_with("t", queue, &text).code, 0);
            let text = format!("UNIQ_KEY\u{1}d{queue}\u{2}DELAY\u{1}1\u{2}");
            assert_eq!(tools.send_with("t", queue, &text).code, 0);
        }
        let metrics = TimerMetricsSerializeWrapper::parse(&tools.granted(61, &[], &[]));
        let metrics = metrics.expect("metrics").timing_count;
        assert_eq!(metrics["rmq_sys_wheel_timer"].count, i64::from(QUEUES));
        let checkpoint = tools.granted(60, &[], &[]);
        assert_eq!(checkpoint.len(), 56);
        let number = |at: usize| {
            i64::from_be_bytes(checkpoint[8 * at..8 * at + 8].try_into().expect("eight bytes"))
        };
        assert!(number(0) > 1_600_000_000_000, "until now nothing is late");
        assert_eq!([number(1), number(2), number(3)], [0, i64::from(QUEUES), i64::from(QUEUES)]);
        await_until("level 1 delivers", || {
            let offsets = DelayOffsetSerializeWrapper::parse(&tools.granted(45, &[], &[]));
            let offsets = offsets.expect("offsets").offset_table;
            assert_eq!(offsets.len() as u64, 18 * shards);
            let first = |shard: i32| offsets[&(shard * 18 + 1)];
            (0..shards as i32).map(first).sum::<i64>() == i64::from(QUEUES)
        });
    });
}

#[test]
fn all_groups_are_told_with_their_offsets() {
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        for topic in ["one", "two"] {
            tools.fill(topic);
        }
        for group in ["g", "h", "idle"] {
            tools.make_group(group);
        }
        for queue in 0..QUEUES {
            tools.commit("g", "one", queue, i64::from(queue.min(3)));
            tools.commit("h", "two", queue, 1);
        }
        tools.commit("g", "two", 4, 2);
        let all = ConsumerOffsetSerializeWrapper::parse(&tools.granted(43, &[], &[]));
        let all = all.expect("offsets").offset_table;
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!(all["one@g"], (0..QUEUES).map(|it| (it, i64::from(it.min(3)))).collect());
        assert_eq!(all["two@g"], BTreeMap::from([(4, 2)]));
        assert_eq!(all["two@h"].len(), 5);

        let stats = ConsumeStatsList::parse(&tools.granted(317, &[("isOrder", "false")], &[]));
        let stats = stats.expect("stats");
        let mut groups = BTreeMap::new();
        stats.consume_stats_list.into_iter().for_each(|group| groups.extend(group));
        assert_eq!((groups["idle"].len(), groups["g"].len(), groups["h"].len()), (0, 2, 1));
        let queue = |topic: &str, queue| MessageQueue::new(topic, "b", queue);
        let last = &groups["g"][0].offset_table[&queue("one", 4)];
        assert_eq!((last.broker_offset, last.consumer_offset), (MESSAGES, 3));
        assert!(last.last_timestamp > 1_600_000_000_000);
        assert_eq!(groups["g"][1].offset_table[&queue("two", 0)].consumer_offset, 0);
        let behind = 2 * i64::from(QUEUES) * MESSAGES - 9 - 2 + 5 * (MESSAGES - 1);
        assert_eq!(stats.total_diff, behind);
        assert_eq!(stats.broker_addr, Some(server.broker.to_string()));

        let ordered = ConsumeStatsList::parse(&tools.granted(317, &[("isOrder", "true")], &[]));
        assert_eq!(ordered.expect("stats").total_diff, 0, "no topic is ordered");
        assert_eq!(tools.refused(317, &[], &[]).0, 1);
    });
}

#[test]
fn what_was_counted_is_told_by_topic_and_group() {
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("t");
        for queue in 0..QUEUES {
            assert_eq!(tools.next().pull_as("g", "t", queue, 0).code, 0);
        }
        let count = MESSAGES * i64::from(QUEUES);
        let sums = |data: BrokerStatsData| {
            [data.stats_minute.sum, data.stats_hour.sum, data.stats_day.sum]
        };
        assert_eq!(tools.counted("TOPIC_PUT_NUMS", "t").map(sums), Ok([count; 3]));
        assert_eq!(tools.counted("GROUP_GET_NUMS", "t@g").map(sums), Ok([count; 3]));
        assert_eq!(tools.counted("BROKER_PUT_NUMS", "c").map(sums), Ok([count; 3]));
        assert_eq!(tools.counted("BROKER_GET_NUMS", "c").map(sums), Ok([count; 3]));
        let size = tools.counted("TOPIC_PUT_SIZE", "t").expect("there is some").stats_day;
        assert!(size.sum > 100 * count && size.tps > 0.0 && size.avgpt > 100.0);
        for (name, key) in [
            ("TOPIC_PUT_NUMS", "other"),
            ("GROUP_GET_NUMS", "t@other"),
            ("GROUP_GET_NUMS", "t"),
            ("BROKER_PUT_NUMS", "b"),
            ("SNDBCK_PUT_NUMS", "t@g"),
        ] {
            let remark = format!("1 The stats <{name}> <{key}> not exist");
            assert_eq!(tools.counted(name, key), Err(remark));
        }
        assert_eq!(tools.refused(315, &[("statsName", "x")], &[]).0, 1);
    });
}

#[test]
fn nothing_is_left_to_clean_but_old_segments() {
    // Old after an hour: nothing goes. What is asked for is that it is taken.
    on_each_size("deleteWhen = 05", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("t");
        for code in [306, 316, 329] {
            assert!(tools.granted(code, &[], &[]).is_empty());
        }
        assert_eq!(tools.next().pull_as("g", "t", 0, 0).code, 0);
    });
}

#[test]
fn the_configuration_is_shown_and_changed_while_it_runs() {
    on_each_size("autoCreateTopicEnable = false\nfileReservedTime = 48", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        let config = tools.config();
        let value = |key: &str| config.get(key).map(String::as_str);
        for (key, expect) in [
            ("brokerName", "b"),
            ("brokerClusterName", "c"),
            ("fileReservedTime", "48"),
            ("flushDiskType", "SYNC_FLUSH"),
            ("brokerRole", "ASYNC_MASTER"),
            ("brokerId", "0"),
            ("autoCreateTopicEnable", "false"),
            ("maxMessageSize", "4194304"),
        ] {
            assert_eq!(value(key), Some(expect), "{key}");
        }
        assert_eq!(value("sendMessageThreadPoolNums"), None, "it has no effect");
        assert!(config.keys().all(|key| !key.to_lowercase().contains("password")));

        assert_eq!(tools.send_with("made", 0, "").code, 17);
        let body = b"autoCreateTopicEnable=true\nmaxMessageSize=1024\n";
        assert!(tools.granted(25, &[], body).is_empty());
        assert_eq!(tools.send_with("made", 0, "").code, 0, "on every core");
        let client = tools.next();
        client.write_send("made", 0, &[0; 1025]).expect("open");
        assert_eq!(client.read().expect("an answer").code, 13);
        // As it was: broker.conf holds again.
        tools.granted(25, &[], b"autoCreateTopicEnable=false");
        assert_eq!(tools.send_with("again", 0, "").code, 17);
        server.kill();
        let server = start();
        let mut tools = Tools::new(&server);
        let config = tools.config();
        assert_eq!(config["maxMessageSize"], "1024", "it is durable when it is answered");
        assert_eq!(config["autoCreateTopicEnable"], "false");
        let client = tools.next();
        client.write_send("made", 0, &[0; 1025]).expect("open");
        assert_eq!(client.read().expect("an answer").code, 13);
        // What is so already is no change, whatever its key.
        let all: String = config.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        tools.granted(25, &[], all.as_bytes());
        tools.granted(25, &[], b"");
    });
}

#[test]
fn a_brokers_permission_is_told_to_name_servers_at_once() {
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.next().create_topic("t", QUEUES);
        let mut names = Client::connect(server.name_server);
        let mut perm = |expect: &str| {
            let route = names.ask(105, &[("topic", "t")], &[]);
            let body = String::from_utf8(route.body).expect("text");
            assert!(body.contains(&format!("\"perm\":{expect}")), "{body}");
        };
        perm("6");
        tools.granted(25, &[], b"brokerPermission=4");
        perm("4");
        assert_eq!(tools.next().pull_as("g", "t", 0, 0).code, 19);
        tools.granted(25, &[], b"brokerPermission=2");
        perm("2");
        for queue in 0..QUEUES {
            let (code, remark, by) = tools.pull("g", "t", queue);
            assert_eq!((code, by.as_deref()), (16, Some("1")), "{remark}");
        }
        tools.granted(25, &[], b"brokerPermission=6");
        perm("6");
    });
}

#[test]
fn changes_that_cannot_be_are_refused_whole() {
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        for (body, code, remark) in [
            (
                "traceOn=false\nlistenPort=1",
                1,
                "listenPort is not changed, nor is anything else: it holds from the start on",
            ),
            (
                "traceOn=false\nwhatever=1",
                1,
                "whatever is not changed, nor is anything else: there is no such key",
            ),
            (
                "traceOn=false\nsendMessageThreadPoolNums=9",
                1,
                "sendMessageThreadPoolNums is not changed",
            ),
            (
                "traceOn=false\nmaxMessageSize=1",
                1,
                "maxMessageSize is not changed, nor is anything else: 1 is no value",
            ),
            ("traceOn=false\nlongPollingEnable=maybe", 1, "true or false is expected"),
            ("traceOn=false\nbrokerConfigPath=/x", 16, "Can not update config in black list."),
            ("rocketmqHome=/x", 16, "Can not update config in black list."),
            ("traceOn=false\n\\u00", 1, "string2Properties error: line 2"),
        ] {
            let refused = tools.refused(25, &[], body.as_bytes());
            assert_eq!(refused.0, code, "{refused:?}");
            assert!(refused.1.contains(remark), "{refused:?}");
            assert_eq!(tools.config()["traceOn"], "true", "nothing half applied");
        }
    });
}

#[test]
fn a_group_that_may_not_read_a_topic_is_refused() {
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        for topic in ["one", "two"] {
            tools.fill(topic);
        }
        let beat = |tools: &mut Tools| {
            for (client, topic) in [("c", "one"), ("d", "two")] {
                assert_eq!(tools.next().heartbeat(client, &[&format!("g-{topic}")], topic).code, 0);
            }
        };
        beat(&mut tools);
        assert!(tools.forbid("g-one", "one", None), "nothing is forbidden");
        assert!(!tools.forbid("g-one", "one", Some("false")));
        assert!(!tools.forbid("g-one", "two", Some("false")));
        assert!(tools.forbid("g-two", "two", Some("true")));
        let remark = "the consumer group[g-one] is forbidden for topic[one]";
        let forbidden = (16, remark.to_owned(), Some("5".to_owned()));
        for queue in 0..QUEUES {
            assert_eq!(tools.pull("g-one", "one", queue), forbidden);
            assert_eq!(tools.pull("g-two", "two", queue).0, 0);
        }
        // With a subscription of its own it may, as in Apache.
        assert_eq!(tools.next().pull_as("g-one", "one", 0, 0).code, 0);
        server.kill();
        let server = start();
        let mut tools = Tools::new(&server);
        beat(&mut tools);
        assert_eq!(tools.pull("g-one", "one", 1), forbidden, "it was durable");
        let groups = SubscriptionGroupWrapper::parse(&tools.granted(201, &[], &[]));
        let table = groups.expect("groups").forbidden_table;
        let both = BTreeMap::from([("one".to_owned(), 4), ("two".to_owned(), 4)]);
        assert_eq!(table, BTreeMap::from([("g-one".to_owned(), both)]));
        assert!(tools.forbid("g-one", "one", Some("true")));
        assert!(!tools.forbid("g-one", "two", None), "of two topics one is left");
        for queue in 0..QUEUES {
            assert_eq!(tools.pull("g-one", "one", queue).0, 0);
        }
        // It ends with its group.
        tools.granted(207, &[("groupName", "g-one")], &[]);
        assert!(tools.forbid("g-one", "two", None));
        for (group, topic) in [("bad group", "one"), ("g", "bad topic")] {
            let ext = [("group", group), ("topic", topic), ("readable", "false")];
            let (code, remark) = tools.refused(353, &ext, &[]);
            assert!(
                code == 29 && remark.starts_with("nothing can be forbidden"),
                "{code} {remark}"
            );
        }
        assert_eq!(tools.refused(353, &[("group", "g")], &[]).0, 1);
    });
}

#[test]
fn pulls_that_wait_come_again_when_reading_is_forbidden() {
    /// As long as a pull may be held, and longer than this test waits for its answer.
    const LONG_MS: &str = "60000";
    const WAIT: Duration = Duration::from_secs(50);
    on_each_size("", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("waited");
        tools.make_group("g");
        let mut member = Client::connect(server.broker);
        assert_eq!(member.heartbeat("member", &["g"], "waited").code, 0);
        let group = |is_enabled: bool| {
            format!(r#"{{"groupName":"g","consumeEnable":{is_enabled}}}"#).into_bytes()
        };
        let topic = |perm: &'static str| {
            [
                ("topic", "waited"),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", "5"),
                ("writeQueueNums", "5"),
                ("perm", perm),
                ("topicFilterType", "SINGLE_TAG"),
                ("topicSysFlag", "0"),
                ("order", "false"),
            ]
        };
        let forbid =
            |readable: &'static str| [("group", "g"), ("topic", "waited"), ("readable", readable)];
        let reset = [("group", "g"), ("topic", "waited"), ("isForce", "true"), ("timestamp", "0")];
        let no = (&[][..], &b""[..]);
        let (enabled, disabled) = (group(true), group(false));
        // What forbids, what allows again, and what the same pull is answered meanwhile.
        for (code, forbids, allows, then) in [
            (200, (no.0, &*disabled), (no.0, &*enabled), 16),
            (17, (&topic("2")[..], no.1), (&topic("6")[..], no.1), 16),
            (25, (no.0, &b"brokerPermission=2"[..]), (no.0, &b"brokerPermission=6"[..]), 16),
            (353, (&forbid("false")[..], no.1), (&forbid("true")[..], no.1), 16),
            (222, (&reset[..], no.1), no, 21),
        ] {
            let mut waiting: Vec<_> = (0..QUEUES)
                .map(|queue| {
                    let mut client = Client::connect(server.broker);
                    client.write(11, &held_pull(&queue.to_string(), LONG_MS), b"");
                    client
                })
                .collect();
            // They are held when this is answered, or see what it changed when they come.
            let changed = Instant::now();
            tools.granted(code, forbids.0, forbids.1);
            for (queue, client) in waiting.iter_mut().enumerate() {
                let found = client.read().expect("an answer").code;
                assert!(found == 19 || found == then, "{code} queue {queue}: {found}");
                assert!(changed.elapsed() < WAIT, "{code} queue {queue}: it was held on");
                if found != then {
                    client.write(11, &held_pull(&queue.to_string(), "0"), b"");
                    assert_eq!(client.read().expect("an answer").code, then, "{code} {queue}");
                }
            }
            if allows != no {
                tools.granted(code, allows.0, allows.1);
            }
        }
    });
}

/// A pull of a member from behind the messages of a queue.
fn held_pull<'a>(queue: &'a str, suspend_ms: &'a str) -> [(&'a str, &'a str); 9] {
    [
        ("consumerGroup", "g"),
        ("topic", "waited"),
        ("queueId", queue),
        ("queueOffset", "4"),
        ("maxMsgNums", "32"),
        ("sysFlag", if suspend_ms == "0" { "0" } else { "2" }),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", suspend_ms),
        ("subVersion", "0"),
    ]
}

#[test]
fn messages_that_are_not_of_their_topics_type_are_refused_where_that_is_asked_for() {
    let make = |tools: &mut Tools, topic: &str, attributes: &str| {
        let ext = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "5"),
            ("writeQueueNums", "5"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attributes),
        ];
        tools.granted(17, &ext, &[]);
    };
    let texts = [
        ("NORMAL", ""),
        ("FIFO", "__SHARDINGKEY\u{1}k\u{2}"),
        ("DELAY", "DELAY\u{1}3\u{2}"),
        ("DELAY", "TIMER_DELAY_SEC\u{1}300\u{2}"),
        ("DELAY", "__SHARDINGKEY\u{1}k\u{2}DELAY\u{1}3\u{2}"),
        ("TRANSACTION", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}"),
    ];
    on_each_size("enableMixedMessageType = true", |_, start, _| {
        let server = start();
        let mut tools = Tools::new(&server);
        let types = ["NORMAL", "FIFO", "DELAY", "TRANSACTION"];
        for kind in types.into_iter().chain(["MIXED", "UNSPECIFIED"]) {
            make(&mut tools, kind, &format!("+message.type={kind}"));
        }
        make(&mut tools, "none", "");
        let check = |tools: &mut Tools, is_asked_for: bool| {
            for queue in 0..QUEUES {
                for (kind, text) in texts {
                    for topic in ["MIXED", "UNSPECIFIED", "none", kind] {
                        assert_eq!(tools.send_with(topic, queue, text).code, 0, "{kind} {topic}");
                    }
                    for topic in types.into_iter().filter(|topic| *topic != kind) {
                        let reply = tools.send_with(topic, queue, text);
                        let remark = format!(
                            "TopicMessageType validate failed, the expected type is {topic}, but actual type is {kind}"
                        );
                        let refused = (13, &*remark);
                        let expect = if is_asked_for { refused } else { (0, "") };
                        assert_eq!((reply.code, &*reply.remark), expect, "{kind} to {topic}");
                    }
                }
            }
        };
        check(&mut tools, false);
        tools.granted(25, &[], b"ringmqCheckMessageType=true");
        check(&mut tools, true);
    });
}
