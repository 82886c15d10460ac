//! Members of a cluster of real replicas come and go.

use raftkv::{
    raft::{Addition, Change, Index, NodeId},
    replica::SnapshotPolicy,
};
use raftkv_chaos::{Cluster, Settings};

fn voters(ids: &[NodeId]) -> Change {
    let voter = Addition {
        votes: true,
        ..Addition::default()
    };
    Change {
        add: ids.iter().map(|&id| (id, voter.clone())).collect(),
        ..Change::default()
    }
}

fn with_spares(spares: u64, seed: u64) -> Settings {
    let mut settings = Settings::new(3, seed);
    settings.spares = spares;
    settings
        .tick
        .resize(settings.hosts() as usize, settings.tick[0]);
    settings
}

#[test]
fn all_members_are_replaced_by_one_change_and_nothing_is_lost() {
    for seed in super::SEEDS {
        let mut cluster = Cluster::with_settings(with_spares(3, seed));
        cluster.put("a", "1");
        let old = cluster.ids();
        let new: Vec<NodeId> = old.iter().map(|_| cluster.set_up_spare()).collect();
        let mut change = voters(&new);
        change.remove.extend(&old);
        cluster.change(&change);
        for &id in &old {
            cluster.kill(id);
        }
        assert_eq!(cluster.get("a").as_deref(), Some("1"), "seed {seed}");
        let config = cluster.status(new[0]).config;
        assert!(
            config.voters().eq(new.iter().copied()),
            "seed {seed}: {config}"
        );
    }
}

/// It has the log from its beginning, and what the others were started with is not in it.
#[test]
fn who_joins_takes_no_snapshot_before_it_knows_the_members() {
    let mut settings = with_spares(1, 1);
    settings.snapshots = Some(SnapshotPolicy {
        log_bytes: 2_000,
        log_entries: u64::MAX,
        kept: 2,
    });
    let mut cluster = Cluster::with_settings(settings);
    let value = "v".repeat(100);
    for n in 0..25 {
        cluster.put(&format!("k{n}"), &value);
    }
    let leader = cluster.await_leader();
    cluster.run_until("a snapshot", |cluster| {
        cluster.status(leader).snapshot > Index::ZERO
    });
    assert_eq!(cluster.status(leader).base.index, Index::ZERO);
    let joined = cluster.set_up_spare();
    cluster.change(&voters(&[joined]));
    cluster.run_until("a snapshot of its own", |cluster| {
        cluster.status(joined).snapshot > Index::ZERO
    });
    let Index(included) = cluster.status(joined).snapshot;
    let members = cluster.replica(joined).raft().config_at(Index(included));
    assert!(members.contains(joined), "at {included}: {members}");
}
