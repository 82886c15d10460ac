//! A cluster in one thread: what commits cost when nothing is waited for.

mod calibration;
mod cluster;
mod judge;
mod ram;
mod run;

pub use calibration::calibrate;
pub use cluster::LocalCluster;
pub use judge::{Verdict, judge};
pub use run::{Run, Spec, run};
