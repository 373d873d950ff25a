//! What lies under `cluster/` is true: files parse, metrics that they name exist, systemd's socket is taken.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{connect, free_port};
use assize_tests::{Assize, root, run, wait_for};
use mysql::prelude::Queryable;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What our metrics' names begin with.
const ROLES: [&str; 5] = ["frontend_", "adjudicator_", "shard_", "process_", "node_"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// Names in docs/metrics.md; histograms with the names of their series as well.
fn documented() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in read("docs/metrics.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, name, kind, ..] = cells[..]
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            names.insert(name.to_owned());
            if kind == "histogram" {
                names.extend(["bucket", "sum", "count"].map(|series| format!("{name}_{series}")));
            }
        }
    }
    assert!(names.len() > 5, "docs/metrics.md has lost its table");
    names
}

/// Names of our metrics in an expression.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    // Label values stand between quotes.
    expression
        .split('"')
        .step_by(2)
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .filter(|word| ROLES.iter().any(|role| word.starts_with(role)))
}

#[test]
fn every_metric_of_the_dashboard_is_documented() {
    let dashboard: Value = serde_json::from_str(&read("cluster/monitoring/dashboard.json")).unwrap();
    let documented = documented();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "panel {title} shows nothing");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert!(
                named(expression).next().is_some(),
                "panel {title} names no metric of ours: {expression}"
            );
            for name in named(expression) {
                assert!(
                    documented.contains(name),
                    "panel {title} names {name}, which docs/metrics.md does not"
                );
            }
        }
    }
}

#[test]
fn every_metric_of_the_rules_is_documented() {
    let documented = documented();
    let rules = read("cluster/monitoring/rules.yaml");
    let mut seen = 0;
    // Comments and sentences for people name no metrics.
    let is_for_people = |line: &&str| {
        ["#", "summary:", "description:"].iter().any(|start| line.trim_start().starts_with(start))
    };
    for line in rules.lines().filter(|line| !is_for_people(line)) {
        for name in named(line) {
            assert!(documented.contains(name), "{line:?} names {name}, which docs/metrics.md does not");
            seen += 1;
        }
    }
    assert!(seen >= 10, "the rules name {seen} metrics");
}

/// Enough of YAML to find what editors break: tabs, odd indentation, a key twice in one mapping.
#[test]
fn yaml_files_are_well_indented_and_repeat_no_key() {
    let paths = files("cluster", "yaml");
    assert!(paths.len() >= 4);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        // Keys of the mappings that are open, by indentation.
        let mut open: Vec<(usize, BTreeSet<String>)> = Vec::new();
        let mut block: Option<usize> = None;
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{}", path.display(), number + 1);
            assert!(!line.contains('\t'), "{at}: a tab");
            let (content, indent) = (line.trim_start(), line.len() - line.trim_start().len());
            if content.is_empty() || content.starts_with('#') || block.is_some_and(|outer| indent > outer) {
                continue;
            }
            block = None;
            assert!(indent.is_multiple_of(2), "{at}: indented by {indent}");
            if content == "---" {
                open.clear();
                continue;
            }
            let entry = content.strip_prefix("- ");
            // An entry of a list begins a mapping of its own, indented by the dash.
            let (content, indent) = entry.map_or((content, indent), |rest| (rest, indent + 2));
            open.retain(|(depth, _)| *depth < indent || (*depth == indent && entry.is_none()));
            if let Some((key, value)) = content.split_once(':')
                && (value.is_empty() || value.starts_with(' '))
                && !key.starts_with(['"', '{', '['])
            {
                if open.last().is_none_or(|(depth, _)| *depth < indent) {
                    open.push((indent, BTreeSet::new()));
                }
                let keys = &mut open.last_mut().expect("just pushed").1;
                assert!(keys.insert(key.to_owned()), "{at}: {key} twice");
                if matches!(value.trim(), "|" | ">" | "|-" | ">-") {
                    block = Some(line.len() - line.trim_start().len());
                }
            } else if content.ends_with('|') {
                block = Some(line.len() - line.trim_start().len());
            }
        }
    }
}

#[test]
fn manifests_keep_what_operations_md_promises() {
    let kubernetes = read("cluster/kubernetes/assize.yaml");
    for needed in [
        "kind: StatefulSet",
        "clusterIP: None",
        "publishNotReadyAddresses: true",
        "maxUnavailable: 1",
        "podAntiAffinity",
        "path: /livez",
        "path: /readyz",
    ] {
        assert!(kubernetes.contains(needed), "{needed}");
    }
    let unit = read("cluster/systemd/assize.service");
    assert!(unit.contains("KillSignal=SIGTERM"));
    // Either of them would pull the socket in although nobody has enabled it, and with it its address.
    assert!(!unit.contains("Sockets=") && !unit.contains("Requires=assize.socket"), "{unit}");
    assert!(read("cluster/systemd/assize.socket").contains("FileDescriptorName=mysql"));
}

#[test]
fn kubernetes_would_take_the_manifests() {
    let clients = std::env::var_os("ASSIZE_CLIENTS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("there is a home directory");
        PathBuf::from(home).join(".cache/assize/clients")
    });
    let validate = clients.join("python/bin/kubernetes-validate");
    assert!(validate.is_file(), "{} is not there: run ./justw test", validate.display());
    // By the schemas that Kubernetes publishes; a property that they do not know is an error.
    let manifest = root().join("cluster/kubernetes/assize.yaml");
    let output = run(Command::new(&validate).arg("--strict").arg(&manifest), b"");
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    for resource in
        ["configmap/assize", "service/assize-peers", "poddisruptionbudget/assize", "statefulset/assize"]
    {
        assert!(told.contains(&format!("passed for resource {resource}")), "{resource}: {told}");
    }
    // What it finds, it says.
    let broken = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let text = read("cluster/kubernetes/assize.yaml").replace("readinessProbe:", "readynessProbe:");
    std::fs::write(broken.path(), text).unwrap();
    assert!(!run(Command::new(&validate).arg("--strict").arg(broken.path()), b"").status.success());
}

#[test]
fn systemd_would_take_the_units_where_there_is_a_systemd() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("no systemd on this machine: its units are not verified");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let verify = |edit: &dyn Fn(&str) -> String| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]);
        for unit in ["assize.service", "assize.socket"] {
            // The binary is not installed here.
            let binary = Assize::binary().canonicalize().unwrap();
            let text = read(&format!("cluster/systemd/{unit}"));
            let text = edit(&text.replace("/usr/bin/assize", &binary.display().to_string()));
            std::fs::write(directory.path().join(unit), text).unwrap();
            command.arg(directory.path().join(unit));
        }
        run(&mut command, b"")
    };
    let output = verify(&str::to_owned);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
    let output = verify(&|text| text.replace("KillSignal=SIGTERM", "KillSignal=SIGDRAIN"));
    assert!(!output.stderr.is_empty(), "what it finds, it says");
}

/// What systemd does: opens the port, gives the socket the number 3, says so, and becomes the server.
const SYSTEMD: &str = "
import os, socket, sys
port = socket.create_server(('127.0.0.1', int(sys.argv[1])))
os.dup2(port.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='mysql')
os.execv(sys.argv[2], sys.argv[2:])
";

/// Ends its process, however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_socket_that_systemd_hands_over_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let port = free_port();
    let mut child = Ended(
        Command::new("python3")
            .args(["-c", SYSTEMD, &port.to_string()])
            .arg(Assize::binary())
            // Nobody may listen here, and nobody has to.
            .args(["start", "--set", "mysql.listen=127.0.0.1:1", "--set"])
            .arg(format!("http.listen=127.0.0.1:{}", free_port()))
            .arg("--data")
            .arg(directory.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let mut answer = None;
    wait_for("the server behind the handed socket", || {
        if child.0.try_wait().unwrap().is_some() {
            return true;
        }
        // The port takes connections before anybody serves them.
        answer = connect(port).and_then(|mut c| c.query_first::<u64, _>("SELECT @@port")).ok().flatten();
        answer.is_some()
    });
    drop(child);
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(answer, Some(u64::from(port)), "{log}");
}
