//! `assize sql`: a small MySQL client, so that nothing else need be installed.

use crate::cli::{Output, SqlOptions};
use crate::{Failure, client};
use assize_sql::{ParseOptions, statement_places};
use comfy_table::{Table, presets};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, ServerError, Value};
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

/// Runs the statements of `--execute`, or those on standard input, one by one. What the server refuses is told as the
/// mysql client tells it, and ends with exit code 1.
pub async fn run(options: SqlOptions) -> Result<ExitCode, Failure> {
    match connect_and_run(&options).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ended::Refused { line, error }) => {
            eprintln!("{}", told(&error, line));
            Ok(ExitCode::FAILURE)
        }
        Err(Ended::Failed(failure)) => Err(failure),
    }
}

/// Why no further statement is run.
enum Ended {
    /// The server refused a statement that begins on this line, or the connection.
    Refused { line: Option<usize>, error: ServerError },
    /// Anything else.
    Failed(Failure),
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        match error.into().downcast() {
            Ok(mysql_async::Error::Server(error)) => Ended::Refused { line: None, error },
            Ok(other) => Ended::Failed(other.into()),
            Err(other) => Ended::Failed(other.into()),
        }
    }
}

impl Ended {
    /// The statement that was refused begins here.
    fn at(self, line: usize) -> Ended {
        match self {
            Ended::Refused { error, .. } => Ended::Refused { line: Some(line), error },
            failed @ Ended::Failed(_) => failed,
        }
    }
}

/// What the server refused, in the words of the mysql client.
fn told(error: &ServerError, line: Option<usize>) -> String {
    let place = line.map_or_else(String::new, |line| format!(" at line {line}"));
    format!("ERROR {} ({}){place}: {}", error.code, error.state, error.message)
}

async fn connect_and_run(options: &SqlOptions) -> Result<(), Ended> {
    let mut connection = client::connect(&options.target).await?;
    if let Some(text) = &options.execute {
        execute(&mut connection, text, 1, options.output).await?;
    } else {
        read_and_execute(&mut connection, options.output).await?;
    }
    connection.disconnect().await?;
    Ok(())
}

async fn read_and_execute(connection: &mut Conn, output: Output) -> Result<(), Ended> {
    let interactive = std::io::stdin().is_terminal();
    let mut buffer = String::new();
    // The line on which the buffer begins.
    let mut first_line = 1;
    prompt(interactive, "assize> ");
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line?;
        if buffer.is_empty() {
            first_line = number + 1;
            if matches!(line.trim().trim_end_matches(';'), "exit" | "quit" | "\\q") {
                break;
            }
        }
        buffer.push_str(&line);
        buffer.push('\n');
        if line.trim_end().ends_with(';') {
            let result = execute(connection, &buffer, first_line, output).await;
            buffer.clear();
            match result {
                // Whoever sits there knows the line, and goes on.
                Err(Ended::Refused { error, .. }) if interactive => eprintln!("{}", told(&error, None)),
                other => other?,
            }
        }
        prompt(interactive, if buffer.is_empty() { "assize> " } else { "     -> " });
    }
    execute(connection, &buffer, first_line, output).await
}

fn prompt(interactive: bool, text: &str) {
    if interactive {
        eprint!("{text}");
        let _ = std::io::stderr().flush();
    }
}

/// Runs the statements of a text that begins on this line, until one fails.
async fn execute(connection: &mut Conn, text: &str, first_line: usize, output: Output) -> Result<(), Ended> {
    for (lines, statement) in statements(text) {
        run_one(connection, statement, output).await.map_err(|ended| ended.at(first_line + lines))?;
    }
    Ok(())
}

/// The statements of a text, each with the number of lines before it.
fn statements(text: &str) -> Vec<(usize, &str)> {
    let places = statement_places(text, &ParseOptions::default());
    let lines = |end: usize| text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count();
    // It is split at semicolons, which are no part of a longer character.
    let statement =
        |whole: std::ops::Range<usize>| text.get(whole).unwrap_or_default().trim().trim_end_matches(';');
    places.into_iter().map(|place| (lines(place.tokens.start), statement(place.whole))).collect()
}

async fn run_one(connection: &mut Conn, statement: &str, output: Output) -> Result<(), Ended> {
    let mut result = connection.query_iter(statement).await?;
    let columns: Vec<String> =
        result.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let rows: Vec<Row> = result.collect().await?;
    if !columns.is_empty() {
        print_rows(&columns, rows, output)?;
    } else if output == Output::Table {
        eprintln!("ok, {} rows affected", result.affected_rows());
    }
    Ok(())
}

fn print_rows(columns: &[String], rows: Vec<Row>, output: Output) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Table => {
            let mut table = Table::new();
            table.load_preset(presets::ASCII_MARKDOWN).set_header(columns);
            for row in rows {
                table.add_row(row.unwrap().iter().map(show));
            }
            writeln!(out, "{table}")?;
        }
        Output::Json => {
            for row in rows {
                let object: serde_json::Map<String, serde_json::Value> = columns
                    .iter()
                    .cloned()
                    .zip(row.unwrap().iter().map(|value| match value {
                        Value::NULL => serde_json::Value::Null,
                        other => serde_json::Value::String(show(other)),
                    }))
                    .collect();
                writeln!(out, "{}", serde_json::Value::Object(object))?;
            }
        }
    }
    Ok(())
}

/// The text protocol sends every value as bytes.
fn show(value: &Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_know_how_many_lines_are_before_them() {
        let text =
            "SELECT 1;\n\n  SELECT ';\n'\n FROM t; -- why;\n/*!50000 SET\n x = 1 */; SELECT 'ä'; SELECT 3;\n";
        let expected = [
            (0, "SELECT 1"),
            (2, "SELECT ';\n'\n FROM t"),
            (5, "-- why;\n/*!50000 SET\n x = 1 */"),
            (6, "SELECT 'ä'"),
            (6, "SELECT 3"),
        ];
        assert_eq!(statements(text), expected);
        assert_eq!(statements(" ;\n; \n"), []);
    }
}
