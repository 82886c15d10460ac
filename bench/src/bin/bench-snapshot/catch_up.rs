//! What it costs the others when a node fetches a snapshot.

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use raftkv::{
    node::{Config, Node},
    raft::NodeId,
};
use raftkv_bench::latency::median;
use serde_json::{Value, json};

use crate::{
    load::{Load, config, free_address, leading, stop},
    memory::Memory,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Three nodes, of which the third is away until the others' logs begin behind what it has: at
/// first it is empty, and then it comes back again and again.
pub fn catch_up(
    directory: &Path,
    keys: u64,
    slice: Duration,
    rounds: usize,
) -> Result<Value, Box<dyn Error>> {
    println!(
        "\n{keys} keys, three nodes in one process, the third one empty, then away for a while"
    );
    let mut peers = BTreeMap::new();
    for id in 0..3 {
        peers.insert(NodeId(id), free_address()?);
    }
    let configs: Vec<Config> = (0..3)
        .map(|id| Config {
            // Whatever else the machine does, the one that leads goes on.
            election_timeout_ms: 2_000,
            ..config(id, &peers, &directory.join(id.to_string()))
        })
        .collect();
    let nodes = [
        Node::start(configs[0].clone())?,
        Node::start(configs[1].clone())?,
    ];
    let mut load = leading(&nodes)?;
    load.fill(keys)?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        purge(&nodes, &mut load, keys)?;
        let round = Round::measure(&mut load, &configs[2], keys, slice)?;
        round.tell();
        all.push(round);
    }
    let middle = |figure: fn(&Round) -> f64| median(all.iter().map(figure));
    let share = middle(|round| round.puts_fetching / round.puts_before);
    let share_until_caught_up = middle(|round| round.puts_until_caught_up() / round.puts_before);
    println!(
        "  medians of {rounds}: fetched in {:.2} s, caught up in {:.2} s; puts while it fetches \
         {:.0} %, and until it has caught up {:.0} % of those before",
        middle(|round| round.fetching_s),
        middle(Round::took_s),
        share * 100.0,
        share_until_caught_up * 100.0
    );
    drop(load);
    for node in nodes {
        stop(node)?;
    }
    Ok(json!({
        "keys": keys, "rounds": rounds, "empty_caught_up_s": all[0].took_s(),
        "fetched_s": middle(|round| round.fetching_s), "caught_up_s": middle(Round::took_s),
        "puts_per_sec_before": middle(|round| round.puts_before),
        "puts_per_sec_fetching": middle(|round| round.puts_fetching),
        "puts_per_sec_replaying": middle(|round| round.puts_replaying),
        "puts_per_sec_after": middle(|round| round.puts_after),
        "share_fetching": share, "share_until_caught_up": share_until_caught_up,
    }))
}

/// Has two snapshots taken, so that the log before the first goes.
fn purge(nodes: &[Node], load: &mut Load, keys: u64) -> Result<(), Box<dyn Error>> {
    for node in nodes {
        let handle = Load::new(node).handle;
        for _ in 0..2 {
            let had = handle.status().snapshot;
            handle.request_snapshot();
            while handle.status().snapshot == had {
                load.run(keys, Duration::from_millis(100), |_| false)?;
            }
        }
    }
    Ok(())
}

/// Puts a second of the whole cluster, and how long what took.
struct Round {
    /// By two nodes.
    puts_before: f64,
    /// While the third one fetches the snapshot, and until it is in the place of its log.
    puts_fetching: f64,
    fetching_s: f64,
    /// While it loads that, and takes the entries that came meanwhile.
    puts_replaying: f64,
    replaying_s: f64,
    /// By all three.
    puts_after: f64,
    memory_mib: u64,
}

impl Round {
    fn measure(
        load: &mut Load,
        away: &Config,
        keys: u64,
        slice: Duration,
    ) -> Result<Round, Box<dyn Error>> {
        let puts_before = load.run(keys, slice, |_| false)?;
        let third = Node::start(away.clone())?;
        let newcomer = Load::new(&third).handle;
        let memory = Memory::watch();
        let before = memory.now_mib();
        let (goal, goal_snapshot) = {
            let leader = load.handle.status();
            (leader.commit, leader.snapshot)
        };
        let began = Instant::now();
        let puts_fetching = load.run(keys, PATIENCE, |_| {
            newcomer.status().snapshot >= goal_snapshot
        })?;
        let fetching_s = began.elapsed().as_secs_f64();
        let puts_replaying = load.run(keys, PATIENCE, |_| newcomer.status().applied >= goal)?;
        let replaying_s = began.elapsed().as_secs_f64() - fetching_s;
        let memory_mib = memory.peak_mib().saturating_sub(before);
        let puts_after = load.run(keys, slice, |_| false)?;
        drop(newcomer);
        stop(third)?;
        Ok(Round {
            puts_before,
            puts_fetching,
            fetching_s,
            puts_replaying,
            replaying_s,
            puts_after,
            memory_mib,
        })
    }

    fn took_s(&self) -> f64 {
        self.fetching_s + self.replaying_s
    }

    fn puts_until_caught_up(&self) -> f64 {
        let puts = self.puts_fetching * self.fetching_s + self.puts_replaying * self.replaying_s;
        puts / self.took_s()
    }

    fn tell(&self) {
        let share = |puts: f64| puts / self.puts_before * 100.0;
        println!(
            "  fetched in {:.2} s, {:.2} s more until it has caught up; puts before, with two \
             nodes: {:.0}/s; while it fetches {:.0} % of that, while it loads and replays {:.0} %, \
             after, with three nodes, {:.0} %; memory of all three grew by {} MiB at most",
            self.fetching_s,
            self.replaying_s,
            self.puts_before,
            share(self.puts_fetching),
            share(self.puts_replaying),
            share(self.puts_after),
            self.memory_mib
        );
    }
}
