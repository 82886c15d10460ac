//! The commands of docs/operations.md about members, run as they stand there: machines a to e are
//! this one, by other ports.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use raftkv::client::Client;

use crate::support::{Cluster, End, PATIENCE, Process, cli, program, put, turn, wait_for};

/// What stands under a heading: its commands, each a list of words.
fn commands(heading: &str) -> Vec<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(file).expect("a document");
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert_eq!(lines.next(), Some(heading), "no such heading");
    let section = lines.take_while(|line| !line.starts_with('#'));
    let commands = section.filter_map(|line| line.strip_prefix("    raftkv"));
    let commands: Vec<Vec<String>> = commands
        .map(|rest| {
            format!("raftkv{rest}")
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        })
        .collect();
    assert!(!commands.is_empty(), "{heading} has no commands");
    commands
}

/// Three machines with nodes, and two without.
struct Machines {
    cluster: Cluster,
    joined: BTreeMap<u64, Process>,
}

impl Machines {
    fn new() -> Machines {
        let mut cluster = Cluster::started();
        cluster.add();
        cluster.add();
        Machines {
            cluster,
            joined: BTreeMap::new(),
        }
    }

    /// A word of a command, of this machine.
    fn word(&self, word: &str, id: &str) -> String {
        let mut word = word.to_owned();
        for (machine, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let (peers, clients) = self.cluster.addresses(machine);
            word = word.replace(&format!("{name}:9000"), peers);
            word = word.replace(&format!("{name}:9100"), clients);
        }
        match word.as_str() {
            "DIR" => {
                let directory = self.cluster.path(&format!("joined-{id}"));
                directory.to_str().expect("UTF-8").to_owned()
            }
            _ => word,
        }
    }

    /// Runs a command to its end, or starts a node.
    fn run(&mut self, words: &[String]) {
        let after = |flag: &str| words.iter().skip_while(move |word| *word != flag).nth(1);
        let id = after("--node-id").map_or("", String::as_str);
        let given: Vec<String> = words[1..].iter().map(|word| self.word(word, id)).collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        if words[0] == "raftkv-cli" {
            let end = Process::start(cli(&self.cluster, &given)).end();
            assert_eq!(end.code, Some(0), "{words:?}: {end:#?}");
            return;
        }
        let mut command = Command::new(program());
        command.args(given);
        let process = Process::start(command);
        self.joined.insert(id.parse().expect("an id"), process);
    }

    fn run_all(&mut self, heading: &str) {
        for words in commands(heading) {
            self.run(&words);
        }
    }

    fn status(&self) -> End {
        Process::start(cli(&self.cluster, &["status"])).end()
    }

    /// Waits until all is well with so many voters.
    fn wait_until_healthy(&self, voters: usize) {
        let begin = format!("healthy: {voters}/{voters} voters");
        wait_for(&begin, || {
            let last = self.status().stdout.pop()?;
            last.starts_with(&begin).then_some(())
        });
    }

    fn client(&self) -> Client {
        self.cluster.client().with_timeout(PATIENCE)
    }
}

#[test]
fn a_dead_node_is_replaced() {
    let _turn = turn();
    let mut machines = Machines::new();
    put(&mut machines.client(), "key", "value");
    machines.cluster.kill(0);
    machines.cluster.wipe(0);
    machines.run_all("### Replace a dead node");
    machines.wait_until_healthy(3);
    machines.cluster.kill(1);
    let value = machines.client().get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("value"));
}

#[test]
fn a_node_is_moved_to_another_machine() {
    let _turn = turn();
    let mut machines = Machines::new();
    machines.run_all("### Move a node to another machine");
    machines.cluster.kill(1);
    machines.wait_until_healthy(3);
}

#[test]
fn a_cluster_grows_to_five_and_shrinks_to_three_again() {
    let _turn = turn();
    let mut machines = Machines::new();
    put(&mut machines.client(), "key", "value");
    machines.run_all("### Grow from three to five");
    machines.wait_until_healthy(5);
    for id in [0, 1] {
        machines.cluster.kill(id);
    }
    put(&mut machines.client(), "with three of five", "yes");
    for id in [0, 1] {
        machines.cluster.start(id);
    }
    machines.wait_until_healthy(5);
    machines.run_all("### Shrink from five to three");
    machines.joined.clear();
    machines.wait_until_healthy(3);
    let value = machines.client().get("with three of five");
    assert_eq!(value.expect("a majority").as_deref(), Some("yes"));
}

#[test]
fn all_nodes_are_restarted_one_after_the_other() {
    let _turn = turn();
    let mut machines = Machines::new();
    let commands = commands("### Restart all, one after the other");
    let (status, transfer) = (&commands[0], &commands[1]);
    assert_eq!(transfer[1], "leader");
    machines.run(transfer);
    assert_eq!(machines.cluster.leader(), 1);
    for id in [0, 2, 1] {
        let node = machines.cluster.take(id);
        node.signal(rustix::process::Signal::TERM);
        node.end().assert_code(0);
        machines.cluster.start(id);
        machines.wait_until_healthy(3);
        machines.run(status);
    }
}
