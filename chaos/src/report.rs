//! A batch as JSON and as text.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value, json};

use crate::{
    batch::Report,
    invariants::Property,
    scenario::Class,
    sim::{CrashPoint, Fault, Mark},
};

fn object<'a>(items: impl Iterator<Item = (&'a str, u64)>) -> Value {
    let items = items.map(|(name, count)| (name.to_owned(), Value::from(count)));
    Value::Object(items.collect::<Map<String, Value>>())
}

impl Report {
    /// All of it, for machines. `commit` says what was run.
    #[must_use]
    pub fn to_json(&self, commit: &str) -> Value {
        let totals = &self.totals;
        let failed = totals.failed.len() as u64;
        let elapsed_ms = self.elapsed.as_millis() as u64;
        let kinds = totals.kinds.iter();
        let kinds: Map<String, Value> = kinds
            .map(|(kind, (begun, hit))| {
                let counts = json!({ "begun": begun, "hit": hit });
                (kind.name().to_owned(), counts)
            })
            .collect();
        let pair = |(a, b): &(Class, Class)| format!("{}+{}", a.name(), b.name());
        let overlaps: Map<String, Value> = totals
            .overlaps
            .iter()
            .map(|(classes, &count)| (pair(classes), count.into()))
            .collect();
        let failures: Vec<Value> = totals
            .failed
            .iter()
            .map(|failed| {
                json!({
                    "seed": failed.seed,
                    "property": failed.failure.property.name(),
                    "what": failed.failure.what,
                })
            })
            .collect();
        let (time, writes, reads, elections) = totals.least.unwrap_or_default();
        json!({
            "planned_scenarios": self.order.scenarios,
            "attempted_scenarios": totals.attempted,
            "passed": totals.attempted - failed,
            "failed": failed,
            "budget_seconds": self.order.budget.map(|budget| budget.as_secs()),
            "budget_hit": self.budget_hit,
            "elapsed_ms": elapsed_ms,
            "base_seed": self.order.base_seed,
            "jobs": self.order.jobs,
            "commit": commit,
            "presets": totals.presets,
            "virtual_seconds": totals.virtual_time / 1_000_000,
            "virtual_per_real_and_job": self.speed().round(),
            "steps": totals.steps,
            "acked_writes": totals.acked_writes,
            "reads": totals.reads,
            "elections": totals.elections,
            "joint_changes_begun": totals.hits.of(Fault::Joint),
            "joint_changes_finished": totals.hits.of(Fault::JointDone),
            "leaders_ended_in_joint": totals.hits.of(Fault::JointLeaderEnds),
            "least_of_any_scenario": {
                "virtual_seconds": time / 1_000_000,
                "acked_writes": writes,
                "reads": reads,
                "elections": elections,
            },
            "run_twice": totals.repeated,
            "faults_by_kind": kinds,
            "faults": object(Fault::ALL.iter().map(|&f| (f.name(), totals.hits.of(f)))),
            "crash_points": object(CrashPoint::ALL.iter().map(|&p| (p.name(), totals.hits.at(p)))),
            "overlaps": overlaps,
            "marks": object(Mark::ALL.iter().map(|&mark| (mark.name(), totals.marks.of(mark)))),
            "verdicts": self.verdicts(),
            "vacuous": totals.vacuous(),
            "failures": failures,
            "failing_seeds": totals.failed.iter().map(|failed| failed.seed).collect::<Vec<_>>(),
        })
    }

    /// How often each property was broken.
    fn verdicts(&self) -> BTreeMap<&'static str, u64> {
        let count = |property: Property| {
            let broken = self.totals.failed.iter();
            broken
                .filter(|failed| failed.failure.property == property)
                .count() as u64
        };
        let all = Property::ALL.iter();
        all.map(|&property| (property.name(), count(property)))
            .collect()
    }

    /// Virtual seconds for a second of one thread.
    fn speed(&self) -> f64 {
        let threads = self.elapsed.as_secs_f64() * self.order.jobs as f64;
        self.totals.virtual_time as f64 / 1e6 / threads.max(1e-9)
    }
}

impl fmt::Display for Report {
    /// What an engineer wants to know of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(
            f,
            "{} scenarios in {seconds:.1} s: {} virtual seconds, {:.0} for each real one of a core",
            totals.attempted,
            totals.virtual_time / 1_000_000,
            self.speed(),
        )?;
        let hit: u64 = totals.kinds.values().map(|(_, hit)| hit).sum();
        writeln!(
            f,
            "{} acknowledged writes, {} reads, {} elections; {hit} faults of {} kinds hit",
            totals.acked_writes,
            totals.reads,
            totals.elections,
            totals.kinds.values().filter(|(_, hit)| *hit > 0).count(),
        )?;
        let of = |fault| totals.hits.of(fault);
        writeln!(
            f,
            "{} joint changes of members, {} of them finished; {} leaders ended within one",
            of(Fault::Joint),
            of(Fault::JointDone),
            of(Fault::JointLeaderEnds),
        )?;
        if let Some((time, writes, reads, elections)) = totals.least {
            writeln!(
                f,
                "at least {} virtual seconds, {writes} writes, {reads} reads and {elections} \
                 elections in each",
                time / 1_000_000,
            )?;
        }
        let repeated = totals.repeated;
        writeln!(f, "{repeated} scenarios were run twice, to the same end")?;
        for failed in &totals.failed {
            let (seed, failure) = (failed.seed, &failed.failure);
            writeln!(
                f,
                "seed {seed}: {}: {}",
                failure.property.name(),
                failure.what
            )?;
        }
        for missing in totals.vacuous() {
            writeln!(f, "vacuous: {missing}")?;
        }
        write!(
            f,
            "{} passed, {} failed",
            totals.attempted - totals.failed.len() as u64,
            totals.failed.len()
        )
    }
}
