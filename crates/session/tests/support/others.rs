//! Other nodes, for KILL of a connection that is not here.

use super::ready;
use assize_model::{NodeId, Outcome, TxnId};
use assize_ports::*;
use std::sync::Mutex;

/// What the session sees is node 1. Node 2 has connections, node 3 does not answer, and there are no others.
#[derive(Default)]
pub struct Others {
    /// Who was asked for sessions: a node, or all (0).
    pub asked: Mutex<Vec<u64>>,
    pub done: Mutex<Vec<Action>>,
}

/// A connection of a node, by its number.
pub fn connection_of(node: u32, connection: u32) -> u32 {
    (node << CONNECTION_BITS) + connection
}

fn session(connection: u32, user: &str) -> SessionInfo {
    SessionInfo {
        node: 2,
        connection,
        user: user.to_owned(),
        host: "10.0.0.7:1".to_owned(),
        database: String::new(),
        command: "Sleep".to_owned(),
        seconds: 1,
        statement: String::new(),
    }
}

impl Others {
    fn tell(&self, asked: u64) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        self.asked.lock().unwrap().push(asked);
        let sessions = vec![session(connection_of(2, 5), "app"), session(77, "app")];
        let silent = vec![3];
        ready(match asked {
            0 => Ok(NodeReport { sessions, silent, ..NodeReport::default() }),
            2 => Ok(NodeReport { sessions, ..NodeReport::default() }),
            3 => Ok(NodeReport { silent, ..NodeReport::default() }),
            node => Err(ClusterError::NotFound(format!("there is no node {node}"))),
        })
    }
}

fn refused<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, ClusterError>> {
    ready(Err(ClusterError::Refused("nobody asks this here".to_owned())))
}

impl ClusterView for Others {
    fn node(&self) -> NodeId {
        NodeId(1)
    }
    fn members(&self) -> BoxFuture<'_, Result<Members, ClusterError>> {
        refused()
    }
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardInfo>, ClusterError>> {
        refused()
    }
    fn report(&self, _: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        self.tell(0)
    }
    fn report_of(&self, node: NodeId, _: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        self.tell(node.0)
    }
    fn outcome(&self, _: TxnId) -> BoxFuture<'_, Result<Outcome, ClusterError>> {
        refused()
    }
    fn jobs(&self) -> BoxFuture<'_, Result<JobList, ClusterError>> {
        refused()
    }
    fn schema(&self, _: bool) -> BoxFuture<'_, Result<SchemaInfo, ClusterError>> {
        refused()
    }
    fn traffic(&self) -> BoxFuture<'_, Result<TrafficList, ClusterError>> {
        refused()
    }
    fn act<'a>(
        &'a self,
        action: Action,
        _: bool,
        _: &'a str,
    ) -> BoxFuture<'a, Result<ActionDone, ClusterError>> {
        self.done.lock().unwrap().push(action);
        ready(Ok(ActionDone::default()))
    }
    fn config(&self) -> Vec<(String, String, String)> {
        Vec::new()
    }
}
