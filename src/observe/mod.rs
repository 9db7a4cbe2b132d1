//! Health and figures: how the broker is, for load balancers, Prometheus and people, over HTTP.
//! Owns: what is known of each core's last answer.          Lives on: the control thread
//! Kind: machine (`figures.rs`, `prometheus.rs`), shell (the others)
//! Invariants:
//!   a core that nobody asks does nothing but add to plain fields
//!   at most one question is on its way to a core, so a core that hangs is not sent more and more

mod figures;
mod histogram;
mod http;
pub mod limits;
mod name_server;
mod prometheus;
mod samples;
mod thread;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::future;
use glommio::channels::local_channel::LocalSender;
use runtime::file::disk_use;

pub use figures::{
    Answered, Clients, ConsumerFigures, CoreFigures, Ended, Lag, MessageType, ShardFigures, Tally,
    TopicFigures, Traffic, TransactionFigures,
};
pub use name_server::{HealthError, HealthThread, NameServerFigures, Pulse};
pub use samples::{Course, Growth, RATES_MS, Span, Totals};
pub use thread::ControlThread;

use crate::server::supervisor;
use http::Reply;
use limits::ANSWER_TIME_MAX;
use prometheus::Node;

/// How much a core is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Depth {
    /// That it turns, and how its shards are.
    Health,
    /// All figures.
    Whole,
}

/// A question to a core.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// To be given back.
    pub round: u64,
    /// How much.
    pub depth: Depth,
}

/// Who is observed.
#[derive(Clone, Debug)]
pub struct About {
    /// Label `cluster`.
    pub cluster: String,
    /// Label `node_id`: the broker's name.
    pub broker: String,
    /// `brokerPermission`.
    pub permission: i32,
    /// The store's directory.
    pub store: PathBuf,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Observed {
    about: About,
    cores: RefCell<Vec<CoreAsked>>,
    /// To the task that passes questions on; `None`: the store is being opened.
    asks: RefCell<Option<LocalSender<(usize, Ask)>>>,
    wakers: RefCell<Vec<Waker>>,
    is_stopping: Cell<bool>,
}

/// What is known of a core.
#[derive(Debug, Default)]
struct CoreAsked {
    is_serving: bool,
    /// The round that somebody waits for, and how much of it.
    wanted: (u64, Option<Depth>),
    /// The round that was asked for last.
    asked: u64,
    answers: [Answer; 2],
}

/// The newest answer of a depth.
#[derive(Clone, Debug, Default)]
struct Answer {
    round: u64,
    figures: Option<Rc<CoreFigures>>,
}

impl CoreAsked {
    /// The newest answer that says at least so much.
    fn answer(&self, depth: Depth) -> &Answer {
        let [health, whole] = &self.answers;
        if depth == Depth::Whole || whole.round >= health.round { whole } else { health }
    }

    /// The question to send now; `None`: nobody waits, or one is on its way.
    fn next_ask(&mut self) -> Option<Ask> {
        let is_on_way = self.asked > self.answer(Depth::Health).round;
        let depth = self.wanted.1.filter(|_| !is_on_way)?;
        self.wanted.1 = None;
        self.asked = self.wanted.0;
        Some(Ask { round: self.asked, depth })
    }
}

impl Observed {
    /// A broker whose store is about to be opened.
    pub fn new(about: About) -> Observed {
        Observed {
            about,
            cores: RefCell::default(),
            asks: RefCell::default(),
            wakers: RefCell::default(),
            is_stopping: Cell::new(false),
        }
    }

    // ---- what the control thread tells ----------------------------------------------------------

    /// The cores were started; questions go through `asks`.
    pub fn started(&self, core_count: usize, asks: LocalSender<(usize, Ask)>) {
        self.cores.borrow_mut().resize_with(core_count, CoreAsked::default);
        *self.asks.borrow_mut() = Some(asks);
    }

    /// A core serves.
    pub fn serves(&self, core: usize) {
        self.cores.borrow_mut()[core].is_serving = true;
    }

    /// A stop was asked for.
    pub fn stops(&self) {
        self.is_stopping.set(true);
    }

    /// A core answered.
    pub fn answered(&self, core: usize, figures: CoreFigures) {
        let answer = Answer { round: figures.round, figures: Some(Rc::new(figures)) };
        let asked = &mut self.cores.borrow_mut()[core];
        let depth = if answer.figures.as_ref().is_some_and(|it| it.is_whole) { 1 } else { 0 };
        asked.answers[depth] = answer;
        self.send(core, asked);
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    // ---- what clients ask -----------------------------------------------------------------------

    async fn live(&self) -> Reply {
        if self.asks.borrow().is_none() {
            return Reply::ok(self.opening());
        }
        if self.is_stopping.get() {
            // A core that has stopped answers no more. systemd has its own patience with a stop.
            return Reply::ok("stopping".to_owned());
        }
        match self.silent_core(&self.figures(Depth::Health).await) {
            Some(reason) => Reply::unavailable(reason),
            None => Reply::ok("every core turns".to_owned()),
        }
    }

    async fn ready(&self) -> Reply {
        match self.not_ready().await {
            Some(reason) => Reply::unavailable(reason),
            None => Reply::ok("serving".to_owned()),
        }
    }

    async fn metrics(&self) -> Reply {
        if self.asks.borrow().is_none() {
            return Reply::unavailable(self.opening());
        }
        let figures = self.figures(Depth::Whole).await;
        let node = Node {
            about: &self.about,
            disk: disk_use(&self.about.store).ok(),
            cores: figures.iter().map(Option::as_deref).collect(),
        };
        Reply::metrics(prometheus::render(&node))
    }

    /// Why clients are better sent elsewhere, if they are.
    async fn not_ready(&self) -> Option<String> {
        if self.is_stopping.get() {
            return Some("stopping: what was asked is answered, nothing new is taken".to_owned());
        }
        if self.asks.borrow().is_none() {
            return Some(self.opening());
        }
        if let Some(core) = self.cores.borrow().iter().position(|core| !core.is_serving) {
            return Some(format!("starting: core {core} does not serve yet"));
        }
        let figures = self.figures(Depth::Health).await;
        let refusal = |shard: &ShardFigures| {
            let reason = shard.refuses.as_ref()?;
            Some(format!("shard {} refuses sends, pulls go on: {reason}", shard.shard))
        };
        self.silent_core(&figures)
            .or_else(|| figures.iter().flatten().flat_map(|core| &core.shards).find_map(refusal))
    }

    fn opening(&self) -> String {
        let store = self.about.store.display();
        match supervisor::replaying() {
            Some((at, end)) => format!("opening {store}: byte {at} of at most {end} of a log read"),
            None => format!("opening {store}"),
        }
    }

    fn silent_core(&self, figures: &[Option<Rc<CoreFigures>>]) -> Option<String> {
        let core = figures.iter().position(Option::is_none)?;
        Some(format!("core {core} has not turned within {} s", ANSWER_TIME_MAX.as_secs()))
    }

    /// Each core's figures as they are now; `None`: it did not answer in time.
    async fn figures(&self, depth: Depth) -> Vec<Option<Rc<CoreFigures>>> {
        let rounds = self.ask(depth);
        let all = poll_fn(|context| {
            let cores = self.cores.borrow();
            let mut pairs = cores.iter().zip(&rounds);
            if pairs.all(|(core, round)| core.answer(depth).round >= *round) {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        });
        future::or(all, async {
            glommio::timer::sleep(ANSWER_TIME_MAX).await;
        })
        .await;
        // Not kept until a core that hangs answers. Who waits on notes itself again.
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
        let cores = self.cores.borrow();
        let answered = |(core, round): (&CoreAsked, &u64)| {
            let answer = core.answer(depth);
            answer.figures.clone().filter(|_| answer.round >= *round)
        };
        cores.iter().zip(&rounds).map(answered).collect()
    }

    /// Asks every core; the rounds to wait for. Who asks while a question is on its way waits for the
    /// next answer: the one under way may be older than the question.
    fn ask(&self, depth: Depth) -> Vec<u64> {
        let mut cores = self.cores.borrow_mut();
        let rounds = cores.iter_mut().enumerate().map(|(number, core)| {
            core.wanted = (core.asked + 1, core.wanted.1.max(Some(depth)));
            self.send(number, core);
            core.wanted.0
        });
        rounds.collect()
    }

    fn send(&self, number: usize, core: &mut CoreAsked) {
        if let (Some(ask), Some(asks)) = (core.next_ask(), &*self.asks.borrow()) {
            asks.try_send((number, ask)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use glommio::channels::local_channel;
    use runtime::executor::{CoreOptions, spawn_core};
    use runtime::placement::Placement;

    use super::*;

    fn core_answers(core: &mut CoreAsked, ask: Ask) {
        let whole = ask.depth == Depth::Whole;
        let figures = CoreFigures { round: ask.round, is_whole: whole, ..CoreFigures::default() };
        core.answers[usize::from(whole)] =
            Answer { round: ask.round, figures: Some(Rc::new(figures)) };
    }

    #[test]
    fn one_question_at_a_time_and_none_is_lost() {
        let mut core = CoreAsked { wanted: (1, Some(Depth::Health)), ..CoreAsked::default() };
        let first = core.next_ask().expect("the first goes at once");
        assert_eq!((first.round, first.depth), (1, Depth::Health));
        core.wanted = (core.asked + 1, Some(Depth::Whole));
        assert!(core.next_ask().is_none(), "one is on its way");
        core_answers(&mut core, first);
        assert!(core.answer(Depth::Whole).round < 2, "health is not enough for metrics");
        let second = core.next_ask().expect("the other waited");
        assert_eq!((second.round, second.depth), (2, Depth::Whole));
        core_answers(&mut core, second);
        assert_eq!(core.answer(Depth::Whole).round, 2);
        assert_eq!(core.answer(Depth::Health).round, 2, "metrics say how the shards are, too");
        assert!(core.next_ask().is_none(), "nobody waits");
    }

    #[test]
    fn ready_says_why_not() {
        let options = CoreOptions::new(Placement::Free);
        let tested = spawn_core("observed", options, || async {
            let observed = Rc::new(Observed::new(About {
                cluster: "c".to_owned(),
                broker: "b".to_owned(),
                permission: 6,
                store: "/store".into(),
            }));
            let opening = observed.not_ready().await.expect("not yet");
            assert!(opening.starts_with("opening /store"), "{opening}");
            assert_eq!(observed.live().await, Reply::ok(opening));
            let (asks, asked) = local_channel::new_unbounded::<(usize, Ask)>();
            observed.started(2, asks);
            observed.serves(0);
            let starting = observed.not_ready().await;
            assert_eq!(starting.as_deref(), Some("starting: core 1 does not serve yet"));
            observed.serves(1);
            let refuses = Rc::new(RefCell::new(None));
            let cores = glommio::spawn_local({
                let (observed, refuses) = (Rc::clone(&observed), Rc::clone(&refuses));
                async move {
                    while let Some((core, Ask { round, .. })) = asked.recv().await {
                        let refuses = refuses.borrow().clone().filter(|_| core == 1);
                        let shards =
                            vec![ShardFigures { shard: core, refuses, ..ShardFigures::default() }];
                        observed
                            .answered(core, CoreFigures { round, shards, ..Default::default() });
                    }
                }
            });
            assert_eq!(observed.not_ready().await, None);
            *refuses.borrow_mut() = Some("no space".to_owned());
            let refused = observed.not_ready().await;
            assert_eq!(refused.as_deref(), Some("shard 1 refuses sends, pulls go on: no space"));
            assert_eq!(observed.live().await, Reply::ok("every core turns".to_owned()));
            observed.stops();
            assert!(observed.not_ready().await.expect("no more").starts_with("stopping"));
            cores.cancel().await;
            Ok::<_, std::io::Error>(())
        });
        tested.expect("an executor").join().expect("it ends");
    }
}
