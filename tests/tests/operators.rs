//! Three real processes: what operators can do through any node, and what they are told when nodes are silent.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options, free_port};
use assize_tests::{Assize, run, wait_for};
use mysql::prelude::Queryable;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Nobody who is asked takes as long as this: requests to a leader are held for ten seconds.
const PROMPT: Duration = Duration::from_secs(8);

/// Runs a command of the shell against a node's admin API.
fn shell(cluster: &Cluster, node: u64, line: &str) -> Output {
    let admin = format!("127.0.0.1:{}", cluster.ports(node).admin);
    let mut command = Command::new(Assize::binary());
    run(command.args(line.split(' ')).args(["--admin", &admin]), b"")
}

/// What a command says, on stdout and then on stderr.
fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that ends with this exit code; what it says.
#[track_caller]
fn ends_with(cluster: &Cluster, node: u64, line: &str, code: i32) -> String {
    let output = shell(cluster, node, line);
    assert_eq!(output.status.code(), Some(code), "assize {line}: {}", told(&output));
    told(&output)
}

/// COM_PROCESS_KILL through a node.
fn process_kill(cluster: &Cluster, node: u64, connection: u64) {
    let port = cluster.ports(node).mysql.to_string();
    let mut command = Command::new("mariadb-admin");
    command.args(["--no-defaults", "--host=127.0.0.1", "--user=root", "--port", &port]);
    assize_tests::run_ok(command.args(["kill", &connection.to_string()]), b"");
}

/// Lines of a node's audit log.
fn audit(cluster: &Cluster, node: u64) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(cluster.data(node).join("audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Outcomes that are noted of a call by a caller, on any node.
fn outcomes(cluster: &Cluster, caller: &str, rpc: &str) -> Vec<String> {
    let lines = cluster.nodes().into_iter().flat_map(|node| audit(cluster, node));
    let of_it = lines.filter(|line| line["caller"] == caller && line["rpc"] == rpc);
    of_it.map(|line| line["outcome"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The nodes connect to each other while some of them have not opened their shards yet, and one of them founds the cluster.
#[test]
fn whoever_leads_a_fresh_cluster_can_split_and_merge_shards() {
    let mut cluster = Cluster::start(Options::nodes(3));
    for node in cluster.nodes() {
        ends_with(&cluster, 1, &format!("members transfer {node}"), 0);
        wait_for("the node to lead", || cluster.leader() == Some(node));
        ends_with(&cluster, node, &format!("shards split {node} --wait"), 0);
    }
    ends_with(&cluster, 2, "shards merge 5 1 --wait", 0);
    let mut connection = cluster.connect(2).unwrap();
    let shards: Option<u64> =
        connection.query_first("SELECT COUNT(*) FROM information_schema.assize_shards").unwrap();
    assert_eq!(shards, Some(6));

    // All of it is in the audit logs: what was asked for, and how it ended.
    let splits = outcomes(&cluster, "local", "Shards.Split");
    let count = |wanted: &str| splits.iter().filter(|outcome| *outcome == wanted).count();
    assert_eq!((count("asked"), count("begun"), count("done")), (3, 3, 3), "{splits:?}");
    assert_eq!(outcomes(&cluster, "local", "Shards.Merge"), ["asked", "begun", "done"]);

    // A statement is no less than a call.
    let answer: Option<(String, Option<String>)> =
        connection.query_first("ALTER CLUSTER TRANSFER LEADERSHIP TO NODE 1").unwrap();
    assert_eq!(answer.unwrap().0, "node 1 leads");
    connection.query_drop("ALTER CLUSTER DROP NODE 3 FORCE VALIDATE ONLY").unwrap();
    assert!(connection.query_drop("ALTER CLUSTER SPLIT SHARD 99").is_err());
    let lines = audit(&cluster, 2);
    let by_root: Vec<_> =
        lines.iter().filter(|line| line["caller"].as_str().unwrap().starts_with("root@")).collect();
    let seen: Vec<(&str, &str)> = by_root
        .iter()
        .map(|line| (line["rpc"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("Cluster.TransferLeadership", "asked"),
            ("Cluster.TransferLeadership", "done"),
            ("Cluster.RemoveMember", "validated"),
            ("Shards.Split", "asked"),
            ("Shards.Split", "failed"),
        ]
    );
    assert_eq!(by_root[0]["request"]["TransferLeadership"]["to"], 1);

    let settings = ends_with(&cluster, 2, "config running --output json", 0);
    assert!(settings.lines().any(|line| line.contains(r#""key":"node.id","value":"2""#)), "{settings}");

    // A number that one node shows means the same connection to every other.
    let mut victim = cluster.connect(3).unwrap();
    let id: u64 = victim.query_first("SELECT CONNECTION_ID()").unwrap().unwrap();
    let shown: Option<u64> = connection
        .query_first(format!(
            "SELECT node_id FROM information_schema.assize_sessions WHERE connection_id = {id}"
        ))
        .unwrap();
    assert_eq!(shown, Some(3));
    connection.query_drop(format!("KILL {id}")).unwrap();
    wait_for("the connection to end", || victim.query_drop("DO 1").is_err());
    assert!(connection.query_drop(format!("KILL {id}")).is_err());
    let mut victim = cluster.connect(3).unwrap();
    process_kill(&cluster, 2, victim.query_first("SELECT CONNECTION_ID()").unwrap().unwrap());
    wait_for("the connection to end", || victim.query_drop("DO 1").is_err());

    // What could be done is not told as if it had been.
    let text: Option<(String, Option<String>)> =
        connection.query_first("ALTER CLUSTER SPLIT SHARD 1 VALIDATE ONLY").unwrap();
    assert!(text.unwrap().0.starts_with("could be done: "));
    for (line, code, words) in [
        ("shards move 1 --from 1 --to 99 --validate-only", 66, "there is no node 99"),
        ("shards split 99", 66, "there is no shard 99"),
        ("shards recover 99 --i-accept-data-loss", 66, "there is no shard 99"),
        ("sessions kill 77/1", 66, "there is no node 77"),
        ("sessions kill 3/4242", 66, "there is no connection 4242 on node 3"),
        ("members drain 77", 66, "there is no node 77"),
        ("txn outcome 0006516f9ce3c4ec0000100000000007", 64, "deadline"),
    ] {
        let told = ends_with(&cluster, 1, line, code);
        assert!(told.contains(words), "assize {line}: {told}");
    }
}

/// Makes a transaction lose a conflict through a node; the conflict's id.
fn conflict_on(cluster: &Cluster, node: u64) -> String {
    let (mut loser, mut winner) = (cluster.connect(node).unwrap(), cluster.connect(node).unwrap());
    loser.query_drop("BEGIN").unwrap();
    loser.query_drop("UPDATE f.t SET n = n + 1 WHERE id = 1").unwrap();
    winner.query_drop("UPDATE f.t SET n = n + 1 WHERE id = 1").unwrap();
    let text = loser.query_drop("COMMIT").unwrap_err().to_string();
    let at = text.find("c-").unwrap_or_else(|| panic!("no conflict is named: {text}"));
    text[at..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

#[test]
fn what_silent_nodes_know_is_missed_and_a_lost_majority_is_said_at_once() {
    let mut cluster = Cluster::start(Options::nodes(3));
    let mut connection = cluster.connect(3).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, n INT NOT NULL)").unwrap();
    connection.query_drop("INSERT INTO f.t VALUES (1, 0)").unwrap();
    let id = conflict_on(&cluster, 1);
    let lost: u64 = cluster.connect(1).unwrap().query_first("SELECT CONNECTION_ID()").unwrap().unwrap();
    ends_with(&cluster, 3, "members verify", 0);
    assert!(ends_with(&cluster, 3, &format!("conflicts show {id}"), 0).contains(&id));

    // One is silent.
    cluster.kill(1);
    cluster.wait_leader();
    let mut text = String::new();
    wait_for("the others to be compared", || {
        let output = shell(&cluster, 3, "members verify");
        text = told(&output);
        output.status.code() == Some(2)
    });
    assert!(text.contains("n1 did not answer; 0 of 4 shards have equal replicas"), "{text}");
    assert!(
        text.contains("s1: 2 of 3 replicas compared, no answer from r") && text.contains(" on n1"),
        "{text}"
    );
    assert!(text.contains("nothing differs, but not everything was compared"), "{text}");
    let text = ends_with(&cluster, 3, "members transfer 1", 69);
    assert!(text.contains("node 1 does not answer"), "{text}");
    let text = ends_with(&cluster, 3, &format!("conflicts show {id}"), 69);
    assert!(text.contains("node 1 did not answer"), "{text}");
    assert!(ends_with(&cluster, 3, "sessions", 0).contains("node 1 did not answer"));
    let refused = connection.query_drop(format!("SHOW CONFLICT '{id}'")).unwrap_err().to_string();
    assert!(refused.contains("node 1 did not answer"), "{refused}");
    let since = Instant::now();
    let refused = connection.query_drop(format!("KILL {lost}")).unwrap_err().to_string();
    assert!(refused.contains("1429") && refused.contains("of node 1, which does not answer"), "{refused}");
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    connection.query_drop("SHOW CONFLICTS").unwrap();
    let warnings: Vec<(String, u16, String)> = connection.query("SHOW WARNINGS").unwrap();
    assert!(warnings[0].2.contains("node 1 did not answer"), "{warnings:?}");

    // Most are.
    cluster.kill(2);
    let mut slowest = Duration::ZERO;
    wait_for("the node to notice", || {
        let since = Instant::now();
        let text = ends_with(&cluster, 3, "status", 2);
        slowest = slowest.max(since.elapsed());
        text.contains("1 of 3 voters answer, 2 are needed: nothing can commit")
            && text.contains("start nodes 1, 2")
            && text.contains("\"Quorum is lost\" in docs/operations.md")
            && text.contains("as it knew them last")
    });
    assert!(slowest < PROMPT, "{slowest:?}");
    for line in ["members", "shards", "sessions", "txn", "conflicts", "schema", "schema tables", "top --once"]
    {
        let since = Instant::now();
        ends_with(&cluster, 3, line, 0);
        assert!(since.elapsed() < PROMPT, "assize {line} took {:?}", since.elapsed());
    }
    assert!(ends_with(&cluster, 3, "members", 0).contains("no leader is heard of"));
    let tables = ends_with(&cluster, 3, "schema tables --output json", 0);
    assert!(tables.contains(r#""database":"f","name":"t""#), "{tables}");
    let top = shell(&cluster, 3, "top --output json");
    let frame: serde_json::Value = serde_json::from_slice(&top.stdout).unwrap();
    assert_eq!(frame["members"].as_array().unwrap().len(), 3);
    wait_for("the node to turn unready", || {
        cluster.http(3, "/readyz?verbose").is_some_and(|(status, text)| {
            status == 503 && text.contains("nothing has been heard of a leader for")
        })
    });
    cluster.start_node(2);
    cluster.wait_ready(3);
    cluster.wait_ready(2);
    assert!(!ends_with(&cluster, 3, "members", 0).contains("no leader is heard of"));
}

#[test]
fn a_node_can_be_drained_through_itself_and_the_last_one_only_by_force() {
    let mut cluster = Cluster::start(Options::nodes(3));
    wait_for("the cluster's version to be raised", || {
        shell(&cluster, 1, "members drain 2 --validate-only").status.success()
    });
    let mut second = cluster.connect(2).unwrap();
    let since = Instant::now();
    let answer: Option<(String, Option<String>)> = second.query_first("ALTER CLUSTER DRAIN NODE 2").unwrap();
    assert!(answer.unwrap().0.contains("node 2 takes no more connections"));
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    wait_for("node 2 to take no connections", || cluster.connect(2).is_err());
    ends_with(&cluster, 1, "members drain 3", 0);
    let text = ends_with(&cluster, 1, "members drain 1", 65);
    assert!(text.contains("node 1 is the only one that takes connections"), "{text}");
    ends_with(&cluster, 1, "members drain 1 --validate-only", 65);
    assert!(cluster.connect(1).is_ok());
    ends_with(&cluster, 1, "members drain 1 --force", 0);
    wait_for("the status to say that nobody serves", || {
        ends_with(&cluster, 1, "status", 2).contains("no node takes connections: clients are refused")
    });
    // At once, though its connections may still be ending.
    ends_with(&cluster, 1, "members undrain 1", 0);
    cluster.wait_ready(1);
    cluster.connect(1).unwrap();
}

#[test]
fn a_cluster_that_is_not_founded_says_at_once_who_is_missing() {
    let mut cluster = Cluster::prepare(Options::nodes(3));
    cluster.start_node(1);
    let mut text = String::new();
    wait_for("the node to answer", || {
        let since = Instant::now();
        text = ends_with(&cluster, 1, "status", 2);
        assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
        !text.contains("no node answered")
    });
    assert!(text.contains("there is no cluster yet: nodes 2, 3 do not answer"), "{text}");
    cluster.start_node(2);
    cluster.start_node(3);
    cluster.nodes().into_iter().for_each(|node| cluster.wait_ready(node));
}

#[test]
fn a_client_of_a_node_that_does_not_serve_hears_why_and_one_that_comes_a_moment_too_early_is_served() {
    let mut cluster = Cluster::prepare(Options::nodes(3));
    cluster.start_node(1);
    // It is told by the server, and not by a time-out of its own.
    let refusal = |cluster: &Cluster, what: &str| {
        let mut text = String::new();
        wait_for(what, || match cluster.connect(1) {
            Err(mysql::Error::MySqlError(error)) => {
                assert_eq!(error.code, 1429, "{error}");
                text = error.message;
                text.contains(what)
            }
            Err(_) => false,
            Ok(_) => panic!("it cannot serve"),
        });
        text
    };
    let text = refusal(&cluster, "not founded yet");
    assert!(
        text.contains("node 1 does not serve yet") && text.contains("assize start on nodes 2, 3"),
        "{text}"
    );
    assert!(cluster.metric(1, "frontend_refused_connections_total{reason=\"starting\"}") >= Some(1.0));

    // Those who are there before the cluster is founded need not come again.
    cluster.start_node(2);
    cluster.start_node(3);
    let is_ready = |cluster: &Cluster| cluster.http(1, "/readyz").is_some_and(|(status, _)| status == 200);
    wait_for("a client to be served that came early", || {
        let is_early = !is_ready(&cluster);
        let is_served = cluster.connect(1).is_ok();
        assert!(is_early || !is_served, "whoever waited was not served");
        is_served
    });
    cluster.nodes().into_iter().for_each(|node| cluster.wait_ready(node));

    cluster.terminate(1);
    cluster.terminate(2);
    cluster.terminate(3);
    cluster.start_node(1);
    let text = refusal(&cluster, "no node leads the cluster");
    assert!(text.contains("2 of nodes 1, 2, 3 have to run"), "{text}");
    // It ends while somebody waits, and says so.
    let mut waiting = TcpStream::connect(("127.0.0.1", cluster.ports(1).mysql)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(cluster.terminate(1).success());
    let mut told = Vec::new();
    waiting.read_to_end(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("Server shutdown in progress"), "{told}");
}

#[test]
fn a_node_that_is_not_let_in_says_why() {
    let mut cluster = Cluster::start(Options::nodes(3));
    // The others have read theirs.
    let token = cluster.directory().join("join-token");
    let right = std::fs::read(&token).unwrap();
    let other = run(
        Command::new(Assize::binary())
            .args(["cert", "token", "--file"])
            .arg(cluster.directory().join("other")),
        b"",
    );
    assert!(other.status.success(), "{}", told(&other));
    std::fs::copy(cluster.directory().join("other"), &token).unwrap();
    cluster.join_node(4);
    wait_for("the node to say that its token is wrong", || {
        let text = told(&shell(&cluster, 4, "status"));
        text.contains("the join token is wrong")
            && text.contains("`cluster.join_token_file` has to hold the same token")
    });
    let (status, text) = cluster.http(4, "/readyz?verbose").unwrap();
    assert!(status == 503 && text.contains("the cluster has not let this node in"), "{text}");
    assert!(
        cluster.log(4).matches("the join token is wrong").count() < 4,
        "it is not said each second: {}",
        cluster.tail(4)
    );

    std::fs::write(&token, right).unwrap();
    cluster.terminate(4);
    let nowhere = format!("cluster.join=[\"1=127.0.0.1:{}\"]", free_port());
    cluster.set(4, &[&nowhere]);
    cluster.start_node(4);
    wait_for("the node to say that nobody answers", || {
        let text = told(&shell(&cluster, 4, "status"));
        text.contains("n1 cannot be reached: 127.0.0.1:")
            && text.contains("start the nodes that `cluster.join`")
    });
    cluster.terminate(4);
    cluster.set(4, &[]);
    cluster.start_node(4);
    cluster.wait_ready(4);
}

#[test]
fn a_node_that_is_removed_while_it_runs_says_so_and_takes_no_clients() {
    let cluster = Cluster::start(Options::nodes(3));
    ends_with(&cluster, 1, "members transfer 1", 0);
    ends_with(&cluster, 1, "members remove 3 --force", 0);
    wait_for("the node to find out", || {
        told(&shell(&cluster, 3, "status")).contains("node 3: is no longer a member of the cluster")
    });
    wait_for("the node to take no connections", || cluster.connect(3).is_err());
    let (status, text) = cluster.http(3, "/readyz?verbose").unwrap();
    assert!(status == 503 && text.contains("the cluster has removed this node"), "{text}");
    cluster.connect(1).unwrap();
    let text = ends_with(&cluster, 1, "status", 1);
    assert!(text.contains("2 of 3 wanted replicas") && text.contains("no node to put another on"), "{text}");
    assert!(!text.contains("start node 3"), "{text}");
}
