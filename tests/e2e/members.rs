//! Members come and go under load, by the commands that an operator types.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use raftkv::client::{Client, Error};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Cluster, End, Process, cli, put, turn, wait_for};

const WRITERS: usize = 4;
/// Each writer goes round over so many keys.
const KEYS: usize = 500;

/// How long the run under load takes.
fn run_time() -> Duration {
    let seconds = std::env::var("REPLACE_SECONDS").ok();
    let seconds = seconds.map_or(30, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

fn run(cluster: &Cluster, words: &[&str]) -> End {
    Process::start(cli(cluster, words)).end()
}

/// Waits until `raftkv-cli status` says that all is well.
fn wait_until_healthy(cluster: &Cluster, sentence: &str) {
    wait_for(sentence, || {
        let end = run(cluster, &["status"]);
        let is_well = end.stdout.last().is_some_and(|line| line == sentence);
        (is_well && end.code == Some(0)).then_some(())
    });
}

/// Has a new node join, and puts it in the place of an old one, by one command.
fn replace(cluster: &mut Cluster, old: usize, new: usize) {
    cluster.start(new);
    let named = format!("{new}@{}", cluster.addresses(new).0);
    let old = old.to_string();
    let end = run(cluster, &["member", "replace", &old, &named, "--yes"]);
    end.assert_code(0);
    let done = end.stdout.last().expect("a line");
    assert!(done.starts_with("done: voters "), "{done}");
}

/// Writes that go on, and the longest time between one acknowledgement and the next.
struct Load {
    stop: AtomicBool,
    acknowledged: Mutex<Acknowledged>,
}

struct Acknowledged {
    count: u64,
    last: Instant,
    longest: Duration,
}

/// What a writer knows of one of its keys.
#[derive(Clone, Debug, Default)]
struct Written {
    acknowledged: Option<u64>,
    /// Written after that, with unknown outcomes.
    unknown: BTreeSet<u64>,
}

impl Load {
    fn new() -> Load {
        Load {
            stop: AtomicBool::new(false),
            acknowledged: Mutex::new(Acknowledged {
                count: 0,
                last: Instant::now(),
                longest: Duration::ZERO,
            }),
        }
    }

    /// Acknowledged writes so far, and the longest gap between two of them since this was asked.
    fn take(&self) -> (u64, Duration) {
        let mut acknowledged = self.acknowledged.lock().expect("no writer panics");
        let longest = acknowledged.longest.max(acknowledged.last.elapsed());
        acknowledged.longest = Duration::ZERO;
        (acknowledged.count, longest)
    }

    fn note(&self) {
        let mut acknowledged = self.acknowledged.lock().expect("no writer panics");
        let now = Instant::now();
        let gap = now - acknowledged.last;
        acknowledged.longest = acknowledged.longest.max(gap);
        acknowledged.last = now;
        acknowledged.count += 1;
    }

    /// A writer that puts one value after another, each under the next of its keys.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        writer: usize,
        mut client: Client,
    ) -> ScopedJoinHandle<'scope, Vec<Written>> {
        scope.spawn(move || {
            let mut keys = vec![Written::default(); KEYS];
            for value in 1.. {
                if self.stop.load(Ordering::Acquire) {
                    break;
                }
                let at = value as usize % KEYS;
                match client.put(key(writer, at), value.to_string()) {
                    Ok(()) => {
                        keys[at] = Written {
                            acknowledged: Some(value),
                            unknown: BTreeSet::new(),
                        };
                        self.note();
                    }
                    Err(Error::OutcomeUnknown(_)) => {
                        keys[at].unknown.insert(value);
                    }
                    Err(error) => panic!("writer {writer}: {error}"),
                }
            }
            keys
        })
    }
}

/// Stops the writers, also when the test fails: it waits for them.
struct StopAtEnd<'a>(&'a Load);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

fn key(writer: usize, at: usize) -> String {
    format!("writer-{writer}/{at}")
}

/// Each key holds what was acknowledged last, or something later whose outcome is unknown.
fn assert_nothing_is_lost(client: &mut Client, writers: &[Vec<Written>]) {
    for (writer, keys) in writers.iter().enumerate() {
        for (at, written) in keys.iter().enumerate() {
            let value = client.get(key(writer, at)).expect("a majority");
            let value: Option<u64> = value.map(|value| value.parse().expect("a number"));
            let is_later = value.is_some_and(|value| written.unknown.contains(&value));
            let key = key(writer, at);
            assert!(
                is_later || value == written.acknowledged,
                "{key} is {value:?} of {written:?}"
            );
        }
    }
}

/// A member that is replaced: what it was, and what was done to it before and after.
fn replaced(cluster: &mut Cluster, turn: usize, new: usize, left: &mut Vec<usize>) -> String {
    let leader = cluster.leader();
    let is_leader = left.contains(&leader);
    // First a leader that is dead, then a follower, then a leader.
    let old = match turn {
        1 => *left.iter().find(|id| **id != leader).expect("two are left"),
        _ if is_leader => leader,
        _ => {
            let next = left[0];
            let end = run(cluster, &["leader", "transfer", &next.to_string()]);
            end.assert_code(0);
            next
        }
    };
    left.retain(|id| *id != old);
    if turn == 0 {
        cluster.kill(old);
    }
    replace(cluster, old, new);
    if turn > 0 {
        let mut process = cluster.take(old);
        process.wait_for_log("was removed from the cluster");
        process.signal(Signal::TERM);
        process.end().assert_code(0);
    }
    let was = ["the leader, killed before", "a follower", "the leader"][turn];
    format!("node {old}, {was}, by node {new}")
}

#[test]
fn every_member_is_replaced_in_turn_under_load_and_no_acknowledged_write_is_lost() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut left: Vec<usize> = vec![0, 1, 2];
    let new: Vec<usize> = left.iter().map(|_| cluster.add()).collect();
    let load = Load::new();
    let clients: Vec<Client> = (0..WRITERS).map(|_| cluster.client()).collect();
    let (began, time) = (Instant::now(), run_time());
    let until = |part: u32| {
        let at = began + time * part / 4;
        thread::sleep(at.saturating_duration_since(Instant::now()));
    };
    let written: Vec<Vec<Written>> = thread::scope(|scope| {
        let writers = clients.into_iter().enumerate();
        let start = |(writer, client)| load.start(scope, writer, client);
        let writers: Vec<_> = writers.map(start).collect();
        let stop = StopAtEnd(&load);
        for (turn, new) in new.iter().copied().enumerate() {
            until(turn as u32 + 1);
            let (count, longest) = load.take();
            println!("{count} writes, the longest gap {} ms", longest.as_millis());
            let what = replaced(&mut cluster, turn, new, &mut left);
            let (_, longest) = load.take();
            println!(
                "replaced {what}: the longest gap {} ms",
                longest.as_millis()
            );
        }
        until(4);
        let (count, longest) = load.take();
        println!("{count} writes, the longest gap {} ms", longest.as_millis());
        drop(stop);
        let ended = writers.into_iter();
        ended
            .map(|writer| writer.join().expect("a writer"))
            .collect()
    });
    assert_nothing_is_lost(&mut cluster.client(), &written);
    wait_until_healthy(
        &cluster,
        "healthy: 3/3 voters reachable, tolerates 1 more failure",
    );
    let list = run(&cluster, &["member", "list", "-o", "json"]);
    let list: Value = serde_json::from_str(&list.stdout.join("\n")).expect("JSON");
    assert_eq!(list["retired"], serde_json::json!([0, 1, 2]));
}

#[test]
fn a_member_killed_for_good_is_replaced_while_another_restarts() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "before", "yes");
    let leader = cluster.leader();
    let (dead, restarting) = ((leader + 1) % 3, leader);
    cluster.kill(dead);
    let new = cluster.add();
    cluster.start(new);
    let named = format!("{new}@{}", cluster.addresses(new).0);
    let words = ["member", "replace", &dead.to_string(), &named, "--yes"];
    let mut command = Process::start(cli(&cluster, &words));
    command.wait_for_log("learner: ");
    cluster.kill(restarting);
    // One of three is left: nothing can be decided until another comes back.
    cluster.start(restarting);
    command.end().assert_code(0);
    put(&mut cluster.client(), "after", "yes");
    wait_until_healthy(
        &cluster,
        "healthy: 3/3 voters reachable, tolerates 1 more failure",
    );
    // The same command again changes nothing.
    run(&cluster, &words).assert_code(0);
    for key in ["before", "after"] {
        let value = cluster.client().get(key).expect("a majority");
        assert_eq!(value.as_deref(), Some("yes"));
    }
}

#[test]
fn an_interrupted_command_is_repeated_and_goes_on() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let leader = cluster.leader();
    let old = (leader + 1) % 3;
    let new = cluster.add();
    let named = format!("{new}@{}", cluster.addresses(new).0);
    let words = ["member", "replace", &old.to_string(), &named, "--yes"];
    // The new node is not there yet, so that the first command waits for it.
    let mut first = Process::start(cli(&cluster, &words));
    first.wait_for_log("learner: ");
    // Not INT, which a shell has programs in the background ignore.
    first.signal(Signal::TERM);
    let end = first.end();
    assert_eq!(end.code, None, "the signal did not end it: {end:#?}");
    let status = run(&cluster, &["status"]);
    status.assert_code(1);
    let sentence = status.stdout.last().expect("a sentence");
    assert!(
        sentence.contains(&format!("node {new}, a learner,")),
        "{sentence}"
    );
    cluster.start(new);
    run(&cluster, &words).assert_code(0);
    wait_until_healthy(
        &cluster,
        "healthy: 3/3 voters reachable, tolerates 1 more failure",
    );
}

#[test]
fn a_node_that_nobody_hears_is_not_given_a_vote() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let new = cluster.add();
    let named = format!("{new}@{}", cluster.addresses(new).0);
    let end = run(&cluster, &["member", "add", &named]);
    end.assert_code(5);
    assert!(
        end.last_line()
            .contains(&format!("node {new} is not heard")),
        "{end:#?}"
    );
    // It stays a learner, and once it is there the same command makes it a voter.
    cluster.start(new);
    let added = wait_for("an addition", || {
        let end = run(&cluster, &["member", "add", &named]);
        (end.code == Some(0)).then_some(end)
    });
    assert_eq!(added.stdout, ["done: voters 0, 1, 2, 3"]);
    put(&mut cluster.client(), "key", "value");
}
