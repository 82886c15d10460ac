//! Other Raft libraries in one process, as `make bench` measures raftkv: members of one group, puts
//! of 256 bytes, so many outstanding.

mod figures;
mod open_raft;
mod raft_rs;

use figures::Figures;
use serde_json::{Value, json};
use std::{error::Error, fs, time::Duration};

const OUTSTANDING: [usize; 3] = [1, 64, 1024];
const NODES: [u64; 3] = [3, 5, 7];
const PUT_BYTES: usize = 256;
const RUN: Duration = Duration::from_secs(5);
/// The log is cut when so many entries are applied, and keeps as many.
const KEPT_ENTRIES: u64 = 10_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let results = json!({
        "raft_rs": runs(raft_rs::run)?,
        "openraft": runs(open_raft::run)?,
    });
    let path = std::env::args()
        .nth(1)
        .unwrap_or("bench_libraries.json".to_owned());
    fs::write(&path, format!("{results:#}\n"))?;
    println!("written to {path}");
    Ok(())
}

fn runs(run: fn(u64, usize) -> Result<Figures, Failure>) -> Result<Vec<Value>, Failure> {
    let mut runs = Vec::new();
    for nodes in NODES {
        for outstanding in OUTSTANDING {
            let figures = run(nodes, outstanding)?;
            println!("{figures}");
            runs.push(figures.json());
        }
    }
    Ok(runs)
}
