//! The admin API and the shell against the real binary.
#![allow(clippy::disallowed_methods)] // Tests.

use assize_tests::{Assize, root, run, wait_for};
use std::path::PathBuf;
use std::process::{Command, Output};

/// The Python that has the drivers.
fn python() -> PathBuf {
    let clients = std::env::var_os("ASSIZE_CLIENTS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("there is a home directory");
        PathBuf::from(home).join(".cache/assize/clients")
    });
    assert!(clients.join("stamp").is_file(), "{} holds no drivers: run ./justw test", clients.display());
    clients.join("python/bin/python")
}

/// Runs a command of the shell against a server's admin API.
fn shell(assize: &Assize, arguments: &[&str]) -> Output {
    let mut command = Command::new(Assize::binary());
    command.args(arguments).args(["--admin", &assize.admin()]);
    run(&mut command, b"")
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_generic_grpc_client_finds_every_service_by_reflection() {
    let assize = Assize::start();
    assize.query("CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT)");
    let output = run(
        Command::new(python())
            .arg(root().join("tests/clients/admin.py"))
            .args(["--address", &assize.admin()]),
        b"",
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.lines().count() > 10, "{told}");
}

#[test]
fn the_shell_says_how_the_cluster_is() {
    let assize = Assize::start();
    assize.query("CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT)");
    let status = shell(&assize, &["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", text(&status));
    let members = text(&shell(&assize, &["members", "list", "--output", "json"]));
    assert!(members.contains("leader") || members.contains("LEADER"), "{members}");
    let shards = text(&shell(&assize, &["shards", "list"]));
    assert!(shards.lines().count() >= 4, "{shards}");
    let schema = text(&shell(&assize, &["schema"]));
    assert!(schema.contains("shop") && schema.contains("stock"), "{schema}");
    let top = text(&shell(&assize, &["top", "--once"]));
    assert!(!top.trim().is_empty());
}

#[test]
fn a_shard_is_split_by_the_shell_while_its_rows_stay() {
    let assize = Assize::start();
    assize.query(
        "CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT);
         INSERT INTO shop.stock WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 500)
         SELECT i, i FROM s",
    );
    // Nobody else is there to ask, so that the job's end is heard of only because it is pushed.
    let split = shell(&assize, &["shards", "split", "1", "--wait"]);
    assert!(split.status.success(), "{}", String::from_utf8_lossy(&split.stderr));
    wait_for("the new shard", || {
        assize.query("SELECT COUNT(*) FROM information_schema.assize_shards").trim() == "5"
    });
    assert_eq!(assize.query("SELECT COUNT(*), SUM(n) FROM shop.stock").trim(), "500\t125250");
    assize.query("UPDATE shop.stock SET n = n + 1");
    assert_eq!(assize.query("SELECT SUM(n) FROM shop.stock").trim(), "125750");
    assert_eq!(assize.query("CHECK TABLE shop.stock").trim(), "shop.stock\tcheck\tstatus\tOK");
}

#[test]
fn what_a_schema_change_does_on_data_is_a_job() {
    let assize = Assize::start();
    assize.query(
        "CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT, m INT);
         INSERT INTO shop.stock WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 700)
         SELECT i, i, 1 FROM s;
         ALTER TABLE shop.stock COMMENT = 'no work on data';
         CREATE INDEX by_n ON shop.stock (n);
         ALTER TABLE shop.stock MODIFY n VARCHAR(20)",
    );
    let refused = run(&mut assize.mariadb(), b"CREATE UNIQUE INDEX by_m ON shop.stock (m)");
    assert!(!refused.status.success());
    let jobs = assize
        .query("SELECT id, state, step, description FROM information_schema.assize_jobs ORDER BY began_at");
    let jobs: Vec<Vec<&str>> = jobs.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert!(jobs[0][0].starts_with("index-1.") && jobs[1][0].starts_with("alter-1."), "{jobs:?}");
    assert_eq!(jobs[0][1..3], ["done", "building: 700 rows"]);
    assert!(jobs[0][3].starts_with("builds index by_n of shop.stock, for root@"), "{jobs:?}");
    assert_eq!(jobs[1][1], "done");
    assert!(jobs[1][3].starts_with("copies shop.stock, for root@"), "{jobs:?}");
    assert!(jobs[2][1].starts_with("failed: Duplicate entry '1'"), "{jobs:?}");
    let listed = text(&shell(&assize, &["schema", "jobs"]));
    assert!(listed.contains(jobs[0][0]) && listed.contains("builds index by_n of shop.stock"), "{listed}");
    assert!(!text(&shell(&assize, &["status"])).contains("job "), "its client was told");
}

/// Slots of each shard.
fn slots(assize: &Assize) -> Vec<u64> {
    let told = text(&shell(assize, &["shards", "list", "--output", "json"]));
    let counted = told.lines().map(|line| {
        let shard: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |run: &serde_json::Value, end: &str| run[end].as_u64().unwrap_or(0);
        let runs = shard["slots"].as_array().cloned().unwrap_or_default();
        runs.iter().map(|run| number(run, "last") - number(run, "first") + 1).sum()
    });
    counted.collect()
}

#[test]
fn shards_become_even_by_themselves_unless_that_is_switched_off() {
    let data = tempfile::tempdir().unwrap();
    let start = |setting: &str| Assize::start_with(Some(data.path()), &["--set", setting]);
    let balance_line = |assize: &Assize| {
        String::from_utf8_lossy(&shell(assize, &["shards", "list"]).stderr).trim().to_owned()
    };
    let assize = start("shard.balance=false");
    assize.query(
        "CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT);
         INSERT INTO shop.stock WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 500)
         SELECT i, i FROM s",
    );
    assert!(shell(&assize, &["shards", "split", "1", "--wait"]).status.success());
    assert_eq!(balance_line(&assize), "balancing is off (shard.balance)");
    assert_eq!(slots(&assize), [8_192, 16_384, 16_384, 16_384, 8_192]);
    assert!(assize.terminate().success());

    let assize = start("shard.balance_pause_seconds=0");
    assert!(!balance_line(&assize).contains("off"), "{}", balance_line(&assize));
    wait_for("the shards to be even", || {
        let slots = slots(&assize);
        slots.iter().max().unwrap() - slots.iter().min().unwrap() <= 13_107 / 10
    });
    assert_eq!(assize.query("SELECT COUNT(*), SUM(n) FROM shop.stock").trim(), "500\t125250");
    assert_eq!(assize.query("CHECK TABLE shop.stock").trim(), "shop.stock\tcheck\tstatus\tOK");
    let jobs = assize.query("SHOW JOBS");
    assert!(jobs.contains("balance-") && jobs.contains("move slots"), "{jobs}");
    let audit = std::fs::read_to_string(data.path().join("audit.jsonl")).unwrap();
    let lines: Vec<&str> = audit.lines().filter(|line| line.contains(r#""rpc":"balance""#)).collect();
    assert!(
        lines[0].contains(r#""caller":"assize""#) && lines[0].contains(r#""outcome":"asked""#),
        "{audit}"
    );
    assert!(lines[1].contains(r#""outcome":"done""#), "{audit}");
}

#[test]
fn nobody_answers_where_nobody_serves() {
    let mut command = Command::new(Assize::binary());
    // A port on which nothing listens.
    command.args(["status", "--admin", "127.0.0.1:9"]);
    let output = run(&mut command, b"");
    assert_ne!(output.status.code(), Some(0));
    assert!(!output.stderr.is_empty());
}
