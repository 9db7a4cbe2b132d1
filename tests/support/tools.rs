//! A tool with several connections, which asks through a different one each time.

use super::{Client, Reply, Server};

/// Shards and cores with which tools are tried: alone, fewer cores than shards, as many.
pub const SIZES: [(&str, &str); 3] = [("1", "1"), ("3", "2"), ("2", "2")];

/// Queues of a topic that [`Tools::fill`] makes.
pub const QUEUES: i32 = 5;

/// Messages that it sends to each queue.
pub const MESSAGES: i64 = 4;

/// Connections that take turns, and so go through each core.
pub struct Tools {
    clients: Vec<Client>,
    asked: usize,
}

impl Tools {
    pub fn new(server: &Server) -> Tools {
        Tools { clients: (0..4).map(|_| Client::connect(server.broker)).collect(), asked: 0 }
    }

    /// The connection whose turn it is.
    pub fn next(&mut self) -> &mut Client {
        self.asked += 1;
        let count = self.clients.len();
        &mut self.clients[self.asked % count]
    }

    pub fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
        self.next().ask(code, ext, body)
    }

    /// The body of an answer that must be SUCCESS.
    pub fn granted(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let reply = self.ask(code, ext, body);
        assert_eq!(reply.code, 0, "{code} {ext:?}: {}", reply.remark);
        reply.body
    }

    /// A topic with some messages in each queue, their bodies `{queue} {number}`.
    pub fn fill(&mut self, topic: &str) {
        self.next().create_topic(topic, QUEUES);
        for number in 0..MESSAGES {
            for queue in 0..QUEUES {
                let client = self.next();
                let body = format!("{queue} {number}");
                client.write_send(topic, queue, body.as_bytes()).expect("open");
                assert_eq!(client.read().expect("an answer").code, 0);
            }
        }
    }

    /// Commits an offset and waits for the answer.
    pub fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        self.next().commit(group, topic, queue, offset);
    }
}
