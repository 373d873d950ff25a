//! Shards are split and merged by the shell, as an operator would, and now and then somebody dies meanwhile.

use super::random::Random;
use crate::Assize;
use crate::cluster::Cluster;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// More shards than this are merged rather than split.
const SHARDS_USUAL: usize = 5;
/// Of a hundred jobs so many lose a node while they run.
const KILLS: u64 = 50;
/// How far a job has come by then, in milliseconds.
const KILLED_WITHIN: u64 = 1_500;

/// Begins to split a shard or to merge two, and may kill a node while that goes on; the nodes that were killed. A job that is
/// refused, because another one is not done with the shard, is none.
pub fn strike(cluster: &mut Cluster, random: &mut Random) -> Result<Vec<u64>, String> {
    let shards = shards(cluster)?;
    if shards.len() > SHARDS_USUAL {
        let from = random.choose(&shards);
        let others: Vec<u64> = shards.into_iter().filter(|shard| *shard != from).collect();
        let into = random.choose(&others);
        ask(cluster, &["merge", &from.to_string(), &into.to_string()]);
    } else {
        ask(cluster, &["split", &random.choose(&shards).to_string()]);
    }
    if !random.percent(KILLS) {
        return Ok(Vec::new());
    }
    std::thread::sleep(Duration::from_millis(random.below(KILLED_WITHIN)));
    Ok(vec![random.choose(&cluster.nodes())])
}

/// The shards that there are.
fn shards(cluster: &Cluster) -> Result<Vec<u64>, String> {
    let (told, complaint) = ask(cluster, &["list"]);
    let shard = |line: &str| serde_json::from_str::<Value>(line).ok()?["shard"].as_u64();
    let shards: Vec<u64> = told.lines().filter_map(shard).collect();
    if shards.is_empty() {
        return Err(format!("nobody says which shards there are: {told}{complaint}"));
    }
    Ok(shards)
}

/// Asks any node that answers.
fn ask(cluster: &Cluster, arguments: &[&str]) -> (String, String) {
    let nodes = cluster.nodes();
    let admin: Vec<String> =
        nodes.iter().map(|node| format!("127.0.0.1:{}", cluster.ports(*node).admin)).collect();
    let mut command = Command::new(Assize::binary());
    command.arg("shards").args(arguments).args(["--output", "json", "--admin", &admin.join(",")]);
    let said = crate::run(&mut command, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&said.stdout), text(&said.stderr))
}
