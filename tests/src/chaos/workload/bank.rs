//! Money moves between accounts on different shards; none is made and none is lost.

use super::super::check::Findings;
use super::super::client::Client;
use super::super::history::{self, Fate, Op, Recorder};
use super::super::random::Random;
use super::super::testimony::{self, Act, Change, Scope, Talk};
use super::{Level, Work, inserted};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const ACCOUNTS: u64 = 24;
const OPENING: i64 = 1000;
/// Of a hundred transactions so many look at all accounts instead.
const LOOKS: u64 = 15;

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// Moved 1 from an account to another, and wrote it down under this id.
    Transfer(u64),
    /// Saw all balances, and the transfers written down: (id, source, target).
    Look { balances: BTreeMap<u64, i64>, transfers: Option<Vec<(u64, u64, u64)>> },
}

#[derive(Default)]
pub struct Bank {
    next: AtomicU64,
    history: Recorder<Deed>,
}

impl Work for Bank {
    fn tables(&self) -> &'static [&'static str] {
        &["account", "transfer"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        connection.query_drop(format!(
            "CREATE TABLE {schema}.account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)"
        ))?;
        connection.query_drop(format!(
            "CREATE TABLE {schema}.transfer (id BIGINT PRIMARY KEY, source BIGINT NOT NULL, target BIGINT NOT NULL)"
        ))?;
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING})")).collect();
        connection.query_drop(format!("INSERT INTO {schema}.account VALUES {}", rows.join(", ")))
    }

    fn opening(&self) -> Vec<Act> {
        (0..ACCOUNTS).map(|id| inserted("account", id, OPENING as u64)).collect()
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        if random.percent(LOOKS) {
            if let Some(mut attempt) = client.transact(schema, balances)
                && let Some(balances) = attempt.value.take()
            {
                self.history.record(attempt.op(Deed::Look { balances, transfers: None }));
            }
            return;
        }
        let source = random.below(ACCOUNTS);
        let target = (source + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let attempt = client.transact(schema, |talk| {
            talk.write("account", source, Change::Add("balance", -1))?;
            talk.write("account", target, Change::Add("balance", 1))?;
            talk.write("transfer", id, Change::Insert(vec![source, target]))
        });
        if let Some(attempt) = attempt {
            self.history.record(attempt.op(Deed::Transfer(id)));
        }
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        let invoked = history::now();
        let balances = balances(talk)?;
        let number = |text: &String| text.parse().unwrap_or(u64::MAX);
        let rows = talk.read("transfer", Scope::All)?;
        let transfers = rows.iter().map(|row| (number(&row[0]), number(&row[1]), number(&row[2]))).collect();
        self.history.record(Op {
            process: history::new_process(),
            invoked,
            completed: history::now(),
            fate: Fate::Committed,
            what: Deed::Look { balances, transfers: Some(transfers) },
        });
        Ok(())
    }

    fn check(&self, _: Level) -> Findings {
        judge(&self.history.ops())
    }
}

fn balances(talk: &mut Talk<'_>) -> mysql::Result<BTreeMap<u64, i64>> {
    let rows = talk.read("account", Scope::All)?;
    Ok(rows.iter().map(|row| (testimony::key(row), row[1].parse().unwrap_or(i64::MIN))).collect())
}

fn judge(ops: &[Op<Deed>]) -> Findings {
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    let fates: BTreeMap<u64, Fate> = ops
        .iter()
        .filter_map(|op| match op.what {
            Deed::Transfer(id) => Some((id, op.fate)),
            Deed::Look { .. } => None,
        })
        .collect();
    for op in ops.iter().filter(|op| op.fate == Fate::Committed) {
        let Deed::Look { balances, transfers } = &op.what else { continue };
        let total: i64 = balances.values().sum();
        if total != ACCOUNTS as i64 * OPENING {
            findings.anomaly(format!("a transaction saw a total of {total}"));
        }
        if let Some(transfers) = transfers {
            compare(balances, transfers, &fates, &mut findings);
        }
    }
    findings
}

/// The balances are what the transfers make of them, and the transfers are those that were acknowledged.
fn compare(
    balances: &BTreeMap<u64, i64>,
    transfers: &[(u64, u64, u64)],
    fates: &BTreeMap<u64, Fate>,
    findings: &mut Findings,
) {
    let mut expected: BTreeMap<u64, i64> = (0..ACCOUNTS).map(|id| (id, OPENING)).collect();
    let mut written = std::collections::BTreeSet::new();
    for (id, source, target) in transfers {
        *expected.entry(*source).or_default() -= 1;
        *expected.entry(*target).or_default() += 1;
        written.insert(*id);
        match fates.get(id) {
            Some(Fate::Committed | Fate::Unknown) => {}
            Some(Fate::Aborted) => findings.anomaly(format!("transfer {id} was refused and took place")),
            None => findings.anomaly(format!("transfer {id} came from nowhere")),
        }
    }
    if *balances != expected {
        let differing: Vec<String> = expected
            .iter()
            .filter(|(id, balance)| balances.get(id) != Some(*balance))
            .map(|(id, balance)| format!("account {id} holds {:?}, not {balance}", balances.get(id)))
            .collect();
        findings.anomaly(format!(
            "the balances are not what the transfers make of them: {}",
            differing.join("; ")
        ));
    }
    for (id, fate) in fates {
        if *fate == Fate::Committed && !written.contains(id) {
            findings.lose(format!("transfer {id} was acknowledged and is not there"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(fate: Fate, what: Deed) -> Op<Deed> {
        Op { process: 0, invoked: 1, completed: 2, fate, what }
    }

    fn look(moves: &[(u64, i64)], transfers: &[(u64, u64, u64)]) -> Op<Deed> {
        let mut balances: BTreeMap<u64, i64> = (0..ACCOUNTS).map(|id| (id, OPENING)).collect();
        for (account, by) in moves {
            *balances.get_mut(account).unwrap() += by;
        }
        op(Fate::Committed, Deed::Look { balances, transfers: Some(transfers.to_vec()) })
    }

    #[test]
    fn a_whole_transfer_is_right_and_every_kind_of_half_one_is_wrong() {
        let transfer = |fate| op(fate, Deed::Transfer(7));
        let whole = look(&[(1, -1), (2, 1)], &[(7, 1, 2)]);
        assert_eq!(judge(&[transfer(Fate::Committed), whole.clone()]).anomalies, [""; 0]);
        assert_eq!(judge(&[transfer(Fate::Unknown), whole.clone()]).anomalies, [""; 0]);
        assert_eq!(judge(&[transfer(Fate::Unknown), look(&[], &[])]).anomalies, [""; 0]);

        assert_eq!(judge(&[transfer(Fate::Committed), look(&[], &[])]).lost, 1);
        assert!(!judge(&[transfer(Fate::Aborted), whole.clone()]).anomalies.is_empty());
        assert!(!judge(&[whole]).anomalies.is_empty(), "from nowhere");
        let half = look(&[(1, -1)], &[(7, 1, 2)]);
        assert_eq!(judge(&[transfer(Fate::Committed), half]).anomalies.len(), 2, "total and balances");
        let unwritten = look(&[(1, -1), (2, 1)], &[]);
        assert!(!judge(&[transfer(Fate::Unknown), unwritten]).anomalies.is_empty());
    }
}
