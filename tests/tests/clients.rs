//! Real drivers against the real binary. `./justw test` installs them (`tests/clients/install.sh`) and says where.
#![allow(clippy::disallowed_methods)] // Tests.

use assize_tests::{Assize, root, run};
use std::path::PathBuf;
use std::process::Command;

/// Where the drivers are.
fn clients() -> PathBuf {
    let path = std::env::var_os("ASSIZE_CLIENTS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("there is a home directory");
        PathBuf::from(home).join(".cache/assize/clients")
    });
    assert!(path.join("stamp").is_file(), "{} holds no drivers: run ./justw test", path.display());
    path
}

fn python(driver: &str) {
    let assize = Assize::start();
    let output = run(
        Command::new(clients().join("python/bin/python"))
            .arg(root().join("tests/clients/drivers.py"))
            .args([driver, &assize.port().to_string()]),
        b"",
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{driver}:\n{told}");
}

#[test]
fn pymysql_works() {
    python("pymysql");
}

#[test]
fn mysqlclient_works() {
    python("mysqlclient");
}

#[test]
fn mysql_connector_python_works() {
    python("connector");
}

#[test]
fn node_mysql2_works_where_there_is_a_node() {
    let node = clients().join("node/node_modules");
    if !node.is_dir() {
        eprintln!("no node on this machine: its driver is not tried");
        return;
    }
    let assize = Assize::start();
    let script = root().join("tests/clients/mysql2.js");
    let mut command = Command::new("node");
    command.env("NODE_PATH", &node).arg(script).arg(assize.port().to_string());
    let output = run(&mut command, b"");
    assert!(output.status.success(), "mysql2:\n{}", String::from_utf8_lossy(&output.stderr));
}
