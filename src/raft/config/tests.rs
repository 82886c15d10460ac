use proptest::prelude::*;

use super::*;

fn ids(range: std::ops::Range<u64>) -> impl Iterator<Item = NodeId> {
    range.map(NodeId)
}

fn add(ids: impl IntoIterator<Item = u64>) -> Change {
    let voter = |id| {
        let addition = Addition {
            votes: true,
            ..Addition::default()
        };
        (NodeId(id), addition)
    };
    Change {
        add: ids.into_iter().map(voter).collect(),
        ..Change::default()
    }
}

fn wins(config: &Config, mask: u64) -> bool {
    config.quorum_min(|node| mask >> node.0 & 1) == 1
}

proptest! {
    #[test]
    fn quorum_min_is_the_middle_of_the_sorted_values(
        values in prop::collection::vec(0u64..9, 1..10),
    ) {
        let config = Config::new(ids(0..values.len() as u64));
        let mut sorted = values.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let got = config.quorum_min(|node| values[node.0 as usize]);
        prop_assert_eq!(got, sorted[values.len() / 2]);
    }

    #[test]
    fn a_joint_quorum_is_the_lower_of_both(
        values in prop::collection::vec(0u64..9, 7),
        old in 1u64..6,
        added in 0u64..2,
        removed in prop::collection::btree_set(0u64..6, 0..4),
    ) {
        let change = Change {
            remove: removed.into_iter().map(NodeId).filter(|id| id.0 < old).collect(),
            ..add(old..old + added)
        };
        let old = Config::new(ids(0..old));
        let joint = old.changed_by(&change);
        let new = joint.settled();
        prop_assume!(new.voters().next().is_some());
        let of = |config: &Config| config.quorum_min(|node| values[node.0 as usize]);
        prop_assert_eq!(of(&joint), of(&old).min(of(&new)));
        prop_assert!(change.is_done_in(&new));
    }

    #[test]
    fn what_was_encoded_is_read_again(
        addresses in prop::collection::vec("[a-z]{0,9}(:[0-9]{1,5})?", 4),
        incarnation in any::<Option<[u8; 16]>>(),
        removed in 0u64..3,
    ) {
        let description = |at: usize| Description {
            peer_address: addresses[at].clone(),
            client_address: addresses[at + 1].clone(),
            incarnation,
        };
        let config = Config::described(ids(0..3).map(|id| (id, description(id.0 as usize))));
        let change = Change { remove: [NodeId(removed)].into(), ..add([7]) };
        for config in [config.changed_by(&change), config.changed_by(&change).settled()] {
            let bytes = config.encode();
            prop_assert_eq!(Config::decode(&bytes), Some(config));
        }
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        if let Some(config) = Config::decode(&bytes) {
            prop_assert_eq!(&config.encode()[..], &bytes[..]);
        }
    }
}

#[test]
fn bytes_that_were_cut_or_lengthened_are_no_configuration() {
    let bytes = Config::new(ids(0..3)).encode();
    for end in 0..bytes.len() {
        assert_eq!(Config::decode(&bytes[..end]), None, "cut at {end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Config::decode(&longer), None);
}

#[test]
fn any_two_majorities_share_a_voter() {
    for size in 1..=7u64 {
        let config = Config::new(ids(0..size));
        for a in (0..1u64 << size).filter(|&mask| wins(&config, mask)) {
            for b in (0..1u64 << size).filter(|&mask| wins(&config, mask)) {
                assert_ne!(a & b, 0, "{a:b} and {b:b} both win among {size}");
            }
        }
    }
}

/// §6, Figure 10: why a change goes through C_old,new. No two of neighbouring configurations can
/// decide apart from each other, although C_old and C_new can.
#[test]
fn neighbouring_configurations_decide_together() {
    let old = Config::new(ids(0..3));
    let change = Change {
        remove: [NodeId(0), NodeId(1)].into(),
        ..add([3, 4])
    };
    let joint = old.changed_by(&change);
    let new = joint.settled();
    let masks = || 0..1u64 << 5;
    for (one, other) in [(&old, &joint), (&joint, &joint), (&joint, &new)] {
        for a in masks().filter(|&mask| wins(one, mask)) {
            assert!(!masks().any(|b| a & b == 0 && wins(other, b)), "{a:b}");
        }
    }
    let apart = |a| masks().any(|b| a & b == 0 && wins(&new, b));
    assert!(masks().any(|a| wins(&old, a) && apart(a)));
}

#[test]
fn a_change_of_learners_needs_no_second_majority() {
    let config = Config::new(ids(0..3));
    let learner = Change {
        add: [(NodeId(3), Addition::default())].into(),
        ..Change::default()
    };
    let with = config.changed_by(&learner);
    assert!(!with.is_joint() && with.contains(NodeId(3)) && !with.votes(NodeId(3)));
    let without = with.changed_by(&Change {
        remove: [NodeId(3)].into(),
        ..Change::default()
    });
    assert!(!without.is_joint() && without.retired().contains(&NodeId(3)));
}

#[test]
fn nobody_decides_where_nobody_votes() {
    assert_eq!(Config::default().quorum_min(|_| 9), 0);
}

#[test]
fn an_incarnation_that_is_known_stays() {
    let describe = |address: &str, incarnation| {
        let description = Description {
            peer_address: address.to_owned(),
            incarnation,
            ..Description::default()
        };
        BTreeMap::from([(NodeId(0), description)])
    };
    let config = Config::described(describe("a:1", None));
    let config = config.redescribed(&describe("b:1", Some([1; 16])));
    let config = config.redescribed(&describe("c:1", Some([2; 16])));
    let description = &config.members()[&NodeId(0)].description;
    assert_eq!(description.peer_address, "c:1");
    assert_eq!(description.incarnation, Some([1; 16]));
}

#[test]
fn the_bytes_are_those_of_the_documents() {
    let described = Description {
        peer_address: "h:1".to_owned(),
        client_address: String::new(),
        incarnation: Some([7; 16]),
    };
    let known = [(NodeId(1), described), (NodeId(2), Description::default())];
    let change = Change {
        remove: [NodeId(2)].into(),
        ..Change::default()
    };
    let joint = Config::described(known).changed_by(&change);
    let nothing = [0; 17];
    let first = [
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[7; 16],
        b"\x03\0h:1\0\0",
    ]
    .concat();
    let second = [&[2, 0, 0, 0, 0, 0, 0, 0, 3][..], &nothing, &[0; 4]].concat();
    let both = [&[2, 0, 0, 0, 0, 0][..], &first, &second].concat();
    assert_eq!(joint.encode(), both);
    let one = [&[1, 0, 1, 0, 0, 0][..], &first, &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(joint.settled().encode(), one);
}
