//! What consensus has to know of the log: the term and the size of each entry, 16 bytes in all.
//! What entries carry passes through [`super::Effect::Write`] once and stays with the driver.

use super::types::{Index, LogPos, Term};

/// Terms and sizes of the entries from index 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    entries: Vec<Meta>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    term: Term,
    /// The bytes of this entry and all before it, so that any range is one subtraction.
    end_bytes: u64,
}

impl Log {
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
    pub fn truncate(&mut self, from: Index) {
        assert!(from > Index::ZERO, "nothing stands at index 0");
        self.entries.truncate(from.before().0 as usize);
    }

    /// The position of the last entry, [`LogPos::ZERO`] in an empty log.
    #[must_use]
    pub fn last(&self) -> LogPos {
        let index = Index(self.entries.len() as u64);
        LogPos::new(
            self.entries.last().map_or(Term::ZERO, |meta| meta.term),
            index,
        )
    }

    /// The term of the entry at `index`; index 0 has term 0, beyond the end there is none.
    #[must_use]
    pub fn term(&self, index: Index) -> Option<Term> {
        match index {
            Index::ZERO => Some(Term::ZERO),
            Index(n) => self.entries.get(n as usize - 1).map(|meta| meta.term),
        }
    }

    /// Whether the entry at `pos.index` is of `pos.term` (Log Matching, §5.3).
    #[must_use]
    pub fn matches(&self, pos: LogPos) -> bool {
        self.term(pos.index) == Some(pos.term)
    }

    /// The last entry with neither a later index nor a later term than `pos`. Below it two logs
    /// may agree; above it they cannot.
    #[must_use]
    pub fn last_not_after(&self, pos: LogPos) -> LogPos {
        let upto = self.entries.len().min(pos.index.0 as usize);
        let count = self.entries[..upto].partition_point(|meta| meta.term <= pos.term);
        let index = Index(count as u64);
        LogPos::new(self.term(index).expect("within the log"), index)
    }

    /// The bytes of the entries after `from`, up to and with `upto`.
    #[must_use]
    pub fn bytes(&self, from: Index, upto: Index) -> u64 {
        self.end_bytes(upto) - self.end_bytes(from)
    }

    /// The last index whose entry fits with all since `next` into `max_bytes` and `max_entries`;
    /// the entry at `next` always does.
    #[must_use]
    pub fn batch_end(&self, next: Index, max_bytes: u64, max_entries: u64) -> Index {
        let start = next.before().0 as usize;
        let limit = self.end_bytes(next.before()) + max_bytes;
        let stop = self.entries.len().min(start + max_entries as usize);
        let fits = self.entries[start..stop].partition_point(|meta| meta.end_bytes <= limit);
        Index((start + fits.max(1)) as u64)
    }

    fn end_bytes(&self, index: Index) -> u64 {
        match index {
            Index::ZERO => 0,
            Index(n) => self.entries[n as usize - 1].end_bytes,
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
