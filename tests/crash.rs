//! kill -9 under full load: what was acknowledged is there afterwards, whole, in order, once.
//!
//! `RINGMQ_KILLS=20 cargo test --release --test crash` runs more rounds than the usual three per mode.
//! The process dies, not the machine: this tests the recovery and the order of acknowledgements, not
//! the device's cache. `tests/holdback` is the same with a cache that is lost.

mod support;

use std::path::{Path, PathBuf};

use support::load::{Extent, Ledger, Load, Producers, QUEUES};
use support::{Client, Server, write_config};

/// Connections that send.
const PRODUCERS: u32 = 4;

const LOAD: Load =
    Load { topic: "CrashTopic", in_flight: 256, body_bytes_max: 9000, may_refuse: false };

/// A store of more messages is replaced by a new one, so that the disk does not fill.
const STORE_MESSAGES_MAX: usize = 400_000;

/// A store and what its producers were told.
struct Life {
    store: PathBuf,
    ledger: Ledger,
    producers: u32,
}

impl Life {
    fn new(directory: &Path, number: u32) -> Life {
        let store = directory.join(format!("store-{number}"));
        Life { store, ledger: Ledger::default(), producers: 0 }
    }

    /// Loads a server as far as it goes, until so many more sends are acknowledged, and kills it.
    fn kill_under_load(&mut self, flags: &[&str], sends: u64) {
        let server = Server::start(&self.store, flags);
        if self.producers == 0 {
            Client::connect(server.broker).create_topic(LOAD.topic, QUEUES);
        } else {
            self.ledger.verify(server.broker, LOAD.topic, Extent::New);
        }
        let producers = Producers::start(server.broker, LOAD, PRODUCERS, self.producers);
        self.producers += PRODUCERS;
        producers.wait_until("enough sends", |it| it.acknowledged() >= sends);
        server.kill();
        producers.finish(&mut self.ledger);
    }

    /// Reads everything, after a kill and after a clean stop. How many messages are stored.
    fn verify_all(&mut self, flags: &[&str]) -> u64 {
        let server = Server::start(&self.store, flags);
        let stored = self.ledger.verify(server.broker, LOAD.topic, Extent::Whole);
        server.stop();
        let server = Server::start(&self.store, flags);
        let again = self.ledger.verify(server.broker, LOAD.topic, Extent::Whole);
        assert_eq!(again, stored, "a clean stop and start keeps everything");
        server.stop();
        std::fs::remove_dir_all(&self.store).expect("the store goes away");
        stored
    }
}

/// Shards and cores of the lives of one store, one after the other: shards are added, cores come and go.
type Sizes = &'static [(&'static str, &'static str)];

fn kill_under_load(flush: &str, sizes: Sizes) {
    let kills: u32 =
        std::env::var("RINGMQ_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = write_config(directory.path(), 16 << 20, "");
    let flags_of = |(shards, cores): (&'static str, &'static str)| {
        [
            "--flush",
            flush,
            "-c",
            &*config,
            "--log-level",
            "error",
            "--shards",
            shards,
            "--cores",
            cores,
        ]
    };
    let (mut acknowledged, mut stored) = (0, 0);
    let mut life = Life::new(directory.path(), 0);
    let mut sizes_left = sizes.iter().peekable();
    for round in 0..kills {
        let size = sizes_left.peek().map_or(sizes[sizes.len() - 1], |size| **size);
        sizes_left.next();
        let flags = flags_of(size);
        life.kill_under_load(&flags, 3000 + u64::from(round) * 1777 % 20_000);
        if life.ledger.acknowledged() > STORE_MESSAGES_MAX || round + 1 == kills {
            acknowledged += life.ledger.acknowledged();
            stored += life.verify_all(&flags);
            life = Life::new(directory.path(), round + 1);
            sizes_left = sizes.iter().peekable();
        }
    }
    println!("{flush}: {kills} kills, {acknowledged} acknowledged, {stored} stored");
}

#[test]
fn acked_survives_kill_in_sync_flush() {
    kill_under_load("sync", &[("1", "1")]);
}

#[test]
fn acked_survives_kill_in_async_flush() {
    kill_under_load("async", &[("1", "1")]);
}

#[test]
fn acked_survives_kill_with_several_cores() {
    kill_under_load("sync", &[("2", "2"), ("3", "2"), ("3", "1"), ("5", "3")]);
}
