//! Whether what clients were told could have come from one store that does one thing at a time.
//!
//! Two methods answer, and share no code. `search` sees only what clients saw and looks for any
//! order that explains it. `order` is given an order, that of the log, and checks that one. An
//! order that `order` accepts is one that `search` looks for. So if only `search` rejects, one of
//! the two is wrong. If only `order` rejects, values alone are explained, but the log or the
//! positions in the replies are wrong. Either is an error. See `docs/linearizability.md`.

use std::{collections::BTreeMap, error, fmt};

use crate::history::{Call, History, Key, Request, Told};

mod order;
mod search;
#[cfg(test)]
mod tests;

/// What cannot be, and the calls that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Key,
    /// What is wrong.
    pub why: String,
    /// The calls in conflict.
    pub calls: Vec<Call>,
}

/// One of the two methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Any order, from what clients saw.
    Search,
    /// The order of the log.
    Order,
}

/// Why a history is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It is no history: who recorded it erred. Nothing is known of the store.
    Malformed(Violation),
    /// No order explains what clients were told.
    NotLinearizable {
        /// As the search found it.
        search: Violation,
        /// As the log shows it.
        order: Violation,
    },
    /// One method accepts, the other does not.
    Disagreement {
        /// The one that does not.
        rejects: Method,
        /// What it found.
        violation: Violation,
    },
    /// The search took too many steps to know. That is no pass.
    Undecided {
        /// The key on which it gave up.
        key: Key,
        /// What the log says.
        order: Result<(), Violation>,
    },
}

/// Accepts a history that both methods accept. All keys are absent at its begin.
///
/// # Errors
/// What was found; see [`Rejection`].
pub fn check(history: &History) -> Result<(), Rejection> {
    well_formed(history).map_err(Rejection::Malformed)?;
    judge(
        search::check(history, search::MAX_STEPS),
        order::check(history),
    )
}

fn judge(
    search: Result<(), search::Failure>,
    order: Result<(), Violation>,
) -> Result<(), Rejection> {
    let disagreement = |rejects, violation| Rejection::Disagreement { rejects, violation };
    match (search, order) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(search::Failure::OutOfSteps(key)), order) => Err(Rejection::Undecided { key, order }),
        (Err(search::Failure::NoOrder(search)), Err(order)) => {
            Err(Rejection::NotLinearizable { search, order })
        }
        (Err(search::Failure::NoOrder(violation)), Ok(())) => {
            Err(disagreement(Method::Search, violation))
        }
        (Ok(()), Err(violation)) => Err(disagreement(Method::Order, violation)),
    }
}

/// What both methods take for granted, for it depends on the recorder and not on the store.
fn well_formed(history: &History) -> Result<(), Violation> {
    let mut puts: BTreeMap<_, &Call> = BTreeMap::new();
    for call in &history.calls {
        let fault = |why: &str, calls: &[&Call]| Violation {
            key: call.key,
            why: why.to_owned(),
            calls: calls.iter().map(|call| **call).collect(),
        };
        if let Some((told, when)) = call.told {
            let answers = matches!(
                (call.request, told),
                (Request::Put(_), Told::Put { .. })
                    | (Request::Delete, Told::Deleted { .. })
                    | (Request::Get, Told::Got { .. })
                    | (_, Told::Refused)
            );
            if !answers {
                return Err(fault("the answer is to another request", &[call]));
            }
            if when < call.called {
                return Err(fault("the answer came before the call", &[call]));
            }
        }
        if let Request::Put(value) = call.request
            && let Some(other) = puts.insert(value, call)
        {
            return Err(fault("two puts have one value", &[other, call]));
        }
    }
    match history.committed.iter().find(|c| c.request == Request::Get) {
        None => Ok(()),
        Some(get) => Err(Violation {
            key: get.key,
            why: format!("a get stands in the log at {}", get.at),
            calls: Vec::new(),
        }),
    }
}

impl fmt::Display for Violation {
    /// What is wrong, then a line for each call.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.key.0, self.why)?;
        self.calls.iter().try_for_each(|call| {
            write!(f, "\n  ")?;
            write_call(f, call)
        })
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, call: &Call) -> fmt::Result {
    write!(f, "client {} at {}: ", call.client, call.called.0)?;
    match call.request {
        Request::Put(value) => write!(f, "put key {} value {}", call.key.0, value.0)?,
        Request::Delete => write!(f, "delete key {}", call.key.0)?,
        Request::Get => write!(f, "get key {}", call.key.0)?,
    }
    let Some((told, when)) = call.told else {
        return write!(f, ", outcome unknown");
    };
    write!(f, ", told at {}: ", when.0)?;
    match told {
        Told::Put { at } => write!(f, "done, entry {at}"),
        Told::Deleted { found: true, at } => write!(f, "found, entry {at}"),
        Told::Deleted { found: false, at } => write!(f, "not found, entry {at}"),
        Told::Got {
            value: Some(value),
            at,
        } => write!(f, "value {}, index {at}", value.0),
        Told::Got { value: None, at } => write!(f, "absent, index {at}"),
        Told::Refused => write!(f, "refused"),
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Malformed(violation) => write!(f, "malformed history\n{violation}"),
            Rejection::NotLinearizable { search, order } => {
                write!(f, "not linearizable\nsearch: {search}\nlog order: {order}")
            }
            Rejection::Disagreement {
                rejects: Method::Search,
                violation,
            } => write!(
                f,
                "the checkers disagree: the log explains the history, the search does not\n\
                 {violation}"
            ),
            Rejection::Disagreement {
                rejects: Method::Order,
                violation,
            } => write!(
                f,
                "the checkers disagree: some order explains the history, that of the log does \
                 not\n{violation}"
            ),
            Rejection::Undecided { key, order } => {
                write!(f, "undecided: the search ran out of steps at key {}", key.0)?;
                match order {
                    Ok(()) => write!(f, "\nlog order: accepts"),
                    Err(violation) => write!(f, "\nlog order: {violation}"),
                }
            }
        }
    }
}

impl error::Error for Rejection {}
