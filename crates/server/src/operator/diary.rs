//! The audit log, for what did not come as a call of the admin API: statements, the end of jobs, what a node does by itself.

use assize_admin::{Entry, Noted};
use assize_model::NodeId;
use assize_ports::Action;
use std::path::PathBuf;

/// By which right the server does what nobody asked for.
const BY_ITSELF: &str = "admin";
/// By which right statements change the cluster.
const BY_STATEMENT: &str = "SUPER";

/// The audit log of a node.
#[derive(Clone)]
pub struct Diary {
    /// The node.
    pub node: NodeId,
    /// The file; `None`: it keeps nothing on disk, and its log is all there is.
    pub file: Option<PathBuf>,
}

/// Who wants something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Author {
    /// Nobody asked the server.
    Itself,
    /// Somebody did: `user@host`, or the admin API's name of a caller.
    Somebody(String),
}

impl Diary {
    /// Writes a line about an operator's statement. Nothing may be done before the first one is on disk.
    pub async fn statement(
        &self,
        who: &str,
        action: &Action,
        noted: Noted,
        text: &str,
    ) -> std::io::Result<()> {
        // Plain data has a JSON form.
        let request = serde_json::to_value(action).unwrap_or_default();
        self.write(who.to_owned(), BY_STATEMENT, action.rpc(), request, noted, text.to_owned()).await
    }

    /// Writes a line about long work: its beginning if nobody asked for it, or its end. That comes too late to stop anything: if
    /// it cannot be written, the log says so.
    pub async fn work(&self, author: &Author, what: &'static str, noted: Noted, text: String) {
        let caller = match author {
            Author::Itself => "assize".to_owned(),
            Author::Somebody(who) => who.clone(),
        };
        let request = serde_json::Value::Null;
        if let Err(error) = self.write(caller, BY_ITSELF, what, request, noted, text).await {
            tracing::error!(%error, "a line of the audit log is lost");
        }
    }

    async fn write(
        &self,
        caller: String,
        role: &'static str,
        rpc: &'static str,
        request: serde_json::Value,
        noted: Noted,
        text: String,
    ) -> std::io::Result<()> {
        tracing::info!(caller, rpc, %request, ?noted, text, "audit");
        let (node, Some(file)) = (self.node.0, self.file.clone()) else { return Ok(()) };
        let write = move || {
            let (caller, text) = (&*caller, &*text);
            assize_admin::note(&file, &Entry { node, caller, role, rpc, request, noted, text })
        };
        tokio::task::spawn_blocking(write).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_statement_and_the_end_of_its_job_are_lines_of_the_same_call() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        let diary = Diary { node: NodeId(2), file: Some(file.clone()) };
        let split = Action::Split { shard: 3, at: None };
        diary.statement("root@10.0.0.7", &split, Noted::Asked, "").await.unwrap();
        diary.statement("root@10.0.0.7", &split, Noted::Begun, "split s3 (job split-1)").await.unwrap();
        let author = Author::Somebody("root@10.0.0.7".to_owned());
        diary.work(&author, split.rpc(), Noted::Failed, "split-1: no room".to_owned()).await;
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            assert_eq!((&line["caller"], &line["rpc"]), (&"root@10.0.0.7".into(), &"Shards.Split".into()));
            assert_eq!(line["node"], 2);
        }
        let outcomes: Vec<&str> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["asked", "begun", "failed"]);
        assert_eq!(lines[0]["request"]["Split"]["shard"], 3);
        assert_eq!(lines[2]["text"], "split-1: no room");
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_written_is_told_before_anything_is_done() {
        let file = Some(PathBuf::from("/nowhere/at/all/audit.jsonl"));
        let diary = Diary { node: NodeId(2), file };
        let noted = diary.statement("root@localhost", &Action::VerifyReplicas, Noted::Asked, "").await;
        assert!(noted.is_err());
        let nothing = Diary { node: NodeId(2), file: None };
        nothing.statement("root@localhost", &Action::VerifyReplicas, Noted::Asked, "").await.unwrap();
    }
}
