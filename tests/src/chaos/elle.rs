//! Histories for [Elle](https://github.com/jepsen-io/elle), the checker of Jepsen: written as EDN, and given to a command where
//! one is at hand.
//!
//! An operation becomes two maps, one for its invocation and one for its completion, a line each, in the order of their
//! moments. Our [`Fate`] is Elle's type: `:ok`, `:fail` (it did not take place), `:info` (nobody knows).

use super::check::Findings;
use super::check::cycles::Step;
use super::history::{Fate, Op};
use super::workload::Level;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the command may take for one history.
const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// How Elle is asked about a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// Lists that are appended to and read whole.
    ListAppend,
    /// Registers that are written and read.
    RwRegister,
}

impl Model {
    /// Its name on the command line of `elle-cli`.
    pub fn name(self) -> &'static str {
        match self {
            Model::ListAppend => "list-append",
            Model::RwRegister => "rw-register",
        }
    }
}

/// The consistency model that a level promises, by Elle's name. Both with real time: a snapshot holds everything that was
/// acknowledged before BEGIN.
pub fn consistency(level: Level) -> &'static str {
    match level {
        Level::RepeatableRead => "strong-snapshot-isolation",
        Level::Serializable => "strict-serializable",
    }
}

/// A history as EDN.
pub fn edn(ops: &[Op<Vec<Step>>]) -> String {
    let mut events: Vec<(u64, bool, &Op<Vec<Step>>)> = Vec::new();
    for op in ops {
        events.extend([(op.invoked, false, op), (op.completed, true, op)]);
    }
    events.sort_by_key(|(moment, ..)| *moment);
    let mut out = String::new();
    for (index, (moment, is_end, op)) in events.into_iter().enumerate() {
        let kind = match (is_end, op.fate) {
            (false, _) => "invoke",
            (true, Fate::Committed) => "ok",
            (true, Fate::Aborted) => "fail",
            (true, Fate::Unknown) => "info",
        };
        // What it read is known once it has.
        let is_known = is_end && op.fate == Fate::Committed;
        let steps: Vec<String> = op.what.iter().map(|step| micro_op(step, is_known)).collect();
        let (process, steps) = (op.process, steps.join(" "));
        let _ = writeln!(
            out,
            "{{:type :{kind}, :process {process}, :f :txn, :value [{steps}], :index {index}, :time {moment}}}"
        );
    }
    out
}

fn micro_op(step: &Step, is_known: bool) -> String {
    match step {
        Step::Append { key, element } => format!("[:append {key} {element}]"),
        Step::Write { key, value } => format!("[:w {key} {value}]"),
        Step::ReadList { key, elements: Some(elements) } if is_known => {
            let elements: Vec<String> = elements.iter().map(u64::to_string).collect();
            format!("[:r {key} [{}]]", elements.join(" "))
        }
        Step::ReadRegister { key, value: Some(value) } if is_known => format!("[:r {key} {value}]"),
        Step::ReadList { key, .. } | Step::ReadRegister { key, .. } => format!("[:r {key} nil]"),
    }
}

/// Asks a command that is called as `elle-cli` is, and prints what `elle-cli` prints: the file, a tab and `true`, `false` or
/// `unknown`. The end of what it wrote beside that goes into the anomaly.
pub fn check(command: &str, file: &Path, model: Model, level: Level) -> Findings {
    let mut findings = Findings::default();
    let model_wanted = consistency(level);
    let (verdict, said) = match run(command, file, model, model_wanted) {
        Ok(output) => output,
        Err(why) => {
            findings.anomaly(format!("elle cannot be run: {why}"));
            return findings;
        }
    };
    findings.remark = format!("elle: {model_wanted}: {verdict}");
    if verdict != "true" {
        let from = said.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        findings.anomaly(format!(
            "elle says {verdict} to {model_wanted} of {}:\n{}",
            file.display(),
            &said[from..]
        ));
    }
    findings
}

fn run(command: &str, file: &Path, model: Model, consistency: &str) -> Result<(String, String), String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("the command is empty")?;
    let said = file.with_extension("elle.txt");
    let log = std::fs::File::create(&said).map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(words)
        .args(["--model", model.name(), "--consistency-models", consistency])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let ended = wait(&mut child);
    let said = std::fs::read_to_string(said).map_err(|error| error.to_string())?;
    ended?;
    Ok((verdict(&said, file).ok_or_else(|| format!("it has no verdict: {said}"))?, said))
}

fn wait(child: &mut Child) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if started.elapsed() < LIMIT => std::thread::sleep(POLL),
            Ok(None) => {
                // It may have ended by itself a moment ago.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer after {LIMIT:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The last word of the line about a file.
fn verdict(said: &str, file: &Path) -> Option<String> {
    let name = file.display().to_string();
    let line = said.lines().rev().find_map(|line| line.strip_prefix(name.as_str()))?;
    line.split_whitespace().last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(process: u64, moments: (u64, u64), fate: Fate, what: Vec<Step>) -> Op<Vec<Step>> {
        Op { process, invoked: moments.0, completed: moments.1, fate, what }
    }

    #[test]
    fn a_history_is_written_as_elle_reads_it() {
        let read = Step::ReadList { key: 1, elements: Some(vec![4, 5]) };
        let ops = [
            op(7, (1, 4), Fate::Committed, vec![Step::Append { key: 1, element: 4 }, read.clone()]),
            op(8, (2, 3), Fate::Unknown, vec![Step::Append { key: 1, element: 5 }, read]),
            op(9, (5, 6), Fate::Aborted, vec![Step::Write { key: 2, value: 3 }]),
        ];
        let expected = "\
{:type :invoke, :process 7, :f :txn, :value [[:append 1 4] [:r 1 nil]], :index 0, :time 1}
{:type :invoke, :process 8, :f :txn, :value [[:append 1 5] [:r 1 nil]], :index 1, :time 2}
{:type :info, :process 8, :f :txn, :value [[:append 1 5] [:r 1 nil]], :index 2, :time 3}
{:type :ok, :process 7, :f :txn, :value [[:append 1 4] [:r 1 [4 5]]], :index 3, :time 4}
{:type :invoke, :process 9, :f :txn, :value [[:w 2 3]], :index 4, :time 5}
{:type :fail, :process 9, :f :txn, :value [[:w 2 3]], :index 5, :time 6}
";
        assert_eq!(edn(&ops), expected);
        let nothing = Step::ReadRegister { key: 2, value: None };
        assert_eq!(micro_op(&nothing, true), "[:r 2 nil]");
        assert_eq!(micro_op(&Step::ReadRegister { key: 2, value: Some(3) }, true), "[:r 2 3]");
    }

    #[test]
    fn the_verdict_is_what_the_command_says_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("h.edn");
        std::fs::write(&file, "").unwrap();
        let script = directory.path().join("elle");
        let says = |text: &str| {
            std::fs::write(&script, format!("for last; do :; done\necho noise\n{text}\n")).unwrap();
            let command = format!("sh {}", script.display());
            check(&command, &file, Model::ListAppend, Level::Serializable)
        };
        let fine = says("printf '%s \\t true\\n' \"$last\"");
        assert_eq!((fine.anomalies.len(), fine.remark.as_str()), (0, "elle: strict-serializable: true"));
        assert_eq!(says("printf '%s \\t false\\n' \"$last\"; exit 1").anomalies.len(), 1);
        assert_eq!(says("printf '%s \\t unknown\\n' \"$last\"").anomalies.len(), 1);
        assert!(says("exit 255").anomalies[0].contains("no verdict"));
        let none = check("/there/is/no/such/elle", &file, Model::RwRegister, Level::RepeatableRead);
        assert!(none.anomalies[0].contains("cannot be run"), "{:?}", none.anomalies);
    }
}
