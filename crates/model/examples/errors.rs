//! Writes `docs/errors` anew from the table of error codes: `./justw errors`. The list is written as a whole; of a code's own
//! page only the head is, and what somebody has written below it stays.

use assize_model::{ErrorCode, Retry};
use std::fmt::Write as _;
use std::path::Path;

/// A page's head: title, sentence, line of facts, each followed by an empty line.
const HEAD_LINES: usize = 6;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "docs/errors".to_owned());
    let folder = Path::new(&folder);
    std::fs::write(folder.join("README.md"), list())?;
    for code in ErrorCode::ALL {
        let page = folder.join(format!("{}.md", code.errno()));
        let written = std::fs::read_to_string(&page).unwrap_or_default();
        let rest: String = written.split_inclusive('\n').skip(HEAD_LINES).collect();
        if rest.is_empty() {
            eprintln!("{} has no text yet: when is it sent, and what is to be done?", page.display());
        }
        std::fs::write(&page, head(*code) + &rest)?;
    }
    Ok(())
}

fn head(code: ErrorCode) -> String {
    let retry = match code.retry() {
        Retry::Never => "never, fix the statement or the data",
        Retry::Transaction => "the whole transaction",
        Retry::Later => "later, perhaps on another node",
        Retry::Operator => "no, call the operator",
    };
    let (errno, name, about, sqlstate) = (code.errno(), code.name(), code.about(), code.sqlstate());
    format!("# {errno} `{name}`\n\n{about}\n\nSQLSTATE `{sqlstate}` · retry: {retry}.\n\n")
}

fn list() -> String {
    let mut out = String::from(
        "# Errors\n\n\
         Every error that a client can see. *Retry* says what the caller should do: `Never` (fix the statement or the data), `Transaction` (run the whole\n\
         transaction again), `Later` (the cluster is busy or failing over), `Operator` (call one). The table is `model::ErrorCode`; a tidy test compares the two.\n\
         Each number leads to a page that says when it is sent and what to do.\n\n\
         | number | SQLSTATE | name | retry | about |\n|---|---|---|---|---|\n",
    );
    let mut codes = ErrorCode::ALL.to_vec();
    codes.sort_by_key(|code| code.errno());
    for code in codes {
        let (errno, sqlstate, name) = (code.errno(), code.sqlstate(), code.name());
        let (retry, about) = (code.retry(), code.about());
        let _ = writeln!(out, "| [{errno}]({errno}.md) | {sqlstate} | `{name}` | {retry:?} | {about} |");
    }
    out
}
