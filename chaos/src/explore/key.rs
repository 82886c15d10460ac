//! Keys of states: 128-bit hashes, one for each way to rename the nodes, so that worlds that
//! differ only in who is called what have the same least key.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hasher},
    ops::Deref,
    sync::Arc,
};

use raftkv::raft::{Config, Entry, EntryKind, HardState, LogPos, NodeId};

/// The members of the cluster that is searched.
pub const NODES: usize = 3;

/// What each node is called instead.
pub type Names = [NodeId; NODES];

/// All renamings; the first changes nothing.
pub const RENAMINGS: [Names; 6] = [
    names(0, 1, 2),
    names(0, 2, 1),
    names(1, 0, 2),
    names(1, 2, 0),
    names(2, 0, 1),
    names(2, 1, 0),
];

const fn names(a: u64, b: u64, c: u64) -> Names {
    [NodeId(a), NodeId(b), NodeId(c)]
}

/// What can be written out under other names. Two values with the same text have the same future.
pub trait Encode {
    /// Tells the texts of one type from those of the others.
    const TAG: u8;

    /// Appends the text.
    fn encode(&self, names: &Names, out: &mut Vec<u8>);
}

/// A value with its key under each renaming.
#[derive(Debug)]
pub struct Keyed<T> {
    value: T,
    keys: [u128; RENAMINGS.len()],
}

impl<T> Keyed<T> {
    /// Its key under the renaming of this number.
    pub fn key(&self, renaming: usize) -> u128 {
        self.keys[renaming]
    }
}

impl<T> Deref for Keyed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One copy of each value: a world is a handful of references, and a value's keys are computed
/// once. Worlds are many, what they are made of is not.
pub struct Interner<T> {
    known: HashMap<u128, Arc<Keyed<T>>, BuildHasherDefault<Direct>>,
    buffer: Vec<u8>,
}

impl<T: Encode> Interner<T> {
    pub fn new() -> Interner<T> {
        Interner {
            known: HashMap::default(),
            buffer: Vec::new(),
        }
    }

    /// The one copy of this value.
    pub fn intern(&mut self, value: T) -> Arc<Keyed<T>> {
        let key = text_key(&value, &RENAMINGS[0], &mut self.buffer);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        let keys = RENAMINGS.map(|names| text_key(&value, &names, &mut self.buffer));
        let keyed = Arc::new(Keyed { value, keys });
        self.known.insert(key, Arc::clone(&keyed));
        keyed
    }
}

fn text_key<T: Encode>(value: &T, names: &Names, buffer: &mut Vec<u8>) -> u128 {
    buffer.clear();
    buffer.push(T::TAG);
    value.encode(names, buffer);
    hash(buffer)
}

/// Twice SipHash, of a text and of the same text with one more byte, with fixed keys: the same in
/// every run.
fn hash(text: &mut Vec<u8>) -> u128 {
    let mut half = || {
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        text.push(u8::MAX);
        u128::from(hasher.finish())
    };
    half() << 64 | half()
}

/// Takes the low half of a key for its hash: keys are hashes already.
#[derive(Default)]
pub struct Direct(u64);

impl Hasher for Direct {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only keys are hashed")
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

pub fn number(value: u64, out: &mut Vec<u8>) {
    out.push(u8::try_from(value).expect("a small number"));
}

pub fn node(node: NodeId, names: &Names, out: &mut Vec<u8>) {
    number(names[index_of(node)].0, out);
}

pub fn optional_node(id: Option<NodeId>, names: &Names, out: &mut Vec<u8>) {
    match id {
        Some(id) => node(id, names, out),
        None => out.push(u8::MAX),
    }
}

pub fn position(pos: LogPos, out: &mut Vec<u8>) {
    number(pos.term.0, out);
    number(pos.index.0, out);
}

pub fn hard(hard: HardState, names: &Names, out: &mut Vec<u8>) {
    number(hard.term.0, out);
    optional_node(hard.vote, names, out);
}

/// Who the members are is told by their new names.
pub fn entry(entry: &Entry, names: &Names, out: &mut Vec<u8>) {
    position(entry.pos, out);
    number(u64::from(entry.kind.0), out);
    if entry.kind == EntryKind::CONFIG {
        return config(&Config::decode(&entry.data).expect("our own"), names, out);
    }
    number(entry.data.len() as u64, out);
    out.extend_from_slice(&entry.data);
}

/// Addresses and incarnations there are none.
fn config(config: &Config, names: &Names, out: &mut Vec<u8>) {
    let mut places = [0; NODES];
    for (name, id) in names.iter().zip((0..).map(NodeId)) {
        let member = config.members().get(&id);
        let gone = 8 + u8::from(config.retired().contains(&id));
        places[index_of(*name)] = member.map_or(gone, |member| member.suffrage as u8);
    }
    out.extend(places);
}

pub fn entries(list: &[Entry], names: &Names, out: &mut Vec<u8>) {
    number(list.len() as u64, out);
    list.iter().for_each(|one| entry(one, names, out));
}

pub fn index_of(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}
