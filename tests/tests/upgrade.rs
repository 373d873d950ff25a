//! Data directories that earlier releases left behind, after `kill -9`, open in this one.
//!
//! `tests/data/upgrade/<release>.tar.gz` holds one of each: written by that release's binary, half of it flushed by an
//! orderly end, the other half prepared, committed and then killed. They all hold the same rows. One of them was written with
//! `adjudicator.checkpoint_bytes=1`: it begins with a checkpoint, another waits beside it, and it says which cluster it belongs to.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::chaos::fault::Fault;
use assize_tests::chaos::workload::{Kind, Level};
use assize_tests::chaos::{Plan, report, run as torment};
use assize_tests::{Assize, root, run_ok};
use std::process::Command;
use std::time::Duration;

fn releases() -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(root().join("tests/data/upgrade"))
        .expect("samples of earlier releases")
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn a_data_directory_of_every_earlier_release_opens_and_goes_on() {
    for sample in releases() {
        println!("{}", sample.display());
        let directory = tempfile::tempdir().unwrap();
        run_ok(Command::new("tar").arg("-xzf").arg(&sample).arg("-C").arg(directory.path()), b"");
        let data = directory.path().join("data");
        let assize = Assize::start_on(&data);
        check(&assize);
        assize.query("INSERT INTO shop.customer (email) VALUES ('alan@example.net')");
        assize.kill();
        let assize = Assize::start_on(&data);
        assert_eq!(assize.query("SELECT email FROM shop.customer WHERE id = 4"), "alan@example.net\n");
        assert!(assize.terminate().success());
    }
}

/// Two releases at once: `ASSIZE_OLD_BIN` names the binary of an earlier one (`./justw upgrade --from REV` builds it).
#[test]
fn nodes_of_an_earlier_release_are_replaced_one_by_one_under_load() {
    let Some(old) = std::env::var_os("ASSIZE_OLD_BIN") else {
        eprintln!("ASSIZE_OLD_BIN names no earlier release: nothing is upgraded");
        return;
    };
    let workloads = [Kind::Bank, Kind::Set, Kind::Register];
    let plan = Plan {
        duration: Duration::from_secs(60),
        clients: 3,
        old_binary: Some(root().join(std::path::PathBuf::from(old))),
        // Clients of an earlier release cannot be told what the white box wants to know.
        is_white_box: false,
        ..Plan::new(
            workloads.iter().flat_map(|kind| Level::ALL.map(|l| (*kind, l))).collect(),
            Fault::Upgrade,
        )
    };
    let outcome = torment(&plan);
    let told = report::details(&outcome);
    println!("{}\n{told}", report::text(std::slice::from_ref(&outcome)));
    assert!(outcome.is_clean(), "{told}");
    assert_eq!(outcome.faults, 3, "every node was replaced once");
    for verdict in &outcome.verdicts {
        assert_eq!((verdict.tally.errors, verdict.findings.lost), (0, 0), "{told}");
        assert!(verdict.tally.committed > 50, "{} hardly did anything", verdict.kind.name());
    }
}

fn check(assize: &Assize) {
    let asked = |statement: &str| assize.query(statement);
    assert_eq!(
        asked("SELECT id, email, born, LEFT(note, 9), LENGTH(note) FROM shop.customer ORDER BY id"),
        "1\tada@example.net\t1815-12-10\tfirst\t5\n\
         2\tgrace@example.net\t1906-12-09\tnaïve ☃\t10\n\
         3\tedsger@example.net\tNULL\txxxxxxxxx\t3000\n"
    );
    assert_eq!(
        asked("SELECT id, customer, total, at, paid FROM shop.purchase ORDER BY id"),
        "1\t1\t10.50\t2026-01-01 00:00:00.123\tNULL\n\
         3\t2\t99999999.99\t1999-12-31 23:59:59.000\tNULL\n\
         4\t3\t4.00\tNULL\t1\n"
    );
    assert_eq!(asked("SELECT id FROM shop.purchase WHERE customer = 3"), "4\n", "through the index");
    assert_eq!(
        asked("SELECT id FROM shop.customer WHERE email = 'grace@example.net'"),
        "2\n",
        "through a global index"
    );
    asked("UNDROP TABLE shop.gone");
    assert_eq!(asked("SELECT COUNT(*) FROM shop.gone"), "3\n");
    assert!(asked("SHOW GRANTS FOR reader").contains("GRANT SELECT ON `shop`"));
    for table in ["customer", "purchase", "gone"] {
        let report = asked(&format!("CHECK TABLE shop.{table}"));
        assert!(report.trim_end().ends_with("OK"), "{report}");
    }
}
