//! The command line and the environment of `raftkv`. A flag beats its variable, which beats the
//! default.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser,
    error::ErrorKind,
};
use raftkv::{
    node::{Config, StartError, check_address, parse_peers, split_address},
    offline::{Origins, Output, Restore},
    raft::{MEMBERS_MAX, NodeId},
    replica::SnapshotPolicy,
};
use tracing_subscriber::filter::LevelFilter;

/// Timers are multiples of a tick of 10 ms; beyond a minute nobody waits for a leader.
const TIMER_MS: std::ops::RangeInclusive<u64> = 10..=60_000;
/// Below the first, snapshots would be all that a node does; beyond the second there is no disk.
const SNAPSHOT_LOG_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;
const SNAPSHOT_LOG_ENTRIES: std::ops::RangeInclusive<u64> = 100..=1 << 40;

/// Between the ports of one node and the next, and of its peers and its clients, in `raftkv dev`.
const PORT_STEP: u16 = 10;
const CLIENT_PORT_STEP: u16 = 100;

/// Variables that other programs of the project read.
const OTHER_VARIABLES: &[&str] = &[
    "RAFTKV_ENDPOINTS",
    "RAFTKV_TIMEOUT",
    "RAFTKV_OUTPUT",
    "RAFTKV_BIN_DIR",
];

const EXAMPLES: &str = "\
Examples:
  raftkv dev
      three nodes on this machine, data under ./data
  raftkv --node-id 0 --peers 0@a:9000,1@b:9000,2@c:9000 \\
      --raft-listen 0.0.0.0:9000 --kv-listen 0.0.0.0:9100 --data-dir /var/lib/raftkv
      node 0 of three; the others differ in --node-id alone, and start in any order";

/// A replicated key-value store over Raft.
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// A node.
    #[command(flatten)]
    pub node: NodeFlags,
}

/// What `raftkv` does besides running a node.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a cluster of real processes on 127.0.0.1 until Ctrl-C
    Dev(DevFlags),
    /// Check every file of a stopped node's directory; changes nothing
    Verify(VerifyFlags),
    /// Show what a stopped node's directory holds; changes nothing
    #[command(subcommand)]
    Inspect(Inspect),
    /// Make the directory of one node of a new cluster that begins with a backup
    Restore(RestoreFlags),
}

/// The flags of `raftkv restore`.
#[derive(Args, Debug)]
pub struct RestoreFlags {
    /// What `raftkv-cli backup save` made
    #[arg(required_unless_present = "from_dir", conflicts_with = "from_dir")]
    file: Option<PathBuf>,
    /// In place of a file: the --data-dir of a stopped node, when the majority of its cluster is
    /// lost. What it lacks is lost as well
    #[arg(long, value_name = "DIR")]
    from_dir: Option<PathBuf>,
    /// This node's id
    #[arg(long, env = "RAFTKV_NODE_ID", value_name = "N")]
    node_id: u64,
    /// Every node of the new cluster, with where it accepts the others; the same on each
    #[arg(
        long,
        env = "RAFTKV_PEERS",
        value_name = "0@HOST:PORT,1@…",
        value_parser = parse_peers
    )]
    peers: BTreeMap<NodeId, String>,
    /// Where to make the directory: absent or empty
    #[arg(long, env = "RAFTKV_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Any text, the same on each node, and another one each time that a backup is restored: nodes
    /// of different attempts then never mix
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    token: String,
    /// Take a survivor's state without asking
    #[arg(long)]
    pub yes: bool,
}

impl RestoreFlags {
    /// Checks what no flag alone can tell.
    ///
    /// # Errors
    /// The flag, its value and the cure.
    pub fn check(&self) -> Result<Restore, StartError> {
        let node_id = NodeId(self.node_id);
        if !self.peers.contains_key(&node_id) {
            return Err(not_among_peers(node_id));
        }
        let origin = match (&self.from_dir, &self.file) {
            (Some(directory), _) => Origins::Survivor(directory.clone()),
            (None, Some(file)) => Origins::File(file.clone()),
            (None, None) => {
                let text = "no backup is named; give its FILE, or --from-dir DIR";
                return Err(StartError::Flag(text.to_owned()));
            }
        };
        Ok(Restore {
            origin,
            peers: self.peers.clone(),
            token: self.token.clone(),
            node_id,
            data_dir: self.data_dir.clone(),
        })
    }
}

fn not_among_peers(node_id: NodeId) -> StartError {
    StartError::Flag(format!(
        "--node-id {node_id} is not among --peers; name this node there, or give it one of those \
         ids"
    ))
}

/// The flags of `raftkv verify`.
#[derive(Args, Debug)]
pub struct VerifyFlags {
    /// The --data-dir of a node that does not run
    pub dir: PathBuf,
}

/// What `raftkv inspect` shows.
#[derive(Subcommand, Debug)]
pub enum Inspect {
    /// Every entry: index, term, kind, bytes, key
    Log(Look),
    /// The snapshots: what they include and how large they are
    Snapshot {
        #[command(flatten)]
        look: Look,
        /// Their keys too
        #[arg(long)]
        keys: bool,
    },
    /// Whose directory it is, term and vote, first and last index
    Meta(Look),
}

/// Where to look and how to print.
#[derive(Args, Debug)]
pub struct Look {
    /// The --data-dir of a node that does not run
    pub dir: PathBuf,
    /// A table for people, or JSON
    #[arg(
        short,
        long,
        env = "RAFTKV_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Look {
    /// How to print.
    pub fn output(&self) -> Output {
        match self.output {
            Format::Table => Output::Table,
            Format::Json => Output::Json,
        }
    }
}

/// The flags of a node.
#[derive(Args, Debug)]
pub struct NodeFlags {
    /// This node's id, from 0
    #[arg(long, env = "RAFTKV_NODE_ID", value_name = "N")]
    node_id: Option<u64>,
    /// Every node, with where it accepts the others; the same on each
    #[arg(
        long,
        env = "RAFTKV_PEERS",
        value_name = "0@HOST:PORT,1@…",
        value_parser = parse_peers
    )]
    peers: Option<BTreeMap<NodeId, String>>,
    /// Wait to be added to the cluster of --peers, which need not name this node
    #[arg(long, env = "RAFTKV_JOIN")]
    join: bool,
    /// Where to accept the other nodes
    #[arg(long, env = "RAFTKV_RAFT_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    raft_listen: Option<String>,
    /// Where the other nodes reach this one, if not where --peers says, or without that at
    /// --raft-listen
    #[arg(long, env = "RAFTKV_RAFT_ADVERTISE", value_name = "HOST:PORT", value_parser = address)]
    raft_advertise: Option<String>,
    /// Where to serve clients
    #[arg(long, env = "RAFTKV_KV_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    kv_listen: Option<String>,
    /// Everything durable; made when absent
    #[arg(long, env = "RAFTKV_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients reach this node, if not at --kv-listen
    #[arg(long, env = "RAFTKV_KV_ADVERTISE", value_name = "HOST:PORT", value_parser = address)]
    kv_advertise: Option<String>,
    /// Time between two heartbeats of a leader, one for the cluster
    #[arg(
        long,
        env = "RAFTKV_HEARTBEAT_MS",
        value_name = "MS",
        default_value = "50",
        value_parser = clap::value_parser!(u64).range(TIMER_MS)
    )]
    heartbeat_ms: u64,
    /// Election timeouts are drawn from 1 to 2 times this, one for the cluster
    #[arg(
        long,
        env = "RAFTKV_ELECTION_TIMEOUT_MS",
        value_name = "MS",
        default_value = "150",
        value_parser = clap::value_parser!(u64).range(TIMER_MS)
    )]
    election_timeout_ms: u64,
    /// A snapshot is taken when so many bytes of log were applied since the last one
    #[arg(
        long,
        env = "RAFTKV_SNAPSHOT_LOG_BYTES",
        value_name = "BYTES",
        default_value_t = SnapshotPolicy::default().log_bytes,
        value_parser = clap::value_parser!(u64).range(SNAPSHOT_LOG_BYTES)
    )]
    snapshot_log_bytes: u64,
    /// Or so many entries. In neither case before they come to half the size of the last snapshot
    #[arg(
        long,
        env = "RAFTKV_SNAPSHOT_LOG_ENTRIES",
        value_name = "COUNT",
        default_value_t = SnapshotPolicy::default().log_entries,
        value_parser = clap::value_parser!(u64).range(SNAPSHOT_LOG_ENTRIES)
    )]
    snapshot_log_entries: u64,
    /// The least important lines to log, on stderr
    #[arg(
        long,
        env = "RAFTKV_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: Level,
}

/// The flags of `raftkv dev`.
#[derive(Args, Debug)]
pub struct DevFlags {
    /// How many nodes
    #[arg(
        long,
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64)
    )]
    pub nodes: u16,
    /// Node i accepts peers at this port + 10 i, and clients 100 above
    #[arg(
        long,
        value_name = "PORT",
        default_value = "9000",
        value_parser = clap::value_parser!(u16).range(1..=65_000)
    )]
    base_port: u16,
    /// Node i keeps its data in the subdirectory i
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The least important lines that the nodes log, on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// It needs an operator.
    Error,
    /// It may soon.
    Warn,
    /// Changes of role and of peers.
    Info,
    /// Each decision.
    Debug,
    /// All there is.
    Trace,
}

impl Level {
    /// Its name on the command line.
    pub fn name(self) -> String {
        let name = self
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        name.expect("no level is hidden")
    }

    /// For the log's set-up.
    pub fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// What a node is started with, beside its library's [`Config`].
#[derive(Debug)]
pub struct Serve {
    /// For the node.
    pub config: Config,
    /// Where to serve clients.
    pub kv_listen: String,
    /// The least important lines to log.
    pub log_level: Level,
}

/// Reads the command line and the environment. Help and version are printed here, and end the
/// process.
///
/// # Errors
/// The first flag that is wrong, in one line.
pub fn parse() -> Result<Cli, StartError> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        _ => StartError::Flag(one_line(&error)),
    })
}

/// The parser's report without its usage, in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let report = text.split("\nUsage:").next().unwrap_or_default();
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    lines.join("; ").trim_start_matches("error: ").to_owned()
}

/// The variables that look like ours and are not: a typing error would go unnoticed.
pub fn unknown_variables() -> Vec<String> {
    let command = Cli::command();
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|flag| flag.get_env())
        .collect();
    std::env::vars_os()
        .filter(|(name, _)| !known.contains(&name.as_os_str()))
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("RAFTKV_") && !OTHER_VARIABLES.contains(&name.as_str()))
        .collect()
}

fn address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned())
}

fn given<T>(flag: &str, value: Option<T>) -> Result<T, StartError> {
    value.ok_or_else(|| {
        StartError::Flag(format!(
            "{flag} is missing; a node needs --node-id, --peers, --raft-listen, --kv-listen and \
             --data-dir (raftkv dev starts a whole cluster, raftkv --help has examples)"
        ))
    })
}

impl NodeFlags {
    /// Checks what no flag alone can tell.
    ///
    /// # Errors
    /// The flag, its value and the cure.
    pub fn check(self) -> Result<Serve, StartError> {
        let node_id = NodeId(given("--node-id", self.node_id)?);
        let peers = given("--peers", self.peers)?;
        let raft_listen = given("--raft-listen", self.raft_listen)?;
        let kv_listen = given("--kv-listen", self.kv_listen)?;
        let data_dir = given("--data-dir", self.data_dir)?;
        if !self.join && !peers.contains_key(&node_id) {
            return Err(not_among_peers(node_id));
        }
        let peer_address = self.raft_advertise.or_else(|| peers.get(&node_id).cloned());
        let peer_address = peer_address.unwrap_or_else(|| raft_listen.clone());
        if is_unspecified(&peer_address) {
            return Err(StartError::Flag(format!(
                "--raft-advertise {peer_address} is no address that another node can connect to; \
                 name the host that they reach this node by"
            )));
        }
        let advertised = match self.kv_advertise {
            Some(address) if is_unspecified(&address) => {
                return Err(StartError::Flag(format!(
                    "--kv-advertise {address} is no address that a client can connect to; name \
                     the host that clients reach this node by"
                )));
            }
            Some(address) => address,
            None => reachable(&kv_listen, &peer_address),
        };
        Ok(Serve {
            config: Config {
                node_id,
                raft_listen,
                client_address: advertised,
                peer_address,
                join: self.join,
                data_dir,
                heartbeat_ms: self.heartbeat_ms,
                election_timeout_ms: self.election_timeout_ms,
                snapshot_log_bytes: self.snapshot_log_bytes,
                snapshot_log_entries: self.snapshot_log_entries,
                peers,
            },
            kv_listen,
            log_level: self.log_level,
        })
    }
}

/// Where clients reach a node that listens at `kv_listen`: there, unless that is every address of
/// the machine; then under the name that its peers know it by.
fn reachable(kv_listen: &str, own_address: &str) -> String {
    match (split_address(kv_listen), split_address(own_address)) {
        (Some((_, port)), Some((name, _))) if is_unspecified(kv_listen) => {
            format!("{name}:{port}")
        }
        _ => kv_listen.to_owned(),
    }
}

/// Whether the host of an address stands for every address of the machine, as 0.0.0.0 does.
fn is_unspecified(address: &str) -> bool {
    split_address(address).is_some_and(|(host, _)| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    })
}

/// One node of `raftkv dev`.
#[derive(Clone, Debug)]
pub struct DevNode {
    /// Its id.
    pub id: u16,
    /// Where it accepts peers.
    pub raft: String,
    /// Where it serves clients.
    pub clients: String,
    /// Its data directory.
    pub data_dir: PathBuf,
}

impl DevFlags {
    /// The nodes to run.
    ///
    /// # Errors
    /// When there are no ports for all.
    pub fn cluster(&self) -> Result<Vec<DevNode>, StartError> {
        let last = self
            .base_port
            .checked_add(CLIENT_PORT_STEP + PORT_STEP * (self.nodes - 1));
        if last.is_none() {
            return Err(StartError::Flag(format!(
                "--base-port {}: the ports of {} nodes would exceed 65535; choose a lower one",
                self.base_port, self.nodes
            )));
        }
        let node = |id| {
            let port = self.base_port + PORT_STEP * id;
            DevNode {
                id,
                raft: format!("127.0.0.1:{port}"),
                clients: format!("127.0.0.1:{}", port + CLIENT_PORT_STEP),
                data_dir: self.data_dir.join(id.to_string()),
            }
        };
        Ok((0..self.nodes).map(node).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &[&str] = &[
        "raftkv",
        "--node-id",
        "1",
        "--peers",
        "0@a:9000,1@b:9010",
        "--raft-listen",
        "0.0.0.0:9010",
        "--kv-listen",
        "127.0.0.1:9110",
        "--data-dir",
        "d",
    ];

    /// The flags above, with these in place of or beside them.
    fn serve(changes: &[(&str, &str)]) -> Result<Serve, StartError> {
        let mut line: Vec<&str> = SOUND.to_vec();
        for (flag, value) in changes {
            if let Some(at) = line.iter().position(|word| word == flag) {
                line.drain(at..=at + 1);
            }
            line.extend([flag, value]);
        }
        let cli = Cli::try_parse_from(line).map_err(|e| StartError::Flag(one_line(&e)))?;
        cli.node.check()
    }

    #[test]
    fn the_contract_is_read_with_its_defaults() {
        let serve = serve(&[]).expect("sound");
        assert_eq!(serve.config.node_id, NodeId(1));
        assert_eq!(serve.config.peers.len(), 2);
        assert_eq!(serve.config.heartbeat_ms, 50);
        assert_eq!(serve.config.election_timeout_ms, 150);
        assert_eq!(serve.config.client_address, "127.0.0.1:9110");
    }

    #[test]
    fn the_client_address_is_one_that_clients_can_reach() {
        for (changes, address) in [
            (&[("--kv-listen", "0.0.0.0:9110")][..], "b:9110"),
            (&[("--kv-listen", "[::]:9110")], "b:9110"),
            (&[("--kv-listen", "[::1]:9110")], "[::1]:9110"),
            (
                &[("--kv-listen", "0.0.0.0:9110"), ("--kv-advertise", "x:1")],
                "x:1",
            ),
        ] {
            assert_eq!(
                serve(changes).expect("sound").config.client_address,
                address
            );
        }
    }

    #[test]
    fn a_bad_flag_gets_one_line_with_flag_value_and_cure() {
        for (flag, value, says) in [
            ("--node-id", "x", "'x' for '--node-id <N>'"),
            ("--node-id", "2", "--node-id 2 is not among --peers"),
            ("--peers", "0@a:1,0@b:2", "node id 0 occurs twice"),
            ("--peers", "0@a,1@b:2", "write HOST:PORT"),
            ("--raft-listen", "9000", "no port"),
            ("--kv-listen", "a:0", "no port from 1 to 65535"),
            ("--kv-advertise", "a", "no port"),
            (
                "--kv-advertise",
                "0.0.0.0:9100",
                "no address that a client can connect to",
            ),
            ("--heartbeat-ms", "0", "0 is not in 10..=60000"),
            (
                "--election-timeout-ms",
                "70000",
                "70000 is not in 10..=60000",
            ),
            ("--log-level", "loud", "possible values: error, warn"),
            (
                "--data-dirs",
                "d",
                "a similar argument exists: '--data-dir'",
            ),
        ] {
            let error = serve(&[(flag, value)]).expect_err(flag);
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2);
            assert!(
                text.contains(says) && !text.contains('\n'),
                "{flag} {value}: {text}"
            );
        }
    }

    #[test]
    fn a_missing_flag_is_named() {
        let cli = Cli::try_parse_from(&SOUND[..SOUND.len() - 2]).expect("flags that are sound");
        let text = cli.node.check().expect_err("no directory").to_string();
        assert!(text.starts_with("--data-dir is missing"), "{text}");
    }

    #[test]
    fn dev_uses_the_addresses_of_the_readme() {
        let Ok(Cli {
            command: Some(Command::Dev(flags)),
            ..
        }) = Cli::try_parse_from(["raftkv", "dev"])
        else {
            panic!("raftkv dev is a command");
        };
        let nodes = flags.cluster().expect("ports for all");
        let addresses: Vec<_> = nodes
            .iter()
            .map(|n| (n.raft.as_str(), n.clients.as_str()))
            .collect();
        assert_eq!(
            addresses,
            [
                ("127.0.0.1:9000", "127.0.0.1:9100"),
                ("127.0.0.1:9010", "127.0.0.1:9110"),
                ("127.0.0.1:9020", "127.0.0.1:9120"),
            ]
        );
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
