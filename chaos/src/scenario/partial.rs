//! Partial partitions that made other systems stand still or change leaders without end, each as
//! one fixed scenario: some nodes still see a majority, and with pre-vote (th. 9.6), check-quorum
//! (th. 6.2) and leader stickiness (th. 4.2.3) that has to be enough.

use raftkv::raft::NodeId;

use super::{
    Run, SERVICE_WITHIN,
    nemesis::{Links, around, one_way, pairs, star},
    plan::{Ending, Load, Plan, Preset, SECOND},
};
use crate::{
    invariants::Property,
    sim::{Delay, Settings, fail, listed},
};

listed! {
    /// A way in which links are cut. Places are numbered from 1.
    Partial {
        /// The leader of three can send and not receive (N2).
        LeaderDeaf = "leader-deaf",
        /// The leader of three can receive and not send (N2).
        LeaderMute = "leader-mute",
        /// A follower of three can send and not receive (N2).
        FollowerDeaf = "follower-deaf",
        /// A follower of three can receive and not send (N2).
        FollowerMute = "follower-mute",
        /// The link between the leader of three and one follower is cut: a chain (N3, Cloudflare
        /// in November 2020; N4, chained).
        OneLink = "one-link-of-three",
        /// 1, 2 and 3 see each other, 4 sees only 2, and 5 only 3 (N3, Howard and Abraham).
        Overlapping = "overlapping-majorities",
        /// Each of five sees its two neighbours in a ring (N3).
        Ring = "ring-of-five",
        /// Each of five sees its neighbours in a chain (N4, chained).
        Chain = "chain-of-five",
        /// Each of five sees only 1 (N4, quorum loss).
        QuorumLoss = "quorum-loss",
        /// Each of three others sees only 1, whose log is behind theirs, and 2 sees nobody (N4,
        /// constrained election). Raft can elect nobody there: who sees a majority lacks what is
        /// committed. All that is owed is safety, and service once the links are mended.
        Constrained = "constrained-election",
    }
}

/// How long is looked on once leaders had the time to settle.
const WATCHED_TIMEOUTS: u64 = 100;
const SETTLING_TIMEOUTS: u64 = 10;
/// And how many leaders may come in that time.
const ELECTIONS_MAX: u64 = 3;

/// What a partial partition did to a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endured {
    /// Election timeouts until something more was committed.
    pub stood_still: f64,
    /// Leaders that were elected while it was looked on.
    pub elections: u64,
}

impl Partial {
    /// How many nodes there are.
    #[must_use]
    pub fn nodes(self) -> u64 {
        match self {
            partial if partial <= Partial::OneLink => 3,
            _ => 5,
        }
    }

    /// Where the leader may be when links are cut. By its name there is but one place in most.
    #[must_use]
    pub fn places(self) -> &'static [usize] {
        match self {
            Partial::Overlapping | Partial::Ring | Partial::Chain | Partial::QuorumLoss => {
                &[1, 2, 3, 4, 5]
            }
            Partial::Constrained => &[2],
            _ => &[1],
        }
    }

    /// The links that are cut, with nodes in the order of their places.
    fn cut(self, ids: &[NodeId]) -> Links {
        let at = |id: NodeId| ids.iter().position(|&other| other == id).expect("a place") + 1;
        let unless = |seen: fn(usize, usize) -> bool| {
            let sees = |&(a, b): &(NodeId, NodeId)| seen(at(a), at(b)) || seen(at(b), at(a));
            pairs(ids).filter(|pair| !sees(pair)).collect()
        };
        match self {
            Partial::LeaderDeaf => one_way(ids, ids[0], true),
            Partial::LeaderMute => one_way(ids, ids[0], false),
            Partial::FollowerDeaf => one_way(ids, ids[1], true),
            Partial::FollowerMute => one_way(ids, ids[1], false),
            Partial::OneLink => unless(|a, b| (a, b) != (1, 2) && (a, b) != (2, 1)),
            Partial::Overlapping => {
                unless(|a, b| a <= 3 && b <= 3 || [(2, 4), (3, 5)].contains(&(a, b)))
            }
            Partial::Ring => unless(|a, b| b == a % 5 + 1),
            Partial::Chain => unless(|a, b| b == a + 1),
            Partial::QuorumLoss => star(ids, ids[0]),
            Partial::Constrained => {
                let mut cut = star(ids, ids[0]);
                cut.extend(around(ids, ids[1]));
                cut
            }
        }
    }
}

fn plan(partial: Partial, seed: u64) -> Plan {
    let load = Load {
        clients: 4,
        keys: 6,
        value_bytes: (8, 64),
        think: (1_000, 50_000),
        patience: SECOND,
        travel: (100, 1_000),
        loss: 0,
        puts: 500,
        gets: 400,
        calls_max: u64::MAX,
        backoff: (5_000, 50_000),
    };
    Plan {
        seed,
        preset: Preset::Partition,
        settings: Settings::new(partial.nodes(), seed),
        delay: Delay::Uniform(500, 3_000),
        is_fifo: true,
        queue_max: 4096,
        load,
        asks: None,
        faults: Vec::new(),
        pace: None,
        longest: u64::MAX,
        stop_at: None,
        heals: true,
        probes: 10,
        keeps_traffic: true,
        ending: Ending::Whole,
        owes_counts: false,
    }
}

impl Run {
    /// A run that is not begun.
    pub(crate) fn of_partial(partial: Partial, seed: u64) -> Run {
        Run::new(&plan(partial, seed))
    }

    /// Cuts links, with the leader at this place, and looks on. Panics with the property that is
    /// broken.
    pub(crate) fn endure(&mut self, partial: Partial, place: usize) -> Endured {
        self.sim
            .network
            .set_delay(self.plan.delay, self.plan.is_fifo);
        self.clients.begin(&mut self.sim);
        let leader = self.lasting_leader();
        let mut ids = self.sim.ids();
        ids.retain(|&id| id != leader);
        ids.insert(place - 1, leader);
        if partial == Partial::Constrained {
            // It falls behind.
            self.cut_links(around(&ids, ids[0]));
            self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
        }
        let cut = partial.cut(&ids);
        self.sim
            .note_line(None, || format!("links are cut: {cut:?}"));
        self.cut_links(cut.clone());
        let endured = match partial {
            Partial::Constrained => self.wait_in_vain(),
            _ => self.work_on(cut),
        };
        self.sim.network.heal();
        self.heal();
        self.clients.is_on = true;
        let committed = self.sim.committed_index();
        self.within(SERVICE_WITHIN, "progress once links are mended", |run| {
            run.sim.committed_index() > committed && run.leads()
        });
        self.settle();
        self.judge();
        endured
    }

    fn cut_links(&mut self, cut: Links) {
        self.sim.network.heal();
        for (from, to) in cut {
            self.sim.network.cut(from, to);
        }
    }

    /// Whoever sees a majority has to serve, and to be left in peace.
    fn work_on(&mut self, cut: Links) -> Endured {
        let (begun, committed) = (self.sim.now(), self.sim.committed_index());
        self.within(SERVICE_WITHIN, "progress with links cut", |run| {
            run.sim.committed_index() > committed && run.leads()
        });
        let stood_still = (self.sim.now() - begun) as f64 / self.timeout() as f64;
        self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
        let at_work = self.watch();
        // Cut while nothing is written, the log of who misses the leader is as good as any.
        self.clients.is_on = false;
        self.sim.network.heal();
        self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
        self.cut_links(cut);
        self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
        let at_rest = self.watch();
        Endured {
            stood_still,
            elections: at_work.max(at_rest),
        }
    }

    /// How many leaders are elected. While clients ask, the cluster serves.
    fn watch(&mut self) -> u64 {
        let before = self.sim.elections();
        for timeouts in (0..WATCHED_TIMEOUTS).step_by(SETTLING_TIMEOUTS as usize) {
            let committed = self.sim.committed_index();
            self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
            let elections = self.sim.elections() - before;
            let stands_still = self.clients.is_on && self.sim.committed_index() == committed;
            if elections > ELECTIONS_MAX || stands_still {
                let what = format!("{elections} elections after {timeouts} timeouts, links cut");
                fail(Property::Liveness, &what);
            }
        }
        self.sim.elections() - before
    }

    /// Nobody can be elected by anyone's rules of Raft.
    fn wait_in_vain(&mut self) -> Endured {
        self.run_until(self.sim.now() + SETTLING_TIMEOUTS * self.timeout());
        let (committed, before) = (self.sim.committed_index(), self.sim.elections());
        self.run_until(self.sim.now() + WATCHED_TIMEOUTS * self.timeout());
        let elections = self.sim.elections() - before;
        if elections > 0 || self.sim.committed_index() > committed {
            fail(
                Property::LeaderCompleteness,
                "a leader whose log was behind",
            );
        }
        Endured {
            stood_still: (SETTLING_TIMEOUTS + WATCHED_TIMEOUTS) as f64,
            elections,
        }
    }
}
