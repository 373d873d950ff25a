//! What `assize top` shows: the last look at the cluster, and rates from the one before.

use crate::Failure;
use crate::operate::call;
use assize_admin::{Client, pb};
use serde::Serialize;
use std::collections::VecDeque;

/// Rates that are remembered for the curve.
const HISTORY_MAX: usize = 240;
/// Conflicts that are shown.
const CONFLICTS_MAX: u32 = 5;

/// One look at the cluster.
#[derive(Serialize)]
pub struct Sample {
    /// How it does.
    pub diagnosis: pb::DiagnoseResponse,
    /// Its nodes.
    pub members: Vec<pb::Member>,
    /// Its shards.
    pub shards: Vec<pb::Shard>,
    /// What frontends have done.
    pub traffic: Vec<pb::Traffic>,
    /// How many transactions are open.
    pub transactions: u32,
    /// The newest conflicts.
    pub conflicts: Vec<pb::Conflict>,
}

/// Per second.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Rates {
    /// Transactions committed.
    pub commits: f64,
    /// Transactions aborted.
    pub aborts: f64,
    /// Statements run.
    pub statements: f64,
}

/// A frame for programs.
#[derive(Serialize)]
pub struct Frame<'a> {
    /// The last look.
    #[serde(flatten)]
    sample: &'a Sample,
    /// Per second, from the last two looks.
    rates: Option<Rates>,
}

/// Everything that is shown.
#[derive(Default)]
pub struct Board {
    /// The last look.
    pub sample: Option<Sample>,
    /// From the last two looks.
    pub rates: Option<Rates>,
    /// Commits per second, the newest last.
    pub history: VecDeque<u64>,
    /// Why there is no newer look.
    pub problem: Option<String>,
}

impl Sample {
    /// Looks.
    pub async fn take(client: &Client) -> Result<Sample, Failure> {
        let (mut cluster, mut transactions) = (client.cluster(), client.transactions());
        let open = pb::ListTransactionsRequest { limit: 1, ..Default::default() };
        let newest = pb::ListConflictsRequest { limit: CONFLICTS_MAX, ..Default::default() };
        Ok(Sample {
            diagnosis: call!(cluster, diagnose, pb::DiagnoseRequest {}),
            members: call!(cluster, list_members, pb::ListMembersRequest {}).members,
            traffic: call!(cluster, get_traffic, pb::GetTrafficRequest {}).traffic,
            shards: call!(client.shards(), list, pb::ListShardsRequest {}).shards,
            transactions: call!(transactions, list, open).total,
            conflicts: call!(transactions, list_conflicts, newest).conflicts,
        })
    }
}

impl Board {
    /// What programs are told; `None` before the first look.
    pub fn frame(&self) -> Option<Frame<'_>> {
        Some(Frame { sample: self.sample.as_ref()?, rates: self.rates })
    }

    /// Shows a new look.
    pub fn show(&mut self, sample: Sample) {
        self.rates = self.sample.as_ref().map(|last| rates(&last.traffic, &sample.traffic));
        if let Some(rates) = self.rates {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(rates.commits.round() as u64);
        }
        self.sample = Some(sample);
        self.problem = None;
    }
}

/// What happened per second between two looks, by each node's own clock. A node that began anew in between, or is in
/// one of them only, does not count.
pub fn rates(before: &[pb::Traffic], now: &[pb::Traffic]) -> Rates {
    let mut sum = Rates::default();
    for now in now {
        let Some(before) = before.iter().find(|t| t.node == now.node) else { continue };
        let elapsed = seconds(now) - seconds(before);
        let has_begun_anew = now.commits < before.commits || now.statements < before.statements;
        if elapsed <= 0.0 || has_begun_anew {
            continue;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed;
        sum.commits += rate(now.commits, before.commits);
        sum.aborts += rate(now.aborts, before.aborts);
        sum.statements += rate(now.statements, before.statements);
    }
    sum
}

fn seconds(traffic: &pb::Traffic) -> f64 {
    traffic.at.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
}
