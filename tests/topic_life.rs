//! The life of a topic: what is deleted is gone at once on every core and stays gone, whatever ends the
//! program; what is made again under the same name begins at 0 and loses nothing.

mod support;

use std::path::Path;

use support::{Client, Server, records, write_config};

/// Shards and cores.
const SIZES: [(&str, &str); 2] = [("1", "1"), ("3", "2")];

/// Connections, more than there are cores.
const CONNECTIONS: usize = 4;

/// Queues of a topic, more than there are shards.
const QUEUES: i32 = 5;

const MESSAGES: i64 = 6;

fn start(directory: &Path, (shards, cores): (&str, &str)) -> Server {
    let config = write_config(directory, 16 << 20, "");
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join("store"), &flags)
}

fn clients(server: &Server) -> Vec<Client> {
    (0..CONNECTIONS).map(|_| Client::connect(server.broker)).collect()
}

fn on_each_size(test: impl Fn(&Path, (&str, &str))) {
    for size in SIZES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        test(directory.path(), size);
    }
}

/// Sends to every queue; each message says in which life of its topic it was sent.
fn fill(client: &mut Client, topic: &str, life: u32) {
    for number in 0..MESSAGES {
        for queue in 0..QUEUES {
            let body = format!("{life} {queue} {number}");
            client.write_send(topic, queue, body.as_bytes()).expect("open");
            let reply = client.read().expect("an answer");
            assert_eq!((reply.code, reply.number("queueOffset")), (0, number), "{}", reply.remark);
        }
    }
}

/// Every queue holds what its topic got in one of its lives and nothing else.
fn assert_filled(client: &mut Client, topic: &str, life: u32) {
    for queue in 0..QUEUES {
        let found = records(&client.pull(topic, queue, 0).body);
        let expect = (0..MESSAGES).map(|it| (it, format!("{life} {queue} {it}").into_bytes()));
        assert_eq!(found, expect.collect::<Vec<_>>());
    }
}

/// The committed offset; `None`: there is none.
fn committed(client: &mut Client, group: &str, topic: &str, queue: i32) -> Option<i64> {
    let queue = queue.to_string();
    let ext = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &*queue),
        ("setZeroIfNotFound", "false"),
    ];
    let reply = client.ask(14, &ext, &[]);
    (reply.code == 0).then(|| reply.number("offset"))
}

fn delete(client: &mut Client, topic: &str) {
    let reply = client.ask(215, &[("topic", topic)], &[]);
    assert_eq!(reply.code, 0, "{}", reply.remark);
}

/// No core knows the topic.
fn assert_gone(clients: &mut [Client], topic: &str) {
    for client in clients {
        for queue in 0..QUEUES {
            let reply = client.pull(topic, queue, 0);
            assert_eq!(reply.code, 17, "queue {queue}: {}", reply.remark);
            assert_eq!(committed(client, "life", topic, queue), None);
        }
    }
}

/// A pull that waits for messages.
fn write_waiting_pull(client: &mut Client, topic: &str, queue: i32, from: i64) -> i32 {
    let (queue, from) = (queue.to_string(), from.to_string());
    let ext = [
        ("consumerGroup", "life"),
        ("topic", topic),
        ("queueId", &*queue),
        ("queueOffset", &*from),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "60000"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    client.write(11, &ext, &[])
}

#[test]
fn a_deleted_topic_is_gone_on_every_core_and_stays_so() {
    on_each_size(|directory, size| {
        let server = start(directory, size);
        let mut clients = clients(&server);
        clients[0].create_topic("Kept", QUEUES);
        fill(&mut clients[0], "Kept", 7);
        clients[0].create_topic("Life", QUEUES);
        fill(&mut clients[1], "Life", 1);
        assert_eq!(clients[2].pull_as("life", "Life", 0, 0).code, 0, "it makes the group");
        for queue in 0..QUEUES {
            clients[2].commit("life", "Life", queue, 3);
            clients[2].commit("life", "Kept", queue, 4);
        }
        // Who waits for its messages hears of it.
        let mut waiting = Client::connect(server.broker);
        let asked: Vec<_> = (0..QUEUES)
            .map(|queue| write_waiting_pull(&mut waiting, "Life", queue, MESSAGES))
            .collect();
        let kept = write_waiting_pull(&mut waiting, "Kept", 0, MESSAGES);
        assert_eq!(waiting.ask(31, &[("topic", "Kept"), ("queueId", "1")], &[]).code, 0);
        delete(&mut clients[3], "Life");
        assert_gone(&mut clients, "Life");
        for _ in &asked {
            let reply = waiting.read().expect("an answer");
            assert!(asked.contains(&reply.opaque) && reply.opaque != kept);
            assert_eq!(reply.code, 17, "{}", reply.remark);
        }
        delete(&mut clients[0], "Life"); // as often as one likes
        for queue in 0..QUEUES {
            assert_eq!(committed(&mut clients[1], "life", "Kept", queue), Some(4));
        }
        server.kill();

        let server = start(directory, size);
        let mut again = self::clients(&server);
        assert_gone(&mut again, "Life");
        assert_filled(&mut again[1], "Kept", 7);
        again[0].create_topic("Life", QUEUES);
        assert_eq!(again[1].pull("Life", 2, 0).code, 19, "it is empty");
        fill(&mut again[2], "Life", 2);
        assert_filled(&mut again[3], "Life", 2);
        assert_eq!(committed(&mut again[1], "life", "Life", 0), None);
        again[1].commit("life", "Life", 0, 5);
        server.stop();

        let server = start(directory, size);
        let mut last = self::clients(&server);
        assert_filled(&mut last[0], "Life", 2);
        assert_filled(&mut last[1], "Kept", 7);
        assert_eq!(committed(&mut last[2], "life", "Life", 0), Some(5));
        assert_eq!(committed(&mut last[2], "life", "Life", 1), None);
        assert_eq!(committed(&mut last[3], "life", "Kept", 1), Some(4));
        server.stop();
    });
}

#[test]
fn a_topic_deleted_and_made_again_survives_each_kill_in_its_last_life() {
    on_each_size(|directory, size| {
        for life in 0..6 {
            let server = start(directory, size);
            let mut clients = clients(&server);
            if life > 0 {
                // Killed right behind an answer: of the deletion, of the creation, of the last send.
                match life % 3 {
                    1 => assert_gone(&mut clients, "Life"),
                    2 => assert_eq!(clients[1].pull("Life", 1, 0).code, 19),
                    _ => assert_filled(&mut clients[1], "Life", life - 1),
                }
            }
            clients[0].create_topic("Life", QUEUES);
            delete(&mut clients[1], "Life");
            clients[2].create_topic("Life", QUEUES);
            fill(&mut clients[3], "Life", life);
            assert_filled(&mut clients[0], "Life", life);
            if life % 3 != 2 {
                delete(&mut clients[1], "Life");
            }
            if life % 3 == 1 {
                clients[2].create_topic("Life", QUEUES);
            }
            server.kill();
        }
    });
}

#[test]
fn numbers_of_queues_and_permissions_change() {
    on_each_size(|directory, size| {
        let server = start(directory, size);
        let mut clients = clients(&server);
        clients[0].create_topic("Wide", 5);
        fill(&mut clients[1], "Wide", 1);
        let change = |client: &mut Client, read: &str, write: &str, perm: &str| {
            let ext = [
                ("topic", "Wide"),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", read),
                ("writeQueueNums", write),
                ("perm", perm),
                ("topicFilterType", "SINGLE_TAG"),
                ("topicSysFlag", "0"),
                ("order", "false"),
            ];
            assert_eq!(client.ask(17, &ext, &[]).code, 0);
        };
        let send = |client: &mut Client, queue: i32| {
            client.write_send("Wide", queue, b"x").expect("open");
            client.read().expect("an answer").code
        };
        // Down: what is in the queue that went is kept, and there again when the number goes up.
        change(&mut clients[0], "4", "4", "6");
        for client in &mut clients {
            assert_eq!(client.pull("Wide", 4, 0).code, 29, "not read any more");
            assert_eq!(send(client, 4), 29);
        }
        // Drained: read and not written. A client that names such a queue may still, as in 5.3.3.
        change(&mut clients[0], "5", "4", "6");
        assert_eq!(records(&clients[1].pull("Wide", 4, 0).body).len(), MESSAGES as usize);
        change(&mut clients[0], "9", "9", "6");
        assert_eq!(send(&mut clients[1], 8), 0);
        assert_eq!(clients[2].pull("Wide", 8, 0).code, 0);
        assert_filled(&mut clients[2], "Wide", 1);
        // Clients read in the route that they may not send; who does all the same may, as in 5.3.3.
        change(&mut clients[0], "9", "9", "4");
        assert_eq!(clients[2].pull("Wide", 0, 0).code, 0);
        assert_eq!(send(&mut clients[1], 0), 0);
        change(&mut clients[0], "9", "9", "2");
        assert_eq!(clients[2].pull("Wide", 0, 0).code, 16);
        assert_eq!(send(&mut clients[1], 0), 0);
        server.kill();
        let server = start(directory, size);
        let mut client = Client::connect(server.broker);
        assert_eq!(client.pull("Wide", 0, 0).code, 16, "it is remembered");
        server.stop();
    });
}

#[test]
fn several_topics_are_made_at_once() {
    on_each_size(|directory, size| {
        let server = start(directory, size);
        let mut clients = clients(&server);
        let list = |names: &[&str]| {
            let topics: Vec<_> = names
                .iter()
                .map(|name| {
                    format!(
                        r#"{{"attributes":{{"+message.type":"FIFO"}},"order":false,"perm":6,"readQueueNums":3,"topicFilterType":"SINGLE_TAG","topicName":"{name}","topicSysFlag":0,"writeQueueNums":3}}"#
                    )
                })
                .collect();
            format!(r#"{{"topicConfigList":[{}]}}"#, topics.join(",")).into_bytes()
        };
        let refused = clients[0].ask(18, &[], &list(&["One", "TBW102"]));
        assert_eq!(refused.code, 29, "{}", refused.remark);
        assert_eq!(clients[1].pull("One", 0, 0).code, 17, "none of them is made");
        assert_eq!(clients[0].ask(18, &[], &list(&["One", "Two", "Three"])).code, 0);
        // One that is there already does not keep the others from being made.
        assert_eq!(clients[0].ask(18, &[], &list(&["Two", "Four"])).code, 0);
        for name in ["One", "Two", "Three", "Four"] {
            for client in &mut clients {
                assert_eq!(client.pull(name, 2, 0).code, 19);
            }
        }
        assert_eq!(clients[0].ask(18, &[], b"[").code, 1);
        server.stop();
    });
}
