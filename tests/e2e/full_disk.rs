//! A disk that runs full, on a real file system of a few megabytes.

use std::{fs, path::Path, process::Command, time::Duration};

use raftkv::client::{Client, Error};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Process, free_address, node_command, put, turn, wait_for};

/// Mounts a small disk at $1 that is half full, and runs the rest of its arguments on it, again
/// and again. When $2/free appears there is room.
const SCRIPT: &str = r#"
disk=$1 outside=$2
shift 2
mount -t tmpfs -o size=64m tmpfs "$disk" || exit 77
head -c 25165824 /dev/zero > "$disk/filler"
(until [ -e "$outside/free" ]; do sleep 0.1; done; rm "$disk/filler") &
while :; do
    "$@" &
    echo $! > "$outside/pid.tmp"
    mv "$outside/pid.tmp" "$outside/pid"
    wait $!
done
"#;

fn is_permitted() -> bool {
    let mut command = namespace();
    command.args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// A namespace in which file systems can be mounted, and processes end with the first.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]);
    command
}

fn key(i: usize) -> String {
    format!("key-{i}")
}

fn value(i: usize) -> String {
    format!("{i:07}-").repeat(8 << 10)
}

/// Puts until there is no more room; how many there are, and what was said.
fn fill(client: &mut Client) -> (usize, String) {
    for i in 0..2_000 {
        match client.put(key(i), value(i)) {
            Ok(()) => {}
            Err(Error::Unavailable { reason, .. }) => return (i, reason),
            Err(Error::Refused { message, .. }) => return (i, message),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("125 MiB on a disk of 40");
}

fn check(client: &mut Client, keys: usize) {
    for i in 0..keys {
        let found = client.get(key(i)).expect("reads are served");
        assert!(found == Some(value(i)), "{}", key(i));
    }
}

fn process_id(outside: &Path) -> Pid {
    let text = fs::read_to_string(outside.join("pid")).expect("a process id");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("not zero")
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_heals() {
    let _turn = turn();
    if !is_permitted() {
        return eprintln!("no file system can be mounted here: this was not run");
    }
    let outside = tempfile::tempdir().expect("a directory");
    let disk = tempfile::tempdir().expect("a directory");
    let (raft, clients) = (free_address(), free_address());
    let data_dir = disk.path().join("data");
    let node = node_command(0, &format!("0@{raft}"), &raft, &clients, &data_dir);
    let mut command = namespace();
    command.args(["sh", "-c", SCRIPT, "sh"]);
    command.args([disk.path(), outside.path()]);
    command.arg(node.get_program()).args(node.get_args());
    let shell = Process::start(command);

    let patient = || {
        let client = Client::new([clients.as_str()]).expect("an endpoint");
        client.with_timeout(Duration::from_secs(60))
    };
    put(&mut patient(), "first", "1");
    let mut hasty = patient().with_timeout(Duration::from_secs(2));
    let (keys, said) = fill(&mut hasty);
    assert!(keys > 100, "{keys} puts of 64 KiB on 40 MiB");
    assert!(said.contains("disk is full"), "{said}");
    check(&mut patient(), keys);

    // A restart loses nothing, and finds the disk as full.
    let before = process_id(outside.path());
    kill_process(before, Signal::KILL).expect("the node runs");
    wait_for("another process", || {
        (process_id(outside.path()) != before).then_some(())
    });
    check(&mut patient(), keys);

    fs::write(outside.path().join("free"), "").expect("written");
    wait_for("room", || hasty.put("healed", "yes").ok());
    put(&mut patient(), &key(keys), &value(keys));
    check(&mut patient(), keys + 1);
    kill_process(process_id(outside.path()), Signal::KILL).expect("the node runs");
    shell.kill();
    // The shell may have started another one meanwhile.
    let _ = kill_process(process_id(outside.path()), Signal::KILL);
}
