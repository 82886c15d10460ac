//! Three and five real replicas in one process: elections, replication and what clients see.

use std::sync::Arc;

use raftkv::{
    raft::{NodeId, Note, RefusalReason, RoleName, StepDown},
    replica::Reply,
};
use raftkv_chaos::{Cluster, Settings, delete, get, put};

#[path = "cluster/members.rs"]
mod members;
#[path = "cluster/snapshots.rs"]
mod snapshots;

/// Enough seeds that timeouts and delays fall differently, few enough to take no time.
const SEEDS: std::ops::Range<u64> = 0..20;

fn settled(size: u64, seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(size, seed);
    let leader = cluster.await_leader();
    (cluster, leader)
}

mod elections {
    use super::*;

    #[test]
    fn a_fresh_cluster_elects_one_leader_whom_all_follow() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(3, seed);
            cluster.run_ms(200);
            for status in cluster.statuses() {
                assert_eq!(status.leader, Some(leader), "n{} at seed {seed}", status.id);
            }
        }
    }

    #[test]
    fn a_single_node_leads_and_commits_alone() {
        let (mut cluster, leader) = settled(1, 7);
        assert!(matches!(
            cluster.call(leader, put("a", "1")),
            Reply::Put { .. }
        ));
        assert_eq!(cluster.get("a").as_deref(), Some("1"));
    }

    #[test]
    fn a_killed_leader_is_replaced_by_one_that_has_all_acknowledged_writes() {
        for seed in SEEDS {
            let (mut cluster, first) = settled(5, seed);
            cluster.put("a", "1");
            cluster.kill(first);
            cluster.run_until("another leader", |c| {
                c.leader().is_some_and(|id| id != first)
            });
            assert_eq!(cluster.get("a").as_deref(), Some("1"), "seed {seed}");
        }
    }

    #[test]
    fn an_idle_leader_stays_in_office() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(5, seed);
            let term = cluster.status(leader).hard.term;
            cluster.run_ms(60_000);
            assert_eq!(cluster.leader(), Some(leader));
            assert_eq!(cluster.status(leader).hard.term, term, "seed {seed}");
        }
    }

    #[test]
    fn a_minority_elects_nobody_and_its_term_does_not_climb() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(3, seed);
            let away = cluster.others(leader)[0];
            cluster.isolate(away);
            let term = cluster.status(away).hard.term;
            cluster.run_ms(5_000);
            assert_ne!(cluster.status(away).role, RoleName::Leader);
            assert_eq!(
                cluster.status(away).hard.term,
                term,
                "pre-vote keeps the term"
            );
            cluster.network().heal();
            cluster.run_ms(2_000);
            assert_eq!(
                cluster.leader(),
                Some(leader),
                "its return disturbs nobody, seed {seed}"
            );
        }
    }

    #[test]
    fn a_leader_that_hears_no_majority_steps_down() {
        let (mut cluster, leader) = settled(3, 3);
        for other in cluster.others(leader) {
            cluster.network().cut(other, leader);
        }
        cluster.run_until("a step down", |c| c.status(leader).role != RoleName::Leader);
        let why = Note::SteppedDown {
            why: StepDown::NoQuorum,
        };
        assert!(cluster.notes().contains(&(leader, why)));
    }

    #[test]
    fn leadership_is_handed_over_without_waiting_for_a_timeout() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(3, seed);
            let target = cluster.others(leader)[1];
            let before_ms = cluster.now_ms();
            cluster.transfer(leader, Some(target));
            cluster.run_until("the target leads", |c| c.leader() == Some(target));
            let spent_ms = cluster.now_ms() - before_ms;
            assert!(
                spent_ms < 150,
                "virtual time, less than any election timeout: {spent_ms}"
            );
        }
    }
}

mod replication {
    use super::*;

    #[test]
    fn all_nodes_end_with_the_same_log_and_state() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(5, seed);
            for n in 0..50 {
                cluster.submit(leader, put(&format!("k{}", n % 7), &n.to_string()));
            }
            cluster.await_agreement();
        }
    }

    #[test]
    fn nodes_remember_their_digest_at_the_same_indices_and_it_is_the_same() {
        let (mut cluster, leader) = settled(3, 5);
        let away = cluster.others(leader)[0];
        for n in 0..2_500 {
            if n == 1_200 {
                cluster.isolate(away);
            }
            cluster.submit(leader, put(&format!("k{}", n % 50), &n.to_string()));
        }
        cluster.network().heal();
        cluster.await_agreement();
        let digests = Arc::clone(cluster.replica(leader).digests());
        let indices: Vec<u64> = digests.iter().map(|(index, _)| index.0).collect();
        assert_eq!(indices, [1_000, 2_000]);
        assert_ne!(digests[0].1, digests[1].1);
        for other in cluster.others(leader) {
            assert_eq!(cluster.replica(other).digests(), &digests);
        }
    }

    #[test]
    fn a_follower_that_was_away_catches_up() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(3, seed);
            let away = cluster.others(leader)[0];
            cluster.kill(away);
            for n in 0..100 {
                cluster.put(&format!("k{n}"), "v");
            }
            cluster.restart(away);
            cluster.await_agreement();
            assert_eq!(cluster.replica(away).kv().len(), 100);
        }
    }

    #[test]
    fn entries_that_only_a_deposed_leader_has_are_replaced() {
        for seed in SEEDS {
            let (mut cluster, old) = settled(3, seed);
            cluster.isolate(old);
            let lost = cluster.submit(old, put("a", "lost"));
            cluster.run_until("the old leader resigns", |c| c.reply(lost).is_some());
            assert_eq!(
                cluster.reply(lost),
                Some(&Reply::Unknown),
                "never called a failure"
            );
            cluster.put("a", "kept");
            cluster.network().heal();
            cluster.await_agreement();
            assert_eq!(cluster.get("a").as_deref(), Some("kept"), "seed {seed}");
        }
    }

    #[test]
    fn a_large_backlog_is_sent_in_batches_and_arrives_whole() {
        let (mut cluster, leader) = settled(3, 5);
        let away = cluster.others(leader)[0];
        cluster.isolate(away);
        let value = "x".repeat(4_000);
        for n in 0..600 {
            cluster.submit(leader, put(&format!("k{n}"), &value));
        }
        cluster.run_ms(1_000);
        cluster.network().heal();
        cluster.await_agreement();
        assert_eq!(cluster.replica(away).kv().len(), 600);
    }

    #[test]
    fn logs_that_agree_at_an_entry_agree_before_it() {
        for seed in SEEDS {
            let (mut cluster, _) = settled(5, seed);
            for round in 0..6 {
                let leader = cluster.await_leader();
                for n in 0..5 {
                    cluster.submit(leader, put(&format!("k{n}"), &round.to_string()));
                }
                cluster.isolate(leader);
                cluster.run_ms(400);
                cluster.network().heal();
                assert_log_matching(&cluster);
            }
        }
    }

    /// Log Matching (Figure 3), of every pair of nodes.
    fn assert_log_matching(cluster: &Cluster) {
        let logs: Vec<_> = cluster
            .ids()
            .into_iter()
            .map(|id| cluster.log(id))
            .collect();
        for a in &logs {
            for b in &logs {
                let same = a.iter().zip(b).rposition(|(x, y)| x == y);
                let upto = same.map_or(0, |at| at + 1);
                assert_eq!(a[..upto], b[..upto]);
            }
        }
    }

    #[test]
    fn nothing_acknowledged_is_lost_when_the_power_fails_everywhere() {
        for seed in SEEDS {
            let (mut cluster, leader) = settled(3, seed);
            for n in 0..30 {
                cluster.put(&format!("k{n}"), &n.to_string());
            }
            cluster.submit(leader, put("unacknowledged", "?"));
            for id in cluster.ids() {
                cluster.crash(id);
            }
            for id in cluster.ids() {
                cluster.restart(id);
            }
            for n in 0..30 {
                let value = cluster.get(&format!("k{n}"));
                assert_eq!(value, Some(n.to_string()), "k{n} at seed {seed}");
            }
        }
    }
}

mod clients {
    use super::*;

    #[test]
    fn a_long_log_is_replayed_between_other_duties_and_reads_wait_for_it() {
        const KEYS: usize = 10_000;
        let mut settings = Settings::new(1, 6);
        settings.apply = Some((1, 1));
        let mut cluster = Cluster::with_settings(settings);
        let leader = cluster.await_leader();
        for n in 0..KEYS {
            cluster.submit(leader, put(&format!("k{n}"), &n.to_string()));
        }
        cluster.await_agreement();
        cluster.kill(leader);
        cluster.restart(leader);
        let mut partly = false;
        cluster.run_until("the log is committed again", |c| {
            partly |= (1..KEYS).contains(&c.replica(leader).kv().len());
            c.status(leader).commit.0 >= KEYS as u64
        });
        let newest = cluster.submit(leader, get(&format!("k{}", KEYS - 1)));
        cluster.run_until("the read is served", |c| {
            partly |= (1..KEYS).contains(&c.replica(leader).kv().len());
            c.reply(newest).is_some()
        });
        assert!(partly, "it was replayed in one go");
        let last = Some((KEYS - 1).to_string().into());
        let reply = cluster.reply(newest);
        assert!(matches!(reply, Some(Reply::Get { value, .. }) if *value == last));
    }

    #[test]
    fn a_get_returns_the_last_acknowledged_put() {
        for seed in SEEDS {
            let (mut cluster, _) = settled(3, seed);
            for n in 0..20 {
                cluster.put("a", &n.to_string());
                assert_eq!(cluster.get("a"), Some(n.to_string()));
            }
        }
    }

    #[test]
    fn a_delete_says_whether_the_key_existed() {
        let (mut cluster, leader) = settled(3, 1);
        cluster.put("a", "1");
        let first = cluster.call(leader, delete("a"));
        assert!(matches!(first, Reply::Delete { found: true, .. }));
        let second = cluster.call(leader, delete("a"));
        assert!(matches!(second, Reply::Delete { found: false, .. }));
        assert_eq!(cluster.get("a"), None);
    }

    #[test]
    fn a_follower_refuses_and_names_the_leader() {
        let (mut cluster, leader) = settled(3, 2);
        cluster.run_ms(100);
        let refused = Reply::Refused(RefusalReason::NotLeader {
            leader: Some(leader),
        });
        for follower in cluster.others(leader) {
            assert_eq!(cluster.call(follower, put("a", "1")), refused);
            assert_eq!(cluster.call(follower, get("a")), refused);
        }
        assert_eq!(cluster.get("a"), None, "nothing was applied");
    }

    #[test]
    fn a_deposed_leader_serves_no_stale_read() {
        for seed in SEEDS {
            let (mut cluster, old) = settled(3, seed);
            cluster.put("a", "1");
            cluster.isolate(old);
            let stale = cluster.submit(old, get("a"));
            cluster.run_until("another leader", |c| c.leader().is_some_and(|id| id != old));
            cluster.put("a", "2");
            cluster.run_ms(1_000);
            let refused = Reply::Refused(RefusalReason::NotLeader { leader: None });
            assert_eq!(cluster.reply(stale), Some(&refused), "seed {seed}");
        }
    }

    #[test]
    fn operations_of_one_turn_are_all_answered_once() {
        let (mut cluster, leader) = settled(3, 4);
        let tokens: Vec<_> = (0..200)
            .map(|n| match n % 3 {
                0 => cluster.submit(leader, put("a", &n.to_string())),
                1 => cluster.submit(leader, get("a")),
                _ => cluster.submit(leader, delete("b")),
            })
            .collect();
        cluster.run_ms(500);
        for token in tokens {
            let reply = cluster.reply(token).expect("answered");
            assert!(
                !matches!(reply, Reply::Refused(_) | Reply::Unknown),
                "{reply:?}"
            );
        }
    }
}
