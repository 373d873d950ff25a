//! `assize bench`: built-in workloads.
//!
//! `transfer`, `point` and `insert` go through a MySQL connection and run against any MySQL server. `adjudicate` measures
//! the heart alone: processes of this binary, started for the purpose.

mod adjudicate;
mod conditions;
mod disk;
mod group;
mod sql;

use crate::Failure;
use crate::cli::{BenchOptions, Workload};

/// Runs the workload that was asked for and prints its figures.
pub async fn run(options: BenchOptions) -> Result<(), Failure> {
    match options.workload {
        Workload::Adjudicate => adjudicate::run(&options).await,
        Workload::Transfer | Workload::Point | Workload::Insert => sql::run(options).await,
    }
}

/// A quantile of sorted samples; 0 of none.
fn quantile(sorted: &[u32], q: f64) -> u32 {
    let at = ((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}
