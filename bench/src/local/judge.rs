//! Whether a run is worse than an earlier one, on this machine or on another.

use serde_json::Value;
use std::fmt;

/// One figure beside that of the baseline, both in terms of the calibration loop of their minute.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub name: String,
    /// By how many percent it is worse; negative when it is better.
    pub worse_percent: f64,
    /// How many are allowed.
    pub drift_percent: f64,
}

impl Verdict {
    /// Whether it is within what is allowed.
    pub fn holds(&self) -> bool {
        self.worse_percent <= self.drift_percent
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "WORSE" };
        let change = self.worse_percent;
        write!(f, "{:44}{change:>+8.1} % worse: {verdict}", self.name)
    }
}

/// Compares throughput and p99 of two elements of `runs`. A figure that is absent counts as worse.
pub fn judge(fresh: &Value, baseline: &Value, drift_percent: f64) -> [Verdict; 2] {
    let number = |run: &Value, name: &str| run[name].as_f64().unwrap_or(f64::NAN);
    let speed = |run: &Value| number(run, "calibration_per_sec");
    let of = |name: &str| {
        format!(
            "{} nodes, {} outstanding, {name}",
            fresh["nodes"], fresh["outstanding"]
        )
    };
    // What a put takes in rounds of the calibration loop.
    let rounds = |run: &Value| speed(run) / number(run, "puts_per_sec");
    let p99_rounds = |run: &Value| number(run, "p99_us") * speed(run);
    [
        ("throughput", rounds(fresh) / rounds(baseline)),
        ("p99", p99_rounds(fresh) / p99_rounds(baseline)),
    ]
    .map(|(name, ratio)| Verdict {
        name: of(name),
        worse_percent: if ratio.is_nan() {
            f64::INFINITY
        } else {
            worse_percent(name, ratio)
        },
        drift_percent,
    })
}

/// A put that takes twice as long is throughput that falls by 50 %, and a p99 that rises by 100 %.
fn worse_percent(name: &str, cost_ratio: f64) -> f64 {
    match name {
        "throughput" => (1.0 - 1.0 / cost_ratio) * 100.0,
        _ => (cost_ratio - 1.0) * 100.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(puts_per_sec: f64, p99_us: f64, calibration_per_sec: f64) -> Value {
        json!({
            "nodes": 3, "outstanding": 1, "puts_per_sec": puts_per_sec, "p99_us": p99_us,
            "calibration_per_sec": calibration_per_sec,
        })
    }

    fn holds(fresh: &Value, baseline: &Value) -> [bool; 2] {
        judge(fresh, baseline, 30.0).map(|verdict| verdict.holds())
    }

    #[test]
    fn a_drop_or_a_rise_beyond_the_drift_is_found() {
        let baseline = run(1000.0, 10.0, 500.0);
        assert_eq!(holds(&run(710.0, 12.9, 500.0), &baseline), [true, true]);
        assert_eq!(holds(&run(690.0, 10.0, 500.0), &baseline), [false, true]);
        assert_eq!(holds(&run(1000.0, 13.1, 500.0), &baseline), [true, false]);
    }

    #[test]
    fn a_machine_of_half_the_speed_is_no_regression() {
        let baseline = run(1000.0, 10.0, 500.0);
        assert_eq!(holds(&run(500.0, 20.0, 250.0), &baseline), [true, true]);
        assert_eq!(holds(&run(1000.0, 10.0, 1000.0), &baseline), [false, false]);
    }

    #[test]
    fn a_figure_that_is_absent_is_worse() {
        assert_eq!(holds(&json!({}), &run(1.0, 1.0, 1.0)), [false, false]);
    }
}
