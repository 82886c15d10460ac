use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

fn put(key: &str, value: &str) -> Command {
    Command::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.to_owned().into(),
    }
}

fn delete(key: &str) -> Command {
    Command::Delete {
        key: Bytes::copy_from_slice(key.as_bytes()),
    }
}

#[test]
fn a_key_counts_its_puts_and_starts_anew_after_a_delete() {
    let mut kv = Kv::default();
    kv.apply(put("a", "1"));
    kv.apply(put("b", "2"));
    kv.apply(put("a", "3"));
    let a = kv.get(b"a").expect("stored");
    assert_eq!((a.create_revision, a.mod_revision, a.version), (1, 3, 2));
    assert_eq!(kv.apply(delete("a")), Outcome::Deleted { found: true });
    kv.apply(put("a", "4"));
    let a = kv.get(b"a").expect("stored");
    assert_eq!((a.create_revision, a.mod_revision, a.version), (5, 5, 1));
}

#[test]
fn deleting_what_is_absent_changes_nothing() {
    let mut kv = Kv::default();
    kv.apply(put("a", "1"));
    let before = kv.image();
    assert_eq!(kv.apply(delete("b")), Outcome::Deleted { found: false });
    assert_eq!(kv.image(), before);
}

/// A history of one key as the encoding has it.
fn entry_bytes(key: &[u8], numbers: [u64; 3], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for bytes in [key, value] {
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_le_bytes());
    }
    numbers
        .iter()
        .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    [&out, key, value].concat()
}

fn drain(mut view: Frozen, target_bytes: usize) -> Vec<Vec<u8>> {
    let mut chunks = vec![Vec::new()];
    while view.encode_some(chunks.last_mut().expect("one"), target_bytes) {
        chunks.push(Vec::new());
    }
    chunks
}

fn load(revision: u64, chunk: &[u8]) -> Result<(), LoadError> {
    Loader::new(revision).take(chunk)
}

#[test]
fn an_entry_is_sizes_and_history_and_key_and_value() {
    let mut kv = Kv::default();
    kv.apply(put("key", "one"));
    kv.apply(put("other", "2"));
    kv.apply(put("key", "value"));
    let want = entry_bytes(b"key", [1, 3, 2], b"value");
    let mut view = kv.freeze();
    let mut out = Vec::new();
    assert!(
        view.encode_some(&mut out, 1),
        "one entry, whatever the target"
    );
    assert_eq!(out, want);
    assert!(view.encode_some(&mut out, usize::MAX));
    let other = entry_bytes(b"other", [2, 2, 1], b"2");
    assert_eq!(out, [want, other].concat());
    assert!(!view.encode_some(&mut out, usize::MAX), "nothing is left");
}

#[test]
fn a_view_goes_to_another_thread() {
    fn is_free<T: Send + 'static>() {}
    is_free::<Frozen>();
}

#[test]
fn a_value_outlives_its_key_without_a_copy() {
    let mut kv = Kv::default();
    kv.apply(put("a", "1"));
    let (one, two) = (kv.get(b"a").expect("stored"), kv.get(b"a").expect("stored"));
    assert_eq!(one.value.as_ptr(), two.value.as_ptr());
    kv.apply(delete("a"));
    assert_eq!(&one.value[..], b"1");
}

#[test]
fn a_loader_refuses_keys_out_of_order() {
    let (a, b) = (
        entry_bytes(b"a", [1, 1, 1], b""),
        entry_bytes(b"b", [2, 2, 1], b""),
    );
    assert_eq!(load(2, &[&a[..], &b].concat()), Ok(()));
    assert_eq!(load(2, &[&b[..], &a].concat()), Err(LoadError::Order));
    assert_eq!(load(2, &[&a[..], &a].concat()), Err(LoadError::Order));
    let mut loader = Loader::new(2);
    assert_eq!(loader.take(&b), Ok(()));
    assert_eq!(loader.take(&[]), Ok(()));
    assert_eq!(loader.take(&a), Err(LoadError::Order));
}

#[test]
fn a_loader_refuses_sizes_beyond_the_limits() {
    let of_size =
        |key: usize, value: usize| load(1, &entry_bytes(&vec![7; key], [1, 1, 1], &vec![7; value]));
    assert_eq!(of_size(0, 1), Err(LoadError::Size));
    assert_eq!(of_size(KEY_MAX_BYTES, VALUE_MAX_BYTES), Ok(()));
    assert_eq!(of_size(KEY_MAX_BYTES + 1, 1), Err(LoadError::Size));
    assert_eq!(of_size(1, VALUE_MAX_BYTES + 1), Err(LoadError::Size));
}

#[test]
fn a_loader_refuses_histories_that_no_commands_lead_to() {
    let with = |numbers| load(9, &entry_bytes(b"k", numbers, b""));
    for possible in [[1, 1, 1], [9, 9, 1], [3, 4, 2], [1, 9, 9], [1, 9, 2]] {
        assert_eq!(with(possible), Ok(()), "{possible:?}");
    }
    for impossible in [
        [0, 1, 2],
        [0, 0, 1],
        [3, 2, 1],
        [1, 10, 2],
        [3, 3, 0],
        [3, 3, 2],
        [3, 4, 1],
        [3, 4, 3],
        [1, 9, u64::MAX],
        [u64::MAX, u64::MAX, 1],
    ] {
        assert_eq!(with(impossible), Err(LoadError::History), "{impossible:?}");
    }
}

#[test]
fn a_loader_refuses_an_entry_that_is_cut() {
    let whole = entry_bytes(b"key", [1, 1, 1], b"value");
    for cut in 1..whole.len() {
        assert_eq!(load(1, &whole[..cut]), Err(LoadError::Cut), "at {cut}");
    }
}

#[test]
fn a_loader_counts_the_keys() {
    let load = |keys| {
        let mut loader = Loader::new(1);
        loader
            .take(&entry_bytes(b"k", [1, 1, 1], b""))
            .expect("an entry");
        loader.finish(keys).map(|kv| kv.len())
    };
    assert_eq!(load(1), Ok(1));
    for expected in [0, 2] {
        assert_eq!(load(expected), Err(LoadError::Keys { expected, found: 1 }));
    }
}

type Model = BTreeMap<Vec<u8>, ([u64; 3], Vec<u8>)>;

fn model_bytes(model: &Model) -> Vec<u8> {
    let entries = model.iter();
    entries
        .flat_map(|(key, (numbers, value))| entry_bytes(key, *numbers, value))
        .collect()
}

/// As it is defined, from scratch.
fn model_digest(model: &Model) -> u128 {
    let entries = model.iter();
    let hashes = entries.map(|(key, (numbers, value))| {
        let mut bytes = xxh3_64(key).to_le_bytes().to_vec();
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(xxh3_128(value).to_le_bytes());
        xxh3_128(&bytes)
    });
    hashes.fold(0, u128::wrapping_add)
}

#[test]
fn a_digest_tells_keys_values_and_histories_apart() {
    let digest = |commands: &[Command]| {
        let mut kv = Kv::default();
        for command in commands {
            kv.apply(command.clone());
        }
        kv.digest()
    };
    let base = digest(&[put("a", "1")]);
    assert_ne!(base, 0);
    assert_ne!(base, digest(&[put("a", "2")]), "another value");
    assert_ne!(base, digest(&[put("b", "1")]), "another key");
    assert_ne!(base, digest(&[put("a", "1"), put("a", "1")]), "put twice");
    let later = [put("b", "1"), delete("b"), put("a", "1")];
    assert_ne!(base, digest(&later), "put later");
    assert_eq!(base, digest(&[put("a", "1"), put("b", "1"), delete("b")]));
    assert_eq!(digest(&[put("a", "1"), delete("a")]), 0);
}

/// Applies the same change to both.
fn change(kv: &mut Kv, model: &mut Model, revision: &mut u64, key: Vec<u8>, value: Option<u8>) {
    let Some(value) = value else {
        let found = model.remove(&key).is_some();
        *revision += u64::from(found);
        assert_eq!(
            kv.apply(Command::Delete { key }),
            Outcome::Deleted { found }
        );
        return;
    };
    *revision += 1;
    let value = vec![value; usize::from(value)];
    let entry = model
        .entry(key.clone())
        .or_insert(([*revision, 0, 0], Vec::new()));
    *entry = ([entry.0[0], *revision, entry.0[2] + 1], value.clone());
    kv.apply(Command::Put { key, value });
}

/// Few enough to meet again, enough for three levels of nodes, and of both forms.
fn a_key() -> impl Strategy<Value = Vec<u8>> {
    (0u16..600).prop_map(|n| format!("{n:0width$}", width = 1 + usize::from(n % 40)).into_bytes())
}

proptest! {
    #[test]
    fn the_store_agrees_with_a_plain_map(
        commands in prop::collection::vec((0u8..6, prop::option::of(0u8..9)), 0..60),
    ) {
        let (mut kv, mut model) = (Kv::default(), BTreeMap::new());
        for (key, value) in commands {
            let (key, outcome) = (format!("k{key}"), match value {
                Some(value) => kv.apply(put(&format!("k{key}"), &value.to_string())),
                None => kv.apply(delete(&format!("k{key}"))),
            });
            let want = match value {
                Some(value) => { model.insert(key, value.to_string()); Outcome::Put }
                None => Outcome::Deleted { found: model.remove(&key).is_some() },
            };
            prop_assert_eq!(outcome, want);
        }
        prop_assert_eq!(kv.len(), model.len());
        for (key, value) in &model {
            let stored = kv.get(key.as_bytes()).expect("stored");
            prop_assert_eq!(&stored.value[..], value.as_bytes());
        }
    }

    #[test]
    fn a_view_shows_its_moment_whatever_comes_after(
        steps in prop::collection::vec(
            (a_key(), prop::option::weighted(0.6, 0u8..9), prop::bool::weighted(0.01)), 0..2000,
        ),
        target_bytes in 1usize..4000,
    ) {
        let (mut kv, mut model, mut revision) = (Kv::default(), Model::new(), 0);
        let mut views = Vec::new();
        for (key, value, is_frozen) in steps {
            change(&mut kv, &mut model, &mut revision, key, value);
            if is_frozen {
                views.push((kv.freeze(), model.clone(), revision));
            }
        }
        prop_assert_eq!(kv.digest(), model_digest(&model));
        views.push((kv.freeze(), model, revision));
        prop_assert_eq!(&kv.image()[8..], &drain(kv.freeze(), usize::MAX).concat()[..]);
        for (view, model, revision) in views {
            prop_assert_eq!((view.len(), view.revision()), (model.len(), revision));
            let chunks = drain(view, target_bytes);
            prop_assert_eq!(chunks.concat(), model_bytes(&model));
            let mut loader = Loader::new(revision);
            for chunk in &chunks {
                prop_assert_eq!(loader.take(chunk), Ok(()));
            }
            let loaded = loader.finish(model.len() as u64).expect("all keys");
            let image = [&revision.to_le_bytes()[..], &model_bytes(&model)].concat();
            prop_assert_eq!(loaded.image(), image);
            prop_assert_eq!(loaded.digest(), model_digest(&model));
        }
    }

    #[test]
    fn a_loaded_state_goes_on_as_the_first_did(
        before in prop::collection::vec((a_key(), prop::option::weighted(0.8, 0u8..9)), 0..600),
        after in prop::collection::vec((a_key(), prop::option::of(0u8..9)), 0..600),
    ) {
        let (mut kv, mut model, mut revision) = (Kv::default(), Model::new(), 0);
        for (key, value) in before {
            change(&mut kv, &mut model, &mut revision, key, value);
        }
        let mut loader = Loader::new(revision);
        loader.take(&drain(kv.freeze(), usize::MAX).concat()).expect("entries");
        let mut kv = loader.finish(model.len() as u64).expect("all keys");
        for (key, value) in after {
            change(&mut kv, &mut model, &mut revision, key, value);
        }
        prop_assert_eq!(&kv.image()[8..], &model_bytes(&model)[..]);
        prop_assert_eq!(kv.digest(), model_digest(&model));
    }

    #[test]
    fn no_bytes_make_a_loader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        revision in any::<u64>(),
    ) {
        let _ = load(revision, &bytes);
        let mut damaged = [
            entry_bytes(b"a", [1, 2, 2], b"one"), entry_bytes(b"b", [3, 3, 1], b"two"),
        ].concat();
        if let Some(byte) = bytes.first() {
            let at = at.index(damaged.len());
            damaged[at] ^= byte;
        }
        let _ = load(revision, &damaged);
    }
}
