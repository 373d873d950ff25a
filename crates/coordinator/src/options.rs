//! How long a coordinator waits, and what it insists on.

use std::collections::BTreeSet;
use std::time::Duration;

/// How long a coordinator waits, and what it insists on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What got no answer is sent again after this long.
    pub retry_after: Duration,
    /// Without a majority of every participant after this long, the transaction is given up.
    pub prepare_within: Duration,
    /// Without a decision this long after the footprint was first sent, the answer is Unknown. Longer than a
    /// deadline, so that Undecided has turned into an answer by then.
    pub unknown_after: Duration,
    /// How often the same writes are tried under another id.
    pub recommits_max: u32,
    /// How often what the conflict window forgot is asked of the shards.
    pub refreshes_max: u32,
    /// Whether every replica of a participant votes, or one voice speaks for it.
    pub counts_replicas: bool,
    /// Rules that this coordinator ignores. Only negative controls name any.
    pub disabled_rules: BTreeSet<Rule>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            retry_after: Duration::from_millis(500),
            prepare_within: Duration::from_secs(5),
            unknown_after: Duration::from_secs(15),
            recommits_max: 5,
            refreshes_max: 5,
            counts_replicas: true,
            disabled_rules: BTreeSet::new(),
        }
    }
}

impl Options {
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        !self.disabled_rules.contains(&rule)
    }
}

/// A rule whose absence a negative control can show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// A participant is prepared once a majority of its *configured* replicas has voted Yes. Without the rule one Yes is
    /// enough.
    Majority,
    /// After a lost reply the same id is sent again. Without the rule the writes are tried under another id.
    SameIdAfterLostReply,
    /// What could not be found out is Unknown. Without the rule it is reported as an abort.
    UnknownIsNotAbort,
}
