//! House rules that a machine can see: floors, purity, forbidden words, documents that match the code.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates and the height they live at; a crate depends only on lower ones. Whole floors are tens, so that
/// landings between floors have a place.
const FLOORS: &[(&str, u32)] = &[
    ("model", 0),
    ("codec", 0),
    ("values", 5),
    ("adjudicator", 10),
    ("catalog", 10),
    ("mvcc", 10),
    ("sql", 10),
    ("ports", 15),
    ("coordinator", 20),
    ("replica", 20),
    ("session", 25),
    ("mysql", 30),
    ("query", 30),
    ("rocks", 30),
    ("rpc", 30),
    ("wire", 30),
    ("admin", 40),
    ("consensus", 40),
    ("shards", 40),
    ("server", 50),
    ("sim", 50),
];

/// Floors 0 to 2 end here.
const PURE_BELOW: u32 = 30;

/// Crates that do IO, read clocks or draw randomness: nothing pure may reach them.
const IMPURE: &[&str] = &[
    "async-std",
    "getrandom",
    "hyper",
    "mio",
    "mysql_async",
    "openraft",
    "rand",
    "rocksdb",
    "rustls",
    "socket2",
    "tokio",
    "tonic",
];

/// Words of the glossary's "not" column that are never right as a name.
const FORBIDDEN_WORDS: &[&str] = &["tx", "trx", "start_ts", "read_ts", "watermark", "resolver", "dtid"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

/// Normal (not dev, not build) dependencies of every package, by name.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let from = names[node["id"].as_str().unwrap()].to_owned();
        let entry = out.entry(from).or_default();
        for dep in node["deps"].as_array().unwrap() {
            let normal = dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
            if normal {
                entry.insert(names[dep["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    out
}

#[test]
fn a_crate_depends_only_on_lower_floors() {
    let graph = dependencies(&metadata());
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut seen = 0;
    for (from, deps) in &graph {
        let Some(from_name) = from.strip_prefix("assize-") else { continue };
        if matches!(from_name, "tests" | "benches") {
            continue;
        }
        let floor = floors.get(from_name).unwrap_or_else(|| panic!("{from} has no floor: give it one here"));
        seen += 1;
        for to in deps.iter().filter_map(|d| d.strip_prefix("assize-")) {
            assert!(
                floors[to] < *floor,
                "{from_name} (floor {floor}) depends upward on {to} (floor {})",
                floors[to]
            );
        }
    }
    assert_eq!(seen, FLOORS.len(), "a crate of the table is gone");
}

/// Every package that a crate links, its own features only.
fn linked(package: &str) -> BTreeSet<String> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--package",
            package,
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo tree: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("cargo prints text");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_lower_floors_reach_no_io_clock_or_randomness() {
    for (name, _) in FLOORS.iter().filter(|(name, floor)| *floor < PURE_BELOW || *name == "sim") {
        let reached = linked(&format!("assize-{name}"));
        assert!(reached.len() > 1, "{name} links nothing?");
        for bad in IMPURE {
            assert!(!reached.contains(*bad), "{name} is meant to be pure and reaches {bad}");
        }
    }
}

fn files_below(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && name != "node_modules" {
                files_below(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

#[test]
fn no_forbidden_word_names_anything() {
    let mut files = Vec::new();
    files_below(&root().join("crates"), "rs", &mut files);
    files_below(&root().join("benches"), "rs", &mut files);
    assert!(files.len() > 20);
    let mut bad = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            // Names inside string literals belong to MySQL (variables, columns), not to us.
            let outside: String = code.split('"').step_by(2).collect::<Vec<_>>().join(" ");
            let words = outside.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            if words.clone().any(|w| FORBIDDEN_WORDS.contains(&w)) {
                bad.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(bad.is_empty(), "forbidden words:\n{}", bad.join("\n"));
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    let mut files = Vec::new();
    for dir in ["crates", "benches", "tests"] {
        files_below(&root().join(dir), "rs", &mut files);
    }
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")];
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{} contains {mark}", path.display());
        }
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let code = std::fs::read_to_string(root().join("crates/server/src/metrics.rs")).unwrap();
    let declared: BTreeSet<&str> = code
        .lines()
        .filter(|line| line.trim_start().starts_with("pub const") && line.contains(": &str"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(!declared.is_empty());
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next())
        .collect();
    assert_eq!(declared, documented);
}

#[test]
fn every_error_has_its_line_in_the_error_table_and_its_page() {
    let folder = root().join("docs/errors");
    let list = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut pages = BTreeSet::from(["README.md".to_owned()]);
    for code in assize_model::ErrorCode::ALL {
        let (errno, about) = (code.errno(), code.about());
        let line = format!(
            "| [{errno}]({errno}.md) | {} | `{}` | {:?} | {about} |",
            code.sqlstate(),
            code.name(),
            code.retry(),
        );
        assert!(list.contains(&line), "docs/errors/README.md lacks the line\n{line}\n(./justw errors)");
        let name = format!("{errno}.md");
        let page = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        let head = format!("# {errno} `{}`\n\n{about}\n\nSQLSTATE `{}`", code.name(), code.sqlstate());
        assert!(page.starts_with(&head), "docs/errors/{name} does not begin with\n{head}\n(./justw errors)");
        let says_what_to_do = page.contains("**When.**") && page.contains("**What to do.**");
        assert!(says_what_to_do, "docs/errors/{name} does not say when it is sent and what to do");
        pages.insert(name);
    }
    let files = std::fs::read_dir(folder).unwrap();
    let files: BTreeSet<String> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, pages, "pages of numbers that nobody sends");
}

#[test]
fn the_map_stays_a_map() {
    let lines = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap().lines().count();
    assert!(lines <= 400, "ARCHITECTURE.md has {lines} lines");
}
