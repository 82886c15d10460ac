//! The consensus FSM under test: golden scripts for the rules, random schedules for the rest.
//!
//! Everything runs on [`cluster::Cluster`]: raw FSMs whose network and disks do only what a
//! script or a generator says, so that every order of events can be had.

use std::{cell::Cell, panic, sync::Once};

mod checker;
mod cluster;
mod command;
mod disk;
mod forged;
mod mapping;
mod members;
mod parse;
#[cfg(feature = "planted-bugs")]
mod planted;
mod properties;
mod request_vote;
mod scripts;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`; a panic becomes its text. Nothing is printed: shrinking makes thousands of them,
/// and the last is told.
fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(panic::AssertUnwindSafe(body));
    QUIET.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without text".to_owned())
    })
}
