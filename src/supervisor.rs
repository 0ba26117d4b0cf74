//! Keeps one node of a case: whether it is up, that nobody else acts on it meanwhile, and that a death which
//! nobody ordered is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::error::Error;

use crate::exit::Exit;
use crate::instance::{Death, Instance, KillError, PauseError, StopError};
use crate::place::Place;

#[derive(Debug)]
pub(crate) struct Supervisor {
    place: Arc<Place>,
    /// Held by what changes the node's life, from begin to end.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was started and not yet ended by an order; it may have died.
    instance: Option<Instance>,
    paused: bool,
    /// The first death nobody ordered.
    death: Option<Death>,
    /// The case is over.
    closed: bool,
}

/// What [`Supervisor::adopt`] says when the case is over.
#[derive(Debug)]
pub(crate) struct Closed;

impl Supervisor {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
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

    /// Takes charge of a node that was just started.
    pub(crate) async fn adopt(&self, instance: Instance) -> Result<(), Closed> {
        {
            let mut state = self.state();
            if !state.closed {
                state.instance = Some(instance);
                state.paused = false;
                return Ok(());
            }
        }
        // The case is over, and what started it runs in a task that should not.
        let _ = instance.end().await;
        Err(Closed)
    }

    /// The instance and whether it is paused; cleans up and tells when it has died.
    async fn alive(&self) -> Result<Option<(Instance, bool)>, Death> {
        let (instance, paused) = {
            let state = self.state();
            match &state.instance {
                Some(instance) => (instance.clone(), state.paused),
                None => return Ok(None),
            }
        };
        let Some(death) = instance.death() else {
            return Ok(Some((instance, paused)));
        };
        // The death matters more than a group that outlives it; the harness finds that one.
        let _ = instance.end().await;
        let mut state = self.state();
        state.instance = None;
        state.death.get_or_insert_with(|| death.clone());
        Err(death)
    }

    fn is_down(&self) {
        let mut state = self.state();
        state.instance = None;
        state.paused = false;
    }

    pub(crate) async fn kill(&self) -> Result<(), KillError> {
        let _turn = self.turn().await;
        if let Some((instance, _)) = self.alive().await? {
            // On failure it stays in charge: the end of the case tries again.
            instance.end().await?;
            self.is_down();
            if let Some(death) = instance.death_before_end() {
                self.state().death.get_or_insert_with(|| death.clone());
                return Err(death.into());
            }
            tracing::info!(node = self.place.name(), "killed");
        }
        Ok(())
    }

    pub(crate) async fn stop(&self) -> Result<(), StopError> {
        let _turn = self.turn().await;
        self.stop_in_turn().await
    }

    /// For a holder of [`Supervisor::turn`].
    pub(crate) async fn stop_in_turn(&self) -> Result<(), StopError> {
        let Some((instance, paused)) = self.alive().await? else {
            return Ok(());
        };
        let stopped = instance.stop(paused).await;
        if !matches!(stopped, Err(StopError::Kill(_))) {
            self.is_down();
            tracing::info!(node = self.place.name(), "stopped");
        }
        stopped
    }

    pub(crate) async fn pause(&self) -> Result<(), PauseError> {
        let _turn = self.turn().await;
        let (instance, paused) = self.alive().await?.ok_or_else(|| self.down())?;
        if !paused {
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

    /// Waits for an end that the scenario expects; `None` when the node does not run.
    pub(crate) async fn expect_exit(&self) -> Result<Option<Exit>, KillError> {
        let Some(instance) = self.instance() else {
            return Ok(None);
        };
        let exit = instance.exited().await;
        let _turn = self.turn().await;
        // Unless a restart has come first.
        if self.instance().is_some_and(|current| current.is(&instance)) {
            instance.end().await?;
            self.is_down();
        }
        Ok(Some(exit))
    }

    /// Ends the node with its case. Does not wait for its turn: whoever has that may hang.
    pub(crate) async fn tear_down(&self) -> Result<(), Error> {
        let (instance, mut death) = {
            let mut state = self.state();
            state.closed = true;
            (state.instance.take(), state.death.take())
        };
        let mut ended = Ok(());
        if let Some(instance) = instance {
            death = death.or_else(|| instance.death());
            ended = instance.end().await;
            // The client may have seen its end before this process could.
            death = death.or_else(|| instance.death_before_end());
        }
        self.place.release_ports();
        match death {
            Some(death) => Err(death.into()),
            None => ended.map_err(Into::into),
        }
    }
}
