//! Certificates that are replaced while the real binary runs, as its clients see it.
#![allow(clippy::disallowed_methods)] // Tests.

use assize_tests::{Assize, run, run_ok, wait_for};
use mysql::prelude::Queryable;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Two authorities, so that it is plain which certificate is shown, and the pair that a node is configured with.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    /// The node is configured with what the first authority has issued.
    fn new() -> Certificates {
        let certificates = Certificates { directory: tempfile::tempdir().unwrap() };
        for name in ["first", "second"] {
            let cert = |arguments: &[&str]| {
                let into = certificates.place(name);
                run_ok(
                    Command::new(Assize::binary()).arg("cert").args(arguments).arg("--dir").arg(into),
                    b"",
                );
            };
            cert(&["ca"]);
            cert(&["node", "1", "--host", "127.0.0.1"]);
        }
        certificates.install("first");
        certificates
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn authority(&self, name: &str) -> PathBuf {
        self.place(name).join("ca.pem")
    }

    /// Copies what an authority has issued over the node's pair.
    fn install(&self, name: &str) {
        std::fs::copy(self.place(name).join("node-1.pem"), self.place("live.pem")).unwrap();
        std::fs::copy(self.place(name).join("node-1.key"), self.place("live.key")).unwrap();
    }

    /// A server whose section of this name is configured with the node's pair.
    fn start(&self, section: &str) -> Assize {
        let certificate = format!("{section}.tls_certificate={}", self.place("live.pem").display());
        let key = format!("{section}.tls_key={}", self.place("live.key").display());
        Assize::start_with(None, &["--set", &certificate, "--set", &key])
    }
}

#[test]
fn the_admin_api_takes_new_certificates_without_a_restart() {
    let certificates = Certificates::new();
    let key = certificates.place("live.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let assize = certificates.start("admin");
    let pid = assize.pid();
    let log = assize.log();
    assert_eq!(log.matches("this private key can be read by more than its owner").count(), 1, "{log}");
    assert!(log.contains("live.key") && log.contains("0640"), "{log}");

    let trusts = |name: &str| {
        let mut command = Command::new(Assize::binary());
        command.args(["members", "--admin", &assize.admin(), "--ca"]).arg(certificates.authority(name));
        run(&mut command, b"").status.success()
    };
    assert!(trusts("first") && !trusts("second"));
    certificates.install("second");
    wait_for("the new certificate to be shown", || trusts("second"));
    assert!(!trusts("first"));
    assert_eq!(assize.pid(), pid);
    assert_eq!(assize.query("SELECT 1").trim(), "1", "the node has run on");
}

#[test]
fn mysql_clients_are_shown_new_certificates_without_a_restart() {
    let certificates = Certificates::new();
    let assize = certificates.start("mysql");
    // The client that Debian has, which refuses what its authority has not issued.
    let client = |name: &str| {
        let mut command = assize.mariadb();
        command.args(["--batch", "--skip-column-names", "--unbuffered", "--ssl-verify-server-cert"]);
        command.arg(format!("--ssl-ca={}", certificates.authority(name).display()));
        command
    };
    let trusts = |name: &str| run(&mut client(name), b"SELECT 1;\n").status.success();
    assert!(trusts("first") && !trusts("second"));

    let mut old = client("first").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut statements = old.stdin.take().unwrap();
    let mut rows = BufReader::new(old.stdout.take().unwrap()).lines();
    let mut ask = |n: u32| {
        writeln!(statements, "SELECT {n};").unwrap();
        statements.flush().unwrap();
        assert_eq!(rows.next().unwrap().unwrap(), n.to_string());
    };
    ask(1);
    certificates.install("second");
    wait_for("the new certificate to be shown", || trusts("second"));
    assert!(!trusts("first"), "the former authority's client is refused");
    ask(2);

    // Half of a pair changes nothing.
    std::fs::copy(certificates.place("first").join("node-1.pem"), certificates.place("live.pem")).unwrap();
    wait_for("the log to say so", || {
        // A look is taken when somebody comes.
        assert!(trusts("second"));
        assize.log().contains("the new certificate for MySQL clients cannot be used")
    });
    assert!(trusts("second"));
    ask(3);
    drop(statements);
    assert!(old.wait().unwrap().success());
}

#[test]
fn the_small_client_and_the_workloads_speak_tls() {
    let certificates = Certificates::new();
    let assize = certificates.start("mysql");
    let url = format!("mysql://root@127.0.0.1:{}", assize.port());
    let cipher = "SELECT variable_value <> '' AS is_secure FROM performance_schema.session_status \
                  WHERE variable_name = 'Ssl_cipher'";
    let sql = |more: &[&str]| {
        let mut command = Command::new(Assize::binary());
        command.args(["sql", "--url", &url, "--output", "json", "--execute", cipher]).args(more);
        let told = run(&mut command, b"");
        (told.status.success(), String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned())
    };
    let is_secure = |answer: &str| (true, format!("{{\"is_secure\":\"{answer}\"}}\n"));
    let authority = |name: &str| certificates.authority(name).display().to_string();
    // Nobody listens to what does not leave this machine.
    assert_eq!(sql(&[]), is_secure("0"));
    assert_eq!(sql(&["--tls-mode", "required"]), is_secure("1"));
    assert_eq!(sql(&["--tls-ca", &authority("first")]), is_secure("1"));
    let (succeeds, told) = sql(&["--tls-ca", &authority("second")]);
    let refused = format!("assize: 127.0.0.1:{}: invalid peer certificate: UnknownIssuer\n", assize.port());
    assert_eq!((succeeds, told), (false, refused));
    let (succeeds, told) = sql(&["--tls-ca", "nowhere.pem"]);
    assert!(!succeeds && told.starts_with("assize: nowhere.pem: No such file"), "{told}");

    assize.query("SET GLOBAL require_secure_transport = ON");
    assert_eq!(sql(&[]), is_secure("1"));
    let (succeeds, told) = sql(&["--ssl-mode", "DISABLED"]);
    assert!(!succeeds && told.contains("3159"), "{told}");
    let mut bench = Command::new(Assize::binary());
    bench.args(["bench", "point", "--url", &url, "--connections", "2", "--seconds", "1", "--rows", "100"]);
    run_ok(bench.args(["--tls-ca", &authority("first")]), b"");
}

#[test]
fn clients_without_tls_are_refused_once_secure_transport_is_required() {
    let assize = Assize::start();
    let plain = || {
        let opts = mysql::OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(assize.port())
            .user(Some("root"))
            .prefer_socket(false);
        mysql::Conn::new(opts)
    };
    let mut before = plain().expect("on this machine nobody asks for TLS");
    before.query_drop("SET GLOBAL require_secure_transport = ON").unwrap();
    match plain() {
        Err(mysql::Error::MySqlError(error)) => assert_eq!(error.code, 3159, "{error:?}"),
        other => panic!("{other:?}"),
    }
    // Who is in stays in, and may switch it off.
    before.query_drop("SET GLOBAL require_secure_transport = OFF").unwrap();
    plain().expect("it is off again");

    let required = Assize::start_with(None, &["--set", "mysql.require_tls=true"]);
    let told = run(required.mariadb().args(["--skip-ssl", "--execute", "SELECT 1"]), b"");
    assert!(String::from_utf8_lossy(&told.stderr).contains("3159"), "{told:?}");
    let secure = run(
        required.mariadb().args(["--ssl", "--skip-ssl-verify-server-cert", "--execute"]).arg("SELECT 1"),
        b"",
    );
    assert!(secure.status.success(), "{secure:?}");
}
