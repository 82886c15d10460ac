//! Seeded chance.

use crate::{
    draws::{Draws, Pinned},
    sim::Micros,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    /// What was drawn before decides, where a run is repeated with parts of its plan left out.
    pinned: Option<Box<Pinned>>,
}

impl Rng {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng {
            state: seed,
            pinned: None,
        }
    }

    /// A stream of its own for one purpose of a run: what one part draws does not shift what the
    /// others draw.
    #[must_use]
    pub fn stream(seed: u64, purpose: u64) -> Rng {
        let mut rng = Rng::new(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Rng::new(rng.draw())
    }

    /// The same, written down or read as `draws` says.
    pub(crate) fn pinned(self, draws: &Draws, purpose: u64) -> Rng {
        Rng {
            pinned: draws.pinned(purpose).map(Box::new),
            ..self
        }
    }

    /// For whom, and at which time, the next numbers are drawn.
    pub(crate) fn aim(&mut self, now: Micros, whom: u64) {
        if let Some(pinned) = &mut self.pinned {
            pinned.aim(now, whom);
        }
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let next = z ^ (z >> 31);
        match &mut self.pinned {
            None => next,
            Some(pinned) => pinned.draw(next),
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "empty range {low}..={high}");
        low + self.draw() % (high - low + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        *self.pick_ref(list)
    }

    /// One of these, which must not be empty.
    pub fn pick_ref<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.between(0, list.len() as u64 - 1) as usize]
    }

    /// An exponentially distributed number with this mean, at most 20 times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // -ln of a number from 1/2^32 to 1, in steps of 1/16 by integers alone: floating point
        // functions differ between machines.
        let bits = (self.draw() >> 32) | 1;
        let zeros = 31 - bits.ilog2();
        let fraction = (bits << (zeros + 1)) & 0xffff_ffff;
        let sixteenths = u64::from(zeros) * 11 + (((0xffff_ffff - fraction) * 11) >> 32);
        (mean * sixteenths / 16).min(20 * mean)
    }
}
