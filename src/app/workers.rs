//! Watches over the workers: starts them, replaces those that end, tells them of listeners, ends them.
//!
//! It runs on a thread of its own and owns the sockets, so that what waits in them outlives a worker.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::app::AppError;
use crate::app::inherit::Handed;
use crate::app::sockets::Listening;
use crate::app::start::HostPlan;
use crate::clock;
use crate::control::process::WORKER_THREAD;
use crate::gateway::Gateway;
use crate::gateway::listener::{Drain, Listener, Waiting};
use crate::gateway::worker::{self, Order, Worker, WorkerError};
use crate::record::worker::WorkerRecorder;

/// Workers that fail so often within [`WINDOW`] have a fault that a further one has too. The process ends then: whoever
/// started it starts it anew, and sees that something is wrong.
const MOST_FAILURES: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The pause before a failed worker is replaced; twice as long for each failure within [`WINDOW`] before it.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a connection without a request may wait for one when the process stops.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// How many events and orders may wait. There are a few of each.
const QUEUE: usize = 64;

/// What the supervisor is told.
#[derive(Debug)]
pub(super) enum Event {
    /// This worker listens.
    Ready(usize),
    /// This worker ended.
    Ended(usize, Result<(), WorkerError>),
    /// The configuration changed.
    Change(Change),
    /// A successor wants the sockets.
    HandOver(SyncSender<io::Result<Vec<Handed>>>),
    /// The end.
    End(End),
}

/// What another configuration changes.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) added: Vec<Listening>,
    pub(super) removed: Vec<Arc<Listener>>,
    /// How long requests may go on after the end was told.
    pub(super) drain: Duration,
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The process stops.
    Stop,
    /// A successor has the sockets.
    Succeeded,
}

/// What workers are made of.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) gateway: Arc<Gateway>,
    pub(super) hosts: Vec<HostPlan>,
    pub(super) listeners: Vec<Listening>,
    /// How many workers; at least one.
    pub(super) size: usize,
    /// How long requests may go on after the end was told.
    pub(super) drain: Duration,
}

/// The supervisor's thread, and how it is told of things.
#[derive(Debug)]
pub(super) struct Supervision {
    pub(super) events: SyncSender<Event>,
    pub(super) thread: JoinHandle<Result<(), AppError>>,
}

impl Crew {
    /// Starts the workers, and returns when all of them listen.
    ///
    /// # Errors
    /// [`AppError`], where they do not come to it.
    pub(super) fn start(self) -> Result<Supervision, AppError> {
        let (sender, events) = sync_channel(QUEUE);
        let (started, all_ready) = sync_channel(1);
        let supervisor = Supervisor {
            workers: (0..self.size).map(|_| None).collect(),
            crew: self,
            events,
            sender: sender.clone(),
            unready: Some(started),
            ready: BTreeSet::new(),
            failures: VecDeque::new(),
            vacant: Vec::new(),
        };
        let system = |source| AppError::System { what: "starting thread `supervisor`".into(), source };
        let thread = thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervisor.run())
            .map_err(system)?;
        let supervision = Supervision { events: sender, thread };
        if all_ready.recv().is_err() {
            // It ended before.
            supervision.ended()?;
            return Err(system(io::Error::other("it ended by itself; see the log")));
        }
        Ok(supervision)
    }
}

impl Supervision {
    /// Waits until the supervisor has ended, and its workers with it.
    ///
    /// # Errors
    /// Why they ended, where they should not have.
    pub(super) fn ended(self) -> Result<(), AppError> {
        self.thread.join().unwrap_or_else(|payload| {
            let source = io::Error::other(worker::message(payload.as_ref()));
            Err(AppError::System { what: "the supervisor panicked".into(), source })
        })
    }
}

struct Supervisor {
    crew: Crew,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    /// How each worker that runs is told of things.
    workers: Vec<Option<mpsc::Sender<Order>>>,
    /// Told once all workers are ready.
    unready: Option<SyncSender<()>>,
    ready: BTreeSet<usize>,
    /// When workers failed, within [`WINDOW`].
    failures: VecDeque<Instant>,
    /// Workers to be replaced, and when.
    vacant: Vec<(Instant, usize)>,
}

impl Supervisor {
    fn run(mut self) -> Result<(), AppError> {
        let supervised = self.supervise();
        let end = *supervised.as_ref().unwrap_or(&End::Stop);
        let ended = self.end(end);
        supervised.map(|_| ()).and(ended)
    }

    fn supervise(&mut self) -> Result<End, AppError> {
        for number in 0..self.crew.size {
            let what = format!("starting thread `{WORKER_THREAD}{number}`");
            self.hire(number).map_err(|source| AppError::System { what, source })?;
        }
        loop {
            match self.next() {
                None => {}
                Some(Event::Ready(number)) => self.is_ready(number),
                Some(Event::Ended(number, ended)) => self.lost(number, ended)?,
                Some(Event::Change(change)) => self.change(change),
                Some(Event::HandOver(reply)) => {
                    let sockets = self.crew.listeners.iter().map(Listening::hand_over);
                    let sockets = sockets.collect::<io::Result<Vec<_>>>();
                    if reply.send(sockets.map(|sockets| sockets.into_iter().flatten().collect())).is_err() {
                        tracing::debug!("the successor is no longer waited for");
                    }
                }
                Some(Event::End(end)) => return Ok(end),
            }
            self.fill_vacancies()?;
        }
    }

    /// The next event; `None` when a worker is to be replaced before there is one.
    fn next(&self) -> Option<Event> {
        let Some(due) = self.vacant.iter().map(|(due, _)| *due).min() else {
            return self.events.recv().ok();
        };
        let wait = due.saturating_duration_since(clock::monotonic());
        self.events.recv_timeout(wait).ok()
    }

    /// Starts worker `number`.
    fn hire(&mut self, number: usize) -> io::Result<()> {
        let Crew { gateway, hosts, listeners, size, .. } = &self.crew;
        let recorder = WorkerRecorder::new(&gateway.recorder, number)?;
        let backends = hosts.iter().map(|host| host.backend(&recorder)).collect();
        let worker = Worker { gateway: Arc::clone(gateway), recorder: Arc::clone(&recorder), backends };
        let mut shares = Vec::new();
        for listening in listeners {
            shares.extend(listening.shares(number, *size)?);
        }
        let (orders, told) = mpsc::channel(QUEUE);
        let events = self.sender.clone();
        let work = move || {
            let tell = |event| {
                if events.send(event).is_err() {
                    tracing::debug!("the supervisor has ended");
                }
            };
            let run = || worker::run(worker, shares, told, || tell(Event::Ready(number)));
            let ended = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|payload| Err(WorkerError::Panicked(worker::message(payload.as_ref()))));
            if matches!(ended, Err(WorkerError::Panicked(_))) {
                recorder.panicked();
            }
            tell(Event::Ended(number, ended));
        };
        thread::Builder::new().name(format!("{WORKER_THREAD}{number}")).spawn(work)?;
        if let Some(place) = self.workers.get_mut(number) {
            *place = Some(orders);
        }
        Ok(())
    }

    fn is_ready(&mut self, number: usize) {
        self.ready.insert(number);
        if self.ready.len() == self.crew.size
            && let Some(unready) = self.unready.take()
            && unready.send(()).is_err()
        {
            tracing::debug!("nobody waits for the workers");
        }
    }

    /// A worker ended that was not told to.
    fn lost(&mut self, number: usize, ended: Result<(), WorkerError>) -> Result<(), AppError> {
        self.dismiss(number);
        let error =
            ended.err().unwrap_or_else(|| WorkerError::System(io::Error::other("it ended by itself")));
        let now = clock::monotonic();
        self.failures.retain(|failed| now.saturating_duration_since(*failed) < WINDOW);
        self.failures.push_back(now);
        let failures = self.failures.len();
        if failures >= MOST_FAILURES {
            return Err(AppError::Workers { failures, source: error });
        }
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(doublings));
        tracing::error!(worker = number, %error, ?pause, "a worker failed; another one takes over its sockets");
        self.vacant.push((now + pause, number));
        Ok(())
    }

    fn fill_vacancies(&mut self) -> Result<(), AppError> {
        let now = clock::monotonic();
        let (due, later) = self.vacant.iter().copied().partition(|(due, _)| *due <= now);
        self.vacant = later;
        let due: Vec<(Instant, usize)> = due;
        for (_, number) in due {
            if let Err(error) = self.hire(number) {
                self.lost(number, Err(error.into()))?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        let Change { added, removed, drain } = change;
        self.crew.drain = drain;
        let removed =
            |listening: &Listening| removed.iter().any(|removed| Arc::ptr_eq(removed, &listening.listener));
        // What the kernel has taken is accepted by the workers, which have the sockets too.
        let gone = Drain { patience: drain / 2, waiting: Waiting::Accept };
        for listening in self.crew.listeners.extract_if(.., |listening| removed(listening)) {
            listening.listener.drain(gone);
        }
        for listening in added {
            for (number, worker) in self.workers.iter().enumerate() {
                match listening.shares(number, self.crew.size) {
                    Ok(shares) => {
                        for share in shares {
                            tell(worker.as_ref(), Order::Listen(share));
                        }
                    }
                    Err(error) => tracing::error!(%error, "a worker has no share of a new listener"),
                }
            }
            self.crew.listeners.push(listening);
        }
    }

    /// No new connections; requests under way end; workers with them.
    fn end(mut self, end: End) -> Result<(), AppError> {
        let time = self.crew.drain;
        let drain = match end {
            End::Stop => Drain { patience: STOP_PATIENCE, waiting: Waiting::Accept },
            // Nobody is refused meanwhile, so that clients have time to be told with an answer. The other half is for
            // the requests that come last.
            End::Succeeded => Drain { patience: time / 2, waiting: Waiting::Leave },
        };
        for listening in std::mem::take(&mut self.crew.listeners) {
            listening.listener.drain(drain);
        }
        for worker in &self.workers {
            tell(worker.as_ref(), Order::End(time));
        }
        let mut result = Ok(());
        while self.workers.iter().any(Option::is_some) {
            let Ok(event) = self.events.recv() else { break };
            if let Event::Ended(number, ended) = event {
                self.dismiss(number);
                if let Err(error) = ended {
                    tracing::error!(worker = number, %error, "a worker failed at its end");
                    result = Err(AppError::Workers { failures: 1, source: error });
                }
            }
        }
        result
    }

    fn dismiss(&mut self, number: usize) {
        if let Some(worker) = self.workers.get_mut(number) {
            *worker = None;
        }
    }
}

fn tell(worker: Option<&mpsc::Sender<Order>>, order: Order) {
    if let Some(worker) = worker
        && let Err(error) = worker.try_send(order)
    {
        tracing::error!(%error, "a worker cannot be told; it ends, or has hung");
    }
}
