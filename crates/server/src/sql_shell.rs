//! `assize sql`: a small MySQL client, so that nothing else need be installed.

use crate::cli::{Output, SqlOptions};
use crate::{Failure, client};
use comfy_table::{Table, presets};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use std::io::{BufRead, IsTerminal, Write};

/// Runs the statements of `--execute`, or those on standard input, one by one.
pub async fn run(options: SqlOptions) -> Result<(), Failure> {
    let mut connection = client::connect(&options.target.url).await?;
    if let Some(text) = &options.execute {
        execute(&mut connection, text, options.output).await?;
    } else {
        read_and_execute(&mut connection, options.output).await?;
    }
    connection.disconnect().await?;
    Ok(())
}

async fn read_and_execute(connection: &mut Conn, output: Output) -> Result<(), Failure> {
    let interactive = std::io::stdin().is_terminal();
    let mut buffer = String::new();
    prompt(interactive, "assize> ");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if buffer.is_empty() && matches!(line.trim().trim_end_matches(';'), "exit" | "quit" | "\\q") {
            break;
        }
        buffer.push_str(&line);
        buffer.push('\n');
        if line.trim_end().ends_with(';') {
            let result = execute(connection, &buffer, output).await;
            buffer.clear();
            match result {
                Err(failure) if interactive && failure.error.is::<mysql_async::Error>() => {
                    eprintln!("{}", failure.error);
                }
                other => other?,
            }
        }
        prompt(interactive, if buffer.is_empty() { "assize> " } else { "     -> " });
    }
    if !buffer.trim().is_empty() {
        execute(connection, &buffer, output).await?;
    }
    Ok(())
}

fn prompt(interactive: bool, text: &str) {
    if interactive {
        eprint!("{text}");
        let _ = std::io::stderr().flush();
    }
}

async fn execute(connection: &mut Conn, text: &str, output: Output) -> Result<(), Failure> {
    let mut result = connection.query_iter(text.trim().trim_end_matches(';')).await?;
    loop {
        let columns: Vec<String> =
            result.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        if columns.is_empty() {
            if output == Output::Table {
                eprintln!("ok, {} rows affected", result.affected_rows());
            }
            result.collect::<Row>().await?;
        } else {
            let rows: Vec<Row> = result.collect().await?;
            print_rows(&columns, rows, output)?;
        }
        if result.is_empty() {
            return Ok(());
        }
    }
}

fn print_rows(columns: &[String], rows: Vec<Row>, output: Output) -> Result<(), Failure> {
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
