//! When members change in a run, and what happens at the worst moment of that: when C_old,new has
//! come into force, and two majorities have to decide.

use raftkv::raft::NodeId;

use super::{
    kind::Kind,
    nemesis::{Links, around, pairs},
    plan::{Planned, RUN_MAX, SECOND},
};
use crate::{
    rng::Rng,
    sim::{Micros, Settings, Sim},
};

/// In so many of a thousand runs members change.
const SHARE: u64 = 400;
/// So many nodes may come in one run.
const SPARES: u64 = 12;

/// Draws it from a stream of its own, so that all else of a plan is as it would be without. Returns
/// whether members change.
pub(super) fn draw_membership(
    seed: u64,
    settings: &mut Settings,
    faults: &mut Vec<Planned>,
) -> bool {
    let mut rng = Rng::stream(seed, 8);
    if !rng.chance(SHARE) {
        return false;
    }
    settings.spares = SPARES;
    let tick = settings.tick[0];
    settings.tick.resize(settings.hosts() as usize, tick);
    settings.describes = rng.chance(700);
    let timeout = settings.election_timeout();
    let pace = rng.pick(&[6, 12, 24]) * timeout;
    let mut at = 2 * timeout;
    while at < RUN_MAX {
        at += rng.between(timeout, pace) << (at / (60 * SECOND));
        faults.push(Planned {
            at,
            span: rng.between(timeout, 10 * timeout),
            kind: Kind::Membership,
            draw: rng.draw(),
        });
    }
    faults.sort_by_key(|fault| fault.at);
    true
}

/// What happens as soon as a joint configuration is in force.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strike {
    /// Its leader is killed, or loses power, and comes back after so long.
    Kill(Micros),
    PowerCut(Micros),
    /// All nodes lose power, and come back one by one within so long.
    Blackout(Micros),
    /// Its leader is paused.
    Pause(Micros),
    /// Its leader is cut off.
    Isolate,
    /// Those who come are cut off from those who go, and the others fall to either side.
    Part(u64),
    /// Its leader is to hand over to any of them.
    Transfer(u64),
}

impl Strike {
    /// Mostly none: a change has to come to its end as well.
    pub(super) fn draw(span: Micros, rng: &mut Rng) -> Option<Strike> {
        let down = rng.between(1_000, span);
        let draw = rng.draw();
        Some(match rng.between(0, 15) {
            0 | 1 => Strike::Kill(down),
            2 | 3 => Strike::PowerCut(down),
            4 => Strike::Blackout(down),
            5 => Strike::Pause(down),
            6 => Strike::Isolate,
            7 | 8 => Strike::Part(draw),
            9 => Strike::Transfer(draw),
            _ => return None,
        })
    }

    /// Returns the links that are cut by it.
    pub(super) fn hit(self, sim: &mut Sim, leader: NodeId) -> Links {
        let ids = sim.ids();
        let Some(status) = sim.status(leader) else {
            return Links::new();
        };
        let config = status.config.clone();
        sim.note_line(None, || format!("in a joint configuration: {self:?}"));
        match self {
            Strike::Kill(down) => {
                sim.kill(leader);
                sim.restart_after(leader, down);
            }
            Strike::PowerCut(down) => {
                sim.cut_power(leader);
                sim.restart_after(leader, down);
            }
            Strike::Blackout(down) => {
                let up: Vec<NodeId> = ids.into_iter().filter(|&id| sim.is_up(id)).collect();
                let count = up.len() as u64;
                for (number, id) in (1..).zip(up) {
                    sim.cut_power(id);
                    sim.restart_after(id, down * number / count);
                }
            }
            Strike::Pause(span) => sim.pause(leader, span),
            Strike::Isolate => return around(&ids, leader),
            Strike::Part(draw) => {
                let mut majorities = config.majorities();
                let (old, new) = (majorities.next(), majorities.next());
                let is_in = |of: Option<&[NodeId]>, id| of.is_some_and(|of| of.contains(&id));
                let here = |id: NodeId| match (is_in(old, id), is_in(new, id)) {
                    (true, false) => true,
                    (false, true) => false,
                    _ => draw >> id.0 & 1 == 0,
                };
                return pairs(&ids).filter(|&(a, b)| here(a) != here(b)).collect();
            }
            Strike::Transfer(draw) => {
                let voters: Vec<NodeId> = config.voters().collect();
                let to = voters[draw as usize % voters.len()];
                sim.transfer(leader, Some(to));
            }
        }
        Links::new()
    }
}
