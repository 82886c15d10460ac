//! The tools for the directory of a stopped node: they find what is wrong and change nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use raftkv_wal::is_leftover;
use serde_json::Value;

use crate::support::{Cluster, End, Process, cli, put, raftkv, raftkv_cli, turn, wait_for};

/// Every file below a directory: its bytes and when it was last changed.
type Contents = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

fn contents(directory: &Path) -> Contents {
    let mut found = Contents::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let changed = fs::metadata(&path).and_then(|about| about.modified());
        let changed = changed.expect("a time of change");
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
            found.insert(path, (Vec::new(), changed));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, (bytes, changed));
        }
    }
    found
}

/// Runs `raftkv` with these words and a directory.
fn tool(words: &[&str], directory: &Path) -> End {
    let mut command = raftkv();
    command.args(words).arg(directory);
    Process::start(command).end()
}

/// A stopped node's directory with a snapshot, and entries behind it whose end is proven.
fn stopped() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    for i in 0..50 {
        put(&mut client, &format!("key-{i}"), &"value ".repeat(i));
    }
    let leader = cluster.leader();
    let file = cluster.path("backup.snapshot");
    raftkv_cli(&cluster, &["backup", "save"], &file).assert_code(0);
    put(&mut client, "after", "the snapshot");
    let directory = cluster.data_dir(leader);
    // A trailer of an empty batch proves the last one; only an idle log writes it.
    wait_for("a mark", || {
        let end = tool(&["inspect", "meta"], &directory);
        assert_eq!(end.code, Some(3), "a running node's directory: {end:#?}");
        let log = fs::read(directory.join("wal/0000000001.wal")).expect("a segment");
        let used = log.iter().rposition(|&byte| byte != 0).expect("written") + 1;
        let trailer = used.next_multiple_of(8) - 32;
        (log[trailer + 16..trailer + 20] == [0; 4]).then_some(())
    });
    cluster.kill_all();
    (cluster, directory)
}

#[test]
fn a_good_directory_is_found_good_and_no_byte_of_it_is_changed() {
    let _turn = turn();
    let (_cluster, directory) = stopped();
    let before = contents(&directory);
    for words in [
        &["verify"][..],
        &["inspect", "log"],
        &["inspect", "meta"],
        &["inspect", "snapshot", "--keys"],
    ] {
        let end = tool(words, &directory);
        assert_eq!(end.code, Some(0), "{words:?}: {end:#?}");
        assert!(
            contents(&directory) == before,
            "{words:?} changed something"
        );
    }
    let end = tool(&["verify"], &directory);
    assert!(
        end.stdout
            .last()
            .expect("a line")
            .ends_with("nothing is wrong")
    );
    for name in ["identity", "pins", "0000000001.wal", ".snapshot"] {
        let is_ok = |line: &&String| line.starts_with("ok ") && line.contains(name);
        assert!(
            end.stdout.iter().any(|line| is_ok(&line)),
            "{name}: {end:#?}"
        );
    }
}

/// What a disk may do to a file from a byte on.
type Damage = fn(&mut Vec<u8>, usize);
const DAMAGES: [(&str, Damage); 3] = [
    ("flipped", |bytes, at| bytes[at] ^= 1),
    ("zeroed", |bytes, at| {
        let end = bytes.len().min(at + 64);
        bytes[at..end].fill(0);
    }),
    ("cut", Vec::truncate),
];

#[test]
fn damage_in_any_file_is_found_and_the_file_is_named() {
    let _turn = turn();
    let (cluster, directory) = stopped();
    let mut checked = 0;
    for (file, (bytes, _)) in contents(&directory) {
        let name = file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        // What holds nothing durable: the lock, and the segments that are not in use.
        if bytes.is_empty() || name == "raftkv.pid" || is_leftover(&name) {
            continue;
        }
        let used = bytes.iter().rposition(|&byte| byte != 0).expect("written");
        for (at, (how, damage)) in [10, used / 3, used / 2]
            .into_iter()
            .flat_map(|at| DAMAGES.map(|damage| (at, damage)))
        {
            let mut damaged = bytes.clone();
            damage(&mut damaged, at);
            assert!(damaged != bytes, "{name}, {how} at {at}: nothing changed");
            fs::write(&file, &damaged).expect("written");
            let end = tool(&["verify"], &directory);
            assert_eq!(end.code, Some(6), "{name}, {how} at {at}: {end:#?}");
            assert!(
                end.last_line().contains(&name),
                "{name}, {how} at {at}: {end:#?}"
            );
            assert!(fs::read(&file).expect("a file") == damaged, "changed");
            checked += 1;
        }
        fs::write(&file, &bytes).expect("written");
    }
    assert!(checked >= 4 * 3 * DAMAGES.len(), "{checked} damages");
    assert_eq!(tool(&["verify"], &directory).code, Some(0));

    // A start on a damaged directory names the command that shows all.
    let segment = directory.join("wal/0000000001.wal");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[140] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let id = (0..3).find(|id| cluster.data_dir(*id) == directory);
    let end = Process::start(cluster.command(id.expect("a node's"))).end();
    end.assert_says(6, &format!("raftkv verify {}", directory.display()));
    end.assert_says(6, "replaced under a new id");
}

#[test]
fn verify_makes_from_scratch_the_digest_that_status_shows() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    for i in 0..1_100 {
        put(&mut client, &format!("key-{}", i % 30), &i.to_string());
    }
    let digest = wait_for("one digest", || {
        let end = Process::start(cli(&cluster, &["status", "-o", "json"])).end();
        let status: Value = serde_json::from_str(&end.stdout.join("\n")).expect("JSON");
        let nodes = status["nodes"].as_array().expect("nodes").iter();
        let digests: Vec<Option<&str>> = nodes.map(|node| node["digest"].as_str()).collect();
        let is_common = digests.iter().all(|digest| digest.is_some());
        (is_common && status["digest_index"].as_u64() > Some(1_100)).then(|| {
            assert!(
                digests.iter().all(|digest| *digest == digests[0]),
                "{status}"
            );
            let nodes = status["nodes"].as_array().expect("nodes").iter();
            let sync = |node: &Value| node["stages"]["local_sync"]["count"].as_u64();
            assert!(nodes.filter_map(sync).sum::<u64>() > 0, "{status}");
            digests[0].expect("just seen").to_owned()
        })
    });
    cluster.kill_all();
    for id in 0..3 {
        let end = tool(&["verify"], &cluster.data_dir(id));
        let lines = end.stdout.iter().filter(|line| line.starts_with("digest "));
        let lines: Vec<&String> = lines.collect();
        assert!(lines[0].ends_with("the state at index 1000"), "{end:#?}");
        assert!(lines[1].contains(&digest), "{digest} is not in {end:#?}");
    }
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let _turn = turn();
    let (_cluster, directory) = stopped();
    let segment = directory.join("wal/0000000001.wal");
    let mut bytes = fs::read(&segment).expect("a segment");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("written");
    bytes[used + 100] = 1;
    fs::write(&segment, &bytes).expect("written");
    let end = tool(&["verify"], &directory);
    assert_eq!(end.code, Some(0), "{end:#?}");
    assert!(
        end.stdout
            .iter()
            .any(|line| line.contains("a torn tail of"))
    );
    assert_eq!(fs::read(&segment).expect("a segment"), bytes);
}

#[test]
fn inspect_prints_json_that_says_what_the_directory_holds() {
    let _turn = turn();
    let (_cluster, directory) = stopped();
    let json = |words: &[&str]| -> Value {
        let words = [&["inspect"], words, &["-o", "json"]].concat();
        let end = tool(&words, &directory);
        assert_eq!(end.code, Some(0), "{end:#?}");
        serde_json::from_str(&end.stdout.join("\n")).expect("valid JSON")
    };
    let log = json(&["log"]);
    let last = log["entries"].as_array().expect("entries").last();
    let last = last.expect("one entry");
    assert_eq!(
        (&last["kind"], &last["key"]),
        (&"put".into(), &"after".into())
    );
    let meta = json(&["meta"]);
    assert_eq!(meta["v"], 1);
    assert_eq!(meta["last_index"], last["index"]);
    assert_eq!(meta["members"].as_array().map(Vec::len), Some(3));
    assert_eq!(meta["pins"].as_array().map(Vec::len), Some(3));
    let snapshots = json(&["snapshot", "--keys"]);
    let newest = &snapshots["snapshots"][0];
    assert_eq!(newest["keys"], 50);
    assert_eq!(newest["key_names"].as_array().map(Vec::len), Some(50));
    assert_eq!(meta["snapshots"][0]["hash"], newest["hash"]);
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    tool(&["verify"], empty.path()).assert_says(5, "no data directory of raftkv");
    tool(&["inspect", "log"], empty.path()).assert_says(5, "no data directory of raftkv");
}
