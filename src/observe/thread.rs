//! The control thread's start: with the listeners for health, before the store is opened.
//! Kind: shell

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};

use runtime::eventfd::{EventFd, readable};
use runtime::executor::{CoreError, CoreHandle, CoreOptions, spawn_core};
use runtime::file::SharedFiles;
use runtime::listener::listener_of;
use runtime::placement::Placement;

use super::{About, Observed, http};
use crate::server::control::{self, ControlParts};

/// The control thread on which nothing runs yet but answers about health. Opening a store after a
/// crash may take minutes: whoever asks meanwhile is to hear how far it is, not nothing.
#[derive(Debug)]
pub struct ControlThread<S: SharedFiles> {
    handle: CoreHandle<()>,
    parts: Sender<ControlParts<S>>,
    is_given: EventFd,
}

impl<S: SharedFiles> ControlThread<S> {
    /// Starts it. If it is dropped instead of given its parts, the process is about to end.
    ///
    /// # Errors
    /// As of [`spawn_core`].
    pub fn start(
        listeners: Vec<OwnedFd>,
        about: About,
        is_given: EventFd,
        told: EventFd,
    ) -> Result<ControlThread<S>, CoreError> {
        let (parts, given) = channel();
        // One for the space of logs, one for whatever else is done to files.
        let options = CoreOptions { blocking_threads: 2, ..CoreOptions::new(Placement::Free) };
        let handle = spawn_core("control", options, move || async move {
            let observed = Rc::new(Observed::new(about));
            for listener in listeners {
                let subject = http::Subject::Broker(Rc::clone(&observed));
                let served = http::serve(listener_of(listener), subject);
                glommio::spawn_local(served).detach();
            }
            readable(&told).await?;
            match given.recv() {
                Ok(parts) => control::run(parts, observed).await,
                Err(_) => Ok(()),
            }
        })?;
        Ok(ControlThread { handle, parts, is_given })
    }

    /// The store is open: control begins.
    pub fn give(self, parts: ControlParts<S>) -> CoreHandle<()> {
        // It waits for them, or has failed, which joining it says.
        let _ = self.parts.send(parts);
        self.is_given.signal();
        self.handle
    }
}
