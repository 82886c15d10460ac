//! The middle of some figures, and how far they spread.

use crate::latency::median;
use serde_json::{Value, json};
use std::fmt;

/// The middle of some figures with the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub middle: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Of these figures; without one, nothing is sensible.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let figures: Vec<f64> = figures.into_iter().collect();
        Spread {
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            middle: median(figures.iter().copied()),
            greatest: figures.iter().copied().fold(0.0, f64::max),
        }
    }

    /// For programs.
    pub fn json(self) -> Value {
        json!({"min": self.least, "median": self.middle, "max": self.greatest})
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread {
            least,
            middle,
            greatest,
        } = self;
        write!(f, "{middle:.2} ({least:.2} to {greatest:.2})")
    }
}
