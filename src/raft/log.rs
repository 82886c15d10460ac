//! What consensus has to know of the log: the term and the size of each entry, 16 bytes in all.
//! What entries carry passes through [`super::Effect::Write`] once and stays with the driver.

use super::types::{Index, LogPos, Term};

/// Terms and sizes of the entries behind [`Log::base`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    base: LogPos,
    base_end_bytes: u64,
    entries: Vec<Meta>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    term: Term,
    /// The bytes of this entry and all before it, so that any range is one subtraction.
    end_bytes: u64,
}

impl Log {
    /// An empty log that goes on behind `base`, the last entry of a snapshot (§7).
    #[must_use]
    pub fn after(base: LogPos) -> Log {
        Log {
            base,
            ..Log::default()
        }
    }

    /// The entry before the first: what is up to it was dropped, since a snapshot has it (§7).
    /// [`LogPos::ZERO`] in a log that was never compacted.
    #[must_use]
    pub fn base(&self) -> LogPos {
        self.base
    }

    /// Adds an entry of `bytes` bytes.
    ///
    /// # Panics
    /// If its term is below the last one's: terms in a log never fall (§5.3).
    pub fn push(&mut self, term: Term, bytes: u64) -> LogPos {
        let last = self.last();
        assert!(term >= last.term, "entry of term {term} after {last}");
        let end_bytes = self.end_bytes(last.index) + bytes;
        self.entries.push(Meta { term, end_bytes });
        LogPos::new(term, last.index.next())
    }

    /// Drops the entry at `from` and all that follow.
    ///
    /// # Panics
    /// If `from` was compacted: a snapshot is never undone.
    pub fn truncate(&mut self, from: Index) {
        let base = self.base.index;
        assert!(
            from > base,
            "truncating {from}, the log begins after {base}"
        );
        self.entries.truncate(self.place(from));
    }

    /// Drops the entries up to and with `upto`, which a snapshot has.
    ///
    /// # Panics
    /// If the log does not reach so far.
    pub fn compact(&mut self, upto: Index) {
        if upto <= self.base.index {
            return;
        }
        let term = self.term(upto).expect("what is compacted is in the log");
        self.base_end_bytes = self.end_bytes(upto);
        let dropped = upto.0 - self.base.index.0;
        self.entries.drain(..dropped as usize);
        self.base = LogPos::new(term, upto);
    }

    /// The position of the last entry; of [`Log::base`] where there is none.
    #[must_use]
    pub fn last(&self) -> LogPos {
        let index = Index(self.base.index.0 + self.entries.len() as u64);
        let last = self.entries.last();
        LogPos::new(last.map_or(self.base.term, |meta| meta.term), index)
    }

    /// The term of the entry at `index`, from that of [`Log::base`] on to the end; none elsewhere.
    #[must_use]
    pub fn term(&self, index: Index) -> Option<Term> {
        match index.0.checked_sub(self.base.index.0)? {
            0 => Some(self.base.term),
            n => self.entries.get(n as usize - 1).map(|meta| meta.term),
        }
    }

    /// Whether the entry at `pos.index` is of `pos.term` (Log Matching, §5.3). Of what was
    /// compacted the term is not known any more: that never matches.
    #[must_use]
    pub fn matches(&self, pos: LogPos) -> bool {
        self.term(pos.index) == Some(pos.term)
    }

    /// The last entry with neither a later index nor a later term than `pos`, or
    /// [`Log::base`]. Below it two logs may agree; above it they cannot.
    #[must_use]
    pub fn last_not_after(&self, pos: LogPos) -> LogPos {
        let upto = pos.index.0.saturating_sub(self.base.index.0);
        let upto = self.entries.len().min(upto as usize);
        let count = self.entries[..upto].partition_point(|meta| meta.term <= pos.term);
        let index = Index(self.base.index.0 + count as u64);
        LogPos::new(self.term(index).expect("within the log"), index)
    }

    /// The bytes of the entries after `from`, up to and with `upto`; what was compacted counts
    /// nothing.
    #[must_use]
    pub fn bytes(&self, from: Index, upto: Index) -> u64 {
        self.end_bytes(upto) - self.end_bytes(from)
    }

    /// The last index whose entry fits with all since `next` into `max_bytes` and `max_entries`;
    /// the entry at `next` always does.
    #[must_use]
    pub fn batch_end(&self, next: Index, max_bytes: u64, max_entries: u64) -> Index {
        let start = self.place(next);
        let limit = self.end_bytes(next.before()) + max_bytes;
        let stop = self.entries.len().min(start + max_entries as usize);
        let fits = self.entries[start..stop].partition_point(|meta| meta.end_bytes <= limit);
        Index(next.before().0 + fits.max(1) as u64)
    }

    /// Where the entry at `index` stands among those that are kept.
    fn place(&self, index: Index) -> usize {
        (index.0 - self.base.index.0 - 1) as usize
    }

    fn end_bytes(&self, index: Index) -> u64 {
        match index.0.saturating_sub(self.base.index.0) {
            0 => self.base_end_bytes,
            n => self.entries[n as usize - 1].end_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log_of(terms: &[u64]) -> Log {
        let mut log = Log::default();
        for &term in terms {
            log.push(Term(term), 10);
        }
        log
    }

    proptest! {
        #[test]
        fn a_log_answers_as_a_vector_of_terms_would(
            mut terms in prop::collection::vec(1u64..6, 0..12),
            index in 0u64..14,
            term in 0u64..7,
            cut in 1u64..14,
        ) {
            terms.sort_unstable();
            let mut log = log_of(&terms);
            let at = |i: u64| if i == 0 { Some(0) } else { terms.get(i as usize - 1).copied() };
            prop_assert_eq!(log.term(Index(index)), at(index).map(Term));
            let want = (0..=terms.len() as u64)
                .filter(|&i| i <= index && at(i).is_some_and(|t| t <= term))
                .max()
                .unwrap_or(0);
            let pos = LogPos::new(Term(term), Index(index));
            prop_assert_eq!(log.last_not_after(pos).index, Index(want));
            log.truncate(Index(cut));
            prop_assert_eq!(log, log_of(&terms[..terms.len().min(cut as usize - 1)]));
        }

        #[test]
        fn a_compacted_log_answers_as_before_behind_its_base(
            mut terms in prop::collection::vec(1u64..6, 1..12),
            upto in any::<prop::sample::Index>(),
            index in 0u64..14,
            term in 0u64..7,
            added in 0u64..3,
        ) {
            terms.sort_unstable();
            let whole = log_of(&terms);
            let mut log = whole.clone();
            let base = Index(upto.index(terms.len()) as u64 + 1);
            log.compact(base);
            prop_assert_eq!(log.base(), LogPos::new(whole.term(base).expect("there"), base));
            let mut whole = whole;
            for log in [&mut log, &mut whole] {
                (0..added).for_each(|_| { log.push(Term(6), 10); });
            }
            prop_assert_eq!(log.last(), whole.last());
            let index = Index(index);
            prop_assert_eq!(log.term(index), whole.term(index).filter(|_| index >= base));
            let pos = LogPos::new(Term(term), index);
            let want = whole.last_not_after(pos);
            let want = if want.index < base { log.base() } else { want };
            prop_assert_eq!(log.last_not_after(pos), want);
            if index > base && index <= log.last().index {
                prop_assert_eq!(log.bytes(base, index), whole.bytes(base, index));
                prop_assert_eq!(log.batch_end(index, 20, 9), whole.batch_end(index, 20, 9));
                log.truncate(index);
                whole.truncate(index);
                prop_assert_eq!(log.last(), whole.last());
            }
        }
    }

    #[test]
    fn a_batch_holds_at_least_one_entry_and_no_more_than_fit() {
        let log = log_of(&[1, 1, 1, 1]);
        assert_eq!(
            log.batch_end(Index(2), 1, 9),
            Index(2),
            "too large alone, still sent"
        );
        assert_eq!(log.batch_end(Index(2), 20, 9), Index(3));
        assert_eq!(log.batch_end(Index(1), 1000, 2), Index(2));
        assert_eq!(log.batch_end(Index(1), 1000, 9), Index(4));
        assert_eq!(log.bytes(Index(1), Index(3)), 20);
    }
}
