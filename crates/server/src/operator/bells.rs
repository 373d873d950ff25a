//! What has changed in this process, for those who watch: a number for each thing that can be watched, which grows.

use assize_ports::{BoxFuture, Watched};
use tokio::sync::watch;

/// The numbers of the last changes.
#[derive(Default)]
pub struct Bells {
    conflicts: watch::Sender<u64>,
    shards: watch::Sender<u64>,
    jobs: watch::Sender<u64>,
}

impl Bells {
    fn of(&self, what: Watched) -> &watch::Sender<u64> {
        match what {
            Watched::Conflicts => &self.conflicts,
            Watched::Shards => &self.shards,
            Watched::Jobs => &self.jobs,
        }
    }

    /// Something has changed.
    pub fn ring(&self, what: Watched) {
        self.of(what).send_modify(|number| *number += 1);
    }

    /// The frontend has kept so many conflicts.
    pub fn count_conflicts(&self, total: u64) {
        // Two that keep one at the same time may come here in the other order.
        self.conflicts.send_if_modified(|number| {
            let grows = total > *number;
            *number = total.max(*number);
            grows
        });
    }

    /// See [`assize_ports::ClusterView::changed`].
    pub fn changed(&self, what: Watched, seen: Option<u64>) -> BoxFuture<'_, u64> {
        let mut number = self.of(what).subscribe();
        Box::pin(async move {
            let told = number.wait_for(|number| Some(*number) != seen).await.ok().map(|number| *number);
            match told {
                Some(number) => number,
                // Impossible while the bells are there.
                None => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_change_is_heard_although_it_came_before_the_question() {
        let bells = Bells::default();
        assert_eq!(bells.changed(Watched::Jobs, None).now_or_never(), Some(0));
        assert_eq!(bells.changed(Watched::Jobs, Some(0)).now_or_never(), None);
        bells.ring(Watched::Jobs);
        assert_eq!(bells.changed(Watched::Jobs, Some(0)).now_or_never(), Some(1));
        assert_eq!(bells.changed(Watched::Shards, Some(0)).now_or_never(), None);
        bells.count_conflicts(7);
        bells.count_conflicts(6);
        assert_eq!(bells.changed(Watched::Conflicts, None).now_or_never(), Some(7));
    }
}
