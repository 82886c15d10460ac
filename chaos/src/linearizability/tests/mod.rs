//! What the checkers are held against: histories made by hand, an oracle that tries everything,
//! executions that are legal by construction, whole and damaged, and a number of steps.

mod by_hand;
mod cost;
mod damaged;
mod executions;
mod oracle;
mod rejections;

use std::ops::RangeInclusive;

use raftkv::raft::{Index, LogPos, Term};

use super::{order, search};
use crate::history::{Call, Committed, History, Key, Moment, Request, Told, Value};

const KEY: Key = Key(7);

/// From the moment of the call to that of the answer.
type Span = RangeInclusive<u64>;

fn at(index: u64) -> LogPos {
    LogPos::new(Term(1), Index(index))
}

fn call(request: Request, called: u64) -> Call {
    Call {
        client: 0,
        key: KEY,
        request,
        called: Moment(called),
        told: None,
    }
}

fn told(request: Request, span: Span, told: Told) -> Call {
    Call {
        told: Some((told, Moment(*span.end()))),
        ..call(request, *span.start())
    }
}

fn put(value: u64, span: Span, index: u64) -> Call {
    let request = Request::Put(Value(value));
    told(request, span, Told::Put { at: at(index) })
}

fn delete(found: bool, span: Span, index: u64) -> Call {
    let deleted = Told::Deleted {
        found,
        at: at(index),
    };
    told(Request::Delete, span, deleted)
}

fn get(value: u64, span: Span, index: u64) -> Call {
    let got = Told::Got {
        value: Some(Value(value)),
        at: Index(index),
    };
    told(Request::Get, span, got)
}

fn get_absent(span: Span, index: u64) -> Call {
    let got = Told::Got {
        value: None,
        at: Index(index),
    };
    told(Request::Get, span, got)
}

fn unknown_put(value: u64, called: u64) -> Call {
    call(Request::Put(Value(value)), called)
}

fn unknown_delete(called: u64) -> Call {
    call(Request::Delete, called)
}

fn refused_put(value: u64, span: Span) -> Call {
    told(Request::Put(Value(value)), span, Told::Refused)
}

fn refused_delete(span: Span) -> Call {
    told(Request::Delete, span, Told::Refused)
}

fn entry(index: u64, request: Request) -> Committed {
    Committed {
        at: at(index),
        key: KEY,
        request,
    }
}

fn put_entry(index: u64, value: u64) -> Committed {
    entry(index, Request::Put(Value(value)))
}

fn delete_entry(index: u64) -> Committed {
    entry(index, Request::Delete)
}

fn history(calls: &[Call], committed: &[Committed]) -> History {
    History {
        calls: calls.to_vec(),
        committed: committed.to_vec(),
    }
}

fn search_accepts(history: &History) -> bool {
    match search::check(history, search::MAX_STEPS) {
        Ok(()) => true,
        Err(search::Failure::NoOrder(_)) => false,
        Err(failure) => panic!("{failure:?}"),
    }
}

fn order_accepts(history: &History) -> bool {
    order::check(history).is_ok()
}
