//! `make explore`: searches bound after bound, and says of each whether all of it was seen.

use clap::{Parser, builder::RangedU64ValueParser};
use raftkv_chaos::explore::{BOUNDS, Bound, Marks, Outcome, Verdict, run};
use std::{io::Write, panic, process::ExitCode};

/// Visits every state of three members within each of a list of bounds, and checks the rules of
/// Figure 3 in each. Exits with 1 if one is broken.
#[derive(Parser)]
struct Options {
    /// Search only these bounds.
    #[arg(value_name = "BOUND", value_parser = bound)]
    bounds: Vec<&'static Bound>,
    /// How many threads search.
    #[arg(long, default_value_t = 2, value_parser = threads())]
    threads: usize,
    /// Cut each search at so many states [default: what the bound says].
    #[arg(long, value_name = "STATES")]
    cut: Option<usize>,
    /// Say what the bounds are, and search none.
    #[arg(long)]
    list: bool,
}

fn threads() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=64)
}

fn bound(name: &str) -> Result<&'static Bound, String> {
    let found = BOUNDS.iter().find(|bound| bound.name == name);
    found.ok_or_else(|| "no bound is called that; --list names them".to_owned())
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("explore: {}", line.trim_start_matches("error: "));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    if options.list {
        BOUNDS.iter().for_each(|bound| println!("{bound}"));
        return ExitCode::SUCCESS;
    }
    // A rule that the FSM asserts itself is reported with the way there.
    panic::set_hook(Box::new(|_| {}));
    search(&options)
}

fn search(options: &Options) -> ExitCode {
    let named: Vec<&Bound> = match options.bounds.is_empty() {
        true => BOUNDS.iter().collect(),
        false => options.bounds.clone(),
    };
    let mut marks = Marks::default();
    let (mut states, mut seconds) = (0, 0.0);
    println!(
        "{:<18} {:>11} {:>12} {:>5} {:>8} {:>9}  verdict",
        "bound", "states", "transitions", "depth", "seconds", "states/s"
    );
    for named in named {
        let max_states = options.cut.unwrap_or(named.max_states);
        let bound = Bound {
            max_states,
            ..*named
        };
        let outcome = run(&bound, options.threads);
        show(&bound, &outcome);
        if let Verdict::Violated { rule, trace } = outcome.verdict {
            trace.iter().for_each(|line| println!("  {line}"));
            println!("{rule}");
            return ExitCode::FAILURE;
        }
        marks = marks.and(outcome.marks);
        states += outcome.states;
        seconds += outcome.took.as_secs_f64();
    }
    println!("{states} states in {seconds:.0} s");
    println!("happened: {marks}");
    println!("did not: {}", marks.missing());
    ExitCode::SUCCESS
}

fn show(bound: &Bound, outcome: &Outcome) {
    let seconds = outcome.took.as_secs_f64();
    let verdict = match outcome.verdict {
        Verdict::Exhausted => "exhausted",
        Verdict::Cut => "cut",
        Verdict::Violated { .. } => "VIOLATED",
    };
    println!(
        "{:<18} {:>11} {:>12} {:>5} {seconds:>8.1} {:>9.0}  {verdict}",
        bound.name,
        outcome.states,
        outcome.transitions,
        outcome.depth,
        outcome.states as f64 / seconds,
    );
    // The next one may take minutes.
    let _ = std::io::stdout().flush();
}
