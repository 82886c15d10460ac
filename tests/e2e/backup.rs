//! A backup has all that was acknowledged before it, and becomes a cluster again.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use crate::support::{Cluster, End, Process, put, raftkv, raftkv_cli, turn, wait_for};

/// `raftkv restore` of one node of `cluster`.
fn restore(cluster: &Cluster, id: usize, origin: &[&str], token: &str) -> End {
    let mut command = raftkv();
    command.arg("restore").args(origin).args(["--token", token]);
    command.args(["--node-id", &id.to_string(), "--peers", &cluster.peers()]);
    command.arg("--data-dir").arg(cluster.data_dir(id));
    Process::start(command).end()
}

fn restore_all(cluster: &Cluster, origin: &[&str], token: &str) {
    for id in 0..3 {
        let end = restore(cluster, id, origin, token);
        assert_eq!(end.code, Some(0), "{end:#?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The snapshots of a stopped node, as JSON.
fn snapshots(directory: &Path) -> Value {
    let mut command = raftkv();
    command
        .args(["inspect", "snapshot", "-o", "json"])
        .arg(directory);
    let end = Process::start(command).end();
    assert_eq!(end.code, Some(0), "{end:#?}");
    let all: Value = serde_json::from_str(&end.stdout.join("\n")).expect("valid JSON");
    all["snapshots"].clone()
}

/// The number after a word of a line.
fn number(end: &End, word: &str) -> u64 {
    let line = end.stdout.first().expect("a line");
    let mut words = line.split_whitespace().skip_while(|found| *found != word);
    let number = words.nth(1).expect("a word follows");
    number.trim_end_matches(',').parse().expect("a number")
}

#[test]
fn what_was_acknowledged_before_a_backup_under_load_is_in_it_and_comes_back() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let file = cluster.path("backup.snapshot");
    let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (before, saved) = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = cluster.client();
            for i in 0.. {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                put(&mut client, &format!("key-{i:05}"), &format!("value-{i}"));
                acknowledged.store(i + 1, Ordering::Release);
            }
        });
        wait_for("some puts", || {
            (acknowledged.load(Ordering::Acquire) >= 200).then_some(())
        });
        let before = acknowledged.load(Ordering::Acquire);
        let saved = raftkv_cli(&cluster, &["backup", "save"], &file);
        stop.store(true, Ordering::Release);
        (before, saved)
    });
    saved.assert_code(0);
    let keys = number(&saved, "keys") as usize;
    assert!(keys >= before, "{before} acknowledged: {saved:#?}");
    raftkv_cli(&cluster, &["backup", "inspect"], &file).assert_code(0);
    let refused = raftkv_cli(&cluster, &["backup", "save"], &file);
    refused.assert_code(2);
    assert!(refused.last_line().contains("--force"), "{refused:#?}");
    let again = raftkv_cli(&cluster, &["backup", "save", "--force"], &file);
    again.assert_code(0);
    let (keys, revision) = (number(&again, "keys") as usize, number(&again, "revision"));
    cluster.kill_all();

    let mut restored = Cluster::new();
    restore_all(&restored, &[text(&file)], "first");
    let made: Vec<Value> = (0..3).map(|id| snapshots(&restored.data_dir(id))).collect();
    assert_eq!(made[0], made[1]);
    assert_eq!(made[1], made[2]);
    assert_eq!(made[0][0]["revision"], revision + 1_000_000);
    let twice = restore(&restored, 0, &[text(&file)], "first");
    twice.assert_says(5, "restored into a new directory only");
    restored.start_all();
    let mut client = restored.client();
    for i in 0..keys {
        let value = client.get(format!("key-{i:05}")).expect("a majority");
        assert_eq!(value, Some(format!("value-{i}")), "of {keys}");
    }
    put(&mut client, "new", "yes");
}

#[test]
fn neither_an_old_directory_nor_an_empty_one_is_a_member_of_the_restored_cluster() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    let file = cluster.path("backup.snapshot");
    raftkv_cli(&cluster, &["backup", "save"], &file).assert_code(0);
    cluster.kill_all();
    // The addresses of the new cluster are those of the old one.
    let old = cluster.path("old");
    fs::create_dir(&old).expect("made");
    for id in 0..3 {
        fs::rename(cluster.data_dir(id), old.join(id.to_string())).expect("moved");
    }
    restore_all(&cluster, &[text(&file)], "today");
    // Node 1 is started on its old directory, and then on an empty one.
    let restored = cluster.path("restored 1");
    fs::rename(cluster.data_dir(1), &restored).expect("moved");
    fs::rename(old.join("1"), cluster.data_dir(1)).expect("moved");
    for id in 0..3 {
        cluster.start(id);
    }
    let mut node = cluster.take(1);
    node.wait_for_log("is of cluster");
    node.kill();
    cluster.wipe(1);
    cluster.start(1);
    let mut node = cluster.take(1);
    node.wait_for_log("is of cluster");
    node.kill();
    cluster.wipe(1);
    let value = cluster.client().get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("value"));
    fs::rename(&restored, cluster.data_dir(1)).expect("moved");
    cluster.start(1);
    cluster.kill(0);
    put(&mut cluster.client(), "key", "with node 1");
}

#[test]
fn a_survivor_of_a_lost_majority_becomes_a_cluster_once_that_is_confirmed() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    for i in 0..100 {
        put(&mut client, &format!("key-{i}"), &format!("value-{i}"));
    }
    let leader = cluster.leader();
    cluster.kill_all();
    for lost in (0..3).filter(|id| *id != leader) {
        cluster.wipe(lost);
    }
    let survivor = cluster.data_dir(leader);
    let origin = ["--from-dir", text(&survivor)];
    let mut restored = Cluster::new();
    let refused = restore(&restored, 0, &origin, "t");
    refused.assert_says(2, "--yes");
    assert!(refused.stderr.iter().any(|line| line.contains("Lost is")));
    assert!(!restored.data_dir(0).exists());
    restore_all(&restored, &[&origin[..], &["--yes"]].concat(), "t");
    assert_eq!(
        snapshots(&restored.data_dir(0)),
        snapshots(&restored.data_dir(1))
    );
    restored.start_all();
    let mut client = restored.client();
    for i in 0..100 {
        let value = client.get(format!("key-{i}")).expect("a majority");
        assert_eq!(value, Some(format!("value-{i}")));
    }
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_made_of_it() {
    let _turn = turn();
    let cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    let file = cluster.path("backup.snapshot");
    raftkv_cli(&cluster, &["backup", "save"], &file).assert_code(0);
    let sound = fs::read(&file).expect("a backup");
    let restored = Cluster::new();
    for at in [0, 20, sound.len() / 2, sound.len() - 1] {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).expect("written");
        raftkv_cli(&cluster, &["backup", "inspect"], &file).assert_code(6);
        let end = restore(&restored, 0, &[text(&file)], "t");
        end.assert_says(6, "backup.snapshot is damaged at byte");
        assert!(!restored.data_dir(0).exists());
    }
}
