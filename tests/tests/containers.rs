//! The container image, the Compose file and the pods of the Kubernetes manifest, started for real.
//!
//! This needs a container engine (`docker`, with `docker compose`) and the image's base. Where they are not there, each test says
//! so on standard error and tests nothing.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{free_port, http_get};
use assize_tests::{Assize, root, run, run_ok, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use serde_json::Value;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

/// The image's base, as cluster/Dockerfile has it.
const BASE: &str = "debian:trixie-slim";

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

fn works(command: &mut Command) -> bool {
    // A program that is not installed is no panic here.
    command.output().is_ok_and(|output| output.status.success())
}

/// Past the test harness, which swallows what a test that passes has printed.
fn say_untested(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT TESTED: {what}: {why}");
}

/// An image of the binary under test; it goes when this does.
struct Image(String);

impl Image {
    /// `None`, and it has been said why, where there is none to be had.
    fn build(what: &str, name: &str) -> Option<Image> {
        if !works(&mut docker(&["info"])) {
            say_untested(what, "no docker engine answers");
            return None;
        }
        let tag = format!("assize-test-{name}:{}", std::process::id());
        let mut build = Command::new(root().join("cluster/image.sh"));
        build
            .args(["--engine", "docker", "--tag", &tag, "--binary"])
            .arg(Assize::binary().canonicalize().unwrap());
        if !works(&mut docker(&["image", "inspect", BASE])) && !works(&mut docker(&["pull", "--quiet", BASE]))
        {
            if !works(Command::new("debootstrap").arg("--version")) {
                say_untested(what, &format!("{BASE} can be neither pulled nor made by debootstrap"));
                return None;
            }
            build.arg("--bootstrap");
        }
        run_ok(&mut build, b"");
        let image = Image(tag);
        let output = run(&mut docker(&["run", "--rm", &image.0, "--version"]), b"");
        if output.status.success() {
            return Some(image);
        }
        // The only reason there is: a C library that is newer than the image's.
        say_untested(
            what,
            &format!("this binary does not run in it: {}", String::from_utf8_lossy(&output.stderr)),
        );
        None
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = docker(&["image", "rm", &self.0]).output();
    }
}

/// The cluster of the Compose file under a name and ports of its own.
struct Compose {
    project: String,
    image: Image,
    ports: [u16; 3],
}

impl Compose {
    fn new(image: Image) -> Compose {
        let project = format!("assize-test-{}", std::process::id());
        Compose { project, image, ports: [free_port(), free_port(), free_port()] }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = docker(&["compose", "--project-name", &self.project, "--file"]);
        command
            .arg(root().join("cluster/compose/compose.yaml"))
            .args(arguments)
            .env("ASSIZE_IMAGE", &self.image.0);
        for (number, port) in (1..).zip(self.ports) {
            command.env(format!("ASSIZE_PORT_{number}"), port.to_string());
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        run_ok(&mut self.command(arguments), b"")
    }

    /// Starts what does not run, and waits until the health checks of all say that they are well.
    fn up(&self) {
        self.run(&["up", "--detach", "--wait"]);
    }

    /// Runs `assize` in a node's container.
    fn assize(&self, node: usize, arguments: &[&str]) -> String {
        let service = format!("node-{node}");
        self.run(&[&["exec", "--no-TTY", &service, "assize"], arguments].concat())
    }

    fn leader(&self, asked: usize) -> usize {
        let members = self.assize(asked, &["members", "--output", "json"]);
        leader_of(&members).expect("somebody leads")
    }

    fn connect(&self, node: usize) -> mysql::Result<Conn> {
        let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(self.ports[node - 1]);
        Conn::new(opts.user(Some("app")).pass(Some("secret")).prefer_socket(false))
    }

    fn exit_code(&self, node: usize) -> String {
        let container = self.run(&["ps", "--all", "--quiet", &format!("node-{node}")]);
        run_ok(&mut docker(&["inspect", "--format", "{{.State.ExitCode}}", container.trim()]), b"")
            .trim()
            .to_owned()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--volumes", "--timeout", "5"]).output();
    }
}

/// The leader's number in what `assize members --output json` prints.
fn leader_of(members: &str) -> Option<usize> {
    members.lines().find_map(|line| {
        let member: Value = serde_json::from_str(line).ok()?;
        let leads = member["member_role"] == "leader";
        leads.then(|| member["node"].as_u64())?.and_then(|node| usize::try_from(node).ok())
    })
}

fn insert(client: &mut Conn, id: usize) {
    client.query_drop(format!("INSERT INTO shop.t VALUES ({id})")).unwrap();
}

fn rows(client: &mut Conn) -> Vec<usize> {
    client.query("SELECT id FROM shop.t ORDER BY id").unwrap()
}

#[test]
fn compose_runs_three_nodes_that_outlive_a_kill_and_a_rolling_restart() {
    let what = "the Compose file";
    if !works(&mut docker(&["compose", "version"])) {
        return say_untested(what, "there is no docker compose");
    }
    let Some(image) = Image::build(what, "compose") else { return };
    let compose = Compose::new(image);
    compose.up();
    compose
        .assize(1, &["sql", "--execute", "CREATE USER app IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO app"]);
    let mut client = compose.connect(1).unwrap();
    client.query_drop("CREATE DATABASE shop").unwrap();
    client.query_drop("CREATE TABLE shop.t (id INT PRIMARY KEY)").unwrap();
    insert(&mut client, 0);

    let killed = compose.leader(1);
    compose.run(&["kill", &format!("node-{killed}")]);
    let other = killed % 3 + 1;
    let mut client = compose.connect(other).unwrap();
    insert(&mut client, 1);
    assert_eq!(rows(&mut client), [0, 1]);
    let status =
        run(&mut compose.command(&["exec", "--no-TTY", &format!("node-{other}"), "assize", "status"]), b"");
    assert_eq!(status.status.code(), Some(1), "degraded: {}", String::from_utf8_lossy(&status.stdout));
    compose.up();
    wait_for("the cluster to be healthy", || compose.assize_says_healthy(other));

    for node in 1..=3 {
        compose.run(&["stop", &format!("node-{node}")]);
        assert_eq!(compose.exit_code(node), "0", "node {node} has drained");
        insert(&mut compose.connect(node % 3 + 1).unwrap(), 1 + node);
        compose.up();
    }
    assert_eq!(rows(&mut compose.connect(1).unwrap()), [0, 1, 2, 3, 4]);
    let shell = ["exec", "--no-TTY", "node-1", "sh", "-c"];
    let seen =
        compose.run(&[&shell[..], &["id -u; touch /file 2>&1 || true; grep CapEff /proc/1/status"]].concat());
    assert!(seen.starts_with("10001\n") && seen.contains("Read-only file system"), "{seen}");
    assert!(seen.contains("0000000000000000"), "{seen}");
}

impl Compose {
    fn assize_says_healthy(&self, node: usize) -> bool {
        let service = format!("node-{node}");
        works(&mut self.command(&["exec", "--no-TTY", &service, "assize", "status"]))
    }
}

/// The pods of the manifest, as a node agent would run them.
struct Pods {
    name: String,
    image: Image,
    /// What tests/containers/pods.py has told.
    plan: Vec<Value>,
}

impl Pods {
    fn new(image: Image) -> Pods {
        let mut script = Command::new(clients().join("python/bin/python"));
        script
            .arg(root().join("tests/containers/pods.py"))
            .arg(root().join("cluster/kubernetes/assize.yaml"));
        let plan = serde_json::from_str(&run_ok(&mut script, b"")).unwrap();
        let pods = Pods { name: format!("assize-pods-{}", std::process::id()), image, plan };
        run_ok(&mut docker(&["network", "create", &pods.name]), b"");
        pods
    }

    fn container(&self, pod: usize) -> String {
        format!("{}-{pod}", self.name)
    }

    /// Runs a line as root in a container that has this volume in `/v`.
    fn prepare(&self, volume: &str, line: &str, input: &[u8]) {
        let mut command = docker(&["run", "--rm", "--interactive", "--user=0", "--entrypoint=sh", "--mount"]);
        command.arg(format!("type=volume,src={volume},dst=/v,volume-nocopy"));
        run_ok(command.args([&self.image.0, "-ec", line]), input);
    }

    /// Makes a pod's volumes with the owners and modes that they have under Kubernetes, and tells how it mounts them.
    fn mounts(&self, pod: &Value, certificates: &[(String, Vec<u8>)]) -> Vec<String> {
        let mounts = pod["mounts"].as_array().unwrap();
        mounts.iter().map(|mount| self.mount(mount, certificates)).collect()
    }

    fn mount(&self, mount: &Value, certificates: &[(String, Vec<u8>)]) -> String {
        let volume = format!("{}-{}", self.name, text(&mount["volume"]));
        let group = mount["group"].as_u64().unwrap();
        self.prepare(&volume, &format!("chown 0:{group} /v; chmod 2775 /v"), b"");
        let files = match &mount["files"] {
            Value::Object(files) => {
                files.iter().map(|(name, body)| (name.clone(), text(body).into())).collect()
            }
            _ if mount["secret"].is_string() => certificates.to_vec(),
            _ => Vec::new(),
        };
        for (name, body) in files {
            let (mode, file) = (text(&mount["mode"]), format!("/v/{name}"));
            self.prepare(
                &volume,
                &format!("cat >{file}; chown 0:{group} {file}; chmod {mode} {file}"),
                &body,
            );
        }
        let ending = if mount["readonly"] == true { ",readonly" } else { "" };
        format!("--mount=type=volume,src={volume},dst={},volume-nocopy{ending}", text(&mount["path"]))
    }

    fn start(&self, certificates: &[(String, Vec<u8>)]) {
        for (number, pod) in self.plan.iter().enumerate() {
            let words = |key: &str| pod[key].as_array().unwrap().iter().map(text).collect::<Vec<_>>();
            let command = words("command");
            let mut run =
                docker(&["run", "--detach", "--name", &self.container(number), "--network", &self.name]);
            run.args(words("flags")).args(self.mounts(pod, certificates));
            // A pod's command stands in place of the image's entry point.
            run.args(["--entrypoint", &command[0], &self.image.0]).args(&command[1..]);
            run_ok(&mut run, b"");
        }
    }

    fn address(&self, pod: usize) -> Option<IpAddr> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        run_ok(&mut docker(&["inspect", "--format", format, &self.container(pod)]), b"").trim().parse().ok()
    }

    /// Whether a probe of the manifest succeeds.
    fn probe(&self, pod: usize, kind: &str) -> bool {
        let probe = &self.plan[pod]["probes"][kind];
        let port = probe["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        let answer = self
            .address(pod)
            .and_then(|host| http_get(SocketAddr::from((host, port)), &text(&probe["path"])));
        answer.is_some_and(|(status, _)| status == 200)
    }

    fn wait_ready(&self) {
        for pod in 0..self.plan.len() {
            for kind in ["startup", "liveness", "readiness"] {
                wait_for(&format!("pod {pod}'s {kind} probe\n{}", self.log(pod)), || self.probe(pod, kind));
            }
        }
    }

    fn log(&self, pod: usize) -> String {
        let output = run(&mut docker(&["logs", &self.container(pod)]), b"");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn exec(&self, pod: usize, words: &[&str]) -> String {
        run_ok(docker(&["exec", &self.container(pod)]).args(words), b"")
    }

    fn sql(&self, pod: usize, statements: &str) -> String {
        self.exec(pod, &["assize", "sql", "--output", "json", "--execute", statements])
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for pod in 0..self.plan.len() {
            let _ = docker(&["rm", "--force", "--volumes", &self.container(pod)]).output();
        }
        let prefix = format!("name={}-", self.name);
        if let Ok(found) = docker(&["volume", "ls", "--quiet", "--filter", &prefix]).output() {
            let names = String::from_utf8_lossy(&found.stdout).into_owned();
            let _ = docker(&["volume", "rm"]).args(names.lines()).output();
        }
        let _ = docker(&["network", "rm", &self.name]).output();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn clients() -> PathBuf {
    std::env::var_os("ASSIZE_CLIENTS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache/assize/clients"),
        PathBuf::from,
    )
}

/// What docs/operations.md puts into the secret.
fn certificates() -> Vec<(String, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display().to_string();
    let cert =
        |arguments: &[&str]| drop(run_ok(Command::new(Assize::binary()).arg("cert").args(arguments), b""));
    cert(&["ca", "--dir", &dir]);
    for node in 1..=3 {
        let host = format!("assize-{}.assize-peers", node - 1);
        cert(&["node", &node.to_string(), "--dir", &dir, "--host", &host]);
    }
    cert(&["token", "--file", &format!("{dir}/join-token")]);
    let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
    let named =
        files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()));
    named.filter(|(name, _)| name != "ca.key").collect()
}

#[test]
fn the_pods_of_the_kubernetes_manifest_become_ready_and_outlive_a_kill() {
    let Some(image) = Image::build("the pods of the Kubernetes manifest", "pods") else { return };
    let pods = Pods::new(image);
    pods.start(&certificates());
    pods.wait_ready();
    pods.sql(0, "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let seen = pods.exec(
        0,
        &["sh", "-c", "id -u; touch /file 2>&1 || true; grep -E 'CapEff|NoNewPrivs' /proc/1/status"],
    );
    assert!(seen.starts_with("10001\n") && seen.contains("Read-only file system"), "{seen}");
    assert!(seen.contains("0000000000000000") && seen.contains("NoNewPrivs:\t1"), "{seen}");
    assert!(
        !pods.log(0).contains("this private key can be read"),
        "as Kubernetes hands it out, it is no secret lost"
    );

    let killed = leader_of(&pods.exec(0, &["assize", "members", "--output", "json"])).unwrap() - 1;
    run_ok(&mut docker(&["kill", &pods.container(killed)]), b"");
    let other = (killed + 1) % 3;
    pods.sql(other, "INSERT INTO d.t VALUES (2)");
    run_ok(&mut docker(&["start", &pods.container(killed)]), b"");
    pods.wait_ready();

    let grace = pods.plan[other]["grace"].as_u64().unwrap().to_string();
    run_ok(&mut docker(&["stop", "--time", &grace, &pods.container(other)]), b"");
    let state =
        run_ok(&mut docker(&["inspect", "--format", "{{.State.ExitCode}}", &pods.container(other)]), b"");
    assert_eq!(state.trim(), "0", "it has drained within its grace period");
    assert_eq!(pods.sql(killed, "SELECT COUNT(*) AS n FROM d.t").trim(), "{\"n\":\"2\"}");
}
