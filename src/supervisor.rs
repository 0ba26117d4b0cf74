//! Keeps one node of a case: whether it is up, that nobody else acts on it meanwhile, and that a death which
//! nobody ordered ends the case at once.

mod still;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::case::{Case, WeakCase};
use robust_test_harness::error::Error;
use robust_test_harness::outcome::{Class, Problem};
use tokio::task::JoinHandle;

use crate::down::{Down, StandIn};
use crate::exit::{Exit, Signal};
use crate::instance::{Death, External, Instance, KillError, PauseError, StopError};
use crate::log_limit::LogLimit;
use crate::place::Place;
use crate::shared::Sharing;
use crate::view::Internals;

#[derive(Debug)]
pub(crate) struct Supervisor {
    place: Arc<Place>,
    case: WeakCase,
    /// What its start function exposed, while it runs.
    internals: Internals,
    /// Held by what changes the node's life, from begin to end.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was started and not yet ended by an order; it may have died.
    instance: Option<Instance>,
    /// How often it was started.
    starts: u64,
    paused: bool,
    /// Somebody ends it now, or expects its end.
    may_end: bool,
    /// Waits for its end.
    watch: Option<JoinHandle<()>>,
    log_is_too_long: bool,
    /// How it may go on to the next case.
    sharing: Option<Sharing>,
    /// The case did something to it that no reset undoes.
    is_disturbed: bool,
    /// Listens on its ports while it is down.
    stand_in: Option<StandIn>,
    /// The case is over.
    closed: bool,
}

/// What [`Supervisor::adopt`] says when the case is over.
#[derive(Debug)]
pub(crate) struct Closed;

/// Nothing can listen in the place of a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandInError {
    /// It runs somewhere else (`[external.KIND]` in robust.toml).
    #[error(transparent)]
    External(#[from] External),
    /// It runs.
    #[error("node `{node}` runs: stop or kill it before something listens in its place")]
    Runs {
        /// The node's name.
        node: String,
    },
    /// The case is over.
    #[error("nothing can listen in the place of node `{node}`: its case is over")]
    Closed {
        /// The node's name.
        node: String,
    },
    /// A port is taken.
    #[error("nothing can listen on {address} in the place of node `{node}`")]
    Listen {
        /// The node's name.
        node: String,
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Supervisor {
    pub(crate) fn new(
        place: Arc<Place>,
        case: &Case,
        internals: Internals,
        sharing: Option<Sharing>,
    ) -> Self {
        Self {
            place,
            case: case.downgrade(),
            internals,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                sharing,
                ..State::default()
            }),
        }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else changes the node's life.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) fn instance(&self) -> Option<Instance> {
        self.state().instance.clone()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// Takes charge of a node that was just started.
    pub(crate) async fn adopt(self: &Arc<Self>, instance: Instance) -> Result<(), Closed> {
        {
            let mut state = self.state();
            if !state.closed {
                let ended = instance.end_notice();
                let log = self.place.log();
                let bytes_max = log.begin_of_case().saturating_add(instance.log_bytes_max());
                let too_long = LogLimit::new(log.path(), bytes_max);
                state.instance = Some(instance);
                state.starts += 1;
                (state.paused, state.may_end) = (false, false);
                // It keeps nothing: what is dropped without a teardown ends as well.
                let (supervisor, start) = (Arc::downgrade(self), state.starts);
                state.watch = Some(tokio::spawn(async move {
                    let too_long = tokio::select! {
                        () = ended => None,
                        bytes = too_long.passed() => Some(bytes),
                    };
                    if let Some(supervisor) = supervisor.upgrade() {
                        match too_long {
                            None => supervisor.has_ended(start),
                            Some(bytes) => supervisor.prints_too_much(bytes).await,
                        }
                    }
                }));
                return Ok(());
            }
        }
        // The case is over, and what started it runs in a task that should not.
        let _ = instance.end().await;
        Err(Closed)
    }

    /// Ends the case when this start has ended and nobody ended it or expects that.
    fn has_ended(&self, start: u64) {
        let state = self.state();
        if state.starts != start || state.may_end || state.closed {
            return;
        }
        let death = state.instance.as_ref().and_then(Instance::death);
        drop(state);
        if let Some(death) = death {
            self.tell(&death);
        }
    }

    fn tell(&self, death: &Death) {
        self.break_off(Class::Death, &death.to_string());
    }

    fn break_off(&self, class: Class, text: &str) {
        // Without a case nobody is left to be told.
        if let Some(case) = self.case.upgrade() {
            case.break_off(Problem::new(class, text));
        }
    }

    /// Ends the node and its case: a full disk would be everybody's.
    async fn prints_too_much(&self, bytes: u64) {
        let Some(instance) = self.instance() else { return };
        {
            let mut state = self.state();
            (state.may_end, state.log_is_too_long) = (true, true);
        }
        // Now, and not when a busy machine comes to its end: every moment may be another hundred megabytes.
        let _inside_or_gone = instance.pause().await;
        let node = self.place.name();
        let limit = instance.log_bytes_max();
        let text = format!(
            "node `{node}` printed too much: its log has {bytes} bytes, more than {limit} (`log_bytes_max`); it was \
             killed, and the middle of its log is left out{}",
            instance.tail()
        );
        // Before the end, which the case's code would take for its own finding.
        self.break_off(Class::Log, &text);
        // Should that fail, the teardown tells.
        let _ended = instance.end().await;
    }

    fn shorten_log(&self) {
        if let Err(error) = self.place.log().leave_out_middle() {
            tracing::warn!(node = self.place.name(), %error, "its log cannot be shortened");
        }
    }

    /// Searches the node's log for what is a defect whatever the scenario looks at.
    fn search_log(&self) {
        let (node, log) = (self.place.name(), self.place.log());
        match self.place.oracles().search(node, log.path(), log.begin_of_case()) {
            Ok(None) => {}
            Ok(Some(report)) => self.break_off(Class::Log, &report.to_string()),
            Err(error) => tracing::warn!(node, %error, "its log cannot be searched"),
        }
    }

    /// Puts something in the place of the node, which is down, on its ports.
    pub(crate) async fn stand_in(&self, down: Down) -> Result<(), StandInError> {
        self.in_charge()?;
        let _turn = self.turn().await;
        let node = || self.place.name().to_owned();
        if self
            .instance()
            .is_some_and(|instance| instance.exit_now().is_none())
        {
            return Err(StandInError::Runs { node: node() });
        }
        self.disturb();
        self.free_ports().await;
        let ports = self.place.leased().into_iter();
        let addresses = ports.map(|(_, port)| self.place.own_address(port));
        let bind = |address: std::net::SocketAddr| self.place.listen(address.port());
        let stand_in = StandIn::new(down, addresses.collect(), bind, Arc::default());
        let stand_in = stand_in.await.map_err(|(address, source)| StandInError::Listen {
            node: node(),
            address,
            source,
        })?;
        {
            let mut state = self.state();
            if !state.closed {
                state.stand_in = Some(stand_in);
                return Ok(());
            }
        }
        stand_in.release().await;
        Err(StandInError::Closed { node: node() })
    }

    /// Ends what listens in the node's place, for a holder of [`Supervisor::turn`].
    pub(crate) async fn free_ports(&self) {
        let stand_in = self.state().stand_in.take();
        if let Some(stand_in) = stand_in {
            stand_in.release().await;
        }
    }

    /// From now on its end is no reason to end the case; whether that was so before.
    fn may_end(&self) -> bool {
        self.disturb();
        // What its processes have read is gone with them.
        self.place.clock().readings();
        std::mem::replace(&mut self.state().may_end, true)
    }

    /// From now on it is no server that another case could use.
    pub(crate) fn disturb(&self) {
        self.state().is_disturbed = true;
    }

    /// The instance and whether it is paused; cleans up and tells when it has died.
    async fn alive(&self) -> Result<Option<(Instance, bool)>, Death> {
        let (instance, paused, may_end) = {
            let state = self.state();
            match &state.instance {
                Some(instance) => (instance.clone(), state.paused, state.may_end),
                None => return Ok(None),
            }
        };
        let Some(death) = instance.death() else {
            return Ok(Some((instance, paused)));
        };
        // The death matters more than a group that outlives it; the harness finds that one.
        let _ = instance.end().await;
        self.is_down();
        if may_end {
            return Ok(None);
        }
        self.tell(&death);
        Err(death)
    }

    /// Whether it runs, for a holder of [`Supervisor::turn`].
    pub(crate) async fn is_up(&self) -> Result<bool, Death> {
        Ok(self.alive().await?.is_some())
    }

    fn is_down(&self) {
        let mut state = self.state();
        state.instance = None;
        state.paused = false;
        self.internals.clear();
    }

    /// Whether the node is this case's to start and to end.
    pub(crate) fn in_charge(&self) -> Result<(), External> {
        match self.place.external() {
            None => Ok(()),
            Some(_) => Err(External {
                node: self.place.name().to_owned(),
                kind: self.place.kind(),
            }),
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), KillError> {
        self.in_charge()?;
        let _turn = self.turn().await;
        if let Some((instance, _)) = self.alive().await? {
            let was_expected = self.may_end();
            // On failure it stays in charge: the end of the case tries again.
            instance.end().await?;
            self.is_down();
            if let Some(death) = instance.death_before_end()
                && !was_expected
            {
                self.tell(&death);
                return Err(death.into());
            }
            tracing::info!(node = self.place.name(), "killed");
        }
        Ok(())
    }

    /// For a holder of [`Supervisor::turn`].
    pub(crate) async fn stop_in_turn(&self) -> Result<(), StopError> {
        let quiesced = self.quiesce().await;
        let stopped = self.stop_quiesced().await;
        quiesced.and(stopped)
    }

    /// What comes before the stop of a node that runs.
    pub(crate) async fn quiesce(&self) -> Result<(), StopError> {
        self.in_charge()?;
        match self.alive().await? {
            // A frozen node does nothing.
            Some((instance, false)) => instance.quiesce().await,
            _ => Ok(()),
        }
    }

    /// The stop itself, for a holder of [`Supervisor::turn`].
    pub(crate) async fn stop_quiesced(&self) -> Result<(), StopError> {
        self.in_charge()?;
        let Some((instance, paused)) = self.alive().await? else {
            return Ok(());
        };
        self.may_end();
        let stopped = instance.stop(paused).await;
        if !matches!(stopped, Err(StopError::Kill(_))) {
            self.is_down();
            tracing::info!(node = self.place.name(), "stopped");
        }
        stopped
    }

    /// Sends a signal to the node's first process. What it does with it is its own affair: an end by it is a
    /// death unless it is expected.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<(), PauseError> {
        self.in_charge()?;
        let _turn = self.turn().await;
        let (instance, _) = self.alive().await?.ok_or_else(|| self.down())?;
        self.disturb();
        instance.send(signal)?;
        tracing::info!(node = self.place.name(), %signal, "signalled");
        Ok(())
    }

    pub(crate) async fn pause(&self) -> Result<(), PauseError> {
        self.in_charge()?;
        let _turn = self.turn().await;
        let (instance, paused) = self.alive().await?.ok_or_else(|| self.down())?;
        if !paused {
            self.disturb();
            // Before the await: a pause that is cancelled half-way still has to be undone by a stop.
            self.state().paused = true;
            if let Err(error) = instance.pause().await {
                self.state().paused = false;
                return Err(error);
            }
            tracing::info!(node = self.place.name(), "paused");
        }
        Ok(())
    }

    pub(crate) async fn resume(&self) -> Result<(), PauseError> {
        self.in_charge()?;
        let _turn = self.turn().await;
        let (instance, _) = self.alive().await?.ok_or_else(|| self.down())?;
        instance.resume()?;
        self.state().paused = false;
        tracing::info!(node = self.place.name(), "resumed");
        Ok(())
    }

    fn down(&self) -> PauseError {
        PauseError::Down {
            node: self.place.name().to_owned(),
        }
    }

    /// The end of what runs now is expected; `None` when nothing runs.
    pub(crate) fn expect_exit(&self) -> Option<Instance> {
        let mut state = self.state();
        let instance = state.instance.clone()?;
        (state.may_end, state.is_disturbed) = (true, true);
        Some(instance)
    }

    /// Waits for an end that was expected, and cleans up after it.
    pub(crate) async fn expected_exit(&self, instance: &Instance) -> Result<Exit, KillError> {
        let exit = instance.exited().await;
        let _turn = self.turn().await;
        // Unless a restart has come first.
        if self.instance().is_some_and(|current| current.is(instance)) {
            instance.end().await?;
            self.is_down();
        }
        Ok(exit)
    }

    /// Ends the node with its case. Does not wait for its turn: whoever has that may hang.
    pub(crate) async fn tear_down(&self) -> Result<(), Error> {
        let (instance, is_asked, watch, stand_in, sharing) = {
            let mut state = self.state();
            state.closed = true;
            let stand_in = state.stand_in.take();
            let sharing = state.sharing.take().map(|sharing| (sharing, state.is_disturbed));
            let (instance, watch) = (state.instance.take(), state.watch.take());
            (instance, state.may_end, watch, stand_in, sharing)
        };
        if let Some(watch) = watch {
            watch.abort();
            // Either way it is over, and no task of the case's any more.
            let _aborted = watch.await;
        }
        let (instance, sharing) = match (instance, sharing) {
            (Some(instance), Some((sharing, false))) => match self.hand_on(instance, sharing) {
                Ok(()) => return Ok(()),
                Err((sharing, instance)) => (Some(instance), Some(sharing)),
            },
            (instance, sharing) => (instance, sharing.map(|(sharing, _)| sharing)),
        };
        let mut ended = Ok(());
        if let Some(instance) = instance {
            let before = instance.death();
            ended = instance.end().await;
            // The client may have seen its end before this process could.
            if let Some(death) = before.or_else(|| instance.death_before_end())
                && !is_asked
            {
                self.tell(&death);
            }
        }
        if let Some(stand_in) = stand_in {
            stand_in.release().await;
        }
        self.search_log();
        if self.state().log_is_too_long {
            self.shorten_log();
        }
        if let Some(sharing) = sharing {
            sharing.leave(&self.place, self.case.upgrade().as_ref());
        }
        self.place.release_ports();
        ended.map_err(Into::into)
    }

    /// Keeps a node that its case left as it was for the next case, unless something speaks against it; a defect in its
    /// log does, too. Gives it back then.
    fn hand_on(&self, instance: Instance, sharing: Sharing) -> Result<(), (Sharing, Instance)> {
        let is_fine = || self.case.upgrade().is_some_and(|case| case.is_fine());
        if instance.exit_now().is_some() || !is_fine() {
            return Err((sharing, instance));
        }
        self.search_log();
        match is_fine() {
            true => sharing.park(&self.place, instance),
            false => Err((sharing, instance)),
        }
    }
}
