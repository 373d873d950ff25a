//! Looks after branches on foreign servers, every few seconds, and tells what it did.

use crate::metrics;
use assize_catalog::BranchOutcome;
use assize_session::{ForeignTended, Services};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time between two looks, on average: frontends that began together drift apart.
const INTERVAL: Duration = Duration::from_secs(3);

/// Looks again and again, until it is stopped.
pub async fn tend(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut told = Told::default();
    loop {
        let tended = async {
            tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.5..1.5))).await;
            services.tend_foreign_branches().await
        };
        let tended = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            tended = tended => tended,
        };
        match tended {
            Ok(tended) => told.tell(&tended),
            // It is looked at again; whoever needs the cluster hears of it.
            Err(error) => tracing::debug!(%error, "branches on foreign servers could not be looked after"),
        }
    }
}

/// What has been told already: what lasts is told once.
#[derive(Default)]
struct Told {
    away: BTreeSet<Arc<str>>,
    in_doubt: BTreeSet<String>,
}

impl Told {
    fn tell(&mut self, tended: &ForeignTended) {
        ::metrics::gauge!(metrics::FOREIGN_BRANCHES_IN_DOUBT).set(tended.in_doubt.len() as f64);
        ::metrics::gauge!(metrics::FOREIGN_RECORDS).set(tended.records_waiting as f64);
        ::metrics::gauge!(metrics::FOREIGN_SERVERS_AWAY).set(tended.away.len() as f64);
        for (server, branch, outcome) in &tended.resolved {
            let outcome = words(*outcome);
            ::metrics::counter!(metrics::FOREIGN_BRANCHES_RESOLVED_TOTAL, "outcome" => outcome).increment(1);
            tracing::info!(%server, branch, outcome, "a prepared branch was found and carried out");
        }
        for (server, why) in &tended.away {
            if self.away.insert(server.clone()) {
                let records = tended.records_waiting;
                tracing::warn!(%server, why, records, "a foreign server cannot be asked for prepared branches");
            }
        }
        self.away.retain(|server| {
            let is_away = tended.away.iter().any(|(away, _)| away == server);
            if !is_away {
                tracing::info!(%server, "a foreign server can be asked again");
            }
            is_away
        });
        for branch in tended.in_doubt.iter().filter(|branch| branch.is_stuck()) {
            if self.in_doubt.insert(branch.branch.clone()) {
                let outcome = branch.outcome.map_or("not known", words);
                let (server, branch) = (&branch.server, &branch.branch);
                tracing::warn!(%server, branch, outcome, "a branch stays prepared: what holds it there?");
            }
        }
        self.in_doubt.retain(|branch| tended.in_doubt.iter().any(|found| found.branch == *branch));
    }
}

fn words(outcome: BranchOutcome) -> &'static str {
    match outcome {
        BranchOutcome::Committed => "committed",
        BranchOutcome::RolledBack => "rolled back",
    }
}
