//! Foreign servers in memory: each has one table of numbers, XA with its states, and savepoints. Everything that happens there
//! passes a gate, at which a test can stop it, break the connection or let the server die.

use super::World;
use assize_catalog::{ChangeBuilder, Server};
use assize_ports::*;
use assize_values::{SqlType, Value};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What happens at the chosen step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    /// Whoever comes there stands still until the gate is opened.
    Stop,
    /// The connection breaks there; commits of the cluster pass.
    Break,
}

/// Counts steps, and lets something happen at one of them.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    passed: u32,
    at: Option<(u32, Mishap)>,
    is_reached: bool,
}

impl Gate {
    pub fn at(step: u32, mishap: Mishap) -> Self {
        Gate(Arc::new(Mutex::new(GateState { passed: 0, at: Some((step, mishap)), is_reached: false })))
    }

    /// Whether the step has been come to.
    pub fn is_reached(&self) -> bool {
        self.0.lock().unwrap().is_reached
    }

    /// Whoever stands still goes on, and stops at a later step.
    pub fn open_until(&self, step: u32) {
        let mut state = self.0.lock().unwrap();
        (state.at, state.is_reached) = (Some((step, Mishap::Stop)), false);
    }

    /// Nothing is in the way any more.
    pub fn open(&self) {
        self.0.lock().unwrap().at = None;
    }

    /// One step; false if the connection breaks with it.
    pub async fn pass(&self) -> bool {
        let mishap = {
            let mut state = self.0.lock().unwrap();
            let step = state.passed;
            state.passed += 1;
            let met = state.at.filter(|(at, _)| *at == step);
            state.is_reached |= met.is_some();
            met
        };
        if let Some((step, Mishap::Stop)) = mishap {
            Opened(self.clone(), step).await;
        }
        !matches!(mishap, Some((_, Mishap::Break)))
    }
}

/// Ready once the gate is closed at this step no more.
struct Opened(Gate, u32);

impl Future for Opened {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        context.waker().wake_by_ref();
        let at = self.0.0.lock().unwrap().at;
        if at.is_none_or(|(step, _)| step != self.1) { Poll::Ready(()) } else { Poll::Pending }
    }
}

type Rows = BTreeMap<i64, i64>;

/// A branch that is prepared, and the connection that holds it.
#[derive(Clone, Debug)]
struct Prepared {
    rows: Rows,
    held_by: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    rows: Rows,
    prepared: BTreeMap<String, Prepared>,
    is_away: bool,
    /// How often it has gone away: connections do not outlive that.
    deaths: u64,
    /// The next statement that begins so is refused with this number.
    refuses: Option<(String, u16)>,
    log: Vec<String>,
    connections: u64,
    given_back: u64,
}

/// All servers, by name.
#[derive(Clone, Default)]
pub struct Outside {
    places: Arc<Mutex<BTreeMap<Arc<str>, Place>>>,
    gate: Arc<Mutex<Gate>>,
}

impl Outside {
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Place) -> T) -> T {
        work(self.places.lock().unwrap().entry(name.into()).or_default())
    }
    pub fn set_gate(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
    }
    pub fn rows(&self, name: &str) -> Rows {
        self.with(name, |place| place.rows.clone())
    }
    pub fn put(&self, name: &str, id: i64, value: i64) {
        self.with(name, |place| place.rows.insert(id, value));
    }
    pub fn prepared(&self, name: &str) -> usize {
        self.with(name, |place| place.prepared.len())
    }
    pub fn away(&self, name: &str, is_away: bool) {
        self.with(name, |place| {
            place.is_away = is_away;
            if is_away {
                place.deaths += 1;
                place.prepared.values_mut().for_each(|prepared| prepared.held_by = None);
            }
        });
    }
    pub fn refuse(&self, name: &str, beginning: &str, code: u16) {
        self.with(name, |place| place.refuses = Some((beginning.to_owned(), code)));
    }
    pub fn take_log(&self, name: &str) -> Vec<String> {
        self.with(name, |place| std::mem::take(&mut place.log))
    }
    pub fn connections(&self, name: &str) -> (u64, u64) {
        self.with(name, |place| (place.connections, place.given_back))
    }
}

/// A definition of a server of this name.
pub fn server(name: &str) -> Arc<Server> {
    Arc::new(Server {
        name: name.into(),
        wrapper: "mysql".into(),
        host: format!("{name}.example").into(),
        port: 3306,
        database: "d".into(),
        user: "u".into(),
        password: "secret".into(),
        owner: "".into(),
    })
}

impl World {
    /// The catalog has these servers.
    pub fn define_servers(&mut self, names: &[&str]) {
        let nothing = assize_catalog::Catalog::default();
        let mut builder = ChangeBuilder::new(&nothing);
        for name in names {
            builder.put_server(&server(name));
        }
        let change = builder.finish();
        self.change(&change);
    }
}

impl ForeignServers for Outside {
    fn connect(
        &self,
        server: Arc<Server>,
    ) -> BoxFuture<'_, Result<Box<dyn ForeignConnection>, ForeignError>> {
        let number = self.with(&server.name, |place| {
            place.connections += 1;
            (!place.is_away).then_some((place.connections, place.deaths))
        });
        let away = ForeignError::Away("it is away".to_owned());
        let connected = number.ok_or(away).map(|(number, life)| {
            let name = server.name.clone();
            Box::new(Connection { outside: self.clone(), name, number, life, open: None, is_lost: false })
                as Box<dyn ForeignConnection>
        });
        Box::pin(std::future::ready(connected))
    }
}

/// The branch that a connection is in.
struct Open {
    xid: String,
    rows: Rows,
    savepoints: Vec<(String, Rows)>,
    has_ended: bool,
}

struct Connection {
    outside: Outside,
    name: Arc<str>,
    number: u64,
    life: u64,
    open: Option<Open>,
    is_lost: bool,
}

fn refused(code: u16) -> ForeignError {
    ForeignError::Refused { code, state: "HY000".to_owned(), message: format!("refused with {code}") }
}

impl Connection {
    /// One statement: `PUT id value` and `READ id` beside those of XA.
    fn carry_out(&mut self, sql: &str) -> Result<ForeignResult, ForeignError> {
        let outside = self.outside.clone();
        outside.with(&self.name.clone(), |place| {
            place.log.push(sql.to_owned());
            if let Some((beginning, code)) = place.refuses.clone()
                && sql.starts_with(&beginning)
            {
                place.refuses = None;
                if code == 1213 {
                    self.open = None;
                }
                return Err(refused(code));
            }
            self.carry_out_at(place, sql)
        })
    }

    fn carry_out_at(&mut self, place: &mut Place, sql: &str) -> Result<ForeignResult, ForeignError> {
        let done = |affected| Ok(ForeignResult { affected, ..ForeignResult::default() });
        let words: Vec<&str> = sql.split(' ').collect();
        match (&words[..], &mut self.open) {
            (["SET", ..], _) => done(0),
            (["XA", "START", xid], None) => {
                let (xid, rows, savepoints) = ((*xid).to_owned(), place.rows.clone(), Vec::new());
                self.open = Some(Open { xid, rows, savepoints, has_ended: false });
                done(0)
            }
            (["XA", "END", xid], Some(open)) if open.xid == *xid && !open.has_ended => {
                open.has_ended = true;
                done(0)
            }
            (["XA", "PREPARE", xid], Some(open)) if open.xid == *xid && open.has_ended => {
                let prepared = Prepared { rows: open.rows.clone(), held_by: Some(self.number) };
                place.prepared.insert(open.xid.clone(), prepared);
                self.open = None;
                done(0)
            }
            (["XA", "ROLLBACK", xid], Some(open)) if open.xid == *xid && open.has_ended => {
                self.open = None;
                done(0)
            }
            (["XA", what @ ("COMMIT" | "ROLLBACK"), xid], None) => {
                let held = place.prepared.get(*xid).map(|prepared| prepared.held_by);
                if held.is_none_or(|held_by| held_by.is_some_and(|by| by != self.number)) {
                    return Err(refused(1397));
                }
                let prepared = place.prepared.remove(*xid).expect("it is there");
                if *what == "COMMIT" {
                    place.rows = prepared.rows;
                }
                done(0)
            }
            (["XA", "RECOVER"], None) => {
                let rows = place.prepared.keys().map(|xid| {
                    let parts: Vec<&str> = xid.split(',').map(|part| part.trim_matches('\'')).collect();
                    let length = |n: usize| Value::Int(parts[n].len() as i64);
                    let data = Value::Bytes(Bytes::from([parts[0], parts[1]].concat()));
                    vec![Value::Int(parts[2].parse().unwrap()), length(0), length(1), data]
                });
                Ok(ForeignResult { rows: rows.collect(), ..ForeignResult::default() })
            }
            (["SAVEPOINT", name], Some(open)) => {
                open.savepoints.push(((*name).to_owned(), open.rows.clone()));
                done(0)
            }
            (["ROLLBACK", "TO", "SAVEPOINT", name], Some(open)) => {
                let at = open.savepoints.iter().position(|(known, _)| known == name);
                let Some(at) = at else { return Err(refused(1305)) };
                open.rows = open.savepoints[at].1.clone();
                open.savepoints.truncate(at + 1);
                done(0)
            }
            (["PUT", id, value], Some(open)) if !open.has_ended => {
                open.rows.insert(id.parse().unwrap(), value.parse().unwrap());
                done(1)
            }
            (["READ", id], Some(open)) if !open.has_ended => {
                let value = open.rows.get(&id.parse().unwrap()).map(|value| vec![Value::Int(*value)]);
                Ok(ForeignResult { rows: value.into_iter().collect(), ..ForeignResult::default() })
            }
            _ => Err(refused(1399)),
        }
    }

    fn is_gone(&self) -> bool {
        self.is_lost || self.outside.with(&self.name, |place| place.is_away || place.deaths != self.life)
    }
}

impl ForeignConnection for Connection {
    fn run<'a>(
        &'a mut self,
        sql: &'a str,
        _: &'a [SqlType],
    ) -> BoxFuture<'a, Result<ForeignResult, ForeignError>> {
        let away = || ForeignError::Away("the connection is gone".to_owned());
        Box::pin(async move {
            let mut last = ForeignResult::default();
            for statement in sql.split("; ") {
                let gate = self.outside.gate.lock().unwrap().clone();
                // Once before, once after it has taken effect.
                if !gate.pass().await || self.is_gone() {
                    self.is_lost = true;
                    return Err(away());
                }
                let carried_out = self.carry_out(statement);
                if !gate.pass().await || self.is_gone() {
                    self.is_lost = true;
                    return Err(away());
                }
                last = carried_out?;
            }
            Ok(last)
        })
    }

    fn give_back(self: Box<Self>) {
        assert!(self.open.is_none(), "given back within a branch");
        self.outside.with(&self.name, |place| place.given_back += 1);
    }
}

/// The server notices that the connection is gone.
impl Drop for Connection {
    fn drop(&mut self) {
        let number = self.number;
        self.outside.with(&self.name, |place| {
            for prepared in place.prepared.values_mut().filter(|p| p.held_by == Some(number)) {
                prepared.held_by = None;
            }
        });
    }
}
