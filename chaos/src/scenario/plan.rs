//! What a seed decides before a run begins. A plan is plain data: whoever shrinks a failure takes
//! parts of it away and runs what is left.

use raftkv::raft::NodeId;

use super::{clients::Ask, kind::Kind, membership::draw_membership, snapshots::draw_snapshots};
use crate::{
    rng::Rng,
    sim::{Armed, CrashPoint, Delay, Micros, Settings, Syncs, TICK},
};

/// One second.
pub(crate) const SECOND: Micros = 1_000_000;
/// A run has at least this much virtual time, and goes on until it has its counts.
pub(crate) const RUN_MIN: Micros = 30 * SECOND;
/// Without its counts by then it has shown nothing.
pub(crate) const RUN_MAX: Micros = 300 * SECOND;

/// Who is away for so many election timeouts mostly misses a snapshot of the others.
const AWAY_MIN: u64 = 4;

/// Which faults a run may draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Links are cut.
    Partition,
    /// Nodes are killed, lose power and come back.
    KillRestart,
    /// Both, with loss, repetition and pauses.
    Mixed,
    /// Every frame takes 10 to 500 ms.
    Delay,
    /// Each kind of fault is on or off.
    Swarm,
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 5] = [
        Preset::Partition,
        Preset::KillRestart,
        Preset::Mixed,
        Preset::Delay,
        Preset::Swarm,
    ];

    /// The preset that a seed belongs to, so that a seed says everything.
    #[must_use]
    pub fn of(seed: u64) -> Preset {
        Preset::ALL[(seed % Preset::ALL.len() as u64) as usize]
    }

    /// The name in reports and arguments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Partition => "partition",
            Preset::KillRestart => "kill_restart",
            Preset::Mixed => "mixed",
            Preset::Delay => "delay",
            Preset::Swarm => "swarm",
        }
    }

    fn kinds(self, rng: &mut Rng) -> Vec<Kind> {
        match self {
            Preset::Partition => vec![
                Kind::Isolate,
                Kind::Split,
                Kind::OneWay,
                Kind::OneLink,
                Kind::Star,
                Kind::Flap,
                Kind::Away,
            ],
            Preset::KillRestart => vec![
                Kind::Kill,
                Kind::PowerCut,
                Kind::CrashPoint,
                Kind::Blackout,
                Kind::CrashLoop,
            ],
            Preset::Mixed => vec![
                Kind::Isolate,
                Kind::Split,
                Kind::OneWay,
                Kind::Drop,
                Kind::Duplicate,
                Kind::Kill,
                Kind::PowerCut,
                Kind::CrashPoint,
                Kind::Pause,
                Kind::SlowDisk,
                Kind::SlowSnapshot,
                Kind::FullDisk,
                Kind::Transfer,
            ],
            Preset::Delay => vec![Kind::Transfer],
            Preset::Swarm => {
                let share = rng.between(150, 700);
                // Whether members change is drawn apart.
                let all = Kind::ALL
                    .iter()
                    .copied()
                    .filter(|&kind| kind != Kind::Membership);
                let mut kinds: Vec<Kind> = all.filter(|_| rng.chance(share)).collect();
                if kinds.is_empty() {
                    kinds.push(Kind::Kill);
                }
                kinds
            }
        }
    }
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Micros,
    pub(crate) span: Micros,
    pub(crate) kind: Kind,
    /// Decides whom it hits and how hard.
    pub(crate) draw: u64,
}

/// How clients behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    pub(crate) keys: u32,
    pub(crate) value_bytes: (u64, u64),
    /// How long a client waits between two requests.
    pub(crate) think: (Micros, Micros),
    /// How long a client waits for an answer.
    pub(crate) patience: Micros,
    /// How long a request takes to its node, and an answer back.
    pub(crate) travel: (Micros, Micros),
    /// How many in a thousand requests or answers are lost.
    pub(crate) loss: u64,
    /// Shares in a thousand; the rest are deletes.
    pub(crate) puts: u64,
    pub(crate) gets: u64,
    /// A client asks for no more than this.
    pub(crate) calls_max: u64,
    /// A client that was refused tries again after this.
    pub(crate) backoff: (Micros, Micros),
}

/// What is left of the partition while the cluster has to make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All links work, and so do all nodes that can.
    Whole,
    /// All links work, and only a majority of the nodes is left.
    Core,
    /// One link stays cut at first.
    OneLink,
    /// The leader can send and not receive at first.
    DeafLeader,
    /// All see one hub and nobody else at first.
    Star,
}

impl Ending {
    /// Where members change, one says which links are cut too soon.
    fn with(self, changes: bool) -> Ending {
        match self {
            Ending::OneLink | Ending::DeafLeader | Ending::Star if changes => Ending::Core,
            ending => ending,
        }
    }
}

/// Everything that is decided before a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) preset: Preset,
    pub(crate) settings: Settings,
    pub(crate) delay: Delay,
    pub(crate) is_fifo: bool,
    pub(crate) queue_max: u64,
    pub(crate) load: Load,
    /// All that clients ask for while there are faults; `None` for what they draw.
    pub(crate) asks: Option<Vec<Ask>>,
    pub(crate) faults: Vec<Planned>,
    /// How long an operator waits before it asks again; `None` for what each draws.
    pub(crate) pace: Option<Micros>,
    /// A run that goes on for longer than this shows nothing.
    pub(crate) longest: Micros,
    /// The virtual time of the faults; `None` for until the run has its counts.
    pub(crate) stop_at: Option<Micros>,
    /// Whether all faults end then, and the cluster shows that it works again.
    pub(crate) heals: bool,
    /// How many writes and reads it has to serve then.
    pub(crate) probes: u64,
    /// Whether clients go on while the cluster heals.
    pub(crate) keeps_traffic: bool,
    pub(crate) ending: Ending,
    /// Whether it owes its counts.
    pub(crate) owes_counts: bool,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(preset: Preset, seed: u64) -> Plan {
        let mut rng = Rng::stream(seed, 3);
        let nodes = if rng.chance(600) { 3 } else { 5 };
        let mut settings = Settings::new(nodes, seed);
        let kinds = preset.kinds(&mut rng);
        settings.syncs = rng.pick(&[Syncs::Beside, Syncs::Blocking]);
        settings.sync = rng.pick(&[(0, 200), (0, 3_000), (100, 8_000)]);
        settings.in_flight_max = rng.pick(&[1, 4, 64]);
        settings.append_max_bytes = rng.pick(&[256, 4 << 10, 128 << 10]);
        settings.inbox_max = rng.pick(&[16, 4096]);
        if kinds.contains(&Kind::Overload) {
            settings.uncommitted_max_bytes = rng.pick(&[200, 2_000, 64 << 20]);
        }
        if kinds.contains(&Kind::CrashPoint) {
            settings.first_crash = draw_first_crash(&mut rng, nodes);
        }
        let mut delay = rng.pick(&[
            Delay::Uniform(100, 1_000),
            Delay::Uniform(500, 3_000),
            Delay::Uniform(5_000, 5_000),
            Delay::Exponential(200, 3_000),
        ]);
        let mut load = draw_load(&mut rng);
        let mut owes_counts = true;
        if preset == Preset::Delay {
            delay = Delay::Uniform(10_000, 500_000);
            load.clients = 8;
            load.patience = 10 * SECOND;
            // At 150 to 300 ms only about one round of votes in six beats the timers.
            owes_counts = !rng.chance(100);
            if owes_counts {
                settings.election_timeout_ticks = 250;
                settings.heartbeat_ticks = 25;
            }
        }
        let may_be_large = !kinds.contains(&Kind::Narrow);
        draw_snapshots(seed, &mut settings, may_be_large.then_some(&mut load));
        let timeout = settings.election_timeout();
        let mut faults = draw_faults(&mut rng, preset, &kinds, timeout);
        let changes = draw_membership(seed, &mut settings, &mut faults);
        Plan {
            seed,
            preset,
            settings,
            delay,
            is_fifo: rng.chance(600),
            queue_max: rng.pick(&[64, 4096]),
            load,
            asks: None,
            faults,
            pace: None,
            longest: Micros::MAX,
            stop_at: None,
            heals: true,
            probes: 10,
            keeps_traffic: rng.chance(750),
            ending: draw_ending(&mut rng).with(changes),
            owes_counts,
        }
    }
}

/// Now and then the very first start of a node is cut short.
fn draw_first_crash(rng: &mut Rng, nodes: u64) -> Option<(NodeId, Armed)> {
    let armed = Armed {
        point: rng.pick(&[
            CrashPoint::RecoverCreate,
            CrashPoint::RecoverPublish,
            CrashPoint::RecoverSyncDirectory,
        ]),
        skip: 0,
        again: rng.between(0, 2),
        power: true,
        down: rng.between(1_000, SECOND),
    };
    let node = NodeId(rng.between(0, nodes - 1));
    rng.chance(300).then_some((node, armed))
}

fn draw_ending(rng: &mut Rng) -> Ending {
    match rng.between(0, 9) {
        0..=3 => Ending::Whole,
        4..=6 => Ending::Core,
        7 => Ending::OneLink,
        8 => Ending::DeafLeader,
        _ => Ending::Star,
    }
}

fn draw_load(rng: &mut Rng) -> Load {
    let slow = rng.pick(&[20_000, 100_000, 300_000]);
    let puts = rng.between(350, 600);
    Load {
        clients: rng.between(3, 8) as u32,
        keys: rng.between(2, 12) as u32,
        value_bytes: rng.pick(&[(8, 16), (8, 64), (8, 64), (500, 2_000)]),
        think: (1_000, slow),
        patience: rng.between(100_000, 2 * SECOND),
        travel: rng.pick(&[(50, 500), (100, 3_000), (100, 20_000)]),
        loss: rng.pick(&[0, 0, 10, 50]),
        puts,
        gets: rng.between(250, 950 - puts),
        calls_max: u64::MAX,
        backoff: (5_000, 50_000),
    }
}

/// Faults for as long as a run may last, at a pace of its own, often several at once.
fn draw_faults(rng: &mut Rng, preset: Preset, kinds: &[Kind], timeout: Micros) -> Vec<Planned> {
    let mut faults = Vec::new();
    let pace = rng.pick(&[3, 6, 12, 24]) * timeout;
    let longest = rng.pick(&[2, 6, 15]) * timeout;
    let mut at = timeout;
    while at < RUN_MAX {
        // A run without its counts gets ever longer quiet spells.
        at += rng.between(timeout / 4, pace) << (at / (60 * SECOND));
        let mut fault = Planned {
            at,
            span: rng.between(timeout / 4, longest),
            kind: rng.pick(kinds),
            draw: rng.draw(),
        };
        if fault.kind == Kind::Away {
            fault.span += AWAY_MIN * timeout;
        }
        // A link that flaps is down for a third of a timeout, and up for as long.
        let flaps = if fault.kind == Kind::Flap { 6 } else { 0 };
        for flap in 1..=flaps {
            let at = at + flap * timeout * 2 / 3;
            let span = timeout / 3;
            faults.push(Planned { at, span, ..fault });
        }
        if flaps == 0 {
            faults.push(fault);
        }
    }
    // Nothing is shown of elections by a run that has only one.
    let certain = match preset {
        Preset::Partition | Preset::Delay => Kind::Isolate,
        // Once a node is lost, nobody can be elected while the leader is only paused.
        _ if kinds.contains(&Kind::Damage) => Kind::Kill,
        _ => rng.pick(&[Kind::Kill, Kind::Pause, Kind::Isolate]),
    };
    for _ in 0..2 {
        faults.push(Planned {
            at: rng.between(RUN_MIN / 3, RUN_MIN * 3 / 4),
            span: 4 * timeout,
            kind: certain,
            // The leader is hit.
            draw: 0,
        });
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// How fast a clock may run against the others.
pub(super) fn draw_tick(rng: &mut Rng) -> Micros {
    rng.pick(&[TICK / 2, TICK * 3 / 4, TICK * 3 / 2, TICK * 2])
}
