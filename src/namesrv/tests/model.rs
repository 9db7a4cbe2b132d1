//! Brokers that come, change, fall silent and leave at random, against what must then hold.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Register { broker: usize, connection: u64 },
    Unregister { broker: usize },
    Beat { broker: usize },
    Close { connection: u64 },
    Wait { ms: u64 },
    Delete { topic: &'static str },
}

const NAMES: [&str; 2] = ["a", "b"];
const ADDRESSES: [&str; 3] = ["x:1", "y:1", "z:1"];
const TOPICS: [&str; 3] = ["T", "U", "V"];

fn visitor() -> impl Strategy<Value = Visitor> {
    let topics = proptest::sample::subsequence(TOPICS.to_vec(), 0..=3);
    let acting_master = prop::option::of(any::<bool>());
    (0..2usize, 0..3usize, 0..3i64, 0..2i64, 0..3i64, acting_master, topics, any::<bool>())
        .prop_map(|(name, address, id, state_version, counter, acting_master, topics, second)| {
            Visitor {
                cluster: if second { "D" } else { "C" },
                name: NAMES[name],
                address: ADDRESSES[address],
                id,
                state_version,
                counter,
                acting_master,
                topics,
                ..master()
            }
        })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6usize, 0..3u64)
            .prop_map(|(broker, connection)| Event::Register { broker, connection }),
        2 => (0..6usize).prop_map(|broker| Event::Unregister { broker }),
        1 => (0..6usize).prop_map(|broker| Event::Beat { broker }),
        1 => (0..3u64).prop_map(|connection| Event::Close { connection }),
        2 => (0..70_000u64).prop_map(|ms| Event::Wait { ms }),
        1 => proptest::sample::select(TOPICS.to_vec()).prop_map(|topic| Event::Delete { topic }),
    ]
}

fn play(desk: &mut Desk, visitors: &[Visitor], event: &Event) {
    match *event {
        Event::Register { broker, connection } => {
            desk.connection = ConnectionKey(connection);
            desk.register(&visitors[broker]);
        }
        Event::Unregister { broker } => {
            desk.unregister(&visitors[broker]);
        }
        Event::Beat { broker } => {
            let Visitor { cluster, name, address, .. } = visitors[broker];
            let ext = [("clusterName", cluster), ("brokerName", name), ("brokerAddr", address)];
            desk.ask(request::BROKER_HEARTBEAT, &ext, b"");
        }
        Event::Close { connection } => desk.close(ConnectionKey(connection)),
        Event::Wait { ms } => {
            desk.now_ms += ms;
            desk.server.tick(desk.now_ms);
        }
        Event::Delete { topic } => {
            desk.ask(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", topic)], b"");
        }
    }
    desk.server.brokers.assert_consistent();
    desk.server.topics.assert_consistent();
    // Whoever a route names can be dialled.
    for topic in TOPICS {
        for data in desk.route(topic).map(|route| route.queue_datas).unwrap_or_default() {
            assert!(desk.server.brokers.get(&data.broker_name).is_some());
        }
    }
}

proptest! {
    #[test]
    fn routes_name_known_brokers_and_silence_forgets_everything(
        visitors in prop::collection::vec(visitor(), 6),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut desk = Desk::new();
        for event in &events {
            play(&mut desk, &visitors, event);
        }
        desk.now_ms += limits::BROKER_EXPIRED_MS + 1;
        desk.server.tick(desk.now_ms + 5000);
        prop_assert_eq!(desk.topics(), "");
        prop_assert_eq!(desk.server.brokers.len(), 0);
        prop_assert!(desk.server.brokers.clusters().is_empty());
    }
}
