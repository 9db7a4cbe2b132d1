//! A core: one named thread with one glommio executor in it.
//! Owns: the thread, until `join`.          Lives on: the thread that started the process
//! Kind: shell
//! Invariants: the executor is made, used and dropped by its own thread, after that one is placed.
//!             whatever ends a core (a value, an error, a panic) comes out of `join` with its name.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::{
    CpuSet, GlommioError, LocalExecutor, LocalExecutorBuilder, PoolPlacement, ReactorErrorKind,
};

use crate::placement::{self, Placement, PlacementError};
use crate::probe::{self, Finding};

/// Memory that glommio registers with each of its three rings. It is pinned and resident from the
/// start (three times charged to RLIMIT_MEMLOCK), and glommio takes no less than this. Its default is
/// 10 MiB; our log and sockets do not use it, a background task's larger buffer comes from the heap.
pub const IO_MEMORY_BYTES: usize = 64 << 10;

/// Entries of each of glommio's three rings. They carry one read of an eventfd, timers and the files
/// of background tasks; a full ring makes those wait in a queue, nothing fails.
pub const RING_DEPTH: usize = 64;

/// glommio's preemption timer, set so that it never fires. glommio 0.9 arms it before it looks for
/// runnable tasks; if it fires before the first one runs (the thread lost its CPU in between), the
/// executor takes "ran nothing" for "nothing to run" and parks with a task in its queue, for good.
/// Background tasks give way at each await and need no preemption.
const PREEMPT_AFTER: Duration = Duration::from_hours(1);

/// The longest that a runnable background task is left asleep. Any event in glommio's latency ring
/// hides runnable tasks as the timer above does; a timer of our own makes it look again.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// How a core's thread is placed and its executor set up.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// Which CPU it runs on.
    pub placement: Placement,
    /// How long an idle executor polls its rings before the thread parks. It burns the CPU to save the
    /// wake-up of some ten microseconds: only where the machine is the broker's own.
    pub spin_before_park: Option<Duration>,
    /// See [`IO_MEMORY_BYTES`].
    pub io_memory_bytes: usize,
    /// See [`RING_DEPTH`].
    pub ring_depth: usize,
    /// Threads that make calls for it which block, at least 1.
    pub blocking_threads: usize,
}

impl CoreOptions {
    /// The usual set-up at this place: no spinning, small rings, little memory.
    pub fn new(placement: Placement) -> CoreOptions {
        CoreOptions {
            placement,
            spin_before_park: None,
            io_memory_bytes: IO_MEMORY_BYTES,
            ring_depth: RING_DEPTH,
            blocking_threads: 1,
        }
    }
}

/// Why a core did not start, or how it ended. Each names the core.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The operating system gave no thread.
    #[error("start thread {name}: {source} (raise the limit of processes: ulimit -u, TasksMax)")]
    Thread {
        /// The core.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The thread could not be put on its CPU.
    #[error("place {name}: {source}")]
    Place {
        /// The core.
        name: String,
        /// Which CPU, and why not.
        source: PlacementError,
    },
    /// The system does not give what every core needs: io_uring or locked memory.
    #[error("start the executor of {name}: {source}")]
    System {
        /// The core.
        name: String,
        /// What is missing, and what to do.
        source: Finding,
    },
    /// glommio could not set its executor up.
    #[error("start the executor of {name}: {reason}")]
    Executor {
        /// The core.
        name: String,
        /// glommio's words.
        reason: String,
    },
    /// What ran on the core returned an error.
    #[error("{name} failed: {source}")]
    Failed {
        /// The core.
        name: String,
        /// What it returned.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An assertion on the core did not hold: a defect of ours.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// The core.
        name: String,
        /// What the panic said.
        message: String,
    },
}

/// A core that runs. Dropping it lets the core run on unobserved; call [`CoreHandle::join`].
#[derive(Debug)]
#[must_use = "how a core ends is learned by joining it"]
pub struct CoreHandle<T> {
    name: String,
    thread: JoinHandle<Result<T, CoreError>>,
}

impl<T> CoreHandle<T> {
    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended, so that `join` returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// The error it returned or the panic that ended it, with its name.
    pub fn join(self) -> Result<T, CoreError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => {
                Err(CoreError::Panicked { name: self.name, message: panic_message(panic) })
            }
        }
    }
}

/// Starts a core: a thread called `name`, placed, with an executor that runs the future `make`
/// returns. Returns when the executor stands, so that a system that gives none is known at once.
///
/// `make` runs on the new thread: what may not leave its thread (a ring, an `Rc`) is made in there.
/// glommio starts a second thread beside each executor, which sleeps unless a task calls for it.
///
/// # Errors
/// The thread, its place, io_uring or its memory is refused; the message says what to do.
pub fn spawn_core<T, E, F, M>(
    name: &str,
    options: CoreOptions,
    make: M,
) -> Result<CoreHandle<T>, CoreError>
where
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<T, E>> + 'static,
    M: FnOnce() -> F + Send + 'static,
{
    let (started_sender, started) = sync_channel(1);
    let core = name.to_owned();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run_core(core, &options, make, &started_sender))
        .map_err(|source| CoreError::Thread { name: name.to_owned(), source })?;
    let handle = CoreHandle { name: name.to_owned(), thread };
    match started.recv() {
        Ok(()) => Ok(handle),
        // It ended before it stood: the error is the thread's result.
        Err(_) => match handle.join() {
            Ok(_) => unreachable!("a core that returns a value has started"),
            Err(error) => Err(error),
        },
    }
}

fn run_core<T, E, F, M>(
    name: String,
    options: &CoreOptions,
    make: M,
    started: &SyncSender<()>,
) -> Result<T, CoreError>
where
    T: 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<T, E>> + 'static,
    M: FnOnce() -> F,
{
    // Placed before the executor is made: its rings and memory belong to the CPU's node.
    placement::pin_current_thread(options.placement)
        .map_err(|source| CoreError::Place { name: name.clone(), source })?;
    let executor = make_executor(&name, options)?;
    // The receiver waits for this or for the end of the thread, so it is there.
    let _ = started.send(());
    executor
        .run(async move {
            let heartbeat = glommio::spawn_local(beat());
            let ended = make().await;
            heartbeat.cancel().await;
            ended
        })
        .map_err(|error| CoreError::Failed { name, source: error.into() })
}

async fn beat() {
    loop {
        glommio::timer::sleep(HEARTBEAT).await;
    }
}

fn make_executor(name: &str, options: &CoreOptions) -> Result<LocalExecutor, CoreError> {
    // Asked before glommio does: it panics where io_uring is denied, and calls exit(1) on a kernel
    // that lacks an operation.
    probe::check_executor()
        .map_err(|source| CoreError::System { name: name.to_owned(), source })?;
    let mut builder = LocalExecutorBuilder::new(place_in_glommio(name, options)?)
        .io_memory(options.io_memory_bytes)
        .ring_depth(options.ring_depth)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(options.blocking_threads))
        .preempt_timer(PREEMPT_AFTER);
    if let Some(spin) = options.spin_before_park {
        builder = builder.spin_before_park(spin);
    }
    builder.make().map_err(|error| executor_error(name, error))
}

/// The thread is already where it belongs, so glommio need not place it. But it ignores
/// `spin_before_park` unless it is told a set of CPUs: then it gets the set that the thread has.
fn place_in_glommio(name: &str, options: &CoreOptions) -> Result<glommio::Placement, CoreError> {
    if options.spin_before_park.is_none() {
        return Ok(glommio::Placement::Unbound);
    }
    let allowed = placement::allowed_cpus().map_err(|source| CoreError::Place {
        name: name.to_owned(),
        source: PlacementError::Affinity { source },
    })?;
    let online = CpuSet::online().map_err(|error| executor_error(name, error))?;
    Ok(glommio::Placement::Fenced(online.filter(|location| allowed.contains(&location.cpu))))
}

fn executor_error(name: &str, error: GlommioError<()>) -> CoreError {
    let name = name.to_owned();
    match error {
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(found, needed)) => {
            let source = Finding::MemlockBelowExecutor { found_bytes: found, needed_bytes: needed };
            CoreError::System { name, source }
        }
        error => CoreError::Executor { name, reason: error.to_string() },
    }
}

fn panic_message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => "no message".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventfd::{EventFd, readable};

    fn free() -> CoreOptions {
        CoreOptions::new(Placement::Free)
    }

    #[test]
    fn a_core_runs_on_a_thread_of_its_name_and_returns_its_value() {
        let core = spawn_core("core-7", free(), || async {
            Ok::<_, io::Error>(std::thread::current().name().map(str::to_owned))
        })
        .unwrap();
        assert_eq!(core.name(), "core-7");
        assert_eq!(core.join().unwrap().as_deref(), Some("core-7"));
    }

    #[test]
    fn an_error_is_reported_with_the_name() {
        let core =
            spawn_core("core-1", free(), || async { Err::<(), _>("the disk is gone") }).unwrap();
        assert_eq!(core.join().unwrap_err().to_string(), "core-1 failed: the disk is gone");
    }

    #[test]
    fn a_panic_is_reported_with_the_name() {
        let core = spawn_core("core-2", free(), || async {
            let empty: Vec<u8> = Vec::new();
            assert!(!empty.is_empty(), "a batch holds something");
            Ok::<_, io::Error>(())
        })
        .unwrap();
        let expect = "core-2 panicked: a batch holds something";
        assert_eq!(core.join().unwrap_err().to_string(), expect);
    }

    #[test]
    fn a_core_runs_where_it_is_placed() {
        let cpu = *placement::allowed_cpus().unwrap().last().unwrap();
        let mut spinning = CoreOptions::new(Placement::Pinned(cpu));
        spinning.spin_before_park = Some(Duration::from_micros(50));
        for options in [CoreOptions::new(Placement::Pinned(cpu)), spinning] {
            let core = spawn_core("pinned", options, || async { placement::allowed_cpus() });
            assert_eq!(core.unwrap().join().unwrap(), [cpu]);
        }
    }

    #[test]
    fn a_core_without_its_cpu_does_not_start() {
        let options = CoreOptions::new(Placement::Pinned(1_000_000));
        let error = spawn_core("core-3", options, || async { Ok::<_, io::Error>(()) }).unwrap_err();
        assert!(matches!(&error, CoreError::Place { name, .. } if name == "core-3"), "{error}");
    }

    #[test]
    fn a_signal_from_another_thread_ends_the_wait() {
        const ROUNDS: u64 = 1_000;
        for spin_before_park in [None, Some(Duration::from_micros(20))] {
            let request = EventFd::new().unwrap();
            let answer = EventFd::new().unwrap();
            let (core_request, core_answer) =
                (request.try_clone().unwrap(), answer.try_clone().unwrap());
            let options = CoreOptions { spin_before_park, ..free() };
            let core = spawn_core("core-4", options, move || async move {
                for _ in 0..ROUNDS {
                    assert_eq!(readable(&core_request).await?, 1);
                    core_answer.signal();
                }
                Ok::<_, io::Error>(())
            })
            .unwrap();
            let peer = spawn_core("peer", free(), move || async move {
                for _ in 0..ROUNDS {
                    request.signal();
                    assert_eq!(readable(&answer).await?, 1);
                }
                Ok::<_, io::Error>(())
            })
            .unwrap();
            core.join().unwrap();
            peer.join().unwrap();
        }
    }

    #[test]
    fn signals_before_the_wait_are_one_wake_up() {
        let event = EventFd::new().unwrap();
        event.signal();
        event.signal();
        let core = spawn_core("core-5", free(), move || async move { readable(&event).await });
        assert_eq!(core.unwrap().join().unwrap(), 2);
    }
}
