//! The raftkv client: put, get and delete from a shell, backups, and the cluster itself.
//!
//! What was asked for goes to stdout, everything else to stderr, and the exit code says what
//! became of it: see [`exit`].

mod backup;
mod change;
mod judge;
mod leader;
mod member;
mod progress;
mod status;
mod table;
mod view;

use std::{
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use raftkv::{
    client::{Client, Error},
    kv::VALUE_MAX_BYTES,
};

use member::Cluster;

/// What the exit codes mean.
mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Done, and the answer is no: there is no such key, or the cluster is not well.
    pub const NEGATIVE: u8 = 1;
    /// The command line is wrong, or what it asks for was not confirmed.
    pub const USAGE: u8 = 2;
    /// Nobody could do it in time, or what was read cannot be printed; nothing was applied, and
    /// repeating is safe.
    pub const UNAVAILABLE: u8 = 3;
    /// The write was sent, and what became of it is not known.
    pub const OUTCOME_UNKNOWN: u8 = 4;
    /// Nothing was applied, and the same command never will be: too large, say.
    pub const REFUSED: u8 = 5;
    /// A file is not what was once written.
    pub const DAMAGED: u8 = 6;
}

const EXAMPLES: &str = "\
Examples:
  raftkv-cli put fruit apple                 store a value
  raftkv-cli get fruit                       print it
  raftkv-cli put notes < notes.txt           store what stdin holds
  raftkv-cli backup save today.snapshot      save all of it to a file
  raftkv-cli status                          see how the cluster is
  raftkv-cli member replace 0 3@d:9000       put node 3 in the place of node 0
";

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 no such key, or not healthy   2 usage, or not confirmed
  3 unavailable, nothing applied   4 outcome unknown   5 refused   6 a backup is damaged
";

/// Talks to a raftkv cluster; follows the leader.
#[derive(Parser)]
#[command(name = "raftkv-cli", version, before_help = EXAMPLES, after_help = EXIT_CODES)]
struct Arguments {
    /// Where nodes serve clients; one that works is enough
    #[arg(
        long,
        global = true,
        env = "RAFTKV_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:9100,127.0.0.1:9110,127.0.0.1:9120"
    )]
    endpoints: Vec<String>,

    /// Time for the whole command, as in 500ms, 5s or 1m; for backups and changes of members, to
    /// find the leader
    #[arg(
        long,
        global = true,
        env = "RAFTKV_TIMEOUT",
        default_value = "5s",
        value_parser = parse_timeout
    )]
    timeout: Duration,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Store a value under a key; prints OK once a majority has it on disk
    Put {
        /// 1 byte to 4 KiB
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Up to 1 MiB; read from stdin if left out
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
    },
    /// Print the newest value of a key
    Get {
        /// 1 byte to 4 KiB
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// Remove a key; prints OK if it was there
    Delete {
        /// 1 byte to 4 KiB
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// Save the store to a file, or check such a file
    #[command(subcommand)]
    Backup(backup::Command),
    /// Print how the nodes are, and one sentence: whether all is well, or what is wrong
    Status {
        /// How to print it
        #[arg(short, long, env = "RAFTKV_OUTPUT", default_value = "table")]
        output: Output,
    },
    /// Print a line for each endpoint: whether its node serves
    Health,
    /// See and change who the members are
    #[command(subcommand)]
    Member(member::Command),
    /// Change who leads
    #[command(subcommand)]
    Leader(leader::Command),
}

/// How something is printed.
#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people; it may change.
    Table,
    /// For programs.
    Json,
}

/// An exit code, or one with what to say on stderr.
type Ended = Result<u8, (u8, String)>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(run(arguments).unwrap_or_else(|(code, message)| {
        // Without a reader of stderr the exit code still tells.
        let _ = writeln!(io::stderr(), "raftkv-cli: {message}");
        code
    }))
}

fn run(arguments: Arguments) -> Ended {
    let Arguments {
        endpoints,
        timeout,
        command,
    } = arguments;
    let client = Client::new(endpoints.clone()).map_err(explain)?;
    let mut client = client.with_timeout(timeout);
    let cluster = Cluster { endpoints, timeout };
    match command {
        Command::Put { key, value } => {
            let value = value.map_or_else(value_of_stdin, Ok)?;
            client.put(key, value).map_err(explain)?;
            said("OK")
        }
        Command::Get { key } => match client.get(key.as_str()).map_err(explain)? {
            Some(value) => print(&value),
            None => Err(not_found(&key)),
        },
        Command::Delete { key } => match client.delete(key.as_str()).map_err(explain)? {
            true => said("OK"),
            false => Err(not_found(&key)),
        },
        Command::Backup(command) => backup::run(&command, &mut client),
        Command::Status { output } => status::status(&cluster.endpoints, timeout, output),
        Command::Health => status::health(&cluster.endpoints, timeout),
        Command::Member(command) => member::run(&command, &cluster),
        Command::Leader(command) => leader::run(&command, &cluster),
    }
}

/// Says what was done. Where that cannot be printed it is done all the same, and the exit code must
/// not say otherwise.
fn said(text: &str) -> Ended {
    if let Err(error) = write_line(text) {
        let _ = writeln!(
            io::stderr(),
            "raftkv-cli: done, but stdout takes no output: {error}"
        );
    }
    Ok(exit::DONE)
}

fn print(value: &str) -> Ended {
    let failed = |error| {
        (
            exit::UNAVAILABLE,
            format!("stdout takes no output: {error}"),
        )
    };
    write_line(value).map_err(failed)?;
    Ok(exit::DONE)
}

fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

fn not_found(key: &str) -> (u8, String) {
    (exit::NEGATIVE, format!("not found: {key:?}"))
}

fn explain(error: Error) -> (u8, String) {
    let code = match error {
        Error::Endpoint { .. } => exit::USAGE,
        Error::Unavailable { .. } | Error::BackupFailed { .. } => exit::UNAVAILABLE,
        Error::Refused { .. } => exit::REFUSED,
        Error::OutcomeUnknown(_) => exit::OUTCOME_UNKNOWN,
    };
    (code, error.to_string())
}

fn value_of_stdin() -> Result<String, (u8, String)> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let text = "no value: give one after the key, or on stdin as in `put KEY < FILE`";
        return Err((exit::USAGE, text.into()));
    }
    // One byte beyond the limit shows that it is passed, whatever else may come.
    let limit = u64::try_from(VALUE_MAX_BYTES + 1).expect("a limit of 1 MiB");
    let mut value = Vec::new();
    let read = stdin.lock().take(limit).read_to_end(&mut value);
    read.map_err(|error| (exit::USAGE, format!("stdin cannot be read: {error}")))?;
    if value.is_empty() {
        // As cron and `ssh -n` have it: an empty value by accident is a value lost.
        let text = "stdin is empty; to store an empty value give it: put KEY ''";
        return Err((exit::USAGE, text.into()));
    }
    if value.len() > VALUE_MAX_BYTES {
        let text = format!("the value on stdin has more than {VALUE_MAX_BYTES} bytes; split it");
        return Err((exit::REFUSED, text));
    }
    String::from_utf8(value).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = format!("the value on stdin is not UTF-8 at byte {at}; encode it, as base64");
        (exit::REFUSED, text)
    })
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| timeout_help())?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    // A day is more than anybody waits, and far below where times overflow.
    match ms {
        Some(ms @ 1..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err(timeout_help()),
    }
}

fn timeout_help() -> String {
    "a timeout is a number with ms, s or m, from 1ms to a day, as in 5s".into()
}
