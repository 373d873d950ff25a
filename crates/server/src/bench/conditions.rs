//! What a measurement has met: how long the nodes' logs waited for the disk, and how much of the processors the machine's
//! host has taken away. Without them nobody could say whether a long wait is ours.

use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A node that does not show its metrics in this time is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What the host has taken is looked at this often, …
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// … and counted over so many looks.
const LOOKS: usize = 4;
/// The kernel counts processor time in hundredths of a second, on every machine that Linux runs on.
const TICK_MILLIS: u64 = 10;

/// How often the syncs of a log took at most so long: a Prometheus histogram.
#[derive(Clone, Default, Debug)]
pub struct Syncs {
    /// By bound, in microseconds (`u64::MAX`: none): how many took no longer. Rises with the bound.
    within: BTreeMap<u64, u64>,
}

impl Syncs {
    /// Asks a node for the syncs since it was started.
    pub fn of(http: SocketAddr) -> anyhow::Result<Syncs> {
        let mut stream = TcpStream::connect_timeout(&http, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let syncs = Syncs::read(&page);
        ensure!(!syncs.within.is_empty(), "{http} shows no syncs of its log");
        Ok(syncs)
    }

    fn read(page: &str) -> Syncs {
        let bucket = format!("{}_bucket{{le=\"", crate::metrics::ADJUDICATOR_LOG_SYNC_SECONDS);
        let within = page.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(&bucket)?.split_once("\"} ")?;
            let micros = match bound {
                "+Inf" => u64::MAX,
                bound => (bound.parse::<f64>().ok()? * 1e6).round() as u64,
            };
            Some((micros, count.trim().parse().ok()?))
        });
        Syncs { within: within.collect() }
    }

    /// Those of all nodes since an earlier time.
    fn since(now: &[Syncs], before: &[Syncs]) -> Syncs {
        let mut within: BTreeMap<u64, u64> = BTreeMap::new();
        for (now, before) in now.iter().zip(before) {
            for (bound, count) in &now.within {
                let earlier = before.within.get(bound).copied().unwrap_or(0);
                *within.entry(*bound).or_default() += count.saturating_sub(earlier);
            }
        }
        Syncs { within }
    }

    /// The bound that this share of them did not exceed, in microseconds; 0 if there were none.
    fn bound_of(&self, share: f64) -> u64 {
        let all = self.within.values().last().copied().unwrap_or(0);
        let wanted = (all as f64 * share).ceil() as u64;
        let bound = self.within.iter().find(|(_, count)| all > 0 && **count >= wanted);
        bound.map_or(0, |(bound, _)| *bound)
    }
}

/// What was met during one measurement.
#[derive(Clone, Default, Debug)]
pub struct Conditions {
    /// 99 of 100 syncs of the nodes' logs took no longer than this, in microseconds, by the buckets of their histogram.
    pub sync_p99_micros: u64,
    /// No sync took longer, likewise.
    pub sync_max_micros: u64,
    /// The most that the host has taken from one processor within 200 ms, in milliseconds.
    pub stolen_millis: u64,
}

/// Watches from its beginning to [`Watch::end`].
pub struct Watch {
    nodes: Vec<SocketAddr>,
    before: Vec<Syncs>,
    stolen: Stolen,
}

impl Watch {
    /// Begins to watch nodes whose metrics are at these addresses.
    pub fn begin(nodes: &[SocketAddr]) -> anyhow::Result<Watch> {
        let before = syncs_of(nodes)?;
        Ok(Watch { nodes: nodes.to_vec(), before, stolen: Stolen::watch()? })
    }

    /// What has been met since.
    pub fn end(self) -> anyhow::Result<Conditions> {
        let stolen_millis = self.stolen.end();
        let syncs = Syncs::since(&syncs_of(&self.nodes)?, &self.before);
        Ok(Conditions {
            sync_p99_micros: syncs.bound_of(0.99),
            sync_max_micros: syncs.bound_of(1.0),
            stolen_millis,
        })
    }
}

fn syncs_of(nodes: &[SocketAddr]) -> anyhow::Result<Vec<Syncs>> {
    nodes.iter().map(|node| Syncs::of(*node).with_context(|| format!("the metrics of {node}"))).collect()
}

/// A thread that looks at what the host takes.
struct Stolen {
    is_over: Arc<AtomicBool>,
    most: Arc<Mutex<u64>>,
    thread: thread::JoinHandle<()>,
}

impl Stolen {
    fn watch() -> std::io::Result<Stolen> {
        let (is_over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let (ends, found) = (is_over.clone(), most.clone());
        let thread = thread::Builder::new().name("stolen".into()).spawn(move || {
            let mut looks: Vec<Vec<u64>> = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                looks.push(
                    std::fs::read_to_string("/proc/stat").map(|stat| stolen(&stat)).unwrap_or_default(),
                );
                if looks.len() > LOOKS + 1 {
                    looks.remove(0);
                }
                let most = most_between(looks.first(), looks.last()) * TICK_MILLIS;
                let mut known = found.lock().unwrap_or_else(PoisonError::into_inner);
                *known = most.max(*known);
                drop(known);
                thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(Stolen { is_over, most, thread })
    }

    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        // Had it panicked, what it had found until then would be what there is.
        let _ = self.thread.join();
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ticks taken from each processor since the machine was started: the eighth number of each `cpuN` line.
fn stolen(stat: &str) -> Vec<u64> {
    let processors = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
    let processors = processors.filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    processors.map(|line| line.split_whitespace().nth(8).and_then(|n| n.parse().ok()).unwrap_or(0)).collect()
}

/// The most that one processor has lost between two looks, in ticks.
fn most_between(before: Option<&Vec<u64>>, after: Option<&Vec<u64>>) -> u64 {
    let (Some(before), Some(after)) = (before, after) else { return 0 };
    before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_since_a_time_are_told_by_the_bounds_of_their_buckets() {
        let page = |counts: [u64; 3]| {
            let [quick, slow, all] = counts;
            Syncs::read(&format!(
                "# TYPE adjudicator_log_sync_seconds histogram\n\
                 adjudicator_log_sync_seconds_bucket{{le=\"0.00025\"}} {quick}\n\
                 adjudicator_log_sync_seconds_bucket{{le=\"0.1\"}} {slow}\n\
                 adjudicator_log_sync_seconds_bucket{{le=\"+Inf\"}} {all}\n\
                 adjudicator_log_sync_seconds_sum 1.5\n"
            ))
        };
        let before = [page([100, 101, 102]), page([0, 0, 0])];
        let now = [page([1090, 1101, 1102]), page([1000, 1000, 1000])];
        let since = Syncs::since(&now, &before);
        assert_eq!(since.within.values().copied().collect::<Vec<_>>(), [1990, 2000, 2000]);
        assert_eq!((since.bound_of(0.99), since.bound_of(1.0)), (250, 100_000));
        assert_eq!(Syncs::since(&now, &now).bound_of(1.0), 0, "there were none");
        let never_so_long = [page([0, 0, 0])];
        assert_eq!(Syncs::since(&[page([0, 0, 1])], &never_so_long).bound_of(1.0), u64::MAX);
    }

    #[test]
    fn what_the_host_takes_is_told_of_the_processor_that_loses_most() {
        let stat = |of: [u64; 2]| {
            stolen(&format!(
                "cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 {} 0 0\ncpu1 1 2 3 4 5 6 7 {} 0 0\nintr 5 6\n",
                of[0], of[1]
            ))
        };
        assert_eq!(most_between(Some(&stat([3, 40])), Some(&stat([10, 44]))), 7);
        assert_eq!(most_between(None, None), 0);
    }
}
