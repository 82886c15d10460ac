//! The results of bench-cluster as a table for people and as JSON.

use crate::{
    api::Method,
    floor::{PUT_BYTES, Path},
    latency::median,
    machine::Machine,
    rounds::{Call, Figures, Servers, Workload},
    spread::Spread,
};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What the put latency of one client may be, as a multiple of the floor's in the same run.
const PUT_RATIO_MAX: f64 = 1.25;

/// The share of a core that an idle node may use.
const IDLE_PERCENT_MAX: f64 = 2.0;

/// A put that is alone needs a sync of its own on each node of a majority.
const SYNCS_PER_PUT_MIN: f64 = 2.0;

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

const SINGLE_PUT: Workload = Workload::Call(Call::closed(Method::Put, 1));

impl Report {
    fn rounds(&self, wanted: Workload) -> &[Figures] {
        let row = self.rows.iter().find(|(workload, _)| *workload == wanted);
        row.map_or(&[], |(_, rounds)| rounds)
    }

    /// How often the second goes into the first by p50, round by round; none if one did not run.
    fn ratio(&self, of: Workload, to: Workload) -> Option<Spread> {
        let pairs = self.rounds(of).iter().zip(self.rounds(to));
        let ratios: Vec<f64> = pairs.map(|(of, to)| of.p50_us / to.p50_us).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }

    /// A put alone, in terms of the floor, of a synced append, and of a round trip.
    fn ratios(&self) -> [(&'static str, Option<Spread>); 3] {
        [
            ("floor's by gateway", Workload::Floor(Path::Gateway)),
            (
                "synced append's, 3 writers",
                Workload::SyncedAppend { writers: 3 },
            ),
            ("loopback round trip's", Workload::RoundTrip),
        ]
        .map(|(name, to)| (name, self.ratio(SINGLE_PUT, to)))
    }

    fn failover_ms(&self) -> Spread {
        Spread::of(self.failovers.iter().map(|time| time.as_secs_f64() * 1e3))
    }

    /// Syncs of all nodes for one put, where there is one at a time and they were counted.
    pub fn syncs_per_put(&self) -> Option<f64> {
        middle_of_servers(self.rounds(SINGLE_PUT), |servers| servers.syncs_per_op)
    }

    /// Whether nothing was acknowledged that was not synced on a majority, as far as counting
    /// tells.
    pub fn is_synced(&self) -> bool {
        self.syncs_per_put()
            .is_none_or(|syncs| syncs >= SYNCS_PER_PUT_MIN)
    }

    /// The results for programs.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter();
        let rows = rows.map(|(workload, rounds)| row_json(*workload, rounds));
        let [floor, append, round_trip] = self.ratios().map(|(_, ratio)| ratio.map(Spread::json));
        json!({
            "machine": self.machine.json(),
            "commit": self.machine.commit,
            "value_bytes": PUT_BYTES,
            "connections": "one per client",
            "rows": rows.collect::<Vec<_>>(),
            "put_p50_to_floor_p50": floor,
            "put_p50_to_synced_append_p50": append,
            "put_p50_to_round_trip_p50": round_trip,
            "syncs_per_put": self.syncs_per_put(),
            "failover_ms": (!self.failovers.is_empty()).then(|| self.failover_ms().json()),
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

fn middle_of_servers(rounds: &[Figures], figure: impl Fn(&Servers) -> Option<f64>) -> Option<f64> {
    middle_if_any(rounds, |it| it.servers.as_ref().and_then(&figure))
}

/// The medians of a row, for programs.
pub fn row_json(workload: Workload, rounds: &[Figures]) -> Value {
    let servers = |figure: fn(&Servers) -> Option<f64>| middle_of_servers(rounds, figure);
    let mut row = json!({
        "name": workload.name(),
        "rounds": rounds.len(),
        "ops_per_second": middle(rounds, |it| it.ops_per_second),
        "p50_us": middle(rounds, |it| it.p50_us),
        "p99_us": middle(rounds, |it| it.p99_us),
        "p999_us": middle(rounds, |it| it.p999_us),
    });
    if let Workload::Call(call) = workload {
        row["method"] = call.method.name().into();
        row["clients"] = call.clients.into();
        row["value_bytes"] = call.value_bytes.into();
        row["percent_of_peak"] = json!(call.percent_of_peak);
        row["servers_us_per_op"] = json!(servers(|it| Some(it.us_per_op)));
        row["generator_us_per_op"] = json!(middle_if_any(rounds, |it| it.generator_us_per_op));
        row["written_bytes_per_op"] = json!(servers(|it| it.bytes_per_op));
        row["syncs_per_op"] = json!(servers(|it| it.syncs_per_op));
        row["syncs_per_second"] = json!(servers(|it| it.syncs_per_second));
        row["resident_bytes"] = json!(servers(|it| Some(it.resident_bytes as f64)));
    }
    row
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.line())?;
        let rounds = self.rows.first().map_or(0, |(_, rounds)| rounds.len());
        writeln!(
            f,
            "Values of {PUT_BYTES} bytes unless named, a connection per client; medians of \
             {rounds} rounds, each of which runs all rows. servers: all three nodes together.\n"
        )?;
        writeln!(
            f,
            "{:32}{:>8}{:>9}{:>9}{:>10}{:>11}{:>11}{:>10}{:>9}{:>8}",
            "",
            "ops/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "servers",
            "generator",
            "written",
            "syncs",
            "RSS"
        )?;
        writeln!(
            f,
            "{:68}{:>11}{:>11}{:>10}{:>9}{:>8}",
            "", "us/op", "us/op", "B/op", "/s", "MiB"
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
    let p999_us = middle(rounds, |it| it.p999_us);
    let name = workload.name();
    write!(
        f,
        "{name:32}{rate:>8.0}{p50_us:>9.1}{p99_us:>9.1}{p999_us:>10.1}"
    )?;
    let servers = |figure: fn(&Servers) -> Option<f64>| middle_of_servers(rounds, figure);
    let columns = [
        (11, 1, servers(|it| Some(it.us_per_op))),
        (11, 1, middle_if_any(rounds, |it| it.generator_us_per_op)),
        (10, 0, servers(|it| it.bytes_per_op)),
        (9, 0, servers(|it| it.syncs_per_second)),
        (8, 0, servers(|it| Some((it.resident_bytes >> 20) as f64))),
    ];
    for (width, digits, figure) in columns {
        match figure {
            Some(figure) => write!(f, "{figure:>width$.digits$}")?,
            None => write!(f, "{:width$}", "")?,
        }
    }
    writeln!(f)
}

impl Report {
    fn write_verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ratio) in self.ratios() {
            if let Some(ratio) = ratio {
                writeln!(f, "put p50, 1 client: {ratio} x the {name}")?;
            }
        }
        if let Some(ratio) = self.ratio(SINGLE_PUT, Workload::Floor(Path::Gateway)) {
            writeln!(
                f,
                "at most {PUT_RATIO_MAX} x the floor's by gateway is wanted: {}",
                verdict(ratio.middle <= PUT_RATIO_MAX)
            )?;
        }
        if let Some(syncs) = self.syncs_per_put() {
            writeln!(
                f,
                "fdatasync, counted from outside: {syncs:.2} for each put that is alone; at least \
                 {SYNCS_PER_PUT_MIN} is wanted: {}",
                verdict(self.is_synced())
            )?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_has_no_ratio_and_no_verdict() {
        let report = Report {
            machine: Machine::this(std::path::Path::new(".")),
            rows: Vec::new(),
            failovers: Vec::new(),
            idle: Idle {
                span: Duration::from_secs(1),
                percent: vec![0.1; 3],
                campaigns: 0,
            },
        };
        let text = report.to_string();
        assert!(!text.contains("inf") && !text.contains(" x the "), "{text}");
        assert_eq!(report.json()["put_p50_to_floor_p50"], Value::Null);
    }
}
