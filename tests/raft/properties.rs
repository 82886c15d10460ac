//! Random schedules: time, lost, late, repeated and reordered messages, cut links, crashes that
//! keep any part of what was not durable, snapshots that are taken, and fetched late or never.
//! Everything that [`crate::checker`] knows is asserted after every step, and what fails shrinks
//! to a script.

use std::collections::BTreeSet;

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{TestCaseError, TestRunner},
};
use raftkv::raft::{Index, NodeId, Seq};

use crate::{
    cluster::{Cluster, Setup},
    command::{Command, Pick, Tail},
    members::{Ask, Known},
    scripts::notes,
};

/// What a generator says may happen; large numbers stand for a choice among what there is.
#[derive(Clone, Debug)]
pub enum Event {
    Tick {
        node: u64,
        count: u32,
    },
    TickAll,
    Deliver(usize),
    DeliverTo(u64),
    DeliverAll,
    Drop(usize),
    Dup(usize),
    Hold(usize),
    Put(u64),
    Read(u64),
    Transfer(u64, u64),
    /// The bits of each choose among those to whom it can be done.
    Change {
        node: u64,
        add: u8,
        learn: u8,
        remove: u8,
    },
    Describe {
        node: u64,
        of: u64,
        place: u64,
    },
    Persist {
        node: u64,
        writes: usize,
    },
    Crash {
        node: u64,
        records: usize,
    },
    Restart(u64),
    Partition(u64),
    Cut(u64, u64),
    Heal,
    Settle,
    Snapshot {
        node: u64,
        at: u64,
        keep: u64,
    },
    Fetch(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let node = any::<u64>;
    let place = any::<usize>;
    let some = || (any::<u8>(), any::<u8>()).prop_map(|(a, b)| a & b);
    let few = || (some(), any::<bool>()).prop_map(|(some, any)| if any { some } else { 0 });
    prop_oneof![
        6 => (node(), 1..4u32).prop_map(|(node, count)| Event::Tick { node, count }),
        12 => Just(Event::TickAll),
        12 => place().prop_map(Event::Deliver),
        8 => node().prop_map(Event::DeliverTo),
        8 => Just(Event::DeliverAll),
        2 => place().prop_map(Event::Drop),
        3 => place().prop_map(Event::Dup),
        3 => place().prop_map(Event::Hold),
        6 => node().prop_map(Event::Put),
        4 => node().prop_map(Event::Read),
        1 => (node(), node()).prop_map(|(from, to)| Event::Transfer(from, to)),
        4 => (node(), some(), few(), few())
            .prop_map(|(node, add, learn, remove)| Event::Change { node, add, learn, remove }),
        1 => (node(), node(), 0..9u64)
            .prop_map(|(node, of, place)| Event::Describe { node, of, place }),
        8 => (node(), 1..4usize).prop_map(|(node, writes)| Event::Persist { node, writes }),
        2 => (node(), 0..4usize).prop_map(|(node, records)| Event::Crash { node, records }),
        4 => node().prop_map(Event::Restart),
        1 => node().prop_map(Event::Partition),
        1 => (node(), node()).prop_map(|(from, to)| Event::Cut(from, to)),
        2 => Just(Event::Heal),
        8 => Just(Event::Settle),
        5 => (node(), node(), 0..3u64)
            .prop_map(|(node, at, keep)| Event::Snapshot { node, at, keep }),
        4 => node().prop_map(Event::Fetch),
    ]
}

/// A follower is left behind what the others compact: that rarely comes about by chance.
fn lag() -> impl Strategy<Value = Vec<Event>> {
    (any::<u64>(), any::<u64>(), 0..2u64).prop_map(|(away, n, keep)| {
        let (node, at) = (n | 1, n | 1);
        vec![
            Event::Partition(1 << (away % 3)),
            Event::Put(node),
            Event::Settle,
            Event::Snapshot { node, at, keep },
            Event::Heal,
        ]
    })
}

/// A node that is to vote is not heard: much later the change is given up.
fn silence() -> impl Strategy<Value = Vec<Event>> {
    any::<u64>().prop_map(|n| {
        let change = Event::Change {
            node: n | 1,
            add: u8::MAX,
            learn: 0,
            remove: 0,
        };
        let quiet = [Event::TickAll, Event::Settle];
        let quiet = std::iter::repeat_n(quiet, 90).flatten();
        let all = [Event::Partition(0b111), change].into_iter();
        all.chain(quiet).chain([Event::Heal]).collect()
    })
}

impl Event {
    /// Faults, and the calm that hides them, by number; schedules go without some of them.
    fn kind(&self) -> Option<u32> {
        Some(match self {
            Event::DeliverAll => 0,
            Event::Drop(_) => 1,
            Event::Dup(_) => 2,
            Event::Hold(_) => 3,
            Event::Transfer(..) => 4,
            Event::Crash { .. } => 5,
            Event::Partition(_) => 6,
            Event::Cut(..) => 7,
            Event::Settle => 8,
            Event::Snapshot { .. } => 9,
            Event::Fetch(_) => 10,
            Event::Change { .. } => 11,
            Event::Describe { .. } => 12,
            _ => return None,
        })
    }

    /// What it means for this cluster, if it means anything.
    fn command(&self, cluster: &Cluster, count: usize) -> Option<Command> {
        let node = |n: u64| NodeId(n % cluster.setup.all());
        let up = |n: u64| Some(node(n)).filter(|&id| cluster.status(id).is_some());
        let served = |n: u64| served(cluster, n);
        Some(match *self {
            Event::Tick { node: n, count } => Command::Tick {
                node: Some(up(n)?),
                count,
            },
            Event::TickAll => Command::Tick {
                node: None,
                count: 1,
            },
            Event::Put(n) => Command::Put {
                node: served(n)?,
                commands: vec![format!("put k={count}")],
            },
            Event::Read(n) => Command::Read { node: served(n)? },
            Event::Transfer(n, to) => Command::Transfer {
                node: served(n)?,
                to: Some(node(to)),
            },
            Event::Persist { node: n, writes } => {
                let node = up(n)?;
                let upto = cluster.node(node).disk.pending().take(writes).last()?;
                Command::Persist {
                    node: Some(node),
                    upto: Some(upto),
                }
            }
            Event::Crash { node: n, records } => {
                let node = up(n)?;
                let pending = cluster.node(node).disk.pending_records();
                Command::Crash {
                    node,
                    tail: Tail::Records(records.min(pending)),
                }
            }
            Event::Restart(n) if up(n).is_some() => return None,
            Event::Restart(n) => Command::Restart(node(n)),
            Event::Partition(mask) => Command::Partition(sides(cluster, mask)),
            Event::Cut(from, to) => Command::Cut {
                from: node(from),
                to: node(to),
            },
            Event::Heal => Command::Heal,
            Event::Settle => Command::Settle { heartbeat: false },
            Event::Snapshot { node: n, at, keep } => Command::Snapshot {
                index: Some(included(cluster.node(served(n)?).applied, at)?),
                node: served(n)?,
                keep,
            },
            Event::Fetch(n) => {
                cluster.node(up(n)?).wanted?;
                Command::Fetch(node(n))
            }
            Event::Change { .. } | Event::Describe { .. } => return self.about_members(cluster),
            _ => return self.about_messages(cluster),
        })
    }

    fn about_members(&self, cluster: &Cluster) -> Option<Command> {
        Some(match *self {
            Event::Change {
                node: n,
                add,
                learn,
                remove,
            } => {
                let node = served(cluster, n)?;
                let ask = ask(cluster, node, [add, learn, remove])?;
                Command::Change { node, ask }
            }
            Event::Describe { node: n, of, place } => Command::Describe {
                node: served(cluster, n)?,
                of: NodeId(of % cluster.setup.all()),
                known: Known {
                    address: format!("host.{place}"),
                    incarnation: (place % 2 == 0).then_some(1),
                },
            },
            _ => unreachable!("not about members"),
        })
    }

    fn about_messages(&self, cluster: &Cluster) -> Option<Command> {
        let messages = cluster.network.len();
        if messages == 0 {
            return None;
        }
        let place = |n: usize| Pick::at(n % messages);
        Some(match *self {
            Event::Deliver(n) => Command::Deliver(place(n)),
            Event::DeliverTo(n) => {
                let to = NodeId(n % cluster.setup.all());
                cluster.network.iter().find(|letter| letter.to == to)?;
                Command::Deliver(Pick {
                    to: Some(to),
                    ..Pick::default()
                })
            }
            Event::DeliverAll => Command::Deliver(Pick::default()),
            Event::Drop(n) => Command::Drop(place(n)),
            Event::Dup(n) => Command::Dup(place(n)),
            Event::Hold(n) => Command::Hold(place(n)),
            _ => unreachable!("not about messages"),
        })
    }
}

/// Mostly one that leads, or thinks so: others refuse.
fn served(cluster: &Cluster, n: u64) -> Option<NodeId> {
    match cluster.leaders().as_slice() {
        leaders if !n.is_multiple_of(4) && !leaders.is_empty() => {
            Some(leaders[(n / 4) as usize % leaders.len()])
        }
        _ => Some(NodeId(n % cluster.setup.all())).filter(|&id| cluster.status(id).is_some()),
    }
}

/// The two groups of nodes that the bits of `mask` make, or the one.
fn sides(cluster: &Cluster, mask: u64) -> Vec<Vec<NodeId>> {
    let side = |side: u64| cluster.ids().filter(move |id| mask >> id.0 & 1 == side);
    let mut groups: Vec<Vec<NodeId>> = vec![side(0).collect(), side(1).collect()];
    groups.retain(|group| !group.is_empty());
    groups
}

/// A change that means something to `leader`, though it may be refused.
fn ask(cluster: &Cluster, leader: NodeId, [add, learn, remove]: [u8; 3]) -> Option<Ask> {
    let config = cluster.status(leader)?.config;
    let picked = |mask: u8, from: &dyn Fn(NodeId) -> bool| -> Vec<NodeId> {
        let ids = cluster.ids().filter(|id| mask >> id.0 & 1 == 1);
        ids.filter(|&id| from(id)).collect()
    };
    let add = picked(add, &|id| !config.votes(id));
    let ask = Ask {
        learn: picked(learn, &|id| !config.contains(id) && !add.contains(&id)),
        remove: picked(remove, &|id| config.contains(id)),
        add,
        ..Ask::default()
    };
    (ask != Ask::default()).then_some(ask)
}

/// What a snapshot includes: mostly all that is applied, less if it took long.
fn included(applied: Index, at: u64) -> Option<Index> {
    match at % 4 {
        0 => (at / 4)
            .checked_rem(applied.0)
            .map(|index| Index(index + 1)),
        _ => Some(applied).filter(|&applied| applied > Index::ZERO),
    }
}

/// A run: its commands so far, so that what fails can be told.
struct Run {
    cluster: Cluster,
    script: Vec<Command>,
}

impl Run {
    fn new((setup, leader): (Setup, Option<NodeId>)) -> Run {
        let mut run = Run {
            cluster: Cluster::new(setup),
            script: Vec::new(),
        };
        run.execute(Command::Cluster { setup, leader });
        run
    }

    fn execute(&mut self, command: Command) {
        self.script.push(command.clone());
        self.cluster
            .execute(&command)
            .expect("the generator found something to do it to");
    }

    fn all(&mut self, events: &[Event]) {
        for event in events {
            if let Some(command) = event.command(&self.cluster, self.script.len()) {
                self.execute(command);
            }
        }
    }

    /// Runs `body`; a panic becomes a failure that tells the script.
    fn tell(mut self, body: impl FnOnce(&mut Run)) -> Result<(), TestCaseError> {
        crate::caught(|| body(&mut self)).map_err(|text| {
            let lines: Vec<String> = self.script.iter().map(Command::to_string).collect();
            TestCaseError::fail(format!(
                "{text}\nas a script:\n\n{}\n---\n",
                lines.join("\n")
            ))
        })
    }
}

/// So many cases, or `PROPTEST_CASES`. What fails is told as a script, which is worth more than
/// a seed file.
pub fn config(cases: u32) -> ProptestConfig {
    let mut config = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(cases),
    };
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    config
}

/// Rounds in which every node ticks once and all messages arrive: as many as twenty election
/// timeouts at their longest.
const HEALED_ROUNDS: u32 = 20 * 2 * 4;

/// Ends all faults, save that `lost` nodes stay down for good, then demands service, and that no
/// change of members is left half done. What a majority can do it must not leave to the others.
fn heal_and_demand_service(run: &mut Run, lost: &[NodeId]) {
    run.execute(Command::Heal);
    for node in run.cluster.ids() {
        match (run.cluster.status(node).is_some(), lost.contains(&node)) {
            (true, true) => run.execute(Command::Crash {
                node,
                tail: Tail::Lost,
            }),
            (false, false) => run.execute(Command::Restart(node)),
            _ => {}
        }
    }
    if run.cluster.network.iter().any(|letter| letter.late) {
        run.execute(Command::Release(Pick::default()));
    }
    run.execute(Command::Persist {
        node: None,
        upto: Some(Seq(u64::MAX)),
    });
    for _ in 0..HEALED_ROUNDS {
        run.execute(Command::Settle { heartbeat: false });
        if let Some(&leader) = run.cluster.leaders().last() {
            let commands = vec!["put healed=1".to_owned()];
            let before = run.cluster.status(leader).expect("it leads").last.index;
            run.execute(Command::Put {
                node: leader,
                commands,
            });
            let goal = run.cluster.status(leader).expect("it leads").last.index;
            for _ in 0..4 {
                run.execute(Command::Settle { heartbeat: false });
                run.execute(Command::Tick {
                    node: None,
                    count: 1,
                });
            }
            run.execute(Command::Settle { heartbeat: false });
            if goal > before && run.cluster.has_settled_at(leader, goal) {
                return;
            }
        }
        run.execute(Command::Tick {
            node: None,
            count: 1,
        });
    }
    panic!("no command is applied everywhere in {HEALED_ROUNDS} rounds after healing");
}

/// Runs the events, then heals all but some minority, which `lost` picks, and demands service.
pub fn safe_then_live(
    setup: (Setup, Option<NodeId>),
    events: &[Event],
    lost: u64,
) -> Result<(), TestCaseError> {
    let nodes = setup.0.all();
    let count = lost % nodes.div_ceil(2);
    Run::new(setup).tell(|run| {
        run.all(events);
        let mut minority = Vec::new();
        for id in (0..count).map(|n| NodeId((lost / 8 + n) % nodes)) {
            minority.push(id);
            if !run.cluster.can_do_without(&minority) {
                minority.pop();
            }
        }
        heal_and_demand_service(run, &minority);
    })
}

/// Short timeouts, so that few events make an election; appends from one entry to many; mostly
/// with a leader to begin with.
pub fn setup(nodes: impl Strategy<Value = u64>) -> impl Strategy<Value = (Setup, Option<NodeId>)> {
    let append_max_bytes = prop_oneof![Just(1 << 20), Just(1u64)];
    let leader = prop_oneof![1 => Just(None), 3 => Just(Some(NodeId(0)))];
    (
        nodes,
        0..3u64,
        append_max_bytes,
        1..4usize,
        any::<u32>(),
        leader,
    )
        .prop_map(
            |(nodes, joining, append_max_bytes, in_flight_max, seed, leader)| {
                let setup = Setup {
                    nodes,
                    joining,
                    election_timeout_ticks: 4,
                    heartbeat_ticks: 1,
                    append_max_bytes,
                    in_flight_max,
                    seed: seed.into(),
                };
                (setup, leader)
            },
        )
}

/// Events of which some kinds never happen: what always happens hides what then cannot.
pub fn schedule() -> impl Strategy<Value = Vec<Event>> {
    let one = event().prop_map(|event| vec![event]);
    let some = prop_oneof![1000 => one, 40 => lag(), 1 => silence()];
    (0..1u32 << 13, vec(some, 1..EVENTS_MAX)).prop_map(|(without, events)| {
        let mut events = events.concat();
        events.retain(|event| event.kind().is_none_or(|kind| without >> kind & 1 == 0));
        events
    })
}

const EVENTS_MAX: usize = 400;

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn three_nodes_are_safe_after_every_step_of_any_schedule(
        setup in setup(Just(3)), events in schedule(),
    ) {
        Run::new(setup).tell(|run| run.all(&events))?;
    }

    #[test]
    fn five_nodes_are_safe_after_every_step_of_any_schedule(
        setup in setup(Just(5)), events in schedule(),
    ) {
        Run::new(setup).tell(|run| run.all(&events))?;
    }

    #[test]
    fn once_healed_any_majority_elects_a_leader_and_applies_a_command_everywhere(
        setup in setup(1..6u64), events in schedule(), lost in 0..1024u64,
    ) {
        safe_then_live(setup, &events, lost)?;
    }
}

#[test]
fn schedules_come_to_every_kind_of_decision() {
    let mut runner = TestRunner::deterministic();
    let mut fired = BTreeSet::new();
    for _ in 0..1000 {
        let strategy = (setup(Just(3)), schedule());
        let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
        let (setup, events) = tree.current();
        let mut run = Run::new(setup);
        run.all(&events);
        fired.append(&mut run.cluster.fired);
    }
    let mut all = notes();
    // Of what no member sends, and of a TimeoutNow that is as late as the change that removes.
    all.remove("Impossible");
    all.remove("NotAVoter");
    let never: Vec<&String> = all.difference(&fired).collect();
    assert!(never.is_empty(), "no schedule makes {never:?}");
}
