//! The generator, against a gateway with a node that only counts behind it.

use raftkv::{gateway::Gateway, node::Answer, replica::Operation};
use raftkv_bench::{
    api::{self, Method, System},
    caller::call_once,
    load::{self, Connected, KEYS, Load, Pace},
    stub,
};
use std::{
    io::{self, Read},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A gateway whose node gives this answer to everything, if any, and the count of its puts.
fn gateway(answer: Option<Answer>) -> (Gateway, Arc<AtomicU64>) {
    let puts = Arc::new(AtomicU64::new(0));
    let counted = puts.clone();
    let gateway = stub::gateway(move |operation| {
        if matches!(operation, Operation::Put { .. }) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        answer.clone()
    });
    (gateway.expect("it starts"), puts)
}

fn load(method: Method) -> Load {
    Load {
        system: System::Raftkv,
        method,
        clients: 4,
        outstanding: 1,
        value_bytes: 256,
        keys: KEYS,
        pace: Pace::Closed(Duration::from_millis(50)),
    }
}

#[test]
fn every_call_of_a_load_is_made_and_answered() {
    let (gateway, puts) = gateway(Some(Answer::Put));
    let served = load::run(&load(Method::Put), gateway.address()).expect("all are answered");
    assert!(served.calls >= 4);
    assert_eq!(served.calls, puts.load(Ordering::Relaxed));
}

#[test]
fn a_client_that_has_no_call_yet_has_said_that_it_speaks_http_2() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connected = Connected::new(&load(Method::Put), address).expect("connected");
    let (mut client, _) = listener.accept().expect("connected");
    let patience = Some(Duration::from_secs(10));
    client.set_read_timeout(patience).expect("a socket");
    let mut preface = [0; 24];
    client.read_exact(&mut preface).expect("a preface");
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop(connected);
}

#[test]
fn a_client_may_have_many_calls_outstanding() {
    let (gateway, puts) = gateway(Some(Answer::Put));
    let load = Load {
        outstanding: 16,
        pace: Pace::Count(1_003),
        ..load(Method::Put)
    };
    let served = load::run(&load, gateway.address()).expect("all are answered");
    assert_eq!((served.calls, served.latencies.count()), (1_003, 1_003));
    assert_eq!(puts.load(Ordering::Relaxed), 1_003);
}

#[test]
fn a_load_makes_so_many_calls_as_it_is_told() {
    let (gateway, puts) = gateway(Some(Answer::Put));
    let load = Load {
        pace: Pace::Count(1_003),
        ..load(Method::Put)
    };
    let served = load::run(&load, gateway.address()).expect("all are answered");
    assert_eq!((served.calls, served.latencies.count()), (1_003, 1_003));
    assert_eq!(puts.load(Ordering::Relaxed), 1_003);
}

#[test]
fn a_load_at_a_rate_makes_all_calls_of_its_time() {
    let (gateway, puts) = gateway(Some(Answer::Put));
    let load = Load {
        pace: Pace::Open {
            rate: 1_000.0,
            duration: Duration::from_millis(100),
        },
        ..load(Method::Put)
    };
    let served = load::run(&load, gateway.address()).expect("all are answered");
    // A tenth of a second is not counted, and a tenth is.
    assert_eq!(served.calls, 200);
    assert_eq!(puts.load(Ordering::Relaxed), 200);
}

#[test]
fn a_load_of_gets_puts_nothing() {
    let value = Some("value".into());
    let (gateway, puts) = gateway(Some(Answer::Get { value }));
    let served = load::run(&load(Method::Get), gateway.address()).expect("all are answered");
    assert!(served.calls >= 4);
    assert_eq!(puts.load(Ordering::Relaxed), 0);
}

#[test]
fn a_node_that_does_not_lead_ends_the_load() {
    let leader_hint = "127.0.0.1:1".to_owned();
    let (gateway, _) = gateway(Some(Answer::NotLeader {
        leader_hint: leader_hint.clone(),
    }));
    let failed = load::run(&load(Method::Put), gateway.address()).expect_err("nothing is done");
    assert_eq!(failed.to_string(), "the node does not lead");
    let timeout = Duration::from_secs(10);
    let answer = call_once(
        gateway.address(),
        System::Raftkv,
        Method::Get,
        "key",
        timeout,
    )
    .expect("an answer");
    assert_eq!(answer, api::Answer::NotLeader { leader_hint });
}

#[test]
fn a_refusal_is_an_error_with_the_nodes_words() {
    let (gateway, _) = gateway(Some(Answer::Busy { why: "busy" }));
    let failed = load::run(&load(Method::Put), gateway.address()).expect_err("nothing is done");
    assert!(failed.to_string().contains("UNAVAILABLE: busy"), "{failed}");
}

#[test]
fn a_silent_node_is_not_waited_for_beyond_the_timeout() {
    let (gateway, _) = gateway(None);
    let timeout = Duration::from_millis(20);
    let failed = call_once(
        gateway.address(),
        System::Raftkv,
        Method::Put,
        "key",
        timeout,
    )
    .expect_err("silence");
    assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
}
