//! `make bench-report`: what bench/results holds, as pictures and as the table of targets in
//! docs/performance.md.

use raftkv_bench::{
    chart::{Bars, Chart, Series},
    ending::exit_code,
};
use serde_json::Value;
use std::{error::Error, fmt::Write, fs, path::Path, process::ExitCode};

const RESULTS: &str = "bench/results";
const FIGURES: &str = "docs/figures";
const PAGE: &str = "docs/performance.md";

/// What is between these lines is written anew.
const BEGIN: &str = "<!-- begin: make bench-report -->\n";
const END: &str = "<!-- end -->\n";

fn main() -> ExitCode {
    exit_code("bench-report", report())
}

fn report() -> Result<(), Box<dyn Error>> {
    let results = Results::read()?;
    fs::create_dir_all(FIGURES)?;
    for (name, picture) in pictures(&results) {
        fs::write(Path::new(FIGURES).join(name), picture)?;
    }
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or("no begin of the table")?;
    let (_, after) = rest.split_once(END).ok_or("no end of the table")?;
    let table = table(&results);
    fs::write(PAGE, format!("{before}{BEGIN}{table}{END}{after}"))?;
    print!("{table}");
    Ok(())
}

/// The files of results; one that is absent is `Null`.
struct Results {
    cluster: Value,
    peers: Value,
    libraries: Value,
    gateway: Value,
    scaling: Vec<Value>,
    stages: Value,
    growth: Value,
}

impl Results {
    fn read() -> Result<Results, Box<dyn Error>> {
        let read = |name: &str| -> Result<Value, Box<dyn Error>> {
            match fs::read_to_string(Path::new(RESULTS).join(name)) {
                Ok(text) => Ok(serde_json::from_str(&text)?),
                Err(_) => Ok(Value::Null),
            }
        };
        Ok(Results {
            cluster: read("bench_cluster.json")?,
            peers: read("bench_peers.json")?,
            libraries: read("bench_libraries.json")?,
            gateway: read("bench_gateway.json")?,
            scaling: [3, 5, 7]
                .iter()
                .map(|nodes| read(&format!("bench_n{nodes}.json")))
                .collect::<Result<_, _>>()?,
            stages: read("bench_stages.json")?,
            growth: read("bench_growth.json")?,
        })
    }

    /// The element of this array that has this name.
    fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
        let mut rows = rows.as_array().into_iter().flatten();
        rows.find(|row| row["name"] == name).unwrap_or(&Value::Null)
    }

    /// The longest run of so many members with so many puts outstanding.
    fn run(&self, nodes: u64, outstanding: u64) -> &Value {
        let runs = self.scaling.iter().flat_map(|it| it["runs"].as_array());
        let runs = runs.flatten();
        let wanted = runs.filter(|run| run["nodes"] == nodes && run["outstanding"] == outstanding);
        let seconds = |run: &Value| run["seconds"].as_f64().unwrap_or(0.0);
        let longest = wanted.max_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        longest.unwrap_or(&Value::Null)
    }
}

/// One line of the table.
struct Target {
    what: String,
    wanted: String,
    reached: Option<f64>,
    holds: fn(f64, f64) -> bool,
    limit: Option<f64>,
    text: String,
    source: &'static str,
}

impl Target {
    fn at_least(what: &str, limit: f64, unit: &str, value: &Value, source: &'static str) -> Target {
        Target::new(
            what,
            ("≥", limit, unit),
            value,
            |is, limit| is >= limit,
            source,
        )
    }

    fn at_most(what: &str, limit: f64, unit: &str, value: &Value, source: &'static str) -> Target {
        Target::new(
            what,
            ("≤", limit, unit),
            value,
            |is, limit| is <= limit,
            source,
        )
    }

    /// A figure that nothing is wanted of.
    fn none(what: &str, unit: &str, value: &Value, source: &'static str) -> Target {
        let any = Target::new(what, ("", 0.0, unit), value, |_, _| true, source);
        Target {
            wanted: "none".to_owned(),
            limit: None,
            ..any
        }
    }

    fn new(
        what: &str,
        (sign, limit, unit): (&str, f64, &str),
        value: &Value,
        holds: fn(f64, f64) -> bool,
        source: &'static str,
    ) -> Target {
        // A figure, or the middle of some with how far they spread.
        let reached = value.as_f64().or_else(|| value["median"].as_f64());
        let spread = value["min"].as_f64().zip(value["max"].as_f64());
        let spread = spread.map(|(min, max)| format!(" ({} to {})", number(min), number(max)));
        let text = reached.map(|it| format!("{}{unit}{}", number(it), spread.unwrap_or_default()));
        Target {
            what: what.to_owned(),
            wanted: format!("{sign} {}{unit}", number(limit)),
            reached,
            holds,
            limit: Some(limit),
            text: text.unwrap_or_else(|| "not measured".to_owned()),
            source,
        }
    }

    fn row(&self) -> String {
        let (ratio, verdict) = match self.reached.zip(self.limit) {
            None => (String::new(), ""),
            Some((reached, limit)) => {
                let verdict = match (self.holds)(reached, limit) {
                    true => "reached",
                    false => "**missed**",
                };
                (format!("{:.2}", reached / limit), verdict)
            }
        };
        format!(
            "| {} | {} | {} | {ratio} | {verdict} | `{}` |\n",
            self.what, self.wanted, self.text, self.source
        )
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        value if value >= 10_000.0 => format!("{:.0} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

/// What is wanted of a load, as a multiple of etcd's calls per second.
const AGAINST_ETCD: [(&str, f64); 8] = [
    ("put, 1 client", 2.2),
    ("put, 64 clients", 4.0),
    ("put, 256 clients", 5.0),
    ("put, 1000 clients", 5.0),
    ("get, 1 client", 2.0),
    ("get, 64 clients", 5.0),
    ("get, 256 clients", 6.0),
    ("put 64 KiB, 16 clients", 4.0),
];

fn targets(results: &Results) -> Vec<Target> {
    let peers = "make bench-peers";
    let mut all = Vec::new();
    for (name, limit) in AGAINST_ETCD {
        let row = Results::row(&results.peers["rows"], name);
        let what = format!("{name}: ops/s against etcd");
        all.push(Target::at_least(
            &what,
            limit,
            " ×",
            &row["ops_ratio"],
            peers,
        ));
    }
    let at_64 = Results::row(&results.peers["rows"], "put, 64 clients");
    let filled = &results.peers["filled"][0];
    let failover = &results.peers["failover_ms"]["raftkv"];
    for (what, limit, unit, value, source) in [
        (
            "put, 64 clients: server CPU per put against etcd",
            0.2,
            " ×",
            &at_64["servers_us_ratio"],
            peers,
        ),
        (
            "put, 1 client: p50 against the floor program's, hop included",
            1.25,
            " ×",
            &results.cluster["put_p50_to_floor_p50"],
            "make bench-cluster",
        ),
        (
            "RssAnon with a million 256 B keys",
            450.0,
            " MiB",
            &filled["anonymous_mib"],
            peers,
        ),
        (
            "restart with a million keys, to the first put",
            2.0,
            " s",
            &filled["restart_seconds"],
            peers,
        ),
        (
            "leader killed → next put, median",
            400.0,
            " ms",
            failover,
            peers,
        ),
        (
            "leader killed → next put, the longest",
            1000.0,
            " ms",
            &failover["max"],
            peers,
        ),
    ] {
        all.push(Target::at_most(what, limit, unit, value, source));
    }
    in_process(results, &mut all);
    all
}

fn in_process(results: &Results, all: &mut Vec<Target>) {
    for (outstanding, limit) in [(1, 250e3), (64, 1e6), (1024, 2e6)] {
        let run = results.run(3, outstanding);
        let what = format!("in process, 3 members, {outstanding} outstanding: puts/s");
        let rate = &run["puts_per_sec"];
        all.push(Target::at_least(
            &what,
            limit,
            "/s",
            rate,
            "make bench-scaling",
        ));
        let on_core = run["puts_per_sec"].as_f64().unwrap_or(f64::NAN)
            * run["seconds"].as_f64().unwrap_or(f64::NAN)
            / run["cpu_seconds"].as_f64().unwrap_or(f64::NAN);
        let what = format!("the same per second of processor time, {outstanding} outstanding");
        let on_core = Value::from(on_core);
        all.push(Target::at_least(
            &what,
            limit,
            "/s",
            &on_core,
            "make bench-scaling",
        ));
    }
    let rate = |nodes| {
        let run = results.run(nodes, 1);
        let number = |name: &str| run[name].as_f64().unwrap_or(f64::NAN);
        number("puts_per_sec") * number("seconds") / number("cpu_seconds")
    };
    for (nodes, limit) in [(5, 0.65), (7, 0.48)] {
        let what = format!("in process, {nodes} members against 3, 1 outstanding");
        let ratio = Value::from(rate(nodes) / rate(3));
        all.push(Target::at_least(
            &what,
            limit,
            " ×",
            &ratio,
            "make bench-scaling",
        ));
    }
    by_growth(results, all);
    against_libraries(results, all);
    for method in ["put", "get"] {
        let row = Results::row(&results.gateway["rows"], method);
        let what =
            format!("the gateway alone against tonic on one core, 64 calls in flight: {method}s/s");
        let ratio = &row["calls_ratio"];
        all.push(Target::at_least(
            &what,
            3.0,
            " ×",
            ratio,
            "make bench-peers",
        ));
    }
}

fn by_growth(results: &Results, all: &mut Vec<Target>) {
    for (over, what) in [
        (
            "keys",
            "cost per put in process, a million keys against 10,000",
        ),
        (
            "log entries",
            "the same, 1.6 million log entries against 100,000",
        ),
        (
            "connections",
            "server CPU per put, 1,000 connections against 4",
        ),
    ] {
        let curves = results.growth["curves"].as_array().into_iter().flatten();
        let mut found = curves.filter(|curve| curve["over"] == over);
        let growth = found.next().map_or(&Value::Null, |curve| &curve["growth"]);
        all.push(Target::at_most(
            what,
            1.5,
            " ×",
            growth,
            "make bench-growth",
        ));
    }
    let hung = &results.growth["hung_follower"];
    let by = "make bench-growth";
    let what = "puts/s while a follower hangs, against all three";
    all.push(Target::at_least(what, 0.95, " ×", &hung["ratio"], by));
    let what = "memory that the leader gained meanwhile";
    let gained = &hung["leader_gained_mib"];
    // A queue to a node has at most 16 MiB; the allocator rounds.
    all.push(Target::at_most(what, 32.0, " MiB", gained, by));
}

fn against_libraries(results: &Results, all: &mut Vec<Target>) {
    for (key, name, limit) in [
        ("raft_rs", "raft-rs", Some(2.0)),
        ("openraft", "openraft", None),
    ] {
        for outstanding in [1, 64, 1024] {
            let runs = results.libraries[key].as_array().into_iter().flatten();
            let mut found = runs.filter(|it| it["nodes"] == 3 && it["outstanding"] == outstanding);
            let theirs = found.next().and_then(|run| run["puts_per_sec"].as_f64());
            let ours = results.run(3, outstanding)["puts_per_sec"].as_f64();
            let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
            let ratio = Value::from(ratio);
            let what = format!(
                "in process, {outstanding} outstanding: against {name}, which encodes, sums, logs \
                 and applies nothing"
            );
            let source = "make bench-peers";
            all.push(match limit {
                Some(limit) => Target::at_least(&what, limit, " ×", &ratio, source),
                None => Target::none(&what, " ×", &ratio, source),
            });
        }
    }
}

fn table(results: &Results) -> String {
    let mut out = String::from(
        "| what | target | reached (least to most) | ratio to the target | | by |\n\
         |---|---|---|---|---|---|\n",
    );
    for target in targets(results) {
        out += &target.row();
    }
    let _ = writeln!(out, "\nMachines: {}.\n", machines(results));
    out
}

fn machines(results: &Results) -> String {
    let named = [
        ("cluster", &results.cluster),
        ("peers", &results.peers),
        ("gateway alone", &results.gateway),
        ("in process", &results.scaling[0]),
    ];
    let lines = named.iter().filter(|(_, it)| !it.is_null());
    let lines = lines.map(|(name, it)| format!("{name}: {}", machine(it)));
    lines.collect::<Vec<_>>().join("; ")
}

fn machine(result: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let of = &result["machine"];
    let commit = word(&result["commit"]);
    format!(
        "{} cores of {}, {}, Linux {}, commit {}",
        of["cores"],
        word(&of["processor"]),
        word(&of["file_system"]),
        word(&of["kernel"]),
        commit.get(..12).unwrap_or(&commit)
    )
}

fn pictures(results: &Results) -> Vec<(&'static str, String)> {
    let mut pictures = Vec::new();
    if !results.peers.is_null() {
        let title = "Throughput against clients";
        let chart = by_clients(results, title, "calls per second", "ops_per_second");
        pictures.push(("throughput.svg", chart.svg()));
        let title = "Latency that one call in a hundred exceeds";
        let chart = by_clients(results, title, "p99, microseconds", "p99_us");
        pictures.push(("latency.svg", chart.svg()));
    }
    if !results.cluster.is_null() {
        pictures.push(("percentiles.svg", percentiles(results).svg()));
    }
    if results.scaling.iter().all(|it| !it.is_null()) {
        pictures.push(("members.svg", by_members(results).svg()));
    }
    if !results.stages.is_null() {
        pictures.push(("stages.svg", stages(results).svg()));
    }
    pictures
}

fn by_clients(results: &Results, title: &str, y_label: &str, figure: &str) -> Chart {
    let rows = results.peers["rows"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut series = Vec::new();
    for system in ["raftkv", "etcd"] {
        for method in ["put", "get"] {
            let rows = rows.iter().map(|row| &row[system]);
            let rows = rows.filter(|row| row["method"] == method && row["value_bytes"] == 256);
            let point = |row: &Value| Some((row["clients"].as_f64()?, row[figure].as_f64()?));
            series.push(Series {
                name: format!("{system} {method}"),
                points: rows.filter_map(point).collect(),
            });
        }
    }
    Chart {
        title: format!("{title}: three nodes, 256 B, loopback"),
        machine: machine(&results.peers),
        x_label: "clients, a connection each".to_owned(),
        y_label: y_label.to_owned(),
        series,
    }
}

fn percentiles(results: &Results) -> Chart {
    let names = [
        "put, 1 client",
        "put, 64 clients",
        "put at 50 % of the peak",
        "put at 80 % of the peak",
    ];
    let series = names.iter().map(|name| {
        let row = Results::row(&results.cluster["rows"], name);
        let at = [(2.0, "p50_us"), (100.0, "p99_us"), (1000.0, "p999_us")];
        Series {
            name: (*name).to_owned(),
            points: at
                .iter()
                .filter_map(|(x, name)| Some((*x, row[*name].as_f64()?)))
                .collect(),
        }
    });
    Chart {
        title: "Latency that one put in so many exceeds".to_owned(),
        machine: machine(&results.cluster),
        x_label: "one in".to_owned(),
        y_label: "microseconds".to_owned(),
        series: series.collect(),
    }
}

fn by_members(results: &Results) -> Chart {
    let series = [1, 64, 1024].map(|outstanding| Series {
        name: format!("{outstanding} outstanding"),
        points: [3, 5, 7]
            .iter()
            .filter_map(|&nodes| {
                let rate = results.run(nodes, outstanding)["puts_per_sec"].as_f64()?;
                Some((nodes as f64, rate))
            })
            .collect(),
    });
    Chart {
        title: "Commits in one process and one thread, on memory disks".to_owned(),
        machine: machine(&results.scaling[0]),
        x_label: "members".to_owned(),
        y_label: "puts per second".to_owned(),
        series: series.into(),
    }
}

fn stages(results: &Results) -> Bars {
    let runs = results.stages["runs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let clients = |run: &Value| format!("{} clients", run["clients"]);
    let first = runs
        .first()
        .map(|run| run["stages"].clone())
        .unwrap_or_default();
    let names = first.as_array().cloned().unwrap_or_default();
    let groups = names.iter().map(|stage| {
        let name = stage["stage"].as_str().unwrap_or_default();
        let of = |run: &Value| {
            let stages = run["stages"].as_array().into_iter().flatten();
            let mut found = stages.filter(|it| it["stage"] == name);
            found
                .next()
                .and_then(|it| it["p50_us"].as_f64())
                .unwrap_or(0.0)
        };
        (name.to_owned(), runs.iter().map(of).collect())
    });
    Bars {
        title: "Where the time of a commit goes: medians of its stages".to_owned(),
        machine: machine(&results.stages),
        unit: "microseconds; stages overlap, see docs/performance.md".to_owned(),
        members: runs.iter().map(clients).collect(),
        groups: groups.collect(),
    }
}
