//! Directed links between nodes, and every way in which they fail below TCP. A frame is bytes of
//! the shipped codec; what is damaged on the way is given to the shipped decoder.

use raftkv::{
    codec::{DecodeError, FRAME_MAX_BYTES, FrameDecoder, Packet, decode_packet},
    raft::NodeId,
};

use super::{
    fault::{Fault, Hits},
    queue::Micros,
};
use crate::{invariants::Asked, rng::Rng};

/// How long frames take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Between the two.
    Uniform(Micros, Micros),
    /// The first always, and an exponentially distributed time with the second as its mean.
    Exponential(Micros, Micros),
}

impl Delay {
    fn draw(self, rng: &mut Rng) -> Micros {
        match self {
            Delay::Uniform(least, most) => rng.between(least, most),
            Delay::Exponential(least, mean) => least + rng.exponential(mean),
        }
    }
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) frame: Vec<u8>,
    /// What it decodes to, unless it was damaged.
    pub(crate) packet: Packet,
    pub(crate) asked: Asked,
    pub(crate) is_damaged: bool,
    /// The connection that it travels on; a reset takes all frames of one.
    connection: u64,
}

/// One direction between two nodes.
#[derive(Clone, Debug)]
struct Link {
    /// Nothing arrives, and the sender is not told.
    is_cut: bool,
    /// Frames are held back until it ends.
    is_clogged: bool,
    delay: Delay,
    /// A later frame never overtakes.
    is_fifo: bool,
    /// Bytes for each millisecond; 0 for no limit.
    bytes_per_ms: u64,
    last_arrival: Micros,
    connection: u64,
    /// How many frames are under way.
    under_way: u64,
    clogged: Vec<Flight>,
    /// Some of what went over it, to come again much later.
    past: Vec<Flight>,
}

/// What links do to frames, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Frames lost.
    pub drop: u64,
    /// Frames that come twice.
    pub duplicate: u64,
    /// Frames with a byte that is not the one that was sent.
    pub corrupt: u64,
}

/// The links and what is under way on them.
#[derive(Debug)]
pub struct Network {
    /// What happens to frames on any link.
    pub noise: Noise,
    /// No more frames than this are under way on a link; what exceeds it is dropped.
    pub queue_max: u64,
    pub(crate) hits: Hits,
    nodes: u64,
    links: Vec<Link>,
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    rng: Rng,
}

/// From here on a frame counts as delayed.
const LONG_DELAY: Micros = 20_000;
/// How many frames of the past a link keeps.
const PAST_MAX: usize = 32;

impl Network {
    pub(crate) fn new(nodes: u64, rng: Rng) -> Network {
        let link = Link {
            is_cut: false,
            is_clogged: false,
            delay: Delay::Uniform(500, 3_000),
            is_fifo: false,
            bytes_per_ms: 0,
            last_arrival: 0,
            connection: 0,
            under_way: 0,
            clogged: Vec::new(),
            past: Vec::new(),
        };
        Network {
            noise: Noise::default(),
            queue_max: 4096,
            hits: Hits::default(),
            nodes,
            links: vec![link; (nodes * nodes) as usize],
            slots: Vec::new(),
            free: Vec::new(),
            rng,
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        &mut self.links[(from.0 * self.nodes + to.0) as usize]
    }

    /// Cuts the link from one node to another; the way back stays.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).is_cut = true;
    }

    /// Mends the link from one node to another.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).is_cut = false;
    }

    /// Cuts both ways between a node and each of the others.
    pub fn isolate(&mut self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        for link in &mut self.links {
            link.is_cut = false;
        }
    }

    /// How long frames take on every link, and whether they keep their order.
    pub fn set_delay(&mut self, delay: Delay, is_fifo: bool) {
        for link in &mut self.links {
            link.delay = delay;
            link.is_fifo = is_fifo;
        }
    }

    /// How long frames take on one link.
    pub fn set_link_delay(&mut self, from: NodeId, to: NodeId, delay: Delay) {
        self.link(from, to).delay = delay;
    }

    /// How much one link carries; 0 for no limit.
    pub fn set_bandwidth(&mut self, from: NodeId, to: NodeId, bytes_per_ms: u64) {
        self.link(from, to).bytes_per_ms = bytes_per_ms;
    }

    /// How much every link carries; 0 for no limit.
    pub(crate) fn set_bandwidth_everywhere(&mut self, bytes_per_ms: u64) {
        for link in &mut self.links {
            link.bytes_per_ms = bytes_per_ms;
        }
    }

    /// Holds back what goes over a link.
    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).is_clogged = true;
    }

    /// Ends holding back; what was held is due again.
    pub(crate) fn unclog(&mut self, from: NodeId, to: NodeId) -> Vec<Flight> {
        let link = self.link(from, to);
        link.is_clogged = false;
        std::mem::take(&mut link.clogged)
    }

    /// Resets the connection: what is under way is lost, the frame that has begun with the rest.
    pub(crate) fn reset(&mut self, from: NodeId, to: NodeId) {
        let link = self.link(from, to);
        link.connection += 1;
        link.last_arrival = 0;
    }

    /// What a link carried before, chosen by chance, to come once more.
    pub(crate) fn past(
        &mut self,
        now: Micros,
        (from, to): (NodeId, NodeId),
        count: usize,
    ) -> Vec<Flight> {
        self.rng.aim(now, from.0 * self.nodes + to.0);
        let mut rng = Rng::new(self.rng.draw());
        let link = self.link(from, to);
        let connection = link.connection;
        let at = |rng: &mut Rng| rng.between(0, link.past.len() as u64 - 1) as usize;
        let count = if link.past.is_empty() { 0 } else { count };
        (0..count)
            .map(|_| Flight {
                connection,
                ..link.past[at(&mut rng)].clone()
            })
            .collect()
    }

    /// Takes a frame. Returns when which slots are due.
    pub(crate) fn send(
        &mut self,
        now: Micros,
        (from, to): (NodeId, NodeId),
        frame: Vec<u8>,
        packet: Packet,
        asked: Asked,
    ) -> [Option<(Micros, u32)>; 2] {
        let noise = self.noise;
        self.rng.aim(now, from.0 * self.nodes + to.0);
        let mut rng = Rng::new(self.rng.draw());
        let link = self.link(from, to);
        let mut flight = Flight {
            from,
            to,
            frame,
            packet,
            asked,
            is_damaged: false,
            connection: link.connection,
        };
        if link.past.len() < PAST_MAX {
            link.past.push(flight.clone());
        } else if rng.chance(100) {
            let at = rng.between(0, PAST_MAX as u64 - 1) as usize;
            link.past[at] = flight.clone();
        }
        if link.is_cut {
            self.lose(&flight, Fault::Cut);
            return [None, None];
        }
        if noise.drop > 0 && rng.chance(noise.drop) {
            self.lose(&flight, Fault::Drop);
            return [None, None];
        }
        let mut second = None;
        if noise.duplicate > 0 && rng.chance(noise.duplicate) {
            self.hits.count(Fault::Duplicate);
            if is_of_snapshot(&flight) {
                self.hits.count(Fault::ChunkTwice);
            }
            second = self.launch(now, flight.clone(), &mut rng);
        }
        if noise.corrupt > 0 && rng.chance(noise.corrupt) {
            let at = rng.between(0, flight.frame.len() as u64 - 1) as usize;
            flight.frame[at] ^= rng.between(1, 255) as u8;
            flight.is_damaged = true;
        }
        [self.launch(now, flight, &mut rng), second]
    }

    /// Puts a frame on its way.
    pub(crate) fn launch(
        &mut self,
        now: Micros,
        flight: Flight,
        rng: &mut Rng,
    ) -> Option<(Micros, u32)> {
        let queue_max = self.queue_max;
        let link = self.link(flight.from, flight.to);
        if link.is_clogged {
            link.clogged.push(flight);
            self.hits.count(Fault::Clog);
            return None;
        }
        if link.under_way >= queue_max {
            self.lose(&flight, Fault::Overflow);
            return None;
        }
        let mut at = now + link.delay.draw(rng);
        let frame_us = flight.frame.len() as u64 * 1000;
        if let Some(took) = frame_us.checked_div(link.bytes_per_ms) {
            at = at.max(link.last_arrival) + took;
        }
        if link.is_fifo || link.bytes_per_ms > 0 {
            at = at.max(link.last_arrival);
            link.last_arrival = at;
        } else if at < link.last_arrival {
            self.hits.count(Fault::Reorder);
        } else {
            link.last_arrival = at;
        }
        if at - now >= LONG_DELAY {
            self.hits.count(Fault::Delay);
        }
        self.link(flight.from, flight.to).under_way += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(flight);
        Some((at, slot))
    }

    /// Takes what is in the slot off its link, unless it was lost meanwhile.
    pub(crate) fn arrive(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.slots[slot as usize].take().expect("it is under way");
        self.free.push(slot);
        let link = self.link(flight.from, flight.to);
        link.under_way -= 1;
        if link.connection != flight.connection {
            self.lose(&flight, Fault::Reset);
            return None;
        }
        if link.is_cut {
            self.lose(&flight, Fault::Cut);
            return None;
        }
        Some(flight)
    }

    fn lose(&mut self, flight: &Flight, fault: Fault) {
        self.hits.count(fault);
        if is_of_snapshot(flight) {
            self.hits.count(Fault::ChunkLost);
        }
    }

    /// A damaged frame reaches its node: the decoder must refuse it, and the connection ends.
    pub(crate) fn refuse_damaged(&mut self, flight: &Flight) -> Option<DecodeError> {
        let refused = decode(&flight.frame).err();
        if refused.is_some() {
            self.hits.count(Fault::Corrupt);
            self.reset(flight.from, flight.to);
        }
        refused
    }
}

fn is_of_snapshot(flight: &Flight) -> bool {
    matches!(flight.packet, Packet::Fetch { .. } | Packet::Chunk { .. })
}

/// Reads a frame as the shipped connection does.
///
/// # Errors
/// When it is no whole frame with a message.
pub(crate) fn decode(frame: &[u8]) -> Result<Packet, DecodeError> {
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    decoder.receive(frame);
    match decoder.next_frame()? {
        Some(body) => decode_packet(body),
        None => Err(DecodeError::Shape("the frame is not whole")),
    }
}
