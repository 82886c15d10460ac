//! Whole replicas on disks in memory take, send and load real snapshots. Their messages, syncs and
//! jobs go on side by side here, one piece of each in turn.

use std::collections::{BTreeMap, VecDeque};

use raftkv::{
    codec::{FRAME_HEADER_BYTES, decode_packet},
    raft::{Config, Index, Input, LogPos, NodeId, Note, Options, RoleName, Status, Token},
    replica::{Error, Operation, Outbox, Replica, Reply, SnapshotPolicy},
    storage::{Job, Storage},
};
use raftkv_wal::MemoryMedia;

use super::put;

/// Some ten commands of [`Group::put`].
const POLICY: SnapshotPolicy = SnapshotPolicy {
    log_bytes: 100_000,
    log_entries: u64::MAX,
    kept: 2,
};
/// So large that a snapshot is fetched in several chunks.
const VALUE_BYTES: usize = 10_000;
/// What takes more ticks than this never happens.
const TICKS_MAX: u32 = 5_000;

#[derive(Default)]
struct Machine {
    disk: MemoryMedia,
    /// `None` while it is down.
    replica: Option<Replica<MemoryMedia>>,
    job: Option<Job<MemoryMedia>>,
    notes: Vec<Note>,
    warnings: Vec<String>,
    /// Its disk does not sync.
    stalled: bool,
}

struct Group {
    machines: Vec<Machine>,
    network: VecDeque<(NodeId, NodeId, Vec<u8>)>,
    replies: BTreeMap<Token, Reply>,
    next_token: u64,
}

fn at(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}

impl Group {
    /// So many nodes, of which the last `down` have not been started yet.
    fn new(nodes: usize, down: usize) -> Group {
        let mut group = Group {
            machines: (0..nodes).map(|_| Machine::default()).collect(),
            network: VecDeque::new(),
            replies: BTreeMap::new(),
            next_token: 0,
        };
        let up: Vec<NodeId> = group.ids().take(nodes - down).collect();
        up.into_iter().for_each(|id| group.start(id));
        group.until("a leader", |group| group.leader().is_some());
        group
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.machines.len() as u64).map(NodeId)
    }

    fn start(&mut self, id: NodeId) {
        let config = Config::new(self.ids());
        let machine = &mut self.machines[at(id)];
        let mut log = raftkv_wal::Options::new([0; 40]);
        log.segment_bytes = 64 << 10;
        let opened = Storage::open(machine.disk.clone(), log).expect("the log opens");
        machine.warnings.extend(opened.warnings.iter().cloned());
        let mut replica = Replica::new(Options::new(id, config, id.0 + 1), opened);
        replica.set_snapshot_policy(POLICY);
        machine.replica = Some(replica);
        machine.notes.clear();
    }

    fn kill(&mut self, id: NodeId) {
        let machine = &mut self.machines[at(id)];
        (machine.replica, machine.job) = (None, None);
    }

    fn replica(&self, id: NodeId) -> &Replica<MemoryMedia> {
        self.machines[at(id)].replica.as_ref().expect("it is up")
    }

    fn status(&self, id: NodeId) -> Status {
        self.replica(id).status()
    }

    fn live(&self) -> Vec<NodeId> {
        let up = |id: &NodeId| self.machines[at(*id)].replica.is_some();
        self.ids().filter(up).collect()
    }

    fn leader(&self) -> Option<NodeId> {
        let live = self.live().into_iter();
        let leaders = live.filter(|&id| self.status(id).role == RoleName::Leader);
        leaders.max_by_key(|&id| self.status(id).hard.term)
    }

    /// Whether the node has remarked this, since its last start.
    fn noted(&self, id: NodeId, is: impl Fn(&Note) -> bool) -> bool {
        self.machines[at(id)].notes.iter().any(is)
    }

    /// Calls a node that is up, and takes what it wants of the world.
    fn call(
        &mut self,
        id: NodeId,
        event: impl FnOnce(&mut Replica<MemoryMedia>, &mut Outbox) -> Result<(), Error>,
    ) {
        let machine = &mut self.machines[at(id)];
        let Some(replica) = &mut machine.replica else {
            return;
        };
        let mut out = Outbox::default();
        event(replica, &mut out).expect("the disk works");
        for note in &out.notes {
            let sound = !matches!(note, Note::Impossible { .. });
            assert!(sound, "n{id}: {note}");
        }
        machine.notes.append(&mut out.notes);
        machine.warnings.append(&mut out.warnings);
        self.replies.extend(out.replies);
        let frames = out.frames.into_iter();
        self.network
            .extend(frames.map(|(to, frame)| (id, to, frame.into())));
    }

    /// One tick: what was on its way arrives, each disk syncs, each job does a piece of its work.
    fn tick(&mut self) {
        for (from, to, frame) in std::mem::take(&mut self.network) {
            let body = frame[FRAME_HEADER_BYTES..].to_vec().into();
            let packet = decode_packet(body).expect("what replicas say");
            self.call(to, |replica, out| replica.receive(from, packet, out));
        }
        for id in self.live() {
            self.call(id, |replica, out| replica.step(Input::Tick, out));
            self.call(id, Replica::upkeep);
            self.work(id);
            self.call(id, Replica::apply_some);
            if !self.machines[at(id)].stalled && self.replica(id).needs_sync() {
                self.call(id, Replica::sync);
            }
        }
    }

    fn work(&mut self, id: NodeId) {
        let machine = &mut self.machines[at(id)];
        let job = machine.job.take();
        let next = || machine.replica.as_mut().expect("it is up").take_job();
        let Some(mut job) = job.or_else(next) else {
            return;
        };
        match job.step() {
            true => machine.job = Some(job),
            false => self.call(id, |replica, out| replica.job_done(job, out)),
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Group) -> bool) {
        for _ in 0..TICKS_MAX {
            if holds(self) {
                return;
            }
            self.tick();
        }
        panic!("not in {TICKS_MAX} ticks: {what}");
    }

    /// Sends the leader a command.
    fn submit(&mut self, key: u64) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        let value = format!("{key:0VALUE_BYTES$}");
        let operation: Operation = put(&format!("k{}", key % 40), &value);
        let leader = self.leader().expect("somebody leads");
        self.call(leader, |replica, out| {
            replica.submit(vec![(token, operation)], out)
        });
        token
    }

    /// As many commands, each acknowledged before the next.
    fn put(&mut self, keys: std::ops::Range<u64>) {
        for key in keys {
            let token = self.submit(key);
            self.until("an answer", |group| group.replies.contains_key(&token));
            assert!(matches!(self.replies[&token], Reply::Put { .. }));
        }
    }

    /// All live nodes come to one state.
    fn agree(&mut self) {
        self.until("agreement", |group| {
            let leader = group.leader().map(|id| group.status(id).last.index);
            let applied = |id| Some(group.replica(id).applied()) == leader;
            group.live().into_iter().all(applied)
        });
        let live = self.live();
        let state = |id| (self.replica(id).kv().image(), self.replica(id).digest());
        let same = live.iter().all(|&id| state(id) == state(live[0]));
        assert!(same, "one log, two states");
    }

    /// The files of a node's snapshots, oldest first.
    fn snapshots(&self, id: NodeId) -> Vec<String> {
        let mut names = self.machines[at(id)].disk.names();
        names.retain(|name| name.ends_with(".snapshot"));
        names
    }
}

fn is_installed(note: &Note) -> bool {
    matches!(note, Note::SnapshotInstalled { .. })
}

fn is_wanted(note: &Note) -> bool {
    matches!(note, Note::SnapshotWanted { .. })
}

#[test]
fn an_empty_follower_catches_up_by_a_snapshot() {
    let mut group = Group::new(3, 1);
    let late = NodeId(2);
    group.put(0..100);
    let leader = group.leader().expect("it leads");
    assert!(
        group.status(leader).base > LogPos::ZERO,
        "nothing is compacted"
    );
    group.start(late);
    group.agree();
    assert!(group.noted(late, is_installed), "it was sent the entries");
    assert_eq!(group.replica(late).kv().len(), 40);
    group.put(100..110);
    group.agree();
}

#[test]
fn a_follower_whose_next_entry_was_purged_catches_up_while_puts_go_on() {
    let mut group = Group::new(3, 0);
    group.put(0..20);
    let leader = group.leader().expect("it leads");
    let late = group.ids().find(|&id| id != leader).expect("another");
    let had = group.status(late).last.index;
    group.kill(late);
    group.put(20..120);
    assert!(group.status(leader).base.index > had, "nothing was purged");
    group.start(late);
    let mut tokens = Vec::new();
    for key in 120.. {
        if group.noted(late, is_installed) {
            break;
        }
        assert!(key < 1_000, "it does not catch up");
        tokens.push(group.submit(key));
        group.tick();
    }
    group.agree();
    let done = |token: &Token| matches!(group.replies[token], Reply::Put { .. });
    assert!(
        !tokens.is_empty() && tokens.iter().all(done),
        "{:?}",
        tokens.len()
    );
}

#[test]
fn who_fetches_from_a_leader_that_dies_is_offered_the_next_ones() {
    let mut group = Group::new(3, 0);
    let first = group.leader().expect("it leads");
    let late = group.ids().find(|&id| id != first).expect("another");
    group.kill(late);
    group.put(0..100);
    group.start(late);
    group.until("a fetch", |group| group.noted(late, is_wanted));
    (0..3).for_each(|_| group.tick());
    assert!(
        !group.noted(late, is_installed),
        "it has fetched all by now"
    );
    group.kill(first);
    group.until("the next leader", |group| group.leader().is_some());
    group.put(100..102);
    group.start(first);
    group.agree();
    assert!(group.noted(late, is_installed));
}

#[test]
fn a_power_cut_during_an_install_leaves_the_old_state_or_the_new() {
    for seed in 1..20u64 {
        let mut group = Group::new(3, 0);
        group.put(0..10);
        let leader = group.leader().expect("it leads");
        let late = group.ids().find(|&id| id != leader).expect("another");
        let had = group.status(late).last.index;
        group.kill(late);
        group.put(10..60);
        group.start(late);
        group.until("a fetch", |group| group.noted(late, is_wanted));
        group.until("a sync", |group| !group.replica(late).needs_sync());
        group.machines[at(late)].stalled = true;
        group.until("an install", |group| group.noted(late, is_installed));
        let installed = group.status(late).snapshot;
        group.kill(late);
        let mut random = seed;
        group.machines[at(late)].disk.crash(&mut || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            random >> 32
        });
        group.machines[at(late)].stalled = false;
        group.start(late);
        let found = group.replica(late).applied();
        assert!(found == installed || found <= had, "{found}, seed {seed}");
        group.agree();
    }
}

#[test]
fn a_snapshot_is_due_after_so_many_entries_however_small() {
    let mut group = Group::new(1, 0);
    let alone = NodeId(0);
    let policy = SnapshotPolicy {
        log_bytes: u64::MAX,
        log_entries: 30,
        ..POLICY
    };
    let replica = group.machines[at(alone)].replica.as_mut();
    replica.expect("it is up").set_snapshot_policy(policy);
    let last = group.status(alone).last.index.0;
    group.put(last..29);
    assert_eq!(group.status(alone).snapshot, Index::ZERO);
    group.put(29..70);
    assert_eq!(group.status(alone).snapshot, Index(60));
}

/// th. 5.1.2: the state is four times as large as the least log that a snapshot waits for.
#[test]
fn a_large_state_is_not_written_again_for_a_small_log() {
    let mut group = Group::new(1, 0);
    let alone = NodeId(0);
    group.put(0..60);
    let taken = |group: &Group| {
        let notes = group.machines[at(alone)].notes.iter();
        let taken = notes.filter(|note| matches!(note, Note::SnapshotTaken { .. }));
        taken.count()
    };
    let before = taken(&group);
    let puts = 120;
    group.put(60..60 + puts);
    let newest = group.machines[at(alone)]
        .disk
        .contents(group.snapshots(alone).last().expect("one was taken"));
    let half_bytes = newest.expect("its file").len() / 2;
    assert!(half_bytes as u64 > POLICY.log_bytes, "{half_bytes}");
    let most = puts as usize * VALUE_BYTES / half_bytes + 1;
    let count = taken(&group) - before;
    assert!((2..=most).contains(&count), "{count}, {most} are due");
}

#[test]
fn a_restart_loads_the_snapshot_and_replays_only_what_is_behind_it() {
    let mut group = Group::new(1, 0);
    let only = NodeId(0);
    group.put(0..100);
    let image = group.replica(only).kv().image();
    let snapshot = group.status(only).snapshot;
    group.kill(only);
    group.start(only);
    let (status, replica) = (group.status(only), group.replica(only));
    assert!(snapshot > Index::ZERO && snapshot < status.last.index);
    assert_eq!((status.snapshot, replica.applied()), (snapshot, snapshot));
    assert!(!replica.kv().is_empty() && replica.kv().image() != image);
    group.until("a leader", |group| group.leader().is_some());
    group.agree();
    assert_eq!(group.replica(only).kv().len(), 40);
    let stored = group.replica(only).kv().get(b"k19").expect("it was put");
    assert!(stored.value.ends_with(b"99"));
}

#[test]
fn a_node_whose_newest_snapshot_is_damaged_falls_back_to_the_older_one() {
    let mut group = Group::new(1, 0);
    let only = NodeId(0);
    group.put(0..100);
    let newest = group.status(only).snapshot;
    // Files of no use go one by one, when nothing waits for the disk.
    (0..20).for_each(|_| group.tick());
    group.kill(only);
    let names = group.snapshots(only);
    assert_eq!(names.len(), POLICY.kept);
    let disk = group.machines[0].disk.clone();
    let mut bytes = disk.contents(&names[1]).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.set_contents(&names[1], bytes);
    group.start(only);
    let older = group.status(only).snapshot;
    assert!(older > Index::ZERO && older < newest);
    assert!(!group.machines[0].warnings.is_empty(), "and says nothing");
    group.until("a leader", |group| group.leader().is_some());
    group.agree();
    let stored = group.replica(only).kv().get(b"k19").expect("it was put");
    assert!(stored.value.ends_with(b"99"));
}
