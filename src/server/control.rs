//! The control thread: registration, preparation of segments, start and stop.
//! Owns: the executor all of that runs on, and the rings to the cores.
//! Lives on: the control thread
//! Kind: shell
//!
//! What is not per message runs here, so that nothing it does can delay a shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use engine::retention::DiskLook;
use glommio::channels::local_channel::{self, LocalReceiver, LocalSender};
use glommio::sync::Semaphore;
use proto::body::{DataVersion, TopicConfig};
use runtime::eventfd::readable;
use runtime::file::{SharedFiles, disk_use};
use runtime::mesh::{Inbox, Peer, SleepFlag};

use super::messages::{Lack, ToControl, ToCore};
use super::runs::ShardPlace;
use super::space::{self, Preparer};
use super::supervisor;
use super::upkeep::{self, Upkeep};
use crate::broker::registration::{
    BrokerIdentity, Coverage, Outcome, Registering, Registrar, RegistrationError,
    RegistrationFailure,
};
use crate::observe::{Ask, Observed};

/// What the control thread is given to start.
#[derive(Debug)]
pub struct ControlParts<S: SharedFiles> {
    /// Where the store's files are.
    pub files: S,
    /// Who registers.
    pub identity: BrokerIdentity,
    /// Where.
    pub name_servers: Vec<String>,
    /// How often, ms.
    pub register_period_ms: u64,
    /// Most topics in one registration.
    pub registration_topics_max: usize,
    /// The store's directory.
    pub store: PathBuf,
    /// Where each shard's files are, by its number.
    pub places: Vec<ShardPlace>,
    /// What the start left to do, with the shard's number.
    pub due: Vec<(usize, Upkeep)>,
    /// To and from each core.
    pub cores: Vec<CoreEnds<S::File>>,
    /// The control thread's sleeping flag and eventfd; signalled for a stop, too.
    pub sleep: SleepFlag,
    /// Whether a stop was asked for.
    pub stop: StopFlag,
    /// Lines to print when the broker is ready.
    pub ready: Ready,
}

/// The ends of the two rings between control and a core.
pub type CoreEnds<F> = (Peer<ToCore<F>>, Inbox<ToControl>);

/// How often the disk is looked at (`cleanResourceInterval` is 10 s: sends would be refused for so long
/// after there is room again).
const DISK_LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Set by the signal thread.
pub type StopFlag = std::sync::Arc<std::sync::atomic::AtomicBool>;

/// What to say and check when everything serves.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Lines for the operator.
    pub lines: Vec<String>,
    /// The advertised address, dialled once.
    pub advertised: std::net::SocketAddr,
}

struct Registration {
    topics: Vec<TopicConfig>,
    version: DataVersion,
    number: Option<u64>,
    is_full: bool,
}

/// Messages to the cores.
struct Cores<F> {
    lines: Vec<CoreLine<F>>,
}

impl<F> Cores<F> {
    /// The core that runs a shard.
    fn of_shard(&self, shard: usize) -> &CoreLine<F> {
        &self.lines[shard % self.lines.len()]
    }

    /// The core that makes topics.
    fn home(&self) -> &CoreLine<F> {
        &self.lines[0]
    }

    fn tell_all(&self, message: impl Fn() -> ToCore<F>) {
        self.lines.iter().for_each(|line| line.send(message()));
    }
}

/// Messages to a core, kept while its ring is full.
struct CoreLine<F> {
    peer: RefCell<Peer<ToCore<F>>>,
    waiting: RefCell<VecDeque<ToCore<F>>>,
}

impl<F> CoreLine<F> {
    fn send(&self, message: ToCore<F>) {
        self.waiting.borrow_mut().push_back(message);
        self.flush();
    }

    /// Whether messages that did not fit fit now.
    fn has_room_again(&self) -> bool {
        !self.waiting.borrow().is_empty() && self.peer.borrow().has_room_again()
    }

    fn flush(&self) {
        let mut peer = self.peer.borrow_mut();
        peer.push_batch(&mut self.waiting.borrow_mut());
        peer.flush();
    }
}

/// Runs until the cores have stopped after a stop was asked for. To be called on the control thread.
///
/// # Errors
/// The eventfd that wakes it cannot be read.
pub async fn run<S: SharedFiles>(parts: ControlParts<S>, observed: Rc<Observed>) -> io::Result<()> {
    let ControlParts { files, sleep, stop, ready, cores, .. } = parts;
    let (peers, inboxes): (Vec<_>, Vec<_>) = cores.into_iter().unzip();
    let line = |peer| CoreLine { peer: RefCell::new(peer), waiting: RefCell::default() };
    let cores = Rc::new(Cores { lines: peers.into_iter().map(line).collect() });
    let is_stopping = Rc::new(Cell::new(false));
    let space = Rc::new(SpaceTask {
        files: files.clone(),
        preparer: Preparer::new()?,
        places: parts.places.clone(),
        cores: Rc::clone(&cores),
        is_stopping: Rc::clone(&is_stopping),
        turn: Semaphore::new(1),
    });
    // Each shard's by itself: one that waits for the disk must not keep another from hearing that it waits.
    let (spaces, preparations): (Vec<_>, Vec<_>) = (0..parts.places.len())
        .map(|shard| {
            let (sender, wanted) = local_channel::new_unbounded();
            (sender, glommio::spawn_local(Rc::clone(&space).run(shard, wanted)))
        })
        .unzip();
    let keeper = Rc::new(Keeper {
        files,
        places: parts.places,
        cores: Rc::clone(&cores),
        is_stopping: Rc::clone(&is_stopping),
        turn: Semaphore::new(1),
    });
    let (upkeeps, due) = local_channel::new_unbounded();
    parts.due.into_iter().for_each(|due| _ = upkeeps.try_send(due));
    let upkeep = glommio::spawn_local(Rc::clone(&keeper).run(due));
    // By itself: what waits for space must not hold back what makes some.
    let (removals, due) = local_channel::new_unbounded();
    let removal = glommio::spawn_local(Rc::clone(&keeper).run(due));
    let (registrations, asked) = local_channel::new_unbounded();
    let registrar =
        Registrar::new(parts.identity, parts.name_servers, parts.registration_topics_max);
    let registration = glommio::spawn_local(register(registrar, asked, Rc::clone(&cores), ready));
    let period = Duration::from_millis(parts.register_period_ms);
    let periodic = glommio::spawn_local(ask_periodically(period, Rc::clone(&cores)));
    let looks = glommio::spawn_local(look_at_disk(parts.store, Rc::clone(&cores)));
    let (asks, asked) = local_channel::new_unbounded();
    observed.started(inboxes.len(), asks);
    let asking = glommio::spawn_local(ask_cores(asked, Rc::clone(&cores)));
    let dispatched = Dispatch {
        phases: vec![CorePhase::Starting; inboxes.len()],
        inboxes,
        sleep,
        stop,
        cores,
        keeper,
        spaces,
        upkeeps,
        removals,
        registrations,
        is_stopping: &is_stopping,
        observed,
    };
    let served = dispatch(dispatched).await;
    periodic.cancel().await;
    looks.cancel().await;
    asking.cancel().await;
    // Not cancelled: a blocking call whose task is gone panics in glommio's thread.
    is_stopping.set(true);
    for preparation in preparations {
        preparation.await;
    }
    upkeep.await;
    removal.await;
    // Its channel is closed now: it unregisters and ends.
    registration.await;
    served
}

/// How far a core is, as control knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum CorePhase {
    Starting,
    Serving,
    Drained,
    Stopped,
}

struct Dispatch<'a, S: SharedFiles> {
    inboxes: Vec<Inbox<ToControl>>,
    phases: Vec<CorePhase>,
    sleep: SleepFlag,
    stop: StopFlag,
    cores: Rc<Cores<S::File>>,
    keeper: Rc<Keeper<S>>,
    /// For each shard.
    spaces: Vec<LocalSender<std::ops::Range<u64>>>,
    upkeeps: LocalSender<(usize, Upkeep)>,
    removals: LocalSender<(usize, Upkeep)>,
    registrations: LocalSender<Registration>,
    is_stopping: &'a Cell<bool>,
    observed: Rc<Observed>,
}

/// Hands the cores' requests to the tasks that serve them, until the cores have stopped.
async fn dispatch<S: SharedFiles>(mut this: Dispatch<'_, S>) -> io::Result<()> {
    loop {
        for core in 0..this.inboxes.len() {
            // Asked before: its last word may come between the last look and its end.
            let is_closed = this.inboxes[core].is_closed();
            while let Some(message) = this.inboxes[core].pop() {
                this.take(core, message);
            }
            if is_closed && this.phases[core] != CorePhase::Stopped {
                // It failed; its own result says why. The others end in order.
                this.stop.store(true, std::sync::atomic::Ordering::Release);
                this.reached(core, CorePhase::Stopped);
            }
        }
        this.cores.lines.iter().for_each(CoreLine::flush);
        if this.phases.iter().all(|phase| *phase == CorePhase::Stopped) {
            return Ok(());
        }
        let is_asked = this.stop.load(std::sync::atomic::Ordering::Acquire);
        if is_asked && !this.is_stopping.replace(true) {
            supervisor::tell_stopping();
            this.observed.stops();
            this.cores.tell_all(|| ToCore::Stop);
        }
        this.sleep.prepare_to_sleep();
        let has_room_again = this.cores.lines.iter().any(CoreLine::has_room_again);
        let mut ended = this.inboxes.iter().zip(&this.phases);
        let has_ended =
            ended.any(|(inbox, phase)| inbox.is_closed() && *phase != CorePhase::Stopped);
        if this.inboxes.iter().all(Inbox::is_empty) && !has_room_again && !has_ended {
            readable(this.sleep.event()).await?;
        }
        this.sleep.wake_up();
    }
}

impl<S: SharedFiles> Dispatch<'_, S> {
    fn take(&mut self, core: usize, message: ToControl) {
        match message {
            ToControl::PrepareSpace { shard, range } => {
                self.spaces[shard].try_send(range).ok();
            }
            ToControl::WriteRun { shard, slice } => {
                self.upkeeps.try_send((shard, Upkeep::WriteRun(slice))).ok();
            }
            ToControl::RemakeRun { shard, range } => {
                self.upkeeps.try_send((shard, Upkeep::RemakeRun(range))).ok();
            }
            ToControl::KeepIndex { shard, work } => {
                self.upkeeps.try_send((shard, Upkeep::KeepIndex(work))).ok();
            }
            ToControl::RemoveBelow { shard, segments, start } => {
                self.removals.try_send((shard, Upkeep::RemoveBelow(segments, start))).ok();
            }
            ToControl::RegisterTopics { topics, version, number, is_full } => {
                let registration = Registration { topics, version, number, is_full };
                self.registrations.try_send(registration).ok();
            }
            ToControl::Figures(figures) => self.observed.answered(core, *figures),
            ToControl::Serving => {
                self.observed.serves(core);
                self.reached(core, CorePhase::Serving);
            }
            ToControl::Drained => self.reached(core, CorePhase::Drained),
            ToControl::Stopped(ends) => {
                // Who waits for this thread now only waits to end: it may block.
                let Keeper { files, places, .. } = &*self.keeper;
                for end in ends {
                    let shard = end.shard;
                    for upkeep in upkeep::close(files, &places[shard], end) {
                        self.upkeeps.try_send((shard, upkeep)).ok();
                    }
                }
                self.reached(core, CorePhase::Stopped);
            }
        }
    }

    /// A core is so far; what waited for the last one happens.
    fn reached(&mut self, core: usize, phase: CorePhase) {
        let last_before = self.phases.iter().min().copied();
        self.phases[core] = phase;
        let last = self.phases.iter().min().copied();
        if last == last_before {
            return;
        }
        match last {
            Some(CorePhase::Serving) => {
                self.cores.home().send(ToCore::SendAllTopics { number: None })
            }
            Some(CorePhase::Drained) => self.cores.tell_all(|| ToCore::End),
            _ => {}
        }
    }
}

/// Prepares a shard's space in the order asked for, and tries again while the disk is full.
struct SpaceTask<S: SharedFiles> {
    files: S,
    preparer: Preparer,
    places: Vec<ShardPlace>,
    cores: Rc<Cores<S::File>>,
    is_stopping: Rc<Cell<bool>>,
    /// Whose space is being prepared: one at a time, so that a thread of the pool is left for files.
    turn: Semaphore,
}

impl<S: SharedFiles> SpaceTask<S> {
    async fn run(self: Rc<Self>, shard: usize, wanted: LocalReceiver<std::ops::Range<u64>>) {
        while let Some(range) = wanted.recv().await {
            loop {
                if self.is_stopping.get() {
                    // Or what waits for the space would keep the core from stopping.
                    let reason = "the broker stops".to_owned();
                    self.delayed(shard, Lack::Time, reason);
                    break;
                }
                if self.prepare(shard, &range).await {
                    break;
                }
                space::wait_to_retry().await;
            }
        }
    }

    fn delayed(&self, shard: usize, lack: Lack, reason: String) {
        self.cores.of_shard(shard).send(ToCore::SpaceDelayed { shard, lack, reason });
    }

    /// Whether it is done; the core is told either way.
    async fn prepare(&self, shard: usize, range: &std::ops::Range<u64>) -> bool {
        let range = range.clone();
        let turn = self.turn.acquire_permit(1).await.expect("never closed");
        let prepared = self.preparer.prepare(&self.files, &self.places[shard], &range).await;
        drop(turn);
        match prepared {
            Ok(segment) => {
                let prepared = ToCore::SpacePrepared { shard, range, segment };
                self.cores.of_shard(shard).send(prepared);
                true
            }
            Err(error) => {
                let directory = self.places[shard].directory.display();
                let reason = format!("prepare space in {directory}: {error}");
                self.delayed(shard, Lack::of(&error), reason);
                false
            }
        }
    }
}

/// Keeps runs, snapshots and segments in order, one piece of work after the other. After a stop was asked for, only
/// what is due then, and without another try.
struct Keeper<S: SharedFiles> {
    files: S,
    places: Vec<ShardPlace>,
    cores: Rc<Cores<S::File>>,
    is_stopping: Rc<Cell<bool>>,
    /// Who works on files: one at a time, so that a thread of the pool is left for space.
    turn: Semaphore,
}

impl<S: SharedFiles> Keeper<S> {
    async fn run(self: Rc<Self>, due: LocalReceiver<(usize, Upkeep)>) {
        while let Some((shard, mut upkeep)) = due.recv().await {
            let mut is_told = false;
            while !self.is_stopping.get() || upkeep.is_due_at_stop() {
                let (files, place) = (self.files.clone(), self.places[shard].clone());
                let turn = self.turn.acquire_permit(1).await.expect("never closed");
                // The calls block, so they are made on a thread of the executor's pool.
                let done = glommio::executor()
                    .spawn_blocking(move || upkeep::perform(&files, &place, shard, upkeep))
                    .await;
                drop(turn);
                let core = self.cores.of_shard(shard);
                done.messages.into_iter().for_each(|message| core.send(message));
                let Some((again, reason)) = done.again else { break };
                if !std::mem::replace(&mut is_told, true) {
                    let directory = self.places[shard].directory.display();
                    tracing::warn!(%directory, reason, "nothing is lost by it; it is tried again until it succeeds");
                }
                if self.is_stopping.get() {
                    break;
                }
                upkeep = again;
                space::wait_to_retry().await;
            }
        }
    }
}

/// Tells the cores how full the disk is.
async fn look_at_disk<F>(store: PathBuf, cores: Rc<Cores<F>>) {
    loop {
        match disk_use(&store) {
            Ok((used_percent, size_bytes)) => {
                let hour = u8::try_from(jiff::Zoned::now().hour()).unwrap_or(0);
                let look = DiskLook { used_percent, size_bytes, hour };
                cores.tell_all(|| ToCore::Disk(look));
            }
            Err(error) => tracing::warn!(%error, "how full the disk is cannot be told"),
        }
        glommio::timer::sleep(DISK_LOOK_PERIOD).await;
    }
}

/// Passes on what is asked over HTTP.
async fn ask_cores<F>(asked: LocalReceiver<(usize, Ask)>, cores: Rc<Cores<F>>) {
    while let Some((core, ask)) = asked.recv().await {
        cores.lines[core].send(ToCore::Figures(ask));
    }
}

async fn ask_periodically<F>(period: Duration, cores: Rc<Cores<F>>) {
    loop {
        glommio::timer::sleep(period).await;
        cores.home().send(ToCore::SendAllTopics { number: None });
    }
}

/// Registers topics with the NameServers as they come, and unregisters at the end. Nothing here waits
/// for an answer, so that one that is late holds back no other.
async fn register<F: 'static>(
    mut registrar: Registrar,
    asked: LocalReceiver<Registration>,
    cores: Rc<Cores<F>>,
    ready: Ready,
) {
    let mut ready = Some(ready);
    while let Some(registration) = asked.recv().await {
        let coverage = if registration.is_full { Coverage::Whole } else { Coverage::Changed };
        let registering = registrar.register(&registration.topics, coverage, registration.version);
        let ready = registration.is_full.then(|| ready.take()).flatten();
        let cores = Rc::clone(&cores);
        let told = async move { registered(registering, registration.number, ready, &cores).await };
        glommio::spawn_local(told).detach();
    }
    registrar.unregister().await;
}

/// Passes on what became of a registration.
async fn registered<F>(
    registering: Registering,
    number: Option<u64>,
    ready: Option<Ready>,
    cores: &Cores<F>,
) {
    let Outcome { errors, ordered_topics } = registering.finish().await;
    let wants_all =
        |error: &RegistrationError| matches!(error.failure, RegistrationFailure::WholeTableNeeded);
    let wants_all = errors.iter().any(wants_all);
    if wants_all {
        // They know what changed when they know all of it.
        cores.home().send(ToCore::SendAllTopics { number });
    }
    if !ordered_topics.is_empty() {
        let names = ordered_topics.into_iter().collect();
        cores.home().send(ToCore::OrderedTopics { names });
    }
    if let Some(number) = number.filter(|_| !wants_all) {
        cores.home().send(ToCore::Registered { number });
    }
    if let Some(ready) = ready {
        for line in &ready.lines {
            println!("{line}");
        }
        supervisor::tell_ready();
        glommio::spawn_local(check_advertised(ready.advertised)).detach();
    }
}

/// Dials the address that clients are told, once.
async fn check_advertised(address: std::net::SocketAddr) {
    let dialled = glommio::net::TcpStream::connect_timeout(address, Duration::from_secs(3)).await;
    if let Err(error) = dialled {
        tracing::warn!(
            %address,
            %error,
            "clients are told to connect to an address that does not answer from here; set --advertise (brokerIP1) to one they can reach, and --listen (bindAddress) so that the broker accepts it"
        );
    }
}

#[cfg(test)]
mod tests {
    use runtime::eventfd::EventFd;
    use runtime::executor::{CoreOptions, spawn_core};
    use runtime::file::SystemFiles;
    use runtime::mesh::pair;
    use runtime::placement::Placement;

    use super::*;

    #[test]
    fn who_waits_for_space_hears_of_a_stop() {
        let answered = spawn_core("control", CoreOptions::new(Placement::Free), || async {
            let (control, core) = (EventFd::new()?, EventFd::new()?);
            let (peer, mut inbox) = pair(&SleepFlag::new(control), &SleepFlag::new(core), 4);
            let line = CoreLine { peer: RefCell::new(peer), waiting: RefCell::default() };
            let space = Rc::new(SpaceTask {
                files: SystemFiles,
                preparer: Preparer::new()?,
                places: Vec::new(),
                cores: Rc::new(Cores { lines: vec![line] }),
                is_stopping: Rc::new(Cell::new(true)),
                turn: Semaphore::new(1),
            });
            let (asks, wanted) = local_channel::new_unbounded();
            asks.try_send(0..4096)?;
            drop(asks);
            space.run(0, wanted).await;
            let answers = std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>();
            let is_told =
                matches!(answers[..], [ToCore::SpaceDelayed { shard: 0, lack: Lack::Time, .. }]);
            io::Result::Ok(is_told)
        });
        assert!(answered.unwrap().join().unwrap());
    }
}
