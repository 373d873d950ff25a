//! Three real processes: what clients see while nodes die, restart, join and leave. Most of the time somebody waits for a lease or
//! for a copy, so several clusters may run at once; those that need the machine to themselves are in `under_load.rs`.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options, Rule};
use assize_tests::{Assize, run as run_command, wait_for};
use mysql::prelude::Queryable;
use std::time::Duration;

#[test]
fn a_statement_through_any_node_sees_what_was_acknowledged_by_any_other() {
    let cluster = Cluster::start(Options::nodes(3));
    let mut connections: Vec<_> =
        cluster.nodes().into_iter().map(|node| cluster.connect(node).unwrap()).collect();
    connections[0].query_drop("CREATE DATABASE f").unwrap();
    connections[1].query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    for id in 0..60 {
        let (writer, reader) = (id % 3, (id + 1) % 3);
        connections[writer].query_drop(format!("INSERT INTO f.t VALUES ({id})")).unwrap();
        let seen: Option<usize> =
            connections[reader].query_first(format!("SELECT id FROM f.t WHERE id = {id}")).unwrap();
        assert_eq!(seen, Some(id), "through node {} what node {} acknowledged", reader + 1, writer + 1);
    }
}

/// Whatever node is asked tells of the jobs of all, and who held a row that another node's session waited for.
#[test]
fn jobs_and_holders_of_rows_are_known_on_every_node() {
    let cluster = Cluster::start(Options::nodes(3));
    let mut connections: Vec<_> =
        cluster.nodes().into_iter().map(|node| cluster.connect(node).unwrap()).collect();
    connections[0].query_drop("CREATE DATABASE f").unwrap();
    connections[0].query_drop("CREATE TABLE f.t (id VARCHAR(9) PRIMARY KEY, n INT)").unwrap();
    connections[0].query_drop("INSERT INTO f.t VALUES ('one', 1), ('two', 2)").unwrap();
    for (node, name) in ["a", "b", "c"].into_iter().enumerate() {
        connections[node].query_drop(format!("CREATE INDEX {name} ON f.t (n)")).unwrap();
    }
    for connection in &mut connections {
        let asked = "SELECT id, state FROM information_schema.assize_jobs ORDER BY id";
        let jobs: Vec<(String, String)> = connection.query(asked).unwrap();
        let node = |id: &str| id.split('.').next().unwrap_or_default().to_owned();
        let jobs: Vec<(String, String)> = jobs.into_iter().map(|(id, state)| (node(&id), state)).collect();
        let done = ["index-1", "index-2", "index-3"].map(|node| (node.to_owned(), "done".to_owned()));
        assert_eq!(jobs, done);
    }
    for waiter in 0..3 {
        let holder = (waiter + 1) % 3;
        connections[holder].query_drop("BEGIN").unwrap();
        connections[holder].query_drop("SELECT * FROM f.t WHERE id = 'one' FOR UPDATE").unwrap();
        connections[waiter].query_drop("SET innodb_lock_wait_timeout = 1").unwrap();
        // Every row is read: an error may come after the columns.
        let ended: mysql::Result<Vec<mysql::Row>> =
            connections[waiter].query("SELECT * FROM f.t WHERE id = 'one' FOR UPDATE");
        let Err(mysql::Error::MySqlError(error)) = ended else { panic!("the row is held") };
        assert_eq!(error.code, 1205);
        let id = error.message.rsplit('(').next().unwrap().trim_end_matches(')');
        let asked = format!(
            "SELECT key_text, winner_node FROM information_schema.assize_conflicts WHERE id = '{id}'"
        );
        let kept: Option<(String, u64)> = connections[(waiter + 2) % 3].query_first(asked).unwrap();
        assert_eq!(kept, Some(("('one')".to_owned(), holder as u64 + 1)), "{}", error.message);
        connections[holder].query_drop("ROLLBACK").unwrap();
    }
}

#[test]
fn every_node_tells_how_much_tables_hold_also_while_one_is_down() {
    let mut cluster = Cluster::start(Options::nodes(3));
    let mut one = cluster.connect(1).unwrap();
    one.query_drop("CREATE DATABASE s").unwrap();
    one.query_drop("CREATE TABLE s.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20), KEY v (v))").unwrap();
    let insert = "INSERT INTO s.t (v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
                  SELECT CONCAT('value ', i) FROM n";
    let told = |connection: &mut mysql::Conn| -> Option<(Option<u64>, Option<u64>, Option<u64>)> {
        let figures = "SELECT table_rows, data_length, index_length FROM information_schema.tables \
                       WHERE table_name = 't'";
        connection.query_first(figures).unwrap()
    };
    one.query_drop(insert).unwrap();
    for node in cluster.nodes() {
        let mut connection = cluster.connect(node).unwrap();
        connection.query_drop("SET information_schema_stats_expiry = 0").unwrap();
        wait_for("all rows to be told", || {
            let (rows, bytes, entries) = told(&mut connection).unwrap();
            rows == Some(900) && bytes > Some(18_000) && entries > Some(18_000)
        });
    }
    let tables = shell(&cluster, 2, &["schema", "tables", "s", "--output", "json"]);
    assert!(tables.contains(r#""rows":900"#), "{tables}");
    // The others have replicas of all shards.
    cluster.kill(3);
    one.query_drop("SET information_schema_stats_expiry = 0").unwrap();
    wait_for("a new leader", || one.query_drop(insert).is_ok());
    wait_for("twice as many to be told", || told(&mut one).unwrap().0 == Some(1800));
    let analyzed: Vec<(String, String, String, String)> = one.query("ANALYZE TABLE s.t").unwrap();
    assert_eq!(analyzed, [("s.t".into(), "analyze".into(), "status".into(), "OK".into())]);
    one.query_drop("TRUNCATE TABLE s.t").unwrap();
    wait_for("nothing to be told", || told(&mut one).unwrap().0 == Some(0));
}

/// A frontend dies holding a snapshot, a reserved row and the intents of a commit that it had prepared and that never reached the
/// leader: all of it is released, the intents when their deadline has passed, the rest when the frontend is fenced.
#[test]
fn what_a_dead_frontend_held_is_released() {
    let mut cluster = Cluster::start(Options {
        // Every commit is prepared.
        settings: ["frontend.inline_bytes_max=0", "adjudicator.frontend_lease_seconds=10"]
            .map(str::to_owned)
            .into(),
        with_links: true,
        ..Options::nodes(3)
    });
    let leader = cluster.wait_leader();
    let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let other = cluster.nodes().into_iter().find(|node| ![leader, victim].contains(node)).unwrap();
    let mut survivor = cluster.connect(leader).unwrap();
    survivor.query_drop("CREATE DATABASE f").unwrap();
    survivor.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, n INT NOT NULL)").unwrap();
    let rows: Vec<String> = (0..64).map(|id| format!("({id}, 0)")).collect();
    survivor.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();

    // A snapshot that is held keeps the low-water mark where it is, however much time passes.
    let mut holder = cluster.connect(victim).unwrap();
    holder.query_drop("BEGIN").unwrap();
    holder.query_drop("SELECT n FROM f.t WHERE id = 0 FOR UPDATE").unwrap();
    let held = millis_now();
    wait_for("time to pass", || {
        survivor.query_drop("UPDATE f.t SET n = 0 WHERE id = 1").unwrap();
        cluster.metric(leader, "adjudicator_closed_millis").is_some_and(|closed| closed > held + 10_000.0)
    });
    let low_water = |node| cluster.metric(node, "adjudicator_low_water_millis");
    assert!(low_water(leader).is_some_and(|mark| mark <= held), "{:?} after {held}", low_water(leader));

    // Two replicas of each shard vote; of the commit itself the leader never hears.
    let mut writer = cluster.connect(victim).unwrap();
    writer.query_drop("BEGIN").unwrap();
    writer.query_drop("UPDATE f.t SET n = n + 1 WHERE id > 1").unwrap();
    cluster.links().set(victim, leader, Rule::Block);
    let writer = std::thread::spawn(move || writer.query_drop("COMMIT"));
    let undecided = |cluster: &Cluster, node| {
        let (_, text) = cluster.http(node, "/metrics").unwrap_or_default();
        let of_shards = text.lines().filter(|line| line.starts_with("shard_undecided_intents{"));
        of_shards.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    wait_for("intents that are not decided", || undecided(&cluster, other) > 0.0);
    assert!(!writer.is_finished(), "nobody has decided");
    cluster.kill(victim);
    assert!(writer.join().unwrap().is_err(), "its client was told nothing");
    // The link stays as it is: healed, it would pass on what the dead frontend has sent.

    // An intent is no lock: others read and write the rows at once, and see nothing of it.
    let seen: Vec<i64> = survivor.query("SELECT DISTINCT n FROM f.t").unwrap();
    assert_eq!(seen, [0], "of a transaction that was not decided something is visible");
    survivor.query_drop("UPDATE f.t SET n = 1000 WHERE id > 1").unwrap();
    wait_for("the dead frontend's intents to be gone", || {
        [leader, other].iter().all(|node| undecided(&cluster, *node) == 0.0)
    });
    wait_for("the row that it had reserved", || {
        survivor.query_drop("UPDATE f.t SET n = 1000 WHERE id < 2").is_ok()
    });
    wait_for("its snapshot to hold nothing up", || {
        survivor.query_drop("UPDATE f.t SET n = 1000 WHERE id = 1").unwrap();
        cluster.metric(leader, "adjudicator_low_water_millis").is_some_and(|mark| mark > held)
    });
    let seen: Vec<i64> = survivor.query("SELECT DISTINCT n FROM f.t").unwrap();
    assert_eq!(seen, [1000]);
    let report: Vec<(String, String, String, String)> = survivor.query("CHECK TABLE f.t").unwrap();
    assert!(report.iter().all(|row| row.2 != "error"), "{report:?}");
}

/// Milliseconds since the Unix epoch, as timestamps have them.
fn millis_now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as f64
}

/// How many replicas the shards have on a node, as the cluster sees it.
fn replicas_on(connection: &mut mysql::Conn, node: u64) -> u64 {
    let counted = connection.query_first(format!(
        "SELECT COUNT(*) FROM information_schema.assize_replicas WHERE node_id = {node} AND counts = 'YES'"
    ));
    counted.ok().flatten().unwrap_or_default()
}

/// Tries until it is done: the node may not have announced itself yet, or not have caught up.
fn have_done(connection: &mut mysql::Conn, statement: &str) {
    let mut refusal = String::new();
    let started = std::time::Instant::now();
    while let Err(error) = connection.query_drop(statement) {
        refusal = error.to_string();
        assert!(started.elapsed() < Duration::from_secs(60), "{statement}: {refusal}");
        std::thread::sleep(Duration::from_millis(100));
    }
    if !refusal.is_empty() {
        println!("{statement}: done after {:?}; before: {refusal}", started.elapsed());
    }
}

#[test]
fn a_lost_node_is_replaced_by_another() {
    let mut cluster = Cluster::start(Options::nodes(3));
    let leader = cluster.wait_leader();
    let others: Vec<u64> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    let mut connection = cluster.connect(leader).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    let rows: Vec<String> = (0..500).map(|id| format!("({id})")).collect();
    connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();

    let lost = others[0];
    cluster.kill(lost);
    // The other one is needed now, and is not given up by mistake.
    let drop_the_other = format!("ALTER CLUSTER DROP NODE {} FORCE", others[1]);
    let refused = connection.query_drop(drop_the_other).unwrap_err().to_string();
    assert!(refused.contains(&format!("of these {lost} does not answer")), "{refused}");
    connection.query_drop("UPDATE f.t SET id = id WHERE id = 1").unwrap();
    cluster.join_node(4);
    have_done(&mut connection, "ALTER CLUSTER ADD LEARNER NODE 4");
    have_done(&mut connection, "ALTER CLUSTER PROMOTE NODE 4");
    have_done(&mut connection, &format!("ALTER CLUSTER DROP NODE {lost} FORCE"));
    cluster.wait_ready(4);
    wait_for("the new node to have a replica of every shard", || replicas_on(&mut connection, 4) == 4);

    // Now another one of the old nodes may die: the new one counts.
    cluster.kill(others[1]);
    let mut through_new = cluster.connect(4).unwrap();
    through_new.query_drop("INSERT INTO f.t VALUES (500)").unwrap();
    assert_eq!(through_new.query_first::<u64, _>("SELECT COUNT(*) FROM f.t").unwrap(), Some(501));
    let report: Vec<(String, String, String, String)> = through_new.query("CHECK TABLE f.t").unwrap();
    assert!(report.iter().all(|row| row.2 != "error"), "{report:?}");
}

/// There is no other node that could take the replicas of one that is given up: the log does not wait for them all the same.
#[test]
fn the_replicas_of_a_removed_node_do_not_count_where_nobody_takes_them() {
    let settings = vec!["cluster.uncount_after_seconds=10".to_owned()];
    let mut cluster = Cluster::start(Options { settings, ..Options::nodes(3) });
    let leader = cluster.wait_leader();
    let mut connection = cluster.connect(leader).unwrap();
    let lost = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    wait_for("it to have replicas", || replicas_on(&mut connection, lost) == 4);
    cluster.kill(lost);
    have_done(&mut connection, &format!("ALTER CLUSTER DROP NODE {lost} FORCE"));
    wait_for("its replicas not to count", || replicas_on(&mut connection, lost) == 0);
    connection.query_drop("CREATE DATABASE f").unwrap();
}

/// What `assize` answers when it is asked about a running cluster.
fn shell(cluster: &Cluster, node: u64, arguments: &[&str]) -> String {
    let admin = format!("127.0.0.1:{}", cluster.ports(node).admin);
    let mut command = std::process::Command::new(Assize::binary());
    let output = run_command(command.args(arguments).args(["--admin", &admin]), b"");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_drained_node_gives_up_its_replicas_and_a_restarted_one_does_not() {
    let mut cluster = Cluster::start(Options::nodes(4));
    let mut connection = cluster.connect(1).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    let rows: Vec<String> = (0..500).map(|id| format!("({id})")).collect();
    connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();
    let before: Vec<u64> = (1..=4).map(|node| replicas_on(&mut connection, node)).collect();
    assert!(before.iter().all(|replicas| *replicas > 0), "{before:?}");

    // An orderly end is no drain: nothing moves.
    assert!(cluster.terminate(2).success());
    cluster.start_node(2);
    cluster.wait_ready(2);
    wait_for("the node to be back", || replicas_on(&mut connection, 2) == before[1]);
    assert!(!shell(&cluster, 1, &["status"]).contains("drain"));

    have_done(&mut connection, "ALTER CLUSTER DRAIN NODE 4");
    wait_for("node 4 to be empty", || replicas_on(&mut connection, 4) == 0);
    assert!(cluster.connect(4).is_err(), "it takes no connections");
    assert_eq!((1..=3).map(|node| replicas_on(&mut connection, node)).collect::<Vec<_>>(), [4, 4, 4]);
    let status = shell(&cluster, 1, &["status"]);
    assert!(status.contains("node 4: is drained"), "{status}");
    // It is remembered by the log: the process may start again, and is still out of service.
    assert!(cluster.terminate(4).success());
    cluster.start_node(4);
    wait_for("the node to say that it is draining", || {
        cluster.http(4, "/readyz?verbose").is_some_and(|(_, text)| text.contains("draining"))
    });
    wait_for("its frontend to be closed", || cluster.connect(4).is_err());

    // A second one has nowhere to go, and says so.
    have_done(&mut connection, "ALTER CLUSTER DRAIN NODE 3");
    wait_for("the status to say that nothing can move", || {
        let status = shell(&cluster, 1, &["status"]);
        status.contains("node 3: is draining: 4 of 4 shards") && status.contains("can go nowhere")
    });
    assert!(shell(&cluster, 1, &["members", "undrain", "4"]).contains("node 4 takes connections"));
    cluster.wait_ready(4);
    cluster.connect(4).unwrap();
    wait_for("the replicas of node 3 to have moved", || replicas_on(&mut connection, 3) == 0);
    assert!(shell(&cluster, 1, &["members", "undrain", "3"]).contains("node 3 takes connections"));
    let members = shell(&cluster, 1, &["members"]);
    assert!(!members.contains("drain"), "{members}");
    assert_eq!(connection.query_first::<u64, _>("SELECT COUNT(*) FROM f.t").unwrap(), Some(500));
    let report: Vec<(String, String, String, String)> = connection.query("CHECK TABLE f.t").unwrap();
    assert!(report.iter().all(|row| row.2 != "error"), "{report:?}");
}

/// Commits are prepared and under way when two nodes are lost: what the third has may lack decisions, and intents of decisions that
/// it has. It serves all the same, and every row can be read and written.
#[test]
fn a_node_that_is_recovered_in_the_midst_of_commits_serves() {
    let settings = vec!["frontend.inline_bytes_max=0".to_owned()];
    let mut cluster = Cluster::start(Options { settings, ..Options::nodes(3) });
    let mut connection = cluster.connect(1).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, n INT NOT NULL)").unwrap();
    let rows: Vec<String> = (0..64).map(|id| format!("({id}, 0)")).collect();
    connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();
    let leader = cluster.wait_leader();
    let survivor = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let mut connection = cluster.connect(leader).unwrap();
            let update = format!("UPDATE f.t SET n = n + 1 WHERE id % 4 = {n}");
            std::thread::spawn(move || while connection.query_drop(&update).is_ok() {})
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    let lost: Vec<u64> = cluster.nodes().into_iter().filter(|node| *node != survivor).collect();
    lost.iter().for_each(|node| cluster.kill(*node));
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    // Whoever comes now is told why nobody is let in, before the connection has had all its time.
    let refused = cluster.connect(survivor).expect_err("nobody can say who may come").to_string();
    assert!(refused.contains("1429") && refused.contains("assize status"), "{refused}");
    cluster.kill(survivor);
    let mut command = std::process::Command::new(Assize::binary());
    command.arg("recover-quorum").arg("--data").arg(cluster.data(survivor));
    command.args(["--node", &survivor.to_string(), "--i-accept-data-loss"]);
    let output = run_command(&mut command, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.start_node(survivor);
    cluster.wait_ready(survivor);
    let mut connection = cluster.connect(survivor).unwrap();
    let sum = |connection: &mut mysql::Conn| {
        connection.query_first::<u64, _>("SELECT CAST(SUM(n) AS UNSIGNED) FROM f.t").unwrap().unwrap()
    };
    let before = sum(&mut connection);
    assert!(before > 0, "nothing had reached the survivor");
    connection.query_drop("UPDATE f.t SET n = n + 1").unwrap();
    assert_eq!(sum(&mut connection), before + 64);
    println!(
        "{} commits were given up",
        cluster.log(survivor).matches("the writes of this commit are lost").count()
    );
}

/// Two of three voters are lost with their disks. The third is made the cluster: it has everything that had reached it, takes
/// new nodes, and a voter of before that comes back after all does it no harm.
#[test]
fn after_the_loss_of_two_voters_the_third_is_recovered_and_takes_new_nodes() {
    let mut cluster = Cluster::start(Options::nodes(3));
    let mut connection = cluster.connect(1).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, n INT NOT NULL, KEY (n))").unwrap();
    let rows: Vec<String> = (0..500).map(|id| format!("({id}, {})", id % 7)).collect();
    connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").unwrap();
    connection.query_drop("UPDATE f.t SET n = n + 1").unwrap();
    let expected: Vec<(u64, u64)> = connection.query("SELECT id, n FROM f.t ORDER BY id").unwrap();
    assert_eq!(replicas_on(&mut connection, 1), 4);
    wait_for("node 1 to have applied everything", || {
        let applied = |node| cluster.metric(node, "adjudicator_applied_index");
        applied(1).is_some() && applied(1) >= applied(2) && applied(1) >= applied(3)
    });
    let data = cluster.data(1);
    let recover = |arguments: &[&str]| {
        let mut command = std::process::Command::new(Assize::binary());
        command.arg("recover-quorum").arg("--data").arg(&data).args(arguments);
        let output = run_command(&mut command, b"");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let refused = recover(&["--node", "1", "--i-accept-data-loss"]);
    assert_eq!(refused.0, Some(73), "a process has the directory: {}", refused.1);
    for node in [2, 3, 1] {
        cluster.kill(node);
    }
    // One of the two is not quite as lost as its operator believes.
    let hidden = cluster.directory().join("hidden");
    std::fs::rename(cluster.data(2), &hidden).unwrap();
    std::fs::remove_dir_all(cluster.data(3)).unwrap();

    let seen = recover(&["--node", "1"]);
    assert_eq!(seen.0, Some(0), "{}", seen.1);
    for part in
        ["voters: 1, 2, 3", "lost for good: 2, 3", "of each there is a replica", "nothing has been changed"]
    {
        assert!(seen.1.contains(part), "{}", seen.1);
    }
    let refused = recover(&["--node", "9", "--i-accept-data-loss"]);
    assert_eq!(refused.0, Some(65), "{}", refused.1);
    let done = recover(&["--node", "1", "--i-accept-data-loss"]);
    assert_eq!(done.0, Some(0), "{}", done.1);
    assert!(done.1.contains("never start nodes 2, 3 again"), "{}", done.1);
    let audit = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
    assert!(audit.contains("recover-quorum") && audit.contains("\"done\""), "{audit}");

    cluster.start_node(1);
    cluster.wait_ready(1);
    let mut connection = cluster.connect(1).unwrap();
    let found: Vec<(u64, u64)> = connection.query("SELECT id, n FROM f.t ORDER BY id").unwrap();
    assert_eq!(found, expected);
    connection.query_drop("INSERT INTO f.t VALUES (500, 1)").unwrap();
    connection.query_drop("UPDATE f.t SET n = n + 1").unwrap();
    assert!(!shell(&cluster, 1, &["members"]).contains("unreachable"), "the lost are forgotten");

    // The voter that was believed lost, with the disk that it had: nobody talks to it, and it decides nothing.
    std::fs::rename(&hidden, cluster.data(2)).unwrap();
    cluster.start_node(2);
    // The survivor says so each time; the other may have more to say about the third node, which is gone.
    wait_for("the survivor to refuse it", || cluster.log(1).contains("n2 belongs to cluster"));
    connection.query_drop("INSERT INTO f.t VALUES (501, 1)").unwrap();
    assert!(cluster.connect(2).is_err(), "it serves nobody");
    cluster.kill(2);

    // New nodes, one after the other, until three vote and each shard has three replicas.
    for node in [4, 5] {
        cluster.join_node(node);
        have_done(&mut connection, &format!("ALTER CLUSTER ADD LEARNER NODE {node}"));
        have_done(&mut connection, &format!("ALTER CLUSTER PROMOTE NODE {node}"));
        cluster.wait_ready(node);
        wait_for("the new node to have a replica of every shard", || replicas_on(&mut connection, node) == 4);
    }
    // Now the survivor may die, too.
    cluster.kill(1);
    let mut connection = cluster.connect(5).unwrap();
    connection.query_drop("INSERT INTO f.t VALUES (502, 1)").unwrap();
    assert_eq!(connection.query_first::<u64, _>("SELECT COUNT(*) FROM f.t").unwrap(), Some(503));
    let sum: u64 = expected.iter().map(|(_, n)| n + 1).sum();
    let seen =
        connection.query_first::<u64, _>("SELECT CAST(SUM(n) AS UNSIGNED) FROM f.t WHERE id < 500").unwrap();
    assert_eq!(seen, Some(sum));
    let report: Vec<(String, String, String, String)> = connection.query("CHECK TABLE f.t").unwrap();
    assert!(report.iter().all(|row| row.2 != "error"), "{report:?}");
}

/// The group has its majority, and one shard has lost its own: it goes on with what is left when an operator says so.
#[test]
fn a_shard_without_its_majority_is_recovered_by_an_operator() {
    let settings = vec!["frontend.inline_bytes_max=0".to_owned()];
    let mut cluster = Cluster::start(Options { settings, ..Options::nodes(5) });
    let placed: Vec<(u32, u64)> = {
        let mut connection = cluster.connect(1).unwrap();
        // Five processes at once: the first leader may be slow, and another one elected.
        have_done(&mut connection, "CREATE DATABASE IF NOT EXISTS f");
        have_done(&mut connection, "CREATE TABLE IF NOT EXISTS f.t (id INT PRIMARY KEY, n INT NOT NULL)");
        let rows: Vec<String> = (0..200).map(|id| format!("({id}, 0)")).collect();
        connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();
        connection
            .query("SELECT shard_id, node_id FROM information_schema.assize_replicas ORDER BY 1, 2")
            .unwrap()
    };
    let nodes_of = |shard: u32| placed.iter().filter(move |(of, _)| *of == shard).map(|(_, node)| *node);
    let lost: Vec<u64> = nodes_of(1).take(2).collect();
    let broken: Vec<u32> =
        (1..=4).filter(|shard| nodes_of(*shard).filter(|node| lost.contains(node)).count() == 2).collect();
    // Everybody has to have what was acknowledged, so that nothing is missing in the end.
    std::thread::sleep(Duration::from_secs(1));
    lost.iter().for_each(|node| cluster.kill(*node));
    let alive = (1..=5).find(|node| !lost.contains(node)).unwrap();
    cluster.wait_leader();
    let mut connection = cluster.connect(alive).unwrap();
    let whole = (1..=4).find(|shard| !broken.contains(shard));
    let recover = |shard: u32, arguments: &[&str]| {
        let shard = shard.to_string();
        let mut all = vec!["shards", "recover", shard.as_str()];
        all.extend(arguments);
        let admin = format!("127.0.0.1:{}", cluster.ports(alive).admin);
        let mut command = std::process::Command::new(Assize::binary());
        let output = run_command(command.args(&all).args(["--admin", &admin]), b"");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let unsure = recover(1, &[]);
    assert_eq!(unsure.0, Some(64), "{}", unsure.1);
    if let Some(whole) = whole {
        let refused = recover(whole, &["--i-accept-data-loss"]);
        assert_eq!(refused.0, Some(65), "{}", refused.1);
        assert!(refused.1.contains("that is a majority"), "{}", refused.1);
    }
    for shard in &broken {
        wait_for("the shard to go on", || {
            let done = recover(*shard, &["--i-accept-data-loss"]);
            println!("{}", done.1);
            done.0 == Some(0)
        });
    }
    wait_for("all rows to be written", || connection.query_drop("UPDATE f.t SET n = n + 1").is_ok());
    let seen: Option<(u64, u64)> =
        connection.query_first("SELECT COUNT(*), CAST(MIN(n) AS UNSIGNED) FROM f.t").unwrap();
    assert!(seen.is_some_and(|(rows, least)| rows == 200 && least > 0), "{seen:?}");
    let audited = (1..=5).any(|node| {
        let audit = std::fs::read_to_string(cluster.data(node).join("audit.jsonl")).unwrap_or_default();
        audit.contains("Shards.Recover") && audit.contains("\"done\"")
    });
    assert!(audited, "what was accepted is on record");
}
