//! A persistent B+tree: a clone is a clone of the root and shares every node, and a change copies
//! the nodes on its way down that a clone still shares.

use arrayvec::ArrayVec;
use triomphe::Arc;

use super::{
    TOGETHER,
    key::Key,
    node_keys::{FULL, NodeKeys},
};

/// Two neighbours with so many keys between them become one node.
const SCARCE: usize = FULL / 2;

/// Where a key was when it was looked for: which child to take, level by level, and which key of
/// the leaf.
#[derive(Clone, Debug)]
pub struct Place(ArrayVec<u8, LEVELS>);

/// A tree of more levels works, but has no places: it would have more keys than fit into memory.
const LEVELS: usize = 8;

/// Values by key, in the order of the keys.
#[derive(Clone, Debug)]
pub(super) struct Tree<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<V> {
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<Branch<V>>),
}

#[derive(Clone, Debug)]
struct Leaf<V> {
    keys: NodeKeys,
    values: ArrayVec<V, FULL>,
}

/// A child more than keys: what is below the first key is in the first child.
#[derive(Clone, Debug)]
struct Branch<V> {
    keys: NodeKeys,
    children: ArrayVec<Node<V>, { FULL + 1 }>,
}

impl<V> Default for Tree<V> {
    fn default() -> Tree<V> {
        Tree {
            root: Node::empty(),
            len: 0,
        }
    }
}

impl<V: Clone> Tree<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Branch(branch) => node = &branch.children[branch.keys.count_upto(key)],
                Node::Leaf(leaf) => return Some(&leaf.values[leaf.keys.find(key)?]),
            }
        }
    }

    /// Where these keys are, of those that are there. The way down is taken for all of them level
    /// by level, and `visit` looks at each value, so that the memory of all is waited for at once.
    pub(super) fn find(
        &self,
        keys: &ArrayVec<&[u8], TOGETHER>,
        visit: impl Fn(&V),
    ) -> ArrayVec<Option<Place>, TOGETHER> {
        let mut ways: ArrayVec<(&Node<V>, Place), TOGETHER> = ArrayVec::new();
        ways.extend(keys.iter().map(|_| (&self.root, Place(ArrayVec::new()))));
        while let Some((Node::Branch(_), _)) = ways.first() {
            for ((node, place), key) in ways.iter_mut().zip(keys) {
                if let Node::Branch(branch) = node {
                    let at = branch.keys.count_upto(key);
                    *node = &branch.children[at];
                    let _ = place.0.try_push(at as u8);
                }
            }
        }
        let places = ways.into_iter().zip(keys).map(|((node, mut place), key)| {
            let Node::Leaf(leaf) = node else {
                unreachable!("all leaves are equally far from the root")
            };
            let at = leaf.keys.find(key)?;
            visit(&leaf.values[at]);
            place.0.try_push(at as u8).ok()?;
            Some(place)
        });
        places.collect()
    }

    /// The value at a place, if that is where the key still is.
    pub(super) fn get_mut_at(&mut self, place: &Place, key: &[u8]) -> Option<&mut V> {
        let mut node = &mut self.root;
        for &at in &place.0 {
            match node {
                Node::Branch(branch) => {
                    node = Arc::make_mut(branch).children.get_mut(usize::from(at))?;
                }
                Node::Leaf(leaf) => {
                    let at = usize::from(at);
                    if leaf.keys.as_slice().get(at)?.as_slice() != key {
                        return None;
                    }
                    return Some(&mut Arc::make_mut(leaf).values[at]);
                }
            }
        }
        None
    }

    /// The value, to change it in its place.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Branch(branch) => {
                    let branch = Arc::make_mut(branch);
                    node = &mut branch.children[branch.keys.count_upto(key)];
                }
                Node::Leaf(leaf) => {
                    let at = leaf.keys.find(key)?;
                    return Some(&mut Arc::make_mut(leaf).values[at]);
                }
            }
        }
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: Key, value: V) {
        self.len += 1;
        if let Some((key, right)) = self.root.insert(key, value) {
            let left = std::mem::replace(&mut self.root, Node::empty());
            self.root = Node::Branch(Arc::new(Branch {
                keys: NodeKeys::new([key].into_iter().collect()),
                children: [left, right].into_iter().collect(),
            }));
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        // A removal copies shared nodes, whether or not it finds the key.
        self.get(key)?;
        let removed = self.root.remove(key)?;
        self.len -= 1;
        while let Node::Branch(branch) = &self.root
            && branch.children.len() < 2
        {
            let only = branch.children.first().cloned();
            self.root = only.unwrap_or_else(Node::empty);
        }
        Some(removed)
    }

    /// The keys behind `last`, or all, with their values.
    pub(super) fn behind(&self, last: Option<&Key>) -> Iter<'_, V> {
        let place = |keys: &NodeKeys| last.map_or(0, |last| keys.count_upto(last.as_slice()));
        let mut above = Vec::new();
        let mut node = &self.root;
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = place(&branch.keys);
                    above.push(branch.children[at + 1..].iter());
                    node = &branch.children[at];
                }
                Node::Leaf(leaf) => {
                    let at = place(&leaf.keys);
                    return Iter { above, leaf, at };
                }
            }
        }
    }
}

impl<V> Node<V> {
    /// One without keys.
    fn empty() -> Node<V> {
        Node::Leaf(Arc::new(Leaf {
            keys: NodeKeys::new(ArrayVec::new()),
            values: ArrayVec::new(),
        }))
    }

    /// How many values or children it has.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.values.len(),
            Node::Branch(branch) => branch.children.len(),
        }
    }
}

impl<V: Clone> Node<V> {
    /// Returns the right part of a node that had to be split, with the least key of that.
    fn insert(&mut self, key: Key, value: V) -> Option<(Key, Node<V>)> {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.keys.count_below(key.as_slice());
                Arc::make_mut(leaf).insert(at, key, value)
            }
            Node::Branch(branch) => {
                let at = branch.keys.count_upto(key.as_slice());
                let branch = Arc::make_mut(branch);
                let (key, right) = branch.children[at].insert(key, value)?;
                branch.insert(at, key, right)
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<V> {
        match self {
            Node::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let at = leaf.keys.find(key)?;
                leaf.keys.remove(at);
                Some(leaf.values.remove(at))
            }
            Node::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let at = branch.keys.count_upto(key);
                let removed = branch.children[at].remove(key)?;
                branch.tidy(at);
                Some(removed)
            }
        }
    }

    /// Takes all of the right neighbour, which has what is not below `key`.
    fn absorb(&mut self, key: Key, right: Node<V>) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let (left, right) = (Arc::make_mut(left), Arc::unwrap_or_clone(right));
                left.keys.extend(right.keys.into_iter());
                left.values.extend(right.values);
            }
            (Node::Branch(left), Node::Branch(right)) => {
                let (left, right) = (Arc::make_mut(left), Arc::unwrap_or_clone(right));
                left.keys
                    .extend([key].into_iter().chain(right.keys.into_iter()));
                left.children.extend(right.children);
            }
            _ => unreachable!("all leaves are equally far from the root"),
        }
    }
}

/// Where to split a full node that a key is to be added to: keys that come in order leave full
/// nodes behind.
fn middle(at: usize) -> usize {
    if at == FULL { FULL - 1 } else { FULL / 2 }
}

impl<V> Leaf<V> {
    fn insert(&mut self, at: usize, key: Key, value: V) -> Option<(Key, Node<V>)> {
        if self.keys.len() < FULL {
            self.keys.insert(at, key);
            self.values.insert(at, value);
            return None;
        }
        let middle = middle(at);
        let mut right = Leaf {
            keys: NodeKeys::new(self.keys.split_off(middle)),
            values: self.values.drain(middle..).collect(),
        };
        match at <= middle {
            true => self.insert(at, key, value),
            false => right.insert(at - middle, key, value),
        };
        let least = right.keys.as_slice()[0].clone();
        Some((least, Node::Leaf(Arc::new(right))))
    }
}

impl<V: Clone> Branch<V> {
    /// Adds a child that has what is not below `key` of the child at `at`.
    fn insert(&mut self, at: usize, key: Key, child: Node<V>) -> Option<(Key, Node<V>)> {
        if self.keys.len() < FULL {
            self.keys.insert(at, key);
            self.children.insert(at + 1, child);
            return None;
        }
        let middle = middle(at);
        let mut keys = self.keys.split_off(middle);
        let least = keys.remove(0);
        let mut right = Branch {
            keys: NodeKeys::new(keys),
            children: self.children.drain(middle + 1..).collect(),
        };
        match at <= middle {
            true => self.insert(at, key, child),
            false => right.insert(at - middle - 1, key, child),
        };
        Some((least, Node::Branch(Arc::new(right))))
    }

    /// A key of this child was removed: the child may be empty now, or have few enough for its
    /// neighbour.
    fn tidy(&mut self, at: usize) {
        let left = at.saturating_sub(1);
        if self.children[at].len() == 0 {
            self.children.remove(at);
            if self.keys.len() > 0 {
                self.keys.remove(left);
            }
        } else if let [one, other, ..] = &self.children[left..]
            && one.len() + other.len() <= SCARCE
        {
            let (key, right) = (self.keys.remove(left), self.children.remove(left + 1));
            self.children[left].absorb(key, right);
        }
    }
}

/// Keys and values in order.
#[derive(Debug)]
pub(super) struct Iter<'a, V> {
    /// What is to come of each branch above the leaf.
    above: Vec<std::slice::Iter<'a, Node<V>>>,
    leaf: &'a Leaf<V>,
    at: usize,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Key, &'a V);

    fn next(&mut self) -> Option<(&'a Key, &'a V)> {
        while self.at == self.leaf.values.len() {
            match self.above.last_mut()?.next() {
                None => {
                    self.above.pop();
                }
                Some(Node::Branch(branch)) => self.above.push(branch.children.iter()),
                Some(Node::Leaf(leaf)) => (self.leaf, self.at) = (leaf, 0),
            }
        }
        let at = self.at;
        self.at += 1;
        Some((&self.leaf.keys.as_slice()[at], &self.leaf.values[at]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The keys of the node are in order and within these bounds, and all leaves `levels` below.
    fn check(node: &Node<u32>, bounds: [Option<&Key>; 2], levels: usize) {
        let within = |key: &Key| {
            bounds[0].is_none_or(|low| low <= key) && bounds[1].is_none_or(|high| key < high)
        };
        match node {
            Node::Leaf(leaf) => {
                assert_eq!(levels, 0);
                assert_eq!(leaf.keys.len(), leaf.values.len());
                assert!(leaf.keys.as_slice().is_sorted_by(|a, b| a < b));
                assert!(leaf.keys.as_slice().iter().all(within));
            }
            Node::Branch(branch) => {
                let keys = branch.keys.as_slice();
                assert_eq!(keys.len() + 1, branch.children.len());
                assert!(keys.is_sorted_by(|a, b| a < b));
                assert!(keys.iter().all(within));
                let lows = std::iter::once(bounds[0]).chain(keys.iter().map(Some));
                let highs = keys.iter().map(Some).chain([bounds[1]]);
                for ((child, low), high) in branch.children.iter().zip(lows).zip(highs) {
                    assert!(child.len() > 0);
                    check(child, [low, high], levels - 1);
                }
            }
        }
    }

    fn levels(tree: &Tree<u32>) -> usize {
        let mut node = &tree.root;
        for level in 0.. {
            match node {
                Node::Leaf(_) => return level,
                Node::Branch(branch) => node = &branch.children[0],
            }
        }
        unreachable!("a tree has leaves")
    }

    fn key(n: u32) -> Vec<u8> {
        format!("{n:0width$}", width = 1 + n as usize % 40).into_bytes()
    }

    fn put(tree: &mut Tree<u32>, n: u32, value: u32) {
        match tree.get_mut(&key(n)) {
            Some(found) => *found = value,
            None => tree.insert(Key::new(&key(n)), value),
        }
    }

    proptest! {
        /// Fills and empties in turn, so that nodes are split and go again, while clones share
        /// them.
        #[test]
        fn a_tree_and_its_clones_answer_as_plain_maps_would(
            phases in prop::collection::vec(
                (0..3000u32, 0..3000usize, 0..10u32, any::<u32>()), 1..6,
            ),
        ) {
            let (mut tree, mut map) = (Tree::default(), BTreeMap::new());
            let mut clones = Vec::new();
            for (from, count, puts_of_ten, stride) in phases {
                for n in 0..count as u32 {
                    let n = from.wrapping_add(n.wrapping_mul(stride | 1)) % 3000;
                    if n % 10 < puts_of_ten {
                        put(&mut tree, n, stride ^ n);
                        map.insert(key(n), stride ^ n);
                    } else {
                        prop_assert_eq!(tree.remove(&key(n)), map.remove(&key(n)));
                    }
                }
                clones.push((tree.clone(), map.clone()));
            }
            for (tree, map) in clones {
                check(&tree.root, [None, None], levels(&tree));
                prop_assert_eq!(tree.len(), map.len());
                let all = tree.behind(None).map(|(key, value)| (key.as_slice().to_vec(), *value));
                prop_assert!(all.eq(map.clone()));
                for n in (0..3000).step_by(7) {
                    prop_assert_eq!(tree.get(&key(n)), map.get(&key(n)));
                    let next = tree.behind(Some(&Key::new(&key(n)))).next();
                    let bounds = (std::ops::Bound::Excluded(key(n)), std::ops::Bound::Unbounded);
                    let want = map.range(bounds).next();
                    let next = next.map(|(key, _)| key.as_slice());
                    prop_assert_eq!(next, want.map(|(key, _)| &key[..]));
                }
            }
        }
    }

    #[test]
    fn keys_that_come_in_order_fill_their_nodes() {
        let mut tree = Tree::default();
        for n in 0..10_000u32 {
            tree.insert(Key::new(&n.to_be_bytes()), n);
        }
        let Node::Branch(root) = &tree.root else {
            panic!("one leaf for all keys")
        };
        assert_eq!(levels(&tree), 2);
        assert_eq!(
            root.children.len(),
            10_000_usize.div_ceil((FULL - 1) * FULL)
        );
    }

    #[test]
    fn a_tree_that_is_emptied_has_no_levels_left() {
        let mut tree = Tree::default();
        (0..5_000).for_each(|n| put(&mut tree, n, n));
        assert_eq!(levels(&tree), 2);
        (0..5_000).for_each(|n| assert_eq!(tree.remove(&key(n)), Some(n)));
        assert_eq!((tree.len(), levels(&tree)), (0, 0));
        assert!(tree.behind(None).next().is_none());
    }
}
