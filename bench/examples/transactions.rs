//! Transactions against plain sends, by one client on one machine: `transactions ADDRESS TOPIC [SECONDS]`.
//!
//! Each connection keeps so many messages unfinished. Plain: a send and its answer. Transaction: a half
//! message and its answer, then END_TRANSACTION (commit) and its answer, as one client needs it to count; so a
//! committed message is two requests and two records of the log. Rounds take turns; the rates are of finished messages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::ids::OffsetMessageId;
use proto::reply::{RequestHead, SendRequest, write_request, write_send_request};

const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 128;
const BODY_BYTES: usize = 1024;
const ROUNDS: usize = 5;
const GROUP: &str = "TransactionBench";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let address: SocketAddr = arguments.get(1).and_then(|it| it.parse().ok()).expect("ADDRESS");
    let topic = arguments.get(2).expect("TOPIC").clone();
    let seconds = arguments.get(3).map_or(4, |it| it.parse().expect("SECONDS"));
    let (mut plain, mut transactions) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for is_transaction in [false, true] {
            let rate = run(address, &topic, seconds, is_transaction);
            let name = if is_transaction { "committed transactions" } else { "plain sends" };
            println!("round {round}: {rate:.0} {name}/s");
            if is_transaction { &mut transactions } else { &mut plain }.push(rate);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (plain, transactions) = (median(&mut plain), median(&mut transactions));
    println!(
        "median: {plain:.0} plain sends/s, {transactions:.0} committed transactions/s: {:.1} %",
        transactions / plain * 100.0
    );
}

/// Messages finished per second, by all connections.
fn run(address: SocketAddr, topic: &str, seconds: u64, is_transaction: bool) -> f64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let topic = topic.to_owned();
            std::thread::spawn(move || connection(address, &topic, number, end, is_transaction))
        })
        .collect();
    let finished: u64 = threads.into_iter().map(|it| it.join().expect("it ends")).sum();
    finished as f64 / seconds as f64
}

fn connection(
    address: SocketAddr,
    topic: &str,
    number: usize,
    end: Instant,
    is_transaction: bool,
) -> u64 {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_nodelay(true).expect("an option can be set");
    let body = vec![b'x'; BODY_BYTES];
    let half = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
    let (mut unsent, mut received) = (Vec::new(), Vec::new());
    let (mut opaque, mut finished) = (0, 0);
    let mut send = |unsent: &mut Vec<u8>| {
        opaque += 2; // even: a send
        let unique = format!("UNIQ_KEY\u{1}{number:08X}{opaque:024X}\u{2}");
        let properties = if is_transaction { format!("{half}{unique}") } else { unique };
        let request = SendRequest {
            producer_group: GROUP,
            topic,
            default_topic: "TBW102",
            default_topic_queue_count: 4,
            queue_id: opaque / 2 % 4,
            sys_flag: if is_transaction { 4 } else { 0 },
            born_timestamp: 1,
            flag: 0,
            properties: properties.as_bytes(),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        let head = RequestHead { code: 310, opaque, flag: 0 };
        write_send_request(unsent, Encoding::Json, &head, &request, BODY_BYTES);
        unsent.extend_from_slice(&body);
    };
    for _ in 0..IN_FLIGHT {
        send(&mut unsent);
    }
    let mut bytes = vec![0; 256 * 1024];
    while Instant::now() < end {
        stream.write_all(&unsent).expect("the connection is open");
        unsent.clear();
        let count = stream.read(&mut bytes).expect("answers");
        assert!(count > 0, "the broker closed the connection");
        received.extend_from_slice(&bytes[..count]);
        let mut taken = 0;
        while let Ok(Scan::Frame { frame, size_bytes }) = scan(&received[taken..], 16 << 20) {
            taken += size_bytes;
            let answer = Command::decode(&frame).expect("an answer");
            assert_eq!(answer.code, 0, "{:?}", answer.remark);
            if is_transaction && answer.opaque % 2 == 0 {
                commit(&mut unsent, &answer);
            } else {
                finished += 1;
                send(&mut unsent);
            }
        }
        received.drain(..taken);
    }
    finished
}

fn commit(unsent: &mut Vec<u8>, answer: &Command<'_>) {
    let field = |key| answer.ext.get(key).map(|it| it.to_cow().into_owned()).expect("a field");
    let id = OffsetMessageId::decode(field("msgId").as_bytes()).expect("an id");
    let position = id.position.to_i64().to_string();
    let ext = [
        ("producerGroup", GROUP),
        ("tranStateTableOffset", &*field("queueOffset")),
        ("commitLogOffset", &*position),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "false"),
        ("msgId", &*field("transactionId")),
    ];
    let head = RequestHead { code: 37, opaque: answer.opaque + 1, flag: 0 };
    write_request(unsent, Encoding::Json, &head, Some(&ext), &[]);
}
