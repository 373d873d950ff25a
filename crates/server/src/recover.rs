//! `assize recover-quorum`: one voter that is left becomes the cluster. See [`assize_consensus::recover`].

use crate::config::{self, ConfigError};
use crate::{Failure, exit};
use anyhow::Context;
use assize_consensus::recover::{self, Adoption, RecoverError, Recovered, Remains};
use assize_model::NodeId;
use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Options of `assize recover-quorum`.
#[derive(Args, Debug)]
pub struct RecoverOptions {
    /// The node's configuration: says where its data is and which node it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "node"], required_unless_present = "data")]
    pub config: Option<PathBuf>,
    /// Its data directory
    #[arg(long, value_name = "DIR", requires = "node")]
    pub data: Option<PathBuf>,
    /// Its number
    #[arg(long, value_name = "N", requires = "data")]
    pub node: Option<u64>,
    /// Other nodes of the adjudicator's group that are left with their disks; all that are not named are lost
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with = "adopt")]
    pub keep: Vec<u64>,
    /// This node is one of those that are kept: what the recovery of the other one has printed
    #[arg(long, value_name = "TEXT")]
    pub adopt: Option<Adoption>,
    /// Do it. Without this, only what is there is said, and what may be lost
    #[arg(long)]
    pub i_accept_data_loss: bool,
}

/// Says what a directory has, and does what is asked if its loss is accepted.
pub fn run(options: &RecoverOptions) -> Result<(), Failure> {
    let (data, node) = place(options)?;
    let directory = data.join("adjudicator");
    let remains = recover::inspect(&directory)?;
    let mut left: BTreeSet<NodeId> = options.keep.iter().copied().map(NodeId).collect();
    left.insert(node);
    print!("{}", what_is_there(&remains, node, &left, options.adopt.is_some()));
    if !options.i_accept_data_loss {
        println!("nothing has been changed; to do it, say --i-accept-data-loss too");
        return Ok(());
    }
    if let Some(adoption) = options.adopt {
        audit(&data, node, false, &format!("to be adopted by {adoption}"))?;
        recover::adopt(&directory, node, adoption)?;
        audit(&data, node, true, &format!("adopted by {adoption}"))?;
        println!("done: node {} follows the recovered cluster; start it", node.0);
        return Ok(());
    }
    left.remove(&node);
    audit(&data, node, false, &format!("cluster {:032x} after entry {}", remains.cluster, remains.end))?;
    let recovered = recover::recover(&directory, node, &left)?;
    audit(&data, node, true, &what_was_done(&remains, &recovered))?;
    print!("{}", next_steps(&remains, &recovered, node, &left));
    Ok(())
}

/// The exit code for a recovery that did not happen.
pub fn exit_code(error: &RecoverError) -> u8 {
    match error {
        RecoverError::InUse(_) | RecoverError::Failed(_) => exit::CANT_CREATE,
        RecoverError::Refused(_) => exit::DATA_ERROR,
    }
}

fn place(options: &RecoverOptions) -> Result<(PathBuf, NodeId), Failure> {
    if let (Some(data), Some(node)) = (&options.data, options.node) {
        return Ok((data.clone(), NodeId(node)));
    }
    let config = config::load(options.config.as_deref(), &[])?.config;
    let data = config.node.data.ok_or_else(|| {
        ConfigError::Invalid("setting `node.data`: there is none, so there is nothing to recover".to_owned())
    })?;
    Ok((data, NodeId(config.node.id)))
}

fn numbers<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let numbers: Vec<String> = nodes.into_iter().map(|node| node.0.to_string()).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

/// What the log has, and what it may lack.
fn what_is_there(remains: &Remains, node: NodeId, left: &BTreeSet<NodeId>, is_kept: bool) -> String {
    let mut text = format!("cluster {:032x}, as node {} has it:\n", remains.cluster, node.0);
    let _ = writeln!(
        text,
        "  its log ends with entry {}, and entries up to {} are known to be committed",
        remains.end, remains.committed
    );
    let _ =
        writeln!(text, "  voters: {}; learners: {}", numbers(&remains.voters), numbers(&remains.learners));
    if is_kept {
        return text;
    }
    let _ =
        writeln!(text, "  left: {}; lost for good: {}", numbers(left), numbers(&remains.lost_without(left)));
    let lost = remains.shards_lost_without(left);
    let shards = remains.placement.shards.len();
    if lost.is_empty() {
        let _ =
            writeln!(text, "  shards: {shards}, and of each there is a replica on the nodes that are left");
    } else {
        let names: Vec<String> = lost.iter().map(|shard| shard.0.to_string()).collect();
        let _ = writeln!(
            text,
            "  shards: {shards}, and of these no replica that is any good is left, so that ALL THEIR ROWS ARE LOST: {}",
            names.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "  may be lost: every commit after entry {} that the other voters had acknowledged without this node",
        remains.end
    );
    text
}

fn what_was_done(remains: &Remains, recovered: &Recovered) -> String {
    format!(
        "cluster {:032x} goes on as {:032x} after entry {}, without nodes {}",
        remains.cluster,
        recovered.cluster,
        remains.end,
        numbers(&recovered.lost)
    )
}

fn next_steps(remains: &Remains, recovered: &Recovered, node: NodeId, kept: &BTreeSet<NodeId>) -> String {
    let mut text = format!("done: {}\n", what_was_done(remains, recovered));
    for other in kept {
        let _ = writeln!(
            text,
            "  on node {}, before it starts: assize recover-quorum --data DIR --node {} --adopt {} --i-accept-data-loss",
            other.0, other.0, recovered.adoption
        );
    }
    let _ = writeln!(text, "  start node {}; then add nodes until three vote", node.0);
    let _ = writeln!(
        text,
        "  never start nodes {} again with the disks that they had: nobody talks to them any more",
        numbers(&recovered.lost)
    );
    text
}

/// A line in the node's audit log.
fn audit(data: &Path, node: NodeId, is_done: bool, text: &str) -> Result<(), Failure> {
    let path = data.join("audit.jsonl");
    let written = assize_admin::note_by_hand(&path, node.0, "recover-quorum", is_done, text);
    Ok(written.with_context(|| path.display().to_string())?)
}
