//! `cargo run --release -p simulator -- --seeds 0..1000`: runs of the simulator from the command line.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use engine::commitlog::FlushMode;
use simulator::disk::Crash;
use simulator::ring::Bug;
use simulator::world::{Plan, World};

/// Runs lives and crashes of a broker from seeds; prints each seed that finds something.
#[derive(Parser, Debug)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// What ends a life: a power cut under SYNC_FLUSH, or a kill -9 under ASYNC_FLUSH.
    #[arg(long, value_enum, default_value_t = Mode::Sync)]
    mode: Mode,
    /// Lives of a seed.
    #[arg(long, default_value_t = 10)]
    lives: u32,
    /// Steps of a life, at the most.
    #[arg(long, default_value_t = 600)]
    steps: u32,
    /// Writes and syncs fail now and then.
    #[arg(long)]
    disk_fails: bool,
    /// Something that the driver is to do wrong, to see that it is found.
    #[arg(long, value_enum)]
    bug: Option<Bug>,
    /// Instead of crashes: start a cleanly stopped store with changed bytes, so often for each seed.
    #[arg(long)]
    corruptions: Option<u32>,
    /// Shards of the store.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Cores that run them, at the most as many as shards.
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// Large messages, whose old segments go by a budget.
    #[arg(long)]
    retains: bool,
    /// Stop at the first finding.
    #[arg(long)]
    stop: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Mode {
    Sync,
    Async,
}

/// The seed that runs: a panic ends a release build, and must name it before.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        println!("seed {}: {panic}", SEED.load(Ordering::Relaxed));
        usual(panic);
    }));
    let (flush, crash) = match arguments.mode {
        Mode::Sync => (FlushMode::Sync, Crash::Power),
        Mode::Async => (FlushMode::Async, Crash::Process),
    };
    let plan = Plan {
        flush,
        crash,
        lives: arguments.lives,
        steps_max: arguments.steps,
        bug: arguments.bug,
        disk_fails: arguments.disk_fails,
        shards: arguments.shards,
        cores: arguments.cores,
        retains: arguments.retains,
    };
    if let Some(count) = arguments.corruptions {
        return corrupt(&arguments, plan, count);
    }
    let (mut crashes, mut acknowledged, mut seen, mut came, mut findings) = (0, 0, 0, 0, 0);
    let mut removed = 0;
    let (begun, mut told) = (Instant::now(), Instant::now());
    for seed in arguments.first..arguments.first + arguments.count {
        SEED.store(seed, Ordering::Relaxed);
        // A panic is a finding too.
        let outcome = std::panic::catch_unwind(|| World::new(seed, plan).run());
        match outcome {
            Ok(Ok(summary)) => {
                crashes += summary.crashes;
                acknowledged += summary.acknowledged;
                seen += summary.seen;
                came += summary.came;
                removed += summary.removed;
            }
            Ok(Err(finding)) => {
                findings += 1;
                println!("seed {seed}: {finding}");
            }
            Err(_) => {
                findings += 1;
                println!("seed {seed}: panicked, see above");
            }
        }
        if findings > 0 && arguments.stop {
            break;
        }
        if told.elapsed().as_secs() >= 10 {
            told = Instant::now();
            eprintln!("seed {seed}, {crashes} crashes, {findings} findings");
        }
    }
    println!(
        "{crashes} crashes, {acknowledged} messages acknowledged, {seen} seen ({came} late or again), {removed} removed with old segments, {findings} findings, {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn corrupt(arguments: &Arguments, plan: Plan, count: u32) -> ExitCode {
    let (mut started, mut refused, mut gone, mut findings) = (0, 0, 0, 0);
    let (mut derived, mut free) = (0, 0);
    let (mut acknowledged, mut stopped, mut given_again) = (0, 0, 0);
    for seed in arguments.first..arguments.first + arguments.count {
        SEED.store(seed, Ordering::Relaxed);
        // A panic is a finding too.
        match std::panic::catch_unwind(|| World::new(seed, plan).run_corruptions(count)) {
            Ok(Ok(done)) => {
                started += done.started;
                refused += done.refused;
                gone += done.gone;
                derived += done.derived;
                free += done.free;
                acknowledged += done.acknowledged;
                stopped += done.stopped;
                given_again += done.given_again;
            }
            Ok(Err(finding)) => {
                findings += 1;
                println!("seed {seed}: {finding}");
            }
            Err(_) => {
                findings += 1;
                println!("seed {seed}: panicked, see above");
            }
        }
        if findings > 0 && arguments.stop {
            break;
        }
    }
    println!(
        "{} stores with changed bytes: {started} served without {gone} damaged messages (of {derived} only runs and snapshots were changed, of {free} only free space), {refused} refused; then {acknowledged} messages acknowledged, {stopped} stopped cleanly, {given_again} numbers given again; {findings} findings",
        started + refused
    );
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
