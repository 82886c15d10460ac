//! The results as a table for people and as JSON.

use crate::{
    caller::Method,
    floor::{PUT_BYTES, Path},
    latency::median,
    machine::Machine,
    rounds::{Figures, Workload},
};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What the put latency of one client may be, as a multiple of the floor's in the same run.
const PUT_RATIO_MAX: f64 = 2.0;

/// The share of a core that an idle node may use.
const IDLE_PERCENT_MAX: f64 = 2.0;

/// Everything that one run found.
#[derive(Debug)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What was measured, with the figures of each round.
    pub rows: Vec<(Workload, Vec<Figures>)>,
    /// From each kill of the leader to the next acknowledged put.
    pub failovers: Vec<Duration>,
    /// What happened without a call.
    pub idle: Idle,
}

/// What idle nodes do.
#[derive(Debug)]
pub struct Idle {
    /// How long they were watched.
    pub span: Duration,
    /// What each used, in percent of a core.
    pub percent: Vec<f64>,
    /// How often one campaigned; a stable leader leaves nobody a reason to.
    pub campaigns: usize,
}

/// The middle of some figures with the least and the greatest.
#[derive(Clone, Copy, Debug)]
struct Spread {
    least: f64,
    middle: f64,
    greatest: f64,
}

impl Spread {
    fn of(figures: &[f64]) -> Spread {
        Spread {
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            middle: median(figures.iter().copied()),
            greatest: figures.iter().copied().fold(0.0, f64::max),
        }
    }

    fn json(self) -> Value {
        json!({"min": self.least, "median": self.middle, "max": self.greatest})
    }
}

impl Report {
    fn rounds(&self, wanted: Workload) -> &[Figures] {
        let row = self.rows.iter().find(|(workload, _)| *workload == wanted);
        row.map_or(&[], |(_, rounds)| rounds)
    }

    /// How often the second goes into the first by p50, round by round.
    fn ratio(&self, of: Workload, to: Workload) -> Spread {
        let pairs = self.rounds(of).iter().zip(self.rounds(to));
        let ratios: Vec<f64> = pairs.map(|(of, to)| of.p50_us / to.p50_us).collect();
        Spread::of(&ratios)
    }

    fn put_to_floor(&self) -> Spread {
        let put = Workload::Raftkv {
            method: Method::Put,
            clients: 1,
        };
        self.ratio(put, Workload::Floor(Path::Gateway))
    }

    fn failover_ms(&self) -> Spread {
        let times = self.failovers.iter();
        let times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        Spread::of(&times)
    }

    /// The results for programs.
    pub fn json(&self) -> Value {
        let machine = &self.machine;
        let rows = self
            .rows
            .iter()
            .map(|(workload, rounds)| row_json(*workload, rounds));
        let failover_ms = (!self.failovers.is_empty()).then(|| self.failover_ms().json());
        json!({
            "machine": machine.json(),
            "commit": machine.commit,
            "value_bytes": PUT_BYTES,
            "rows": rows.collect::<Vec<_>>(),
            "put_p50_to_floor_p50": self.put_to_floor().json(),
            "failover_ms": failover_ms,
            "idle": {
                "seconds": self.idle.span.as_secs_f64(),
                "percent_of_a_core": self.idle.percent,
                "campaigns": self.idle.campaigns,
            },
        })
    }
}

/// The median over the rounds of one of their figures.
fn middle(rounds: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    median(rounds.iter().map(figure))
}

/// The same for a figure that not every workload has.
fn middle_if_any(rounds: &[Figures], figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
    let figures: Option<Vec<f64>> = rounds.iter().map(figure).collect();
    figures.map(median)
}

fn row_json(workload: Workload, rounds: &[Figures]) -> Value {
    json!({
        "name": workload.name(),
        "rounds": rounds.len(),
        "ops_per_second": middle(rounds, |it| it.ops_per_second),
        "p50_us": middle(rounds, |it| it.p50_us),
        "p99_us": middle(rounds, |it| it.p99_us),
        "servers_us_per_op": middle_if_any(rounds, |it| it.servers_us_per_op),
        "generator_us_per_op": middle_if_any(rounds, |it| it.generator_us_per_op),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let sync = self.rounds(Workload::SyncedAppend { writers: 1 });
        writeln!(
            f,
            "{} cores ({}), Linux {}, {}, fdatasync p50 {:.0} us; commit {}",
            machine.cores,
            machine.processor,
            machine.kernel,
            machine.file_system,
            middle(sync, |it| it.p50_us),
            machine.commit
        )?;
        let rounds = self.rows.first().map_or(0, |(_, rounds)| rounds.len());
        writeln!(
            f,
            "Values of {PUT_BYTES} bytes, a connection per client; medians of {rounds} rounds, \
             each of which runs all rows.\n"
        )?;
        writeln!(
            f,
            "{:34}{:>9}{:>10}{:>10}{:>14}{:>16}",
            "", "ops/s", "p50 us", "p99 us", "servers us/op", "generator us/op"
        )?;
        for (workload, rounds) in &self.rows {
            write_row(f, *workload, rounds)?;
        }
        writeln!(f)?;
        self.write_verdicts(f)
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, workload: Workload, rounds: &[Figures]) -> fmt::Result {
    let rate = middle(rounds, |it| it.ops_per_second);
    let p50_us = middle(rounds, |it| it.p50_us);
    let p99_us = middle(rounds, |it| it.p99_us);
    write!(
        f,
        "{:34}{rate:>9.0}{p50_us:>10.1}{p99_us:>10.1}",
        workload.name()
    )?;
    if let Some(us) = middle_if_any(rounds, |it| it.servers_us_per_op) {
        write!(f, "{us:>14.1}")?;
    }
    if let Some(us) = middle_if_any(rounds, |it| it.generator_us_per_op) {
        write!(f, "{us:>16.1}")?;
    }
    writeln!(f)
}

impl Report {
    fn write_verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.put_to_floor();
        writeln!(
            f,
            "put p50, 1 client: {:.2} x the floor's by gateway ({:.2} to {:.2}); at most \
             {PUT_RATIO_MAX} is wanted: {}",
            ratio.middle,
            ratio.least,
            ratio.greatest,
            verdict(ratio.middle <= PUT_RATIO_MAX)
        )?;
        if !self.failovers.is_empty() {
            let times_ms = self.failover_ms();
            writeln!(
                f,
                "leader killed to next put, {} times: median {:.0} ms, max {:.0} ms",
                self.failovers.len(),
                times_ms.middle,
                times_ms.greatest
            )?;
        }
        let Idle {
            span,
            percent,
            campaigns,
        } = &self.idle;
        let idle: Vec<String> = percent.iter().map(|p| format!("{p:.1}")).collect();
        let busiest = percent.iter().copied().fold(0.0, f64::max);
        writeln!(
            f,
            "idle nodes: {} % of a core; at most {IDLE_PERCENT_MAX} is wanted: {}",
            idle.join(", "),
            verdict(busiest <= IDLE_PERCENT_MAX)
        )?;
        writeln!(
            f,
            "idle leader: {campaigns} campaigns in {span:?}; none is wanted: {}",
            verdict(*campaigns == 0)
        )
    }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "missed" }
}
