//! `raftkv`: a node of a replicated key-value store, with `raftkv dev` a whole cluster, and the
//! tools for the directory of a node that does not run.

mod dev;
mod flags;
mod log;

use std::{
    io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _},
    net::TcpListener,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use flags::{Command, Inspect, Serve};
use raftkv::{
    gateway::Gateway,
    node::{Node, StartError, Stopper},
    offline,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, text)) => {
            // Without a reader of stderr the exit code still tells.
            let _ = writeln!(io::stderr(), "error: {text}");
            ExitCode::from(code)
        }
    }
}

/// What ends the process: its exit code, and its last line.
type Failure = (u8, String);

fn failure(error: StartError) -> Failure {
    (error.exit_code(), error.to_string())
}

fn run() -> Result<(), Failure> {
    let cli = flags::parse().map_err(failure)?;
    match cli.command {
        Some(Command::Dev(flags)) => dev::run(&flags),
        Some(Command::Verify(flags)) => print(|out| offline::verify(&flags.dir, out)),
        Some(Command::Inspect(command)) => print(|out| inspect(&command, out)),
        Some(Command::Restore(flags)) => {
            let restore = flags.check().map_err(failure)?;
            print(|out| offline::restore(&restore, |risk| confirm(risk, flags.yes), out))
        }
        None => serve(cli.node.check().map_err(failure)?),
    }
}

/// Has something print to stdout.
fn print(
    run: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> Result<(), offline::Failure>,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run(&mut out);
    let flushed = out.flush().map_err(offline::Failure::output);
    match done.and(flushed) {
        Err(failure) if failure.code != 0 => Err((failure.code, failure.text)),
        _ => Ok(()),
    }
}

/// Says what may be lost, and asks whoever sits at a terminal.
fn confirm(risk: &str, yes: bool) -> Result<bool, offline::Failure> {
    // Without a reader of stderr there is nobody to ask either.
    let _ = writeln!(io::stderr(), "{risk}");
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let _ = write!(io::stderr(), "Make a new cluster of it? Type yes: ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim() == "yes")
}

fn inspect(command: &Inspect, out: &mut impl io::Write) -> Result<(), offline::Failure> {
    match command {
        Inspect::Log(look) => offline::inspect_log(&look.dir, look.output(), out),
        Inspect::Meta(look) => offline::inspect_meta(&look.dir, look.output(), out),
        Inspect::Snapshot { look, keys } => {
            offline::inspect_snapshots(&look.dir, *keys, look.output(), out)
        }
    }
}

/// Runs a node until it is told to stop or cannot go on.
fn serve(serve: Serve) -> Result<(), Failure> {
    let system = |doing| move |error| failure(StartError::System { doing, error });
    let (log, _flush) = log::start(io::stderr()).map_err(system("starting a thread"))?;
    tracing_subscriber::fmt()
        .with_writer(log)
        .with_max_level(serve.log_level.filter())
        .with_target(false)
        .init();
    for name in flags::unknown_variables() {
        tracing::warn!("{name} is no variable of raftkv, ignored; raftkv --help lists them");
    }
    raise_the_limit_of_open_files();
    report_the_file_size_limit().map_err(system("catching signals"))?;
    let clients = TcpListener::bind(&serve.kv_listen).map_err(|error| {
        failure(StartError::Listen {
            flag: "--kv-listen",
            address: serve.kv_listen.clone(),
            error,
        })
    })?;
    let config = serve.config;
    let banner = format!(
        "node {} accepts peers at {} and clients at {}, told to use {}; data in {}; a write is \
         acknowledged once a majority has synced it",
        config.node_id,
        config.raft_listen,
        serve.kv_listen,
        config.client_address,
        config.data_dir.display()
    );
    // Until then a signal ends the process at once: there is nobody to hand anything to.
    let node = Node::start(config).map_err(failure)?;
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(system("catching signals"))?;
    tracing::info!("{banner}");
    let gateway = Gateway::start(clients, |answers, wake| node.handle(answers, wake))
        .map_err(system("starting the gateway"))?;
    let stopper = node.stopper();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || stop_on_signal(signals, gateway, &stopper))
        .map_err(system("starting a thread"))?;
    node.wait()
        .map_err(|fatal| (fatal.exit_code(), fatal.to_string()))
}

/// Another one leads first, so that clients who are turned away find it. Then calls in flight get
/// their answers, which takes a node that goes on.
fn stop_on_signal(mut signals: Signals, gateway: Gateway, node: &Stopper) {
    if signals.forever().next().is_some() {
        tracing::info!("stopping");
        node.hand_over();
        gateway.shut_down();
        node.stop();
    }
}

/// The soft limit is often 1024 for the sake of programs that call `select`, which fails beyond. We
/// do not, and each client takes a descriptor.
fn raise_the_limit_of_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let current = current.map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
        tracing::warn!(
            "cannot raise the limit of open files, it stays at {current}: {error}; raise it before \
             the start (ulimit -n) for more clients"
        );
    }
}

/// At the limit of file sizes (`ulimit -f`) a write then fails, with our exit code and last line,
/// where the signal would end the process without a word.
fn report_the_file_size_limit() -> io::Result<()> {
    let ignored = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(Signal::XFSZ.as_raw(), ignored).map(|_| ())
}
