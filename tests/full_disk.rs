//! A disk that fills while the broker runs under load, and is freed: nothing acknowledged is lost, sends
//! are refused with code 14 and the reason, pulls go on, and sends succeed again by themselves.
//!
//! `RINGMQ_FULL_DISK_EPISODES=50 cargo test --release --test full_disk` runs more than the usual three.
//!
//! The disk is a small ext4 in a file, mounted in a mount namespace of the test's own, so that nothing
//! stays mounted whatever becomes of it. Where that cannot be, it is a tmpfs with a limit, which knows
//! O_DIRECT since Linux 6.6 and needs no privilege.

mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use support::load::{Extent, Ledger, Load, Producers, QUEUES};
use support::{Client, DEADLINE, Server, records, write_config};

const LOAD: Load =
    Load { topic: "FullTopic", in_flight: 32, body_bytes_max: 100_000, may_refuse: true };

/// A consumer group that exists before the disk fills.
const OLD_GROUP: &str = "old-group";

/// Connections that send.
const PRODUCERS: u32 = 2;

const SEGMENT_BYTES: u64 = 16 << 20;

/// The whole disk: what the broker prepares ahead, what has to be free, and some episodes.
const DISK_BYTES: u64 = 1536 << 20;

/// What the broker prepares ahead of its log, and the segment it is in. Small beside a real disk; here it
/// has to be free besides, or preparing it keeps the disk above the limit.
const AHEAD_BYTES: u64 = (128 << 20) + SEGMENT_BYTES;

/// Free part of the disk at which sends are taken again (`diskSpaceCleanForciblyRatio` is 85 at most).
const FREE_PERCENT: u64 = 15;

/// What the other file keeps to the end: the store is to start once more on this disk.
const RESERVE_BYTES: u64 = 48 << 20;

/// Sends are taken again so long after space came back, as promised.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// As above for the slowest of many, on a machine whose disk others use too.
const BACK_WITHIN_AT_WORST: Duration = Duration::from_secs(10);

/// So many sends do not fit into space where the longest was refused.
const MORE_THAN_WAS_LEFT: u64 = 100;

/// Set in the process that has mount points of its own: the folder for its disk.
const OWN_MOUNTS: &str = "RINGMQ_TEST_OWN_MOUNTS";

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
    }
}

/// Runs a test of this program again where what it mounts goes away with it.
fn in_own_mounts(test: &str, body: fn(&Path)) {
    if let Some(folder) = std::env::var_os(OWN_MOUNTS) {
        body(&mount_disk(Path::new(&folder)));
        return;
    }
    let program = std::env::current_exe().expect("this program has a path");
    // A user namespace makes mounting a tmpfs possible for everybody, a loop device only for root.
    let flags = [&["--mount"][..], &["--mount", "--map-root-user"]]
        .into_iter()
        .find(|flags| run("unshare", &[flags, &["true"][..]].concat()).is_ok());
    let Some(flags) = flags else {
        println!("SKIPPED {test}: unshare(1) cannot make a mount namespace here");
        eprintln!("SKIPPED {test}: unshare(1) cannot make a mount namespace here");
        return;
    };
    // Removed from here, where nothing is mounted on it.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let status = Command::new("unshare")
        .args(flags)
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(OWN_MOUNTS, folder.path())
        .status()
        .expect("unshare ran before");
    assert!(status.success(), "{test}, run in its own mount namespace");
}

/// A small disk; its mount point.
fn mount_disk(folder: &Path) -> PathBuf {
    let (image, disk) = (folder.join("image"), folder.join("disk"));
    std::fs::create_dir(&disk).expect("a folder");
    File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("a sparse file");
    let (image, at) = (image.to_str().expect("text"), disk.to_str().expect("text"));
    // No space kept back for root, who runs this.
    let mounted = run("mkfs.ext4", &["-q", "-m", "0", image])
        .and_then(|()| run("mount", &["-o", "loop", image, at]));
    if let Err(error) = mounted {
        println!("no ext4 on a loop device ({error}); a tmpfs instead");
        let size = format!("size={DISK_BYTES}");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", at]).expect("a tmpfs can be mounted");
    }
    disk
}

/// The other file on the disk, which takes what is free and gives some of it back.
struct Filler {
    file: File,
    size: u64,
    disk: PathBuf,
}

impl Filler {
    fn new(disk: &Path) -> Filler {
        let file = File::create(disk.join("other-file")).expect("a file");
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).expect("room");
        Filler { file, size: RESERVE_BYTES, disk: disk.to_owned() }
    }

    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.disk).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Takes everything, while the broker takes too.
    fn fill(&mut self) {
        let mut wanted = DISK_BYTES;
        while wanted >= 4096 {
            let wants = wanted.min(self.free_bytes());
            let taken =
                rustix::fs::fallocate(&self.file, FallocateFlags::empty(), self.size, wants);
            // A failed one may have taken part of it; what counts is the size.
            self.size = self.file.metadata().expect("it is open").len();
            if wants == 0 || taken.is_err() {
                wanted /= 2;
            }
        }
    }

    fn give_back(&mut self, bytes: u64) {
        self.size = self.size.saturating_sub(bytes);
        self.file.set_len(self.size).expect("a file can shrink");
    }
}

/// One connection that asks whether sends are taken.
struct Probe {
    client: Client,
    queue: i32,
    sent: i64,
}

impl Probe {
    const TOPIC: &str = "ProbeTopic";

    fn new(broker: SocketAddr) -> Probe {
        let mut client = Client::connect(broker);
        client.create_topic(Probe::TOPIC, 1);
        Probe { client, queue: 0, sent: 0 }
    }

    /// As long as the longest of the producers': where it does not fit only shorter ones do.
    fn body(number: i64) -> Vec<u8> {
        format!("probe {number:08} ").repeat(LOAD.body_bytes_max / 15 + 1).into_bytes()
    }

    /// Whether a send is taken; what the refusal says if it is not.
    fn send(&mut self) -> Result<(), String> {
        let body = Probe::body(self.sent);
        self.client.write_send(Probe::TOPIC, self.queue, &body).expect("the connection is open");
        let reply = self.client.read().expect("an answer");
        match reply.code {
            0 => {
                assert_eq!(reply.number("queueOffset"), self.sent, "an earlier probe was lost");
                self.sent += 1;
                Ok(())
            }
            14 => Err(reply.remark),
            code => panic!("code {code} {}", reply.remark),
        }
    }

    /// Sends until it is refused; what the refusal says.
    fn until_refused(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Err(remark) = self.send() {
                return remark;
            }
            assert!(Instant::now() < deadline, "sends are still taken");
        }
    }

    fn verify(&self, broker: SocketAddr) {
        let mut client = Client::connect(broker);
        let mut next = 0;
        while next < self.sent {
            let reply = client.pull(Probe::TOPIC, self.queue, next);
            assert_eq!(reply.code, 0, "{}", reply.remark);
            for (offset, body) in records(&reply.body) {
                assert!(offset == next && body == Probe::body(offset), "probe {next}");
                next += 1;
            }
        }
    }
}

/// Pulls while the disk is full: messages from all over the store, by a group that is new. How long the
/// slowest took.
fn pulls_go_on(broker: SocketAddr, ledger: &Ledger, seed: usize) -> Duration {
    let mut client = Client::connect(broker);
    let mut slowest = Duration::ZERO;
    let group = format!("group-{seed}");
    for number in 0..20 {
        let part = seed.wrapping_mul(7919) + number * 104_729 + number;
        let Some(((queue, offset), message)) = ledger.some(part) else { continue };
        let asked = Instant::now();
        let reply = client.pull_as(&group, LOAD.topic, queue, offset);
        slowest = slowest.max(asked.elapsed());
        assert_eq!(reply.code, 0, "{}", reply.remark);
        let found = records(&reply.body);
        let (first, body) = found.first().expect("at least one");
        assert_eq!(*first, offset);
        assert!(*body == message.body(LOAD.body_bytes_max), "another body at {queue}, {offset}");
    }
    let reply = client.heartbeat("client", &[&group, OLD_GROUP], LOAD.topic);
    // The new group may fit where a message does not.
    let is_refused = reply.code == 14 && names_the_reason(&reply.remark);
    assert!(reply.code == 0 || is_refused, "{reply:?}");
    let members = client.ask(38, &[("consumerGroup", OLD_GROUP)], &[]);
    assert_eq!(members.code, 0, "a group that exists is alive: {}", members.remark);
    slowest
}

/// Space could not be had, or the disk was found to be nearly full before that.
fn names_the_reason(remark: &str) -> bool {
    let is_refused_by_disk = remark.contains("shard-000")
        && remark.contains("No space left on device")
        && remark.contains("prepare space");
    let is_found_full = remark.contains("of the disk are used")
        && remark.contains("diskSpaceWarningLevelRatio")
        && remark.contains("sends are taken again at");
    remark.contains("the disk has no space") && (is_refused_by_disk || is_found_full)
}

/// What all episodes together showed.
#[derive(Default, Debug)]
struct Totals {
    episodes: u32,
    stores: u32,
    acknowledged: usize,
    refused: usize,
    stored: u64,
    back_after: Vec<Duration>,
    slowest_pull: Duration,
}

fn flags(disk: &Path, flush: &'static str) -> Vec<String> {
    // Nothing is removed to make room: all that was acknowledged is to be found.
    let config = write_config(disk.parent().expect("below a folder"), SEGMENT_BYTES, "");
    ["--flush", flush, "-c", &config, "--log-level", "error"].map(str::to_owned).to_vec()
}

impl Filler {
    /// One episode. `false`: the store has nearly all of the disk, and the filler nothing to give back.
    fn fill_and_free(
        &mut self,
        broker: SocketAddr,
        ledger: &Ledger,
        producers: &Producers,
        probe: &mut Probe,
        totals: &mut Totals,
    ) -> bool {
        self.fill();
        let remark = probe.until_refused();
        assert!(names_the_reason(&remark), "{remark}");
        let refused = producers.refused();
        producers.wait_until("refusals of each producer", |it| it.refused() > refused + 10);
        let slowest = pulls_go_on(broker, ledger, totals.episodes as usize);
        assert!(probe.send().is_err(), "sends are refused as long as the disk is full");
        // Mostly little more than has to be free before sends are taken, now and then everything.
        let part = u64::from(totals.episodes % 5);
        let wanted = DISK_BYTES / 100 * FREE_PERCENT + AHEAD_BYTES + ((part * 5) << 20);
        let give = wanted.saturating_sub(self.free_bytes());
        if self.size < give + RESERVE_BYTES {
            return false;
        }
        self.give_back(if part == 4 { self.size - RESERVE_BYTES } else { give });
        let freed = Instant::now();
        let enough = producers.acknowledged() + MORE_THAN_WAS_LEFT;
        producers.wait_until("sends after space came back", |it| {
            // Either may be first: the producers can use up what was given back between two probes.
            probe.send().is_ok() || it.acknowledged() >= enough
        });
        totals.back_after.push(freed.elapsed());
        totals.slowest_pull = totals.slowest_pull.max(slowest);
        totals.episodes += 1;
        true
    }
}

/// Something to pull while the disk is full, and a group that exists.
fn first_messages(broker: SocketAddr) -> Ledger {
    let mut client = Client::connect(broker);
    client.create_topic(LOAD.topic, QUEUES);
    assert_eq!(client.heartbeat("first client", &[OLD_GROUP], LOAD.topic).code, 0);
    let mut ledger = Ledger::default();
    let producers = Producers::start(broker, LOAD, PRODUCERS, 0);
    producers.wait_until("some sends", |it| it.acknowledged() >= 50);
    producers.finish(&mut ledger);
    ledger
}

/// One store from its making until the disk holds no more of it, in as many episodes as fit.
fn fill_one_store(disk: &Path, flush: &'static str, wanted: u32, totals: &mut Totals) {
    let (store, filler) = (disk.join("store"), Filler::new(disk));
    let flags = flags(disk, flush);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let server = Server::start(&store, &flags);
    let broker = server.broker;
    let (mut ledger, mut probe, mut filler) = (first_messages(broker), Probe::new(broker), filler);
    let mut first = PRODUCERS;
    while totals.episodes < wanted {
        let producers = Producers::start(broker, LOAD, PRODUCERS, first);
        first += PRODUCERS;
        // At other moments of the preparation of space each time.
        std::thread::sleep(Duration::from_millis(u64::from(totals.episodes) * 37 % 150));
        let was_freed = filler.fill_and_free(broker, &ledger, &producers, &mut probe, totals);
        producers.finish(&mut ledger);
        totals.stored += ledger.verify(broker, LOAD.topic, Extent::New);
        if !was_freed {
            break;
        }
    }
    assert!(ledger.remarks().iter().all(|it| names_the_reason(it)), "{:?}", ledger.remarks());
    filler.give_back(DISK_BYTES);
    // What was served from memory is on the disk too.
    if totals.stores.is_multiple_of(2) {
        server.stop();
    } else {
        server.kill();
    }
    let server = Server::start(&store, &flags);
    ledger.verify(server.broker, LOAD.topic, Extent::Whole);
    probe.verify(server.broker);
    server.stop();
    totals.stores += 1;
    totals.acknowledged += ledger.acknowledged();
    totals.refused += ledger.refused();
    std::fs::remove_dir_all(store).expect("the store goes away");
}

#[test]
fn a_full_disk_refuses_sends_and_loses_nothing() {
    in_own_mounts("a_full_disk_refuses_sends_and_loses_nothing", |disk| {
        let wanted = std::env::var("RINGMQ_FULL_DISK_EPISODES")
            .map_or(3, |text| text.parse().expect("a number"));
        let mut totals = Totals::default();
        while totals.episodes < wanted {
            let flush = if totals.stores.is_multiple_of(2) { "sync" } else { "async" };
            fill_one_store(disk, flush, wanted, &mut totals);
        }
        totals.back_after.sort_unstable();
        let (middle, worst) = (totals.back_after.len() / 2, totals.back_after.len() - 1);
        println!(
            "{} episodes, {} stores, {} acknowledged, {} refused, {} stored; sends back after {:?}, at worst {:?}; slowest pull {:?}",
            totals.episodes,
            totals.stores,
            totals.acknowledged,
            totals.refused,
            totals.stored,
            totals.back_after[middle],
            totals.back_after[worst],
            totals.slowest_pull
        );
        assert!(totals.back_after[middle] <= BACK_WITHIN, "{:?}", totals.back_after);
        assert!(totals.back_after[worst] <= BACK_WITHIN_AT_WORST, "{:?}", totals.back_after);
    });
}

#[test]
fn a_start_on_a_full_disk_serves_pulls() {
    in_own_mounts("a_start_on_a_full_disk_serves_pulls", |disk| {
        let store = disk.join("store");
        let flags = flags(disk, "sync");
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let mut server = Server::start(&store, &flags);
        let mut ledger = first_messages(server.broker);
        let mut filler = Filler::new(disk);
        for is_killed in [false, true] {
            filler.fill();
            if is_killed {
                server.kill();
            } else {
                server.stop();
            }
            filler.fill(); // what a stop gave back
            server = Server::start(&store, &flags);
            ledger.verify(server.broker, LOAD.topic, Extent::Whole);
            let mut client = Client::connect(server.broker);
            client.write_send(LOAD.topic, 0, &[7; 100_000]).expect("it listens");
            let reply = client.read().expect("an answer");
            assert!(reply.code == 14 && names_the_reason(&reply.remark), "{reply:?}");
            filler.give_back(DISK_BYTES);
            let producers = Producers::start(server.broker, LOAD, 1, 100 + u32::from(is_killed));
            producers.wait_until("sends", |it| it.acknowledged() >= 10);
            producers.finish(&mut ledger);
        }
        ledger.verify(server.broker, LOAD.topic, Extent::New);
        server.stop();
    });
}
