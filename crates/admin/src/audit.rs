//! The audit log: one JSON object a line for everything that was asked for and what came of it.
//!
//! A line is on disk before the call goes on: `asked` before anything is changed, then `done` or `failed`. An `asked`
//! without a second line means that the node died in between. The file is opened anew for every line, so that it can
//! be renamed and compressed at any time without telling anybody.

use crate::auth::Caller;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What happened to a mutation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It may be done, and is about to be.
    Asked,
    /// It was begun, and goes on as a job. The node that does the work notes how that ends.
    Begun,
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed,
    /// It was not tried: the role is too low, or an argument makes no sense.
    Refused,
    /// It was only asked whether it could be done; the text is the answer.
    Validated,
    /// Its `request_id` was answered before.
    Repeated,
}

/// What the lines about one mutation have in common.
#[derive(Clone, Serialize)]
pub(crate) struct Mutation {
    /// The node that was asked.
    pub node: u64,
    /// Their name.
    pub caller: String,
    /// Their role.
    pub role: String,
    /// Where the call came from.
    pub address: Option<SocketAddr>,
    /// `Shards.Split`.
    pub rpc: &'static str,
    /// The caller's name for it; empty if none was given.
    pub request_id: String,
    /// The whole request.
    pub request: serde_json::Value,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    #[serde(flatten)]
    mutation: &'a Mutation,
    outcome: Outcome,
    text: &'a str,
}

/// Where lines go.
pub(crate) struct Audit {
    /// `None`: this node keeps nothing on disk; then the log is all there is.
    pub file: Option<PathBuf>,
}

impl Audit {
    /// Writes a line and waits until it is on disk.
    pub async fn write(&self, mutation: &Mutation, outcome: Outcome, text: &str) -> std::io::Result<()> {
        tracing::info!(
            caller = %mutation.caller,
            rpc = mutation.rpc,
            request_id = %mutation.request_id,
            request = %mutation.request,
            ?outcome,
            text,
            "audit"
        );
        let Some(path) = self.file.clone() else { return Ok(()) };
        let at = prost_types::Timestamp::from(SystemTime::now()).to_string();
        let mut line = serde_json::to_vec(&Line { at, mutation, outcome, text })?;
        line.push(b'\n');
        tokio::task::spawn_blocking(move || append(&path, &line)).await?
    }
}

/// Writes a line about what a shell does to the directory of a node that is down, without a call: `asked` before, `done` after.
/// Waits until it is on disk.
pub fn note_by_hand(
    file: &Path,
    node: u64,
    rpc: &'static str,
    is_done: bool,
    text: &str,
) -> std::io::Result<()> {
    let noted = if is_done { Noted::Done } else { Noted::Asked };
    let request = serde_json::Value::Null;
    note(file, &Entry { node, caller: "shell", role: "admin", rpc, request, noted, text })
}

/// What there is to note of something that did not come as a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// It is about to be done.
    Asked,
    /// It was begun, and goes on as a job.
    Begun,
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed,
    /// It was only asked whether it could be done.
    Validated,
}

/// A line about something that did not come as a call: a statement, the end of a job, what a node does by itself.
pub struct Entry<'a> {
    /// The node that notes it.
    pub node: u64,
    /// Who wants it: `user@host` of a statement, `assize` of what nobody asked for.
    pub caller: &'a str,
    /// By which right.
    pub role: &'a str,
    /// The call that does the same, `Shards.Split`, or a word that stands for it.
    pub rpc: &'static str,
    /// What was asked for.
    pub request: serde_json::Value,
    /// What is noted of it.
    pub noted: Noted,
    /// The answer, or why there is none.
    pub text: &'a str,
}

/// Writes a line about something that did not come as a call. Waits until it is on disk.
pub fn note(file: &Path, entry: &Entry<'_>) -> std::io::Result<()> {
    let outcome = match entry.noted {
        Noted::Asked => Outcome::Asked,
        Noted::Begun => Outcome::Begun,
        Noted::Done => Outcome::Done,
        Noted::Failed => Outcome::Failed,
        Noted::Validated => Outcome::Validated,
    };
    let mutation = Mutation {
        node: entry.node,
        caller: entry.caller.to_owned(),
        role: entry.role.to_owned(),
        address: None,
        rpc: entry.rpc,
        request_id: String::new(),
        request: entry.request.clone(),
    };
    let text = entry.text;
    let at = prost_types::Timestamp::from(SystemTime::now()).to_string();
    let mut line = serde_json::to_vec(&Line { at, mutation: &mutation, outcome, text })?;
    line.push(b'\n');
    append(file, &line)
}

fn append(path: &Path, line: &[u8]) -> std::io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line)?;
    file.sync_data()?;
    match path.parent() {
        // A new file's name must survive a power cut too.
        Some(dir) if is_new => std::fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

impl Mutation {
    /// About a known caller's request.
    pub fn new(
        node: u64,
        caller: &Caller,
        address: Option<SocketAddr>,
        rpc: &'static str,
        request_id: &str,
        request: &impl Serialize,
    ) -> Self {
        Mutation {
            node,
            caller: caller.name.clone(),
            role: caller.role.to_string(),
            address,
            rpc,
            request_id: request_id.to_owned(),
            // Our own messages always print.
            request: serde_json::to_value(request).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others read these lines.
    #[test]
    fn a_line_stays_as_it_is() {
        let mutation = Mutation {
            node: 1,
            caller: "alice".into(),
            role: "operator".into(),
            address: Some(([127, 0, 0, 1], 4000).into()),
            rpc: "Shards.Split",
            request_id: "r-1".into(),
            request: serde_json::json!({ "shard": 4 }),
        };
        let at = "2026-11-27T10:00:00Z".to_owned();
        let line = Line { at, mutation: &mutation, outcome: Outcome::Asked, text: "" };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"at":"2026-11-27T10:00:00Z","node":1,"caller":"alice","role":"operator","address":"127.0.0.1:4000","rpc":"Shards.Split","request_id":"r-1","request":{"shard":4},"outcome":"asked","text":""}"#
        );
    }
}
