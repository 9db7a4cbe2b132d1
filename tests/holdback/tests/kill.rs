//! kill -9 of a broker whose unsynced bytes are lost with it, under full load.
//!
//! In SYNC_FLUSH nothing acknowledged may be lost; in ASYNC_FLUSH only what was acknowledged in the last
//! `flushIntervalCommitLog` may. `HOLDBACK_KILLS=50 cargo test --release -p holdback` runs more rounds
//! than the usual three per mode.

#[path = "../../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::load::{Extent, Ledger, Load, Lost, Producers, QUEUES};
use support::{Client, Server, write_config};

/// Connections that send.
const PRODUCERS: u32 = 4;

const LOAD: Load =
    Load { topic: "HeldTopic", in_flight: 128, body_bytes_max: 9000, may_refuse: false };

/// A store of more messages is replaced by a new one, so that the disk does not fill.
const STORE_MESSAGES_MAX: usize = 400_000;

/// `flushIntervalCommitLog` of these tests.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// The sync itself, and that nobody runs exactly when due on a busy machine.
const MARGIN: Duration = Duration::from_millis(800);

fn start(store: &Path, flags: &[&str], bug: Option<&str>) -> Server {
    let mut program = Command::new(env!("CARGO_BIN_EXE_holdback"));
    program.envs(bug.map(|bug| ("HOLDBACK_BUG", bug)));
    Server::spawn(program, store, flags, Stdio::inherit())
        .unwrap_or_else(|status| panic!("the program ended before it was ready: {status}"))
}

fn flags(directory: &Path, flush: &str) -> Vec<String> {
    let interval = FLUSH_INTERVAL.as_millis();
    let config = write_config(directory, 16 << 20, &format!("flushIntervalCommitLog = {interval}"));
    ["--flush", flush, "-c", &config, "--log-level", "error"].map(str::to_owned).to_vec()
}

/// Kills under load, round by round; what was acknowledged and lost in each, and when it was killed.
fn kill_rounds(flush: &str, kills: u32) -> Vec<(Instant, Vec<Lost>)> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let flags = flags(directory.path(), flush);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let (mut rounds, mut ledger, mut first, mut stores) = (Vec::new(), Ledger::default(), 0, 0);
    let mut kept = 0;
    for round in 0..kills {
        let store = directory.path().join(format!("store-{stores}"));
        let server = start(&store, &flags, None);
        if first == 0 {
            Client::connect(server.broker).create_topic(LOAD.topic, QUEUES);
        }
        let producers = Producers::start(server.broker, LOAD, PRODUCERS, first);
        first += PRODUCERS;
        // Some acknowledgements are to be older than the interval and the margin.
        let begun = Instant::now();
        let long =
            (FLUSH_INTERVAL + MARGIN) * 5 / 4 + Duration::from_millis(u64::from(round) * 37 % 200);
        producers.wait_until("time passed", |_| begun.elapsed() > long);
        let killed = Instant::now();
        server.kill();
        producers.finish(&mut ledger);
        let server = start(&store, &flags, None);
        let (_, lost) = ledger.verify_what_is_left(server.broker, LOAD.topic, Extent::New);
        rounds.push((killed, lost));
        let is_full = ledger.acknowledged() > STORE_MESSAGES_MAX;
        if is_full || round + 1 == kills {
            let (_, lost) = ledger.verify_what_is_left(server.broker, LOAD.topic, Extent::Whole);
            assert!(lost.is_empty(), "what a start showed is lost later: {:?}", lost[0]);
            kept += ledger.acknowledged();
        }
        server.kill();
        if is_full {
            std::fs::remove_dir_all(&store).expect("the store goes away");
            (ledger, first, stores) = (Ledger::default(), 0, stores + 1);
        }
    }
    let lost: usize = rounds.iter().map(|(_, lost)| lost.len()).sum();
    println!("{flush}: {kills} kills, {kept} kept, {lost} lost");
    rounds
}

fn kills() -> u32 {
    std::env::var("HOLDBACK_KILLS").map_or(3, |text| text.parse().expect("a number"))
}

#[test]
fn acked_in_sync_flush_survives_the_loss_of_what_was_not_synced() {
    for (_, lost) in kill_rounds("sync", kills()) {
        assert!(lost.is_empty(), "{} lost, first {:?}", lost.len(), lost[0]);
    }
}

#[test]
fn acked_in_async_flush_survives_after_the_flush_interval() {
    let rounds = kill_rounds("async", kills());
    for (killed, lost) in &rounds {
        for it in lost {
            let age = killed.saturating_duration_since(it.acknowledged);
            assert!(age <= FLUSH_INTERVAL + MARGIN, "{it:?} is lost, {age:?} after its answer");
        }
    }
    // Or nothing was held back, and this test and the one above show nothing.
    assert!(rounds.iter().any(|(_, lost)| !lost.is_empty()), "no kill lost anything");
}

/// What was acknowledged and lost in one kill of a broker with a bug, and when it was killed.
fn lost_with(bug: &str, flush: &str, load: Duration) -> (Instant, Vec<Lost>) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = directory.path().join("store");
    let flags = flags(directory.path(), flush);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = start(&store, &flags, Some(bug));
    Client::connect(server.broker).create_topic(LOAD.topic, QUEUES);
    let mut ledger = Ledger::default();
    let (begun, producers) = (Instant::now(), Producers::start(server.broker, LOAD, PRODUCERS, 0));
    let enough = |it: &Producers| it.acknowledged() >= 1000 && begun.elapsed() > load;
    producers.wait_until("enough sends", enough);
    let killed = Instant::now();
    server.kill();
    producers.finish(&mut ledger);
    let server = start(&store, &flags, None);
    let missing = ledger.missing(server.broker, LOAD.topic);
    println!("{bug}: {} of {} acknowledged are lost", missing.len(), ledger.acknowledged());
    server.stop();
    (killed, missing)
}

#[test]
fn dsync_writes_that_are_held_back_are_found_out() {
    let (_, lost) = lost_with("drop-dsync", "sync", Duration::ZERO);
    assert!(!lost.is_empty(), "the missing syncs went unnoticed");
}

#[test]
fn background_syncs_that_do_nothing_are_found_out() {
    let (killed, lost) = lost_with("drop-sync", "async", (FLUSH_INTERVAL + MARGIN) * 5 / 4);
    let age = |it: &Lost| killed.saturating_duration_since(it.acknowledged);
    let is_old = lost.iter().any(|it| age(it) > FLUSH_INTERVAL + MARGIN);
    assert!(is_old, "the missing syncs went unnoticed");
}
