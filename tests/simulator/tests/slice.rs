//! A slice of what the program runs at any size, and the proof that the auditor is awake.

use engine::commitlog::FlushMode;
use simulator::disk::Crash;
use simulator::ring::Bug;
use simulator::world::{Plan, Summary, World};

/// Seeds within which a seeded bug must be found.
const SEEDS_MAX: u64 = 60;

const SYNC: Plan = Plan {
    flush: FlushMode::Sync,
    crash: Crash::Power,
    lives: 8,
    steps_max: 600,
    bug: None,
    disk_fails: false,
    shards: 1,
    cores: 1,
    retains: false,
};

const ASYNC: Plan = Plan { flush: FlushMode::Async, crash: Crash::Process, ..SYNC };

fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    std::panic::catch_unwind(|| World::new(seed, plan).run())
        .unwrap_or_else(|_| Err("panicked, see above".to_owned()))
}

fn slice(plan: Plan) {
    let (mut crashes, mut acknowledged, mut came) = (0, 0, 0);
    for seed in 0..14 {
        let summary = run(seed, plan).unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
        crashes += summary.crashes;
        acknowledged += summary.acknowledged;
        came += summary.came;
    }
    assert!(crashes >= 125, "{crashes} crashes");
    assert!(acknowledged > 4_000, "{acknowledged} acknowledged");
    assert!(came > 400, "{came} came late or again");
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    slice(SYNC);
}

#[test]
fn killed_processes_lose_nothing_that_was_acknowledged() {
    slice(ASYNC);
}

#[test]
fn failing_disks_lose_nothing_that_was_acknowledged() {
    slice(Plan { disk_fails: true, ..SYNC });
    slice(Plan { disk_fails: true, ..ASYNC });
}

#[test]
fn several_cores_lose_nothing_that_was_acknowledged() {
    slice(Plan { shards: 3, cores: 3, ..SYNC });
    slice(Plan { shards: 5, cores: 2, ..ASYNC });
    slice(Plan { shards: 2, cores: 1, ..SYNC });
}

/// Found once: the copy of a topic was late at one core, which a message sent back reached over another.
#[test]
fn what_overtakes_the_copy_of_its_topic_goes_home_for_it() {
    let plan = Plan { shards: 3, cores: 3, lives: 10, ..SYNC };
    for seed in [10_484, 10_992, 11_032] {
        run(seed, plan).unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
    }
}

#[test]
fn old_segments_take_only_what_was_in_them() {
    let mut removed = 0;
    let one = Plan { retains: true, ..SYNC };
    let several = Plan { retains: true, shards: 2, cores: 2, ..ASYNC };
    for plan in [one, Plan { retains: true, ..ASYNC }, several] {
        for seed in 0..6 {
            let summary = run(seed, plan);
            removed += summary.unwrap_or_else(|finding| panic!("seed {seed}: {finding}")).removed;
        }
    }
    assert!(removed > 100, "{removed} removed");
}

#[test]
fn changed_bytes_take_no_more_than_what_they_hit() {
    let (mut started, mut refused, mut gone, mut derived, mut free) = (0, 0, 0, 0, 0);
    let (mut acknowledged, mut stopped) = (0, 0);
    for seed in 0..10 {
        let done = World::new(seed, SYNC).run_corruptions(12);
        let done = done.unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
        started += done.started;
        refused += done.refused;
        gone += done.gone;
        derived += done.derived;
        free += done.free;
        acknowledged += done.acknowledged;
        stopped += done.stopped;
    }
    assert_eq!(started + refused, 120);
    assert!(started > 80 && refused > 8 && gone > 30, "{started} {refused} {gone}");
    assert!(derived > 4 && free > 0, "{derived} {free}");
    assert!(acknowledged > 2_000 && stopped > 30, "{acknowledged} {stopped}");
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..4 {
        assert_eq!(run(seed, SYNC), run(seed, SYNC), "seed {seed}");
        assert_eq!(run(seed, ASYNC), run(seed, ASYNC), "seed {seed}");
        let corrupt = || World::new(seed, SYNC).run_corruptions(3);
        assert_eq!(corrupt(), corrupt(), "seed {seed}");
    }
}

#[test]
fn seeded_bugs_are_found() {
    let bugs = [
        (Bug::AcknowledgesBeforeWrite, SYNC),
        (Bug::SkipsDsync, SYNC),
        (Bug::SyncsLie, SYNC),
        (Bug::DirectorySyncsLie, SYNC),
        (Bug::WritesElsewhere, SYNC),
        (Bug::HidesErrors, Plan { disk_fails: true, ..SYNC }),
        (Bug::ShortWrites, SYNC),
        (Bug::RepeatsAnswers, SYNC),
    ];
    // Their panics are findings, not news.
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<_> = bugs
        .iter()
        .filter(|(bug, plan)| {
            let plan = Plan { bug: Some(*bug), ..*plan };
            (0..SEEDS_MAX).all(|seed| run(seed, plan).is_ok())
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
