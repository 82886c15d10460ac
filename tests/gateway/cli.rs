//! raftkv-cli: what it prints, and its exit codes.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use raftkv::{node::Answer, replica::Operation};

use crate::node::{Node, Step};

pub fn command(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftkv-cli"));
    command
        .args(arguments)
        .env("RAFTKV_ENDPOINTS", endpoints)
        .env("RAFTKV_TIMEOUT", "20s")
        .stdin(Stdio::null());
    command
}

pub fn run(endpoints: &str, arguments: &[&str]) -> Output {
    let output = command(endpoints, arguments).output();
    output.expect("a program that runs")
}

fn run_with_stdin(endpoints: &str, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = command(endpoints, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program that runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    // One that refuses early need not read to the end.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    child.wait_with_output().expect("a program that ends")
}

pub fn assert_says(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert!(said.contains(stderr), "{stderr:?} is not in {said:?}");
}

#[test]
fn put_get_and_delete_print_data_to_stdout_and_nothing_else() {
    let node = Node::start(|operation| {
        Step::Answer(match operation {
            Operation::Put { .. } => Answer::Put,
            Operation::Get { .. } => Answer::Get {
                value: Some("apple".into()),
            },
            Operation::Delete { .. } => Answer::Delete { found: true },
            _ => Answer::NoSnapshot,
        })
    });
    assert_says(&run(node.address(), &["put", "a", "1"]), 0, "OK\n", "");
    assert_says(&run(node.address(), &["get", "a"]), 0, "apple\n", "");
    let output = run(node.address(), &["delete", "a"]);
    assert_says(&output, 0, "OK\n", "");
    assert_eq!(output.stderr, b"");
}

#[test]
fn an_absent_key_is_exit_code_1() {
    let node = Node::start(|operation| {
        Step::Answer(match operation {
            Operation::Get { .. } => Answer::Get { value: None },
            _ => Answer::Delete { found: false },
        })
    });
    for action in ["get", "delete"] {
        let output = run(node.address(), &[action, "a"]);
        assert_says(&output, 1, "", "not found: \"a\"");
    }
}

#[test]
fn keys_and_values_may_begin_with_a_hyphen() {
    let node = Node::answering(Answer::Put);
    let output = run(node.address(), &["put", "-k", "--value"]);
    assert_says(&output, 0, "OK\n", "");
    let asked = Operation::Put {
        key: "-k".into(),
        value: "--value".into(),
    };
    assert_eq!(node.seen(), [asked]);
}

#[test]
fn options_may_come_after_the_command() {
    let node = Node::answering(Answer::Put);
    let arguments = ["put", "a", "1", "--timeout", "9s", "--endpoints"];
    let output = run("nowhere:1", &[&arguments[..], &[node.address()]].concat());
    assert_says(&output, 0, "OK\n", "");
}

#[test]
fn a_value_left_out_is_read_from_stdin_to_the_byte() {
    let node = Node::answering(Answer::Put);
    let output = run_with_stdin(node.address(), &["put", "a"], b"two\nlines\n");
    assert_says(&output, 0, "OK\n", "");
    let asked = Operation::Put {
        key: "a".into(),
        value: "two\nlines\n".into(),
    };
    assert_eq!(node.seen(), [asked]);
}

#[test]
fn a_write_that_is_done_is_exit_code_0_whatever_becomes_of_its_ok() {
    let node = Node::answering(Answer::Put);
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device")
    };
    let mut put = command(node.address(), &["put", "a", "1"]);
    let status = put
        .stdout(full())
        .stderr(full())
        .status()
        .expect("a program that runs");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_exit_code_needs_no_reader_of_stderr() {
    let node = Node::answering(Answer::Unknown);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full device");
    let mut put = command(node.address(), &["put", "a", "1"]);
    let status = put.stderr(full).status().expect("a program that runs");
    assert_eq!(status.code(), Some(4));
}

#[test]
fn an_empty_stdin_is_no_value() {
    let node = Node::answering(Answer::Put);
    let output = run_with_stdin(node.address(), &["put", "a"], b"");
    assert_says(&output, 2, "", "stdin is empty");
    assert_says(&run(node.address(), &["put", "a", ""]), 0, "OK\n", "");
}

#[test]
fn a_value_beyond_the_limit_or_not_utf8_is_exit_code_5() {
    let node = Node::answering(Answer::Put);
    let long = vec![b'v'; (1 << 20) + 1];
    let output = run_with_stdin(node.address(), &["put", "a"], &long);
    assert_says(&output, 5, "", "more than 1048576 bytes");
    let output = run_with_stdin(node.address(), &["put", "a"], b"ab\xff");
    assert_says(&output, 5, "", "not UTF-8 at byte 2");
    let output = run(node.address(), &["put", "", "1"]);
    assert_says(&output, 5, "", "the key has 0 bytes");
    assert_eq!(node.seen(), []);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["put"][..],
        &["gett", "a"],
        &["get", "a", "--timeout", "5"],
        &["get", "a", "--timeout", "0s"],
        &["get", "a", "--timeout", "99999999999999999999s"],
        &["get", "a", "--endpoints", "nonsense"],
        &["get", "a", "--endpoints", ""],
    ] {
        assert_says(&run("127.0.0.1:1", arguments), 2, "", "");
    }
}

#[test]
fn with_nobody_to_lead_it_is_exit_code_3() {
    let node = Node::following("");
    let arguments = ["put", "a", "1", "--timeout", "200ms"];
    let output = run(node.address(), &arguments);
    assert_says(&output, 3, "", "nothing was applied");
}

#[test]
fn an_unknown_outcome_is_exit_code_4() {
    let node = Node::answering(Answer::Unknown);
    let output = run(node.address(), &["put", "a", "1"]);
    assert_says(&output, 4, "", "outcome unknown");
    assert_eq!(node.seen().len(), 1);
}

#[test]
fn help_leads_with_examples() {
    let output = run("127.0.0.1:1", &["--help"]);
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = help.lines().take(7).collect();
    assert_eq!(lines[0], "Examples:");
    assert!(lines[1..].iter().all(|line| line.contains("raftkv-cli ")));
}
