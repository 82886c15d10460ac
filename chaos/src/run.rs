//! A run that cannot take its caller down: what panics becomes a failure with the property that
//! it names.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use crate::{
    invariants::Property,
    scenario::{Ask, Endured, Partial, Plan, Preset, Run, Stats},
    sim::Line,
};

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The property that is broken.
    pub property: Property,
    /// How.
    pub what: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which faults it could draw.
    pub preset: Preset,
    /// What decided everything.
    pub seed: u64,
    /// What it amounted to, up to a failure if there was one.
    pub stats: Stats,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What happened, when asked for.
    pub lines: Vec<Line>,
}

thread_local! {
    /// Whether a run is under way on this thread.
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a seed.
#[must_use]
pub fn run_seed(seed: u64, record: bool) -> Outcome {
    run_plan(&Plan::draw(Preset::of(seed), seed), record)
}

/// Runs a plan.
pub(crate) fn run_plan(plan: &Plan, record: bool) -> Outcome {
    run_asking(plan, record).0
}

/// Runs a plan, and tells what clients asked for as well.
pub(crate) fn run_asking(plan: &Plan, record: bool) -> (Outcome, Vec<Ask>) {
    let mut run = None;
    let failure = caught(|| {
        let run = run.insert(Run::new(plan));
        if record {
            run.record();
        }
        run.go();
    });
    let asked = run.as_ref().map(Run::asked).unwrap_or_default();
    let outcome = Outcome {
        preset: plan.preset,
        seed: plan.seed,
        stats: run.as_ref().map(Run::stats).unwrap_or_default(),
        failure: failure.err(),
        lines: run.as_mut().map(Run::take_lines).unwrap_or_default(),
    };
    (outcome, asked)
}

/// Runs a partial partition, with the leader at this place when links are cut.
///
/// # Errors
/// The property that is broken.
pub fn run_partial(partial: Partial, place: usize, seed: u64) -> Result<Endured, Failure> {
    let mut endured = Endured::default();
    caught(|| endured = Run::of_partial(partial, seed).endure(partial, place))?;
    Ok(endured)
}

/// Runs `body`; a panic becomes a failure and prints nothing.
fn caught(body: impl FnOnce()) -> Result<(), Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_RUNNING.get() {
                let place = info.location().map(ToString::to_string);
                PLACE.set(place.unwrap_or_default());
            } else {
                loud(info);
            }
        }));
    });
    IS_RUNNING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    IS_RUNNING.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "a panic without text".to_owned());
        let property = Property::of(&text);
        let what = match property {
            Property::Assertion => format!("{text}, at {}", PLACE.take()),
            named => text[named.name().len() + 1..].trim().to_owned(),
        };
        Failure { property, what }
    })
}
