//! Things that are numbered as they come and go in any order, soon and mostly in turn.

use std::collections::VecDeque;

/// What is open, by number. Numbers count up from 0 and never return.
#[derive(Debug)]
pub struct Numbered<T> {
    first: u64,
    open: VecDeque<Option<T>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered {
            first: 0,
            open: VecDeque::new(),
        }
    }
}

impl<T> Numbered<T> {
    /// Adds one, and gives its number.
    pub fn add(&mut self, thing: T) -> u64 {
        self.open.push_back(Some(thing));
        self.first + self.open.len() as u64 - 1
    }

    /// Takes one out, if it is there.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let removed = self.open.get_mut(place)?.take();
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.first += 1;
        }
        removed
    }

    /// The numbers of what is open, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let open = (self.first..).zip(&self.open);
        open.filter(|(_, thing)| thing.is_some())
            .map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(
            steps in prop::collection::vec((any::<bool>(), 0..20u64), 0..60),
        ) {
            let mut numbered = Numbered::default();
            let mut map = std::collections::BTreeMap::new();
            let mut next = 0;
            for (adds, number) in steps {
                if adds {
                    prop_assert_eq!(numbered.add(number), next);
                    map.insert(next, number);
                    next += 1;
                } else {
                    prop_assert_eq!(numbered.remove(number), map.remove(&number));
                }
                prop_assert!(numbered.numbers().eq(map.keys().copied()));
            }
        }
    }
}
