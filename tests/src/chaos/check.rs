//! Judges of histories: our own, and the `adya` crate's search for cycles that an isolation level forbids.

pub mod cycles;
pub mod linearizable;

/// Anomalies that are written out; more are only counted.
const WRITTEN_OUT_MAX: usize = 5;

/// What the checkers of a workload found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Transactions, reads included, that were judged.
    pub checked: u64,
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// What must not happen and did, in words.
    pub anomalies: Vec<String>,
    /// What may happen and did, in words; empty if there is nothing to say.
    pub remark: String,
}

impl Findings {
    /// Adds an anomaly; beyond a few only their number grows.
    pub fn anomaly(&mut self, text: String) {
        if self.anomalies.len() < WRITTEN_OUT_MAX {
            self.anomalies.push(text);
        } else if self.anomalies.len() == WRITTEN_OUT_MAX {
            self.anomalies.push("and more".to_owned());
        }
    }

    /// Adds an acknowledged write that is not there.
    pub fn lose(&mut self, text: String) {
        self.lost += 1;
        self.anomaly(text);
    }

    /// Adds what another checker found in the same history.
    pub fn absorb(&mut self, other: Findings) {
        self.lost += other.lost;
        other.anomalies.into_iter().for_each(|text| self.anomaly(text));
        if !other.remark.is_empty() {
            let between = if self.remark.is_empty() { "" } else { "; " };
            self.remark += &format!("{between}{}", other.remark);
        }
    }
}
