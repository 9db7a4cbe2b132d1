//! Heartbeats, departures and silence as scripts; members that come and go at random.

use std::collections::BTreeSet;

use engine::filter::TagFilter;
use proptest::prelude::*;
use proto::body::{ConsumeType, MessageModel, SQL92};

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

/// Runs a script: each line is an action and what comes of it. Time starts at 0.
///
/// ```text
/// beat <connection> <client> <group> [broadcast] [fp=<fingerprint>] [without]
///      [<topic>=<expression>@<version>]..
/// produce <connection> <client> <group>
/// leave <connection> <consumer group>        stop <connection> <producer group>
/// close <connection>                         at <ms>: time passes, the silent are told
/// ids, told, topics, producers <group>       wants <group> <topic>
/// ```
fn check(script: &[(&str, &str)]) {
    let mut room = Room { membership: Membership::default(), now_ms: 0 };
    for (line, (action, expect)) in script.iter().enumerate() {
        assert_eq!(room.act(action), *expect, "line {line}: {action}");
        room.membership.assert_consistent();
    }
}

struct Room {
    membership: Membership,
    now_ms: u64,
}

impl Room {
    fn act(&mut self, action: &str) -> String {
        let words: Vec<&str> = action.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().unwrap();
        let membership = &mut self.membership;
        match words.as_slice() {
            ["beat", connection, client, group, rest @ ..] => {
                let (data, fingerprint, without_sub) = consumer(group, rest);
                let change = membership.heartbeat_consumer(
                    self.now_ms,
                    number(connection),
                    &client_of(client),
                    &data,
                    fingerprint,
                    without_sub,
                );
                change.map_or_else(|full| full.to_string(), shown)
            }
            ["produce", connection, client, group] => membership
                .heartbeat_producer(self.now_ms, number(connection), &client_of(client), group)
                .map_or_else(|full| full.to_string(), |()| String::new()),
            ["leave", connection, group] => membership
                .unregister(number(connection), "c", None, Some(group))
                .unwrap_or_default(),
            ["stop", connection, group] => membership
                .unregister(number(connection), "c", Some(group), Some(""))
                .unwrap_or_default(),
            ["close", connection] => membership.closed(number(connection)).join(" "),
            ["at", ms] => {
                self.now_ms = number(ms);
                joined(membership.expire(self.now_ms))
            }
            ["ids", group] => {
                membership.consumer_ids(group).map_or("none".to_owned(), |ids| ids.join(" "))
            }
            ["told", group] => joined(membership.notify_targets(group)),
            ["members", group] => joined(membership.members(group)),
            ["producers", group] => joined(membership.producers(group).map(|(at, _)| at)),
            ["topics", group] => {
                let group = membership.group(group).unwrap();
                let topics: BTreeSet<_> = group.subscriptions().map(|s| &s.data.topic).collect();
                joined(topics)
            }
            ["wants", group, topic] => {
                membership.subscription(group, topic).map_or("nothing".to_owned(), wanted)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn client_of(id: &str) -> Client {
    Client { id: id.to_owned(), language: Some(Language::Java), version: 479, peer: PEER }
}

fn consumer(group: &str, words: &[&str]) -> (ConsumerData, i32, bool) {
    let mut data = ConsumerData {
        group_name: group.to_owned(),
        message_model: Some(MessageModel::Clustering),
        consume_type: Some(ConsumeType::ConsumePassively),
        ..ConsumerData::default()
    };
    let (mut fingerprint, mut without_sub) = (0, false);
    for word in words {
        if let Some(number) = word.strip_prefix("fp=") {
            fingerprint = number.parse().unwrap();
        } else if *word == "without" {
            without_sub = true;
        } else if *word == "broadcast" {
            data.message_model = Some(MessageModel::Broadcasting);
        } else {
            let (topic, rest) = word.split_once('=').unwrap();
            let (expression, version) = rest.rsplit_once('@').unwrap();
            let version = version.parse().unwrap();
            let subscription = if expression == "sql" {
                let sql = SubscriptionData::build(topic, "x", Some(SQL92), version);
                sql.map(|sql| SubscriptionData { sub_string: String::new(), ..sql })
            } else if expression.contains('>') {
                SubscriptionData::build(topic, expression, Some(SQL92), version)
            } else {
                SubscriptionData::tags(topic, expression, version)
            };
            data.subscription_data_set.push(subscription.unwrap());
        }
    }
    (data, fingerprint, without_sub)
}

fn shown(change: Change) -> String {
    let told = if change.notify { "told" } else { "quiet" };
    let asked = if change.sub_changed { " all" } else { "" };
    format!("{told}{asked}")
}

fn wanted(subscription: &Subscription) -> String {
    let filter = match &subscription.filter {
        GroupFilter::Tags(TagFilter::All) => "all".to_owned(),
        GroupFilter::Tags(TagFilter::Codes(codes)) => format!("{codes:?}"),
        GroupFilter::Sql(None) => "none".to_owned(),
        GroupFilter::Sql(Some(sql)) => format!("'{}' of @{}", sql.filter.text(), sql.version),
    };
    format!("{} @{} {filter}", subscription.data.sub_string, subscription.version)
}

fn joined(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

#[test]
fn what_is_set_for_consumers_does_not_hold_for_producers() {
    let mut room =
        Room { membership: Membership::new(15_000, PRODUCER_EXPIRED_MS, true), now_ms: 0 };
    for (action, expect) in [
        ("beat 1 c group", ""),
        ("produce 2 p group", ""),
        ("at 20000", "1"),
        ("close 1", ""),
        ("at 120000", ""),
        ("at 130001", "2"),
    ] {
        let found = room.act(action);
        assert!(found == expect || action.starts_with("beat"), "{action}: {found}");
    }
}

#[test]
fn members_are_told_of_new_members_and_topics() {
    check(&[
        ("ids G", "none"),
        ("beat 1 c1 G T=*@5", "told all"),
        ("beat 1 c1 G T=*@5", "quiet all"),
        ("beat 2 c2 G T=*@5", "told all"),
        ("told G", "1 2"),
        ("ids G", "c1 c2"),
        // A new topic, a topic that is gone: the last heartbeat decides for the group.
        ("beat 2 c2 G T=*@5 U=A@6", "told all"),
        ("topics G", "T U"),
        ("beat 1 c1 G T=*@5", "told all"),
        ("topics G", "T"),
        ("wants G U", "nothing"),
        ("wants H T", "nothing"),
    ]);
}

#[test]
fn newer_expression_replaces_and_is_no_change() {
    check(&[
        ("beat 1 c1 G T=A||B@5", "told all"),
        ("wants G T", "A||B @5 [65, 66]"),
        ("beat 1 c1 G T=B@4", "quiet all"),
        ("wants G T", "A||B @5 [65, 66]"),
        ("beat 1 c1 G T=B@5", "quiet all"),
        ("wants G T", "A||B @5 [65, 66]"),
        ("beat 1 c1 G T=B@6", "quiet all"),
        ("wants G T", "B @6 [66]"),
        ("beat 1 c1 G T=*@7", "quiet all"),
        ("wants G T", "* @7 all"),
    ]);
}

/// What a heartbeat says that differs from what another member said: topic, expression, the other
/// client, its expression.
fn said(group: &mut ConsumerGroup, connection: u64, client: &str, words: &[&str]) -> String {
    let (data, _, _) = consumer("G", words);
    group.enter(connection, &client_of(client), &data);
    let conflict = group.subscribe("G", connection, &data.subscription_data_set).conflict;
    conflict.map_or("agrees".to_owned(), |it| {
        format!("{}: '{}', {} '{}'", it.topic, it.wants, it.other.id, it.other_wants)
    })
}

#[test]
fn members_that_subscribe_differently_are_a_conflict_of_two_named_sides() {
    let group = &mut ConsumerGroup::default();
    assert_eq!(said(group, 1, "old", &["T=A||B@5"]), "agrees");
    assert_eq!(said(group, 2, "new", &["T=B||A@6"]), "agrees", "tags have no order");
    assert_eq!(said(group, 2, "new", &["T=C@7"]), "agrees", "its own are its own to change");
    // Whoever made the older one hears of it, too, though it has no effect.
    assert_eq!(said(group, 1, "old", &["T=A||B@5"]), "T: 'A||B', new 'C'");
    assert_eq!(said(group, 1, "old", &["T=a>5@8"]), "T: 'a>5', new 'C'");
    assert_eq!(said(group, 2, "new", &["T=a>5@9"]), "agrees");
    assert_eq!(said(group, 1, "old", &["T=a>5@8", "U=*@8"]), "agrees");
    assert_eq!(said(group, 2, "new", &["T=a>5@9"]), "U: '', old '*'", "U is gone for the other");
    assert_eq!(said(group, 1, "old", &["U=*@8"]), "T: '', new 'a>5'");
    // Another connection of the same client, and who has left, are no other side.
    assert_eq!(said(group, 3, "old", &["U=A@9"]), "agrees");
    group.leave(3);
    assert_eq!(said(group, 2, "new", &["U=B@10"]), "agrees");
}

#[test]
fn a_conflict_is_told_once_a_minute() {
    let group = &mut ConsumerGroup::default();
    let told = [0, 1, 59_999, 60_000, 90_000, 120_000].map(|now_ms| group.tells_conflict(now_ms));
    assert_eq!(told, [true, false, false, true, false, true]);
}

#[test]
fn expressions_are_compiled_and_keep_their_version() {
    check(&[
        ("beat 1 c1 G T=a>5@8 U=*@1", "told all"),
        ("wants G T", "a>5 @8 'a>5' of @8"),
        // Not newer: not looked at.
        ("beat 1 c1 G T=a>6@8 U=*@1", "quiet all"),
        ("wants G T", "a>5 @8 'a>5' of @8"),
        ("beat 1 c1 G T=a>5@9 U=*@1", "quiet all"),
        ("wants G T", "a>5 @9 'a>5' of @9"),
        ("beat 1 c1 G T=a>6@10 U=*@1", "quiet all"),
        ("wants G T", "a>6 @10 'a>6' of @10"),
        // Without a text what is known stays, and is older than the subscription.
        ("beat 1 c1 G T=sql@11 U=*@1", "quiet all"),
        ("wants G T", " @11 'a>6' of @10"),
        ("beat 1 c1 G T=a>@12 U=*@1", "quiet all"),
        ("wants G T", "a> @12 none"),
        ("beat 1 c1 G T=sql@13 U=*@1", "quiet all"),
        ("wants G T", " @13 none"),
        ("beat 1 c1 G T=A@14 U=*@1", "quiet all"),
        ("wants G T", "A @14 [65]"),
        // Gone and back: nothing is left of what was.
        ("beat 1 c1 G T=a>5@15 U=*@1", "quiet all"),
        ("beat 1 c1 G U=*@1", "told all"),
        ("beat 1 c1 G T=sql@16 U=*@1", "told all"),
        ("wants G T", " @16 none"),
    ]);
}

#[test]
fn programs_count_as_memory() {
    let text = format!("a IN ('{}')", "x".repeat(30_000));
    let data = SubscriptionData::build("T", &text, Some(SQL92), 1).unwrap();
    let heartbeat = |topics: usize, version| ConsumerData {
        group_name: "G".to_owned(),
        subscription_data_set: (0..topics)
            .map(|number| {
                let topic = format!("T{number}");
                SubscriptionData { topic, sub_version: version, ..data.clone() }
            })
            .collect(),
        ..ConsumerData::default()
    };
    let client = Client { id: "c".to_owned(), language: None, version: 0, peer: PEER };
    let mut membership = Membership::default();
    let mut beat =
        |data: &ConsumerData| membership.heartbeat_consumer(0, 1, &client, data, 0, false);
    beat(&heartbeat(1, 1)).expect("one fits a mebibyte");
    let full = beat(&heartbeat(2, 2)).expect_err("two do not");
    assert_eq!(full.limit, GROUP_SUBSCRIPTION_BYTES_MAX);
    // What replaces it with nothing keeps the program, and so its memory.
    let mut empty = heartbeat(2, 3);
    empty.subscription_data_set[0].sub_string.clear();
    beat(&empty).expect_err("the first's program is still there");
    empty.subscription_data_set.truncate(1);
    beat(&empty).expect("as it was");
    assert_eq!(membership.closed(1), ["G"; 0]);
}

#[test]
fn broadcasting_groups_are_told_nothing() {
    check(&[
        ("beat 1 c1 G broadcast T=*@5", "quiet all"),
        ("beat 2 c2 G broadcast T=*@5 U=*@5", "quiet all"),
        ("told G", ""),
        ("members G", "1 2"),
        ("ids G", "c1 c2"),
        ("close 2", ""),
        ("beat 3 c3 G broadcast T=*@5", "quiet all"),
        ("leave 3 G", ""),
        // The last heartbeat decides of that as well.
        ("beat 4 c4 G T=*@5", "told all"),
        ("told G", "1 4"),
    ]);
}

#[test]
fn who_leaves_is_gone_and_the_others_are_told() {
    check(&[
        ("beat 1 c1 G T=*@5", "told all"),
        ("beat 1 c1 H T=*@5", "told all"),
        ("beat 2 c2 G T=*@5", "told all"),
        ("produce 1 c1 P", ""),
        ("produce 2 c2 P", ""),
        ("leave 3 G", ""),
        ("leave 2 H", ""),
        ("leave 1 X", ""),
        ("leave 1 G", "G"),
        ("leave 1 G", ""),
        ("ids G", "c2"),
        ("ids H", "c1"),
        // The last one takes the group along, with what it wanted.
        ("leave 2 G", ""),
        ("ids G", "none"),
        ("wants G T", "nothing"),
        ("stop 1 P", ""),
        ("producers P", "2"),
        ("stop 2 P", ""),
        ("producers P", ""),
    ]);
}

#[test]
fn closed_connection_leaves_all_its_groups() {
    check(&[
        ("beat 1 c1 G T=*@5", "told all"),
        ("beat 1 c1 H T=*@5", "told all"),
        ("beat 1 c1 I broadcast T=*@5", "quiet all"),
        ("produce 1 c1 G", ""),
        ("beat 2 c2 G T=*@5", "told all"),
        ("beat 2 c2 I broadcast T=*@5", "quiet all"),
        ("close 1", "G"),
        ("close 1", ""),
        ("ids G", "c2"),
        ("ids H", "none"),
        ("ids I", "c2"),
        ("producers G", ""),
    ]);
}

#[test]
fn silent_members_are_to_be_closed() {
    check(&[
        ("beat 1 c1 G T=*@5", "told all"),
        ("beat 2 c2 G T=*@5", "told all"),
        ("produce 3 c3 P", ""),
        ("produce 3 c3 Q", ""),
        ("at 20000", ""),
        ("beat 2 c2 G T=*@5", "quiet all"),
        ("produce 3 c3 P", ""),
        ("at 120000", ""),
        // Looks only every 10 s.
        ("at 120001", ""),
        // Silent in one group is silent.
        ("at 130000", "1 3"),
        ("at 140000", "1 3"),
        ("at 150000", "1 2 3"),
        ("ids G", "c1 c2"),
        ("close 1", "G"),
        ("beat 2 c2 G T=*@5", "quiet all"),
        ("close 3", ""),
        ("at 160000", ""),
    ]);
}

#[test]
fn client_id_may_have_several_connections_and_change() {
    check(&[
        ("beat 1 c G T=*@5", "told all"),
        ("beat 2 c G T=*@5", "told all"),
        ("ids G", "c c"),
        ("beat 2 d G T=*@5", "quiet all"),
        ("ids G", "c d"),
        ("close 1", "G"),
        ("ids G", "d"),
    ]);
}

#[test]
fn fingerprints_tell_whether_subscriptions_are_wanted_again() {
    check(&[
        ("beat 1 c1 G fp=7 T=*@5", "told"),
        ("beat 1 c1 G fp=7 without", "quiet"),
        ("wants G T", "* @5 all"),
        ("beat 2 c2 G fp=7 without", "told"),
        // Someone subscribes to something else: each is asked for all of it in turn.
        ("beat 2 c2 G fp=8 T=*@5 U=*@6", "told all"),
        ("beat 1 c1 G fp=7 without", "quiet all"),
        ("topics G", "T U"),
        // Without a fingerprint nothing is left out.
        ("beat 1 c1 G without", "told all"),
        ("topics G", ""),
        ("close 1", "G"),
        ("close 2", ""),
        // What the broker never knew it asks for.
        ("beat 3 c3 G fp=8 without", "told all"),
        ("beat 3 c3 G fp=8 T=*@5", "told"),
    ]);
}

#[test]
fn broker_that_does_not_notify_tells_nobody() {
    let mut room = Room { membership: Membership::new(1, 1, false), now_ms: 0 };
    assert_eq!(room.act("beat 1 c1 G T=*@5"), "quiet all");
    assert_eq!(room.act("beat 2 c2 G T=*@5"), "quiet all");
    assert_eq!(room.act("told G"), "");
    assert_eq!(room.act("leave 1 G"), "");
    assert_eq!(room.act("beat 1 c1 G T=*@5"), "quiet all");
    assert_eq!(room.act("close 1"), "");
}

#[test]
fn what_finds_no_room_changes_nothing() {
    let mut room = Room { membership: Membership::default(), now_ms: 0 };
    for group in 0..GROUPS_PER_CONNECTION_MAX {
        assert_eq!(room.act(&format!("produce 1 c P{group}")), "");
    }
    let full = "no room in the broker's membership: more than 1024 groups of a connection";
    assert_eq!(room.act("produce 1 c Q"), full);
    assert_eq!(room.act("beat 1 c G T=*@5"), full);
    assert_eq!(room.act("produce 1 c P0"), "");
    assert_eq!(room.act("beat 2 c G T=*@5"), "told all");

    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let full = "no room in the broker's membership: more than 255 bytes of a client id";
    assert_eq!(room.act(&format!("beat 3 {long} G T=*@5")), full);

    let tags = "x".repeat(GROUP_SUBSCRIPTION_BYTES_MAX);
    let full =
        "no room in the broker's membership: more than 1048576 bytes of a group's subscriptions";
    assert_eq!(room.act(&format!("beat 3 c G U={tags}@6")), full);
    assert_eq!(room.act("ids G"), "c");
    assert_eq!(room.act("topics G"), "T");
    room.membership.assert_consistent();
}

impl Membership {
    /// The invariants of the module's first lines.
    fn assert_consistent(&self) {
        let mut seated = BTreeSet::new();
        for (connection, seat) in &self.seats {
            assert!(!seat.is_empty());
            seated.extend(seat.consumer_groups.keys().map(|group| ("c", &**group, *connection)));
            seated.extend(seat.producer_groups.keys().map(|group| ("p", &**group, *connection)));
        }
        let mut members = BTreeSet::new();
        let mut bytes = 0;
        for (name, group) in self.groups() {
            assert!(!group.is_empty());
            members.extend(group.members().map(|(connection, _)| ("c", name, connection)));
            bytes += group.subscription_bytes();
            let stated: Vec<_> = group.subscriptions().map(|s| s.data.clone()).collect();
            let counted: usize = group.subscriptions().map(Subscription::bytes).sum();
            assert_eq!(group.subscription_bytes(), counted);
            assert!(counted <= group::bytes_after(Some(group), &stated));
        }
        for (name, producers) in &self.producers {
            assert!(!producers.members.is_empty());
            members.extend(producers.members.keys().map(|connection| ("p", &**name, *connection)));
        }
        assert_eq!(seated, members);
        assert_eq!(self.member_count, members.len());
        assert_eq!(self.subscription_bytes, bytes);
    }
}

proptest! {
    /// Against a plain list of who is in which group.
    #[test]
    fn members_are_those_that_came_and_did_not_leave(
        acts in prop::collection::vec((0..4u8, 0..4u64, 0..3u8, 0..4u8), 0..60),
    ) {
        let mut room = Room { membership: Membership::default(), now_ms: 0 };
        let mut model = BTreeSet::new();
        for (act, connection, group, topics) in acts {
            let name = format!("G{group}");
            match act {
                0 => {
                    let mut beat = format!("beat {connection} c{connection} {name}");
                    for topic in 0..topics {
                        beat.push_str(&format!(" T{topic}=A@{topics}"));
                    }
                    let is_new = model.insert((name.clone(), connection));
                    prop_assert!(room.act(&beat).starts_with("told") || !is_new);
                }
                1 => {
                    room.act(&format!("produce {connection} c {name}"));
                }
                2 => {
                    let told = room.act(&format!("leave {connection} {name}"));
                    let was_in = model.remove(&(name.clone(), connection));
                    let has_others = model.iter().any(|(group, _)| *group == name);
                    prop_assert_eq!(told == name, was_in && has_others);
                }
                _ => {
                    room.act(&format!("close {connection}"));
                    model.retain(|(_, member)| *member != connection);
                }
            }
            room.membership.assert_consistent();
            for group in 0..3 {
                let name = format!("G{group}");
                let expect = model.iter().filter(|(group, _)| *group == name);
                let expect = joined(expect.map(|(_, connection)| connection));
                prop_assert_eq!(room.act(&format!("told {name}")), expect);
            }
        }
    }
}
