//! What is in the way on foreign servers. Nobody but those who need them waits for it.

use super::Findings;
use crate::ForeignTroubles;

const WHERE_TO_READ: &str = "see \"Foreign servers\" in docs/operations.md";

impl Findings {
    pub(super) fn foreign(&mut self, troubles: &ForeignTroubles) {
        for (server, why) in &troubles.away {
            let unheard = match troubles.unheard {
                0 => String::new(),
                1 => "; a committed transaction may wait for it".to_owned(),
                several => format!("; {several} committed transactions may wait for it"),
            };
            self.warning(
                format!("foreign server {server}"),
                format!("cannot be used: {why}; statements that need it fail{unheard}"),
                format!("start it, or say with ALTER SERVER where it is; {WHERE_TO_READ}"),
            );
        }
        for stuck in &troubles.stuck {
            self.warning(
                format!("foreign server {}", stuck.server),
                format!(
                    "branch {} stays prepared, for {} s: its rows are locked there",
                    stuck.branch, stuck.seconds
                ),
                format!(
                    "find the connection there that holds it (SHOW PROCESSLIST), and end it; {WHERE_TO_READ}"
                ),
            );
        }
    }
}
