//! The paper's numbers as types, so that an index cannot be passed for a term.

use std::fmt;

/// Declares a number type that prints as the bare number.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A member of the cluster. Ids start at 0, so "nobody" is `None` and never an id.
    NodeId
}

number! {
    /// A term (§5.1): logical time, at most one leader in each.
    Term
}

number! {
    /// A position in the log; the first entry has index 1, and 0 is "before the log" (§5.3).
    Index
}

number! {
    /// The number of a write to the log's disk. Durable up to a `Seq` means every write up to it.
    Seq
}

number! {
    /// The number of a read-confirmation round within one leader's term (th. 6.4).
    Round
}

number! {
    /// What the driver chose to recognize a client's request by.
    Token
}

impl Term {
    /// The term before any election.
    pub const ZERO: Term = Term(0);

    /// The term that a candidate of this one campaigns in.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("term exhausted"))
    }
}

impl Index {
    /// Before the first entry.
    pub const ZERO: Index = Index(0);

    /// The index that follows.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0.checked_add(1).expect("index exhausted"))
    }

    /// The index before this one; that of 0 is 0.
    #[must_use]
    pub fn before(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Seq {
    /// Nothing has to be durable.
    pub const NONE: Seq = Seq(0);

    /// The write that follows.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl Round {
    /// Before the first round of a term.
    pub const ZERO: Round = Round(0);

    /// The round that follows.
    #[must_use]
    pub fn next(self) -> Round {
        Round(self.0 + 1)
    }
}

/// Where an entry stands: ordered as §5.4.1 compares logs, by term first and then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos {
    /// The entry's term.
    pub term: Term,
    /// The entry's index.
    pub index: Index,
}

impl LogPos {
    /// Before the first entry.
    pub const ZERO: LogPos = LogPos {
        term: Term::ZERO,
        index: Index::ZERO,
    };

    /// The position of the entry of `term` at `index`.
    #[must_use]
    pub fn new(term: Term, index: Index) -> LogPos {
        LogPos { term, index }
    }
}

impl fmt::Display for LogPos {
    /// `index@term`, as in `7@3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// A snapshot as consensus knows it (§7): what it includes, and how its file is recognized. Two
/// snapshots of one position are the same bytes on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it includes.
    pub pos: LogPos,
    /// The size of its file in bytes.
    pub bytes: u64,
    /// The hash of its file.
    pub hash: u128,
}
