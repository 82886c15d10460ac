//! Small-scope search: every behaviour of three shipped FSMs within a bound, with the rules of
//! Figure 3 checked in each state. `docs/small-scope-search.md` says what that shows.

mod action;
mod bound;
mod bounds;
mod disk;
mod key;
mod letter;
mod marks;
mod node;
mod past;
mod search;
mod turn;
mod world;

pub use bound::{Bound, Budget, Disks, PreVotes, UNLIMITED};
pub use bounds::BOUNDS;
pub use marks::Marks;
pub use search::{Outcome, Verdict, run};
