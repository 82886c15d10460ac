//! The same damage on every node, in other places: nobody guesses.

use std::{fs, path::PathBuf};

use crate::support::{Cluster, Process, put, turn};

const KEYS: usize = 200;

#[test]
fn damage_in_another_place_of_each_node_stops_them_all_and_two_good_copies_have_everything() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    for i in 0..KEYS {
        put(&mut client, &format!("key-{i}"), &format!("value-{i}"));
    }
    cluster.kill_all();

    let good: Vec<(PathBuf, Vec<u8>)> = (0..3)
        .map(|id| {
            let segment = cluster.data_dir(id).join("wal/0000000001.wal");
            let bytes = fs::read(&segment).expect("a segment");
            (segment, bytes)
        })
        .collect();
    for (id, (segment, bytes)) in good.iter().enumerate() {
        let used = bytes.iter().rposition(|&byte| byte != 0).expect("written");
        let mut flipped = bytes.clone();
        flipped[used * (id + 1) / 5] ^= 1;
        fs::write(segment, &flipped).expect("written");
        let end = Process::start(cluster.command(id)).end();
        end.assert_says(6, "0000000001.wal is damaged at byte");
        assert!(fs::read(segment).expect("a segment") == flipped, "changed");
    }

    for (id, (segment, bytes)) in good.iter().enumerate().take(2) {
        fs::write(segment, bytes).expect("written");
        cluster.start(id);
    }
    let mut client = cluster.client();
    for i in 0..KEYS {
        let value = client.get(format!("key-{i}")).expect("a majority");
        assert_eq!(value, Some(format!("value-{i}")));
    }
    Process::start(cluster.command(2))
        .end()
        .assert_says(6, "0000000001.wal");
}
