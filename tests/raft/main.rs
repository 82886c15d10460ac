//! The consensus FSM under test: golden scripts for the rules, random schedules for the rest.
//!
//! Everything runs on [`cluster::Cluster`]: raw FSMs whose network and disks do only what a
//! script or a generator says, so that every order of events can be had.

mod checker;
mod cluster;
mod command;
mod disk;
mod parse;
mod properties;
mod scripts;

/// What a caught panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without text".to_owned())
}
