//! The `assize` command as a person at a shell meets it.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options};
use assize_tests::{Assize, root, run, run_ok, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

fn assize(arguments: &[&str]) -> std::process::Output {
    run(Command::new(Assize::binary()).args(arguments).current_dir(root()), b"")
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "[mysql]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
    let output = assize(&["start", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("did you mean `mysql.listen`"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    assert_eq!(assize(&["strat"]).status.code(), Some(64));
    assert_eq!(assize(&["--help"]).status.code(), Some(0));
    assert_eq!(assize(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_server_that_does_not_answer_has_its_own_exit_code() {
    let output = assize(&["sql", "--url", "mysql://root@127.0.0.1:1", "--execute", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

#[test]
fn the_configuration_says_where_each_value_came_from() {
    let mut command = Command::new(Assize::binary());
    command.args(["config", "show", "--origin", "--config", "cluster/single.toml", "--set", "shard.count=2"]);
    command.env("ASSIZE_MYSQL__MAX_CONNECTIONS", "7").current_dir(root());
    let shown = run_ok(&mut command, b"");
    let line = |key: &str| {
        shown
            .lines()
            .find(|l| l.starts_with(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("{key} in\n{shown}"))
    };
    assert!(line("mysql.max_connections").starts_with("mysql.max_connections = 7"), "{shown}");
    assert!(line("mysql.max_connections").contains("environment"), "{shown}");
    assert!(line("node.data").contains("single.toml"), "{shown}");
    assert!(line("shard.count").ends_with("# command line"), "{shown}");
    assert!(line("frontend.retries_max").ends_with("# default"), "{shown}");
}

#[test]
fn the_small_client_prints_tables_and_json() {
    let server = Assize::start();
    let url = format!("mysql://root@127.0.0.1:{}", server.port());
    let table = run_ok(
        Command::new(Assize::binary()).args([
            "sql",
            "--url",
            &url,
            "--execute",
            "SELECT 1 AS one, NULL AS none",
        ]),
        b"",
    );
    assert!(table.contains("| one | none |") && table.contains("| 1   | NULL |"), "{table}");
    let json = run_ok(
        Command::new(Assize::binary()).args(["sql", "--url", &url, "--output", "json"]),
        b"CREATE DATABASE d;\nCREATE TABLE d.t (id INT PRIMARY KEY, v TEXT);\nINSERT INTO d.t VALUES (1, 'x');\nSELECT * FROM d.t;\n",
    );
    assert_eq!(json.trim(), r#"{"id":"1","v":"x"}"#);
}

#[test]
fn the_small_client_tells_an_error_once_as_the_mysql_client_does() {
    let server = Assize::start();
    let url = format!("mysql://root@127.0.0.1:{}", server.port());
    let sql = |url: &str, arguments: &[&str], input: &[u8]| {
        let output = run(
            Command::new(Assize::binary()).args(["sql", "--url", url, "--output", "json"]).args(arguments),
            input,
        );
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), stdout, stderr(&output))
    };
    run_ok(server.mariadb().args(["--execute", "CREATE DATABASE d"]), b"");
    let missing = |line: u32| format!("ERROR 1146 (42S02) at line {line}: Table 'd.t' doesn't exist\n");

    let told = sql(&url, &["--execute", "SELECT * FROM d.t"], b"");
    assert_eq!(told, (Some(1), String::new(), missing(1)));
    let told = sql(&url, &["--execute", "SELECT 1 AS a;\nSELECT * FROM d.t;\nSELECT 2 AS a"], b"");
    assert_eq!(told, (Some(1), "{\"a\":\"1\"}\n".to_owned(), missing(2)));
    let told = sql(&url, &[], b"SELECT 1 AS a;\n\nSELECT *\n  FROM d.t;\nSELECT 2 AS a;\n");
    assert_eq!(told, (Some(1), "{\"a\":\"1\"}\n".to_owned(), missing(3)));
    let (code, _, told) = sql(&url, &["--execute", "SELEC 1"], b"");
    assert_eq!(code, Some(1));
    assert!(told.starts_with("ERROR 1064 (42000) at line 1: ") && told.lines().count() == 1, "{told}");

    let stranger = url.replace("root@", "nobody:secret@");
    let (code, _, told) = sql(&stranger, &["--execute", "SELECT 1"], b"");
    assert_eq!(code, Some(1));
    assert!(told.starts_with("ERROR 1045 (28000): Access denied") && told.lines().count() == 1, "{told}");
    let bench = run(Command::new(Assize::binary()).args(["bench", "point", "--url", &stranger]), b"");
    assert_eq!(stderr(&bench).matches("1045").count(), 1, "{}", stderr(&bench));
}

#[test]
fn the_built_in_workloads_run_and_report() {
    let server = Assize::start();
    let url = format!("mysql://root@127.0.0.1:{}", server.port());
    for workload in ["transfer", "point", "insert"] {
        let line = run_ok(
            Command::new(Assize::binary()).args([
                "bench",
                workload,
                "--url",
                &url,
                "--connections",
                "4",
                "--seconds",
                "1",
                "--rows",
                "100",
                "--json",
            ]),
            b"",
        );
        let report: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!(report["workload"], workload);
        assert_eq!(report["errors"], 0);
        assert!(report["done"].as_u64().unwrap() > 0, "{line}");
    }
}

fn http_get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn health_and_metrics_are_served() {
    let server = Assize::start_with(None, &["--json"]);
    let greeting = server.log();
    let line =
        greeting.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("no JSON line in {greeting}"));
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    let http = json["http"].as_str().unwrap();
    assert_eq!(http_get(http, "/livez").0, 200);
    let (status, ready) = http_get(http, "/readyz?verbose");
    assert_eq!(status, 200, "{ready}");
    for check in ["[+] frontend", "[+] adjudicator", "[+] shards", "ready"] {
        assert!(ready.contains(check), "{ready}");
    }
    server.query("SELECT 1");
    let (status, metrics) = http_get(http, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("frontend_statements_total"), "{metrics}");
    assert!(metrics.contains("adjudicator_applied_index"), "{metrics}");
}

#[test]
fn a_transaction_is_one_span_from_begin_to_its_outcome() {
    let server = Assize::start_with(None, &["--set", "telemetry.log=assize=debug"]);
    server.query(
        "CREATE DATABASE s; CREATE TABLE s.t (id INT PRIMARY KEY); \
         BEGIN; INSERT INTO s.t VALUES (1); INSERT INTO s.t VALUES (2); COMMIT;",
    );
    let closed = |log: &str| {
        log.lines().filter(|l| l.contains("transaction{") && l.contains("outcome=\"committed\"")).count()
    };
    // CREATE DATABASE and CREATE TABLE commit transactions of their own; the two inserts share one.
    assize_tests::wait_for("the spans to be logged", || closed(&server.log()) >= 3);
    assert_eq!(closed(&server.log()), 3, "{}", server.log());
    assert!(server.log().lines().any(|l| l.contains("txn=") && l.contains("close")), "{}", server.log());
}

#[test]
fn a_node_whose_cluster_is_not_founded_yet_says_what_is_missing() {
    let mut cluster = Cluster::prepare(Options::nodes(3));
    cluster.start_node(1);
    let admin = format!("127.0.0.1:{}", cluster.ports(1).admin);
    let mut told = String::new();
    wait_for("the node to answer", || {
        let output = assize(&["status", "--admin", &admin]);
        told = String::from_utf8_lossy(&output.stdout).into_owned();
        // A node that does not listen yet is unavailable too, and says something else.
        output.status.code() == Some(2) && !told.contains("no admin API answers")
    });
    assert!(told.starts_with("unavailable: ") && told.contains("nodes 2, 3 do not answer"), "{told}");
}

#[test]
fn the_heart_is_measured_on_one_node_and_on_three() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(Assize::binary())
        .args(["bench", "adjudicate", "--json", "--seconds", "1", "--warm-up", "0", "--rate", "2000"])
        .args(["--only", "one_node", "--only", "three_nodes_open_loop", "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for what in ["one_node", "three_nodes_open_loop"] {
        assert!(told[what]["txns_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{told}");
        for millis in ["p99_ms", "log_sync_p99_ms", "log_sync_max_ms"] {
            assert!(told[what][millis].as_f64().is_some_and(|millis| millis > 0.0), "{millis}: {told}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

/// Code, standard output and standard error of a command.
fn told(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = assize(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
}

#[test]
fn mistakes_in_the_configuration_name_the_setting_and_end_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("syntax.toml"), "[mysql\nlisten = 1\n").unwrap();
    let (code, _, text) = told(&["start", "--config", &path("syntax.toml")]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("syntax.toml") && !text.contains("setting ``"), "{text}");

    let pair = |name: &str| {
        let made = assize(&["cert", "ca", "--dir", &path(name)]);
        assert!(made.status.success(), "{}", stderr(&made));
        let made = assize(&["cert", "node", "1", "--dir", &path(name)]);
        assert!(made.status.success(), "{}", stderr(&made));
    };
    pair("a");
    pair("b");
    let peers = |certificate: &str| {
        vec![
            format!("peers.tls_ca={}", path("a/ca.pem")),
            format!("peers.tls_certificate={}", path(certificate)),
            format!("peers.tls_key={}", path("a/node-1.key")),
        ]
    };
    let token = vec![format!("cluster.join_token_file={}", path("nothing"))];
    let mysql = |key: &str| {
        vec![
            format!("mysql.tls_certificate={}", path("a/node-1.pem")),
            format!("mysql.tls_key={}", path(key)),
        ]
    };
    let admin = vec![
        format!("admin.tls_certificate={}", path("a/node-1.pem")),
        format!("admin.tls_key={}", path("nothing")),
    ];
    for (settings, setting) in [
        (peers("nothing"), "peers.tls_certificate"),
        (peers("b/node-1.pem"), "peers.tls_certificate"),
        (token, "cluster.join_token_file"),
        (mysql("nothing"), "mysql.tls_key"),
        (mysql("b/node-1.key"), "mysql.tls_key"),
        (admin, "admin.tls_key"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(Assize::binary());
        command.args(["start", "--data", data.path().to_str().unwrap()]);
        command.args(["--set", "cluster.nodes=[\"1=127.0.0.1:1\"]"]);
        for listen in ["mysql", "http", "peers", "admin"] {
            command.args(["--set", &format!("{listen}.listen=127.0.0.1:0")]);
        }
        for setting in &settings {
            command.args(["--set", setting]);
        }
        let output = run(&mut command, b"");
        assert_eq!(output.status.code(), Some(78), "{setting}: {}", stderr(&output));
        assert!(stderr(&output).contains(setting), "{setting}: {}", stderr(&output));
    }
}

#[test]
fn what_is_asked_wrongly_or_is_there_already_has_its_own_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let (code, _, text) = told(&["sql", "--url", "foo", "--execute", "SELECT 1"]);
    assert_eq!(code, Some(64), "{text}");
    assert_eq!(told(&["cert", "node", "1", "--dir", dir]).0, Some(66));
    assert_eq!(told(&["cert", "ca", "--dir", dir]).0, Some(0));
    let (code, _, text) = told(&["cert", "ca", "--dir", dir]);
    assert_eq!(code, Some(73), "{text}");
    let token = directory.path().join("token").to_str().unwrap().to_owned();
    assert_eq!(told(&["cert", "token", "--file", &token]).0, Some(0));
    assert_eq!(told(&["cert", "token", "--file", &token]).0, Some(73));

    let (code, out, text) = told(&["cert", "operator", "alice", "--role", "operator", "--dir", dir]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("admin.tokens_file"), "{text}");
    let line: Vec<&str> = out.lines().last().unwrap().split(' ').collect();
    assert_eq!(line[..2], ["alice", "operator"], "{out}");
    assert_eq!(line[2].strip_prefix("cert:").unwrap().len(), 64, "{out}");
}

#[test]
fn an_address_of_something_else_is_told_in_words() {
    let server = Assize::start_with(None, &["--json"]);
    let greeting = server.log();
    let json = greeting.lines().find(|line| line.starts_with('{')).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let (http, admin) = (json["http"].as_str().unwrap(), json["admin"].as_str().unwrap().to_owned());
    let mysql = format!("127.0.0.1:{}", server.port());
    for wrong in [http, &mysql] {
        let (code, _, text) = told(&["members", "--admin", wrong]);
        assert_eq!(code, Some(69), "{text}");
        assert!(text.contains(&format!("{wrong} is no admin API")), "{text}");
        let (code, _, text) = told(&["status", "--admin", wrong]);
        assert_eq!(code, Some(2), "{text}");
        let (code, _, text) = told(&["members", "--admin", &format!("{wrong},{admin}")]);
        assert_eq!(code, Some(0), "{text}");
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    assert_eq!(told(&["cert", "ca", "--dir", dir]).0, Some(0));
    let ca = directory.path().join("ca.pem");
    let (code, _, text) = told(&["members", "--admin", &admin, "--ca", ca.to_str().unwrap()]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("speaks no TLS: leave --ca out"), "{text}");

    let (code, _, text) = told(&["sql", "--url", &format!("mysql://root@{admin}"), "--execute", "SELECT 1"]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&admin) && text.contains("another port"), "{text}");

    let (code, _, text) = told(&["shards", "recover", "1", "--admin", &admin]);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--i-accept-data-loss"), "{text}");
}

#[test]
fn a_node_that_hangs_is_passed_over_and_streams_go_on_elsewhere() {
    let mut cluster = Cluster::start(Options::nodes(3));
    cluster.wait_leader();
    let address = |cluster: &Cluster, node: u64| format!("127.0.0.1:{}", cluster.ports(node).admin);
    let (hung, other) = (address(&cluster, 1), address(&cluster, 2));
    let both = format!("{hung},{other}");
    for arguments in [&["members", "add", "2"][..], &["members", "add", "2", "--validate-only"]] {
        let (code, _, text) = told(&[arguments, &["--admin", &both]].concat());
        assert_eq!(code, Some(65), "{text}");
        assert!(text.contains("node 2 votes already"), "{text}");
    }
    let never = "0687e194b96000002000001000000009";
    let (code, out, text) = told(&["txn", "outcome", never, "--admin", &both]);
    assert_eq!(code, Some(0), "{text}");
    assert!(out.starts_with("not committed: no such transaction is known"), "{out}");

    let log = cluster.directory().join("watch.log");
    let watch = |what: &str, addresses: &str| {
        let log = std::fs::File::create(&log).unwrap();
        Command::new(Assize::binary())
            .args([what, "watch", "--admin", addresses])
            .stdout(std::process::Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    };
    let mut watching = watch("shards", &both);
    std::thread::sleep(std::time::Duration::from_secs(1));
    cluster.pause(1);
    let began = std::time::Instant::now();
    let (code, _, text) = told(&["members", "--admin", &both]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&hung) && began.elapsed().as_secs() < 10, "{:?}: {text}", began.elapsed());
    let mut last = String::new();
    wait_for("the node that hangs to be named", || {
        let (code, out, _) = told(&["status", "--admin", &both]);
        last = format!("{code:?} {out}");
        matches!(code, Some(1 | 2)) && out.contains("node 1")
    });
    let (_, out, _) = told(&["sessions", "--output", "json", "--admin", &both]);
    assert!(out.lines().last().is_some_and(|line| line == r#"{"silent_nodes":[1]}"#), "{out}\n{last}");
    let said = |text: &str| std::fs::read_to_string(&log).unwrap().contains(text);
    wait_for("the stream to go on", || said(&format!("{other} is asked from now on")));
    watching.kill().unwrap();
    watching.wait().unwrap();
    cluster.resume(1);

    let mut watching = watch("conflicts", &other);
    std::thread::sleep(std::time::Duration::from_secs(1));
    cluster.kill(2);
    assert_eq!(watching.wait().unwrap().code(), Some(69));
    assert!(said("cannot be gone on with") && said(&other), "{}", std::fs::read_to_string(&log).unwrap());
}
