//! `assize status`.

use super::{Connection, call, output};
use crate::Failure;
use assize_admin::pb::{self, Health, Severity};
use assize_admin::{ClientError, ErrorKind};
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Options of `assize status`.
#[derive(Args, Debug)]
pub struct StatusOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
}

/// Prints the diagnosis. Nobody who answers is a diagnosis too; somebody who refuses to talk to us is not.
pub async fn run(options: StatusOptions) -> Result<ExitCode, Failure> {
    let told = match diagnosis(&options.connection).await {
        Err(failure) => match failure.error.downcast_ref::<ClientError>() {
            Some(error) if error.kind() == ErrorKind::Unavailable => {
                eprintln!("assize: {error}");
                nobody(&options.connection, error)
            }
            _ => return Err(failure),
        },
        Ok(told) => told,
    };
    output::one(options.connection.output, &told, |told| text(told, output::has_colours()))?;
    Ok(ExitCode::from(code(told.health())))
}

async fn diagnosis(connection: &Connection) -> Result<pb::DiagnoseResponse, Failure> {
    Ok(call!(connection.open().await?.cluster(), diagnose, pb::DiagnoseRequest {}))
}

fn nobody(connection: &Connection, error: &ClientError) -> pb::DiagnoseResponse {
    pb::DiagnoseResponse {
        health: Health::Unavailable.into(),
        summary: "no node answered".to_owned(),
        findings: vec![pb::Finding {
            severity: Severity::Critical.into(),
            subject: connection.admin.join(", "),
            what: error.to_string(),
            advice: "start a node, or name the admin API of one that runs with --admin HOST:PORT".to_owned(),
        }],
    }
}

fn code(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Unavailable | Health::Unspecified => 2,
    }
}

/// The diagnosis for people.
pub(super) fn text(told: &pb::DiagnoseResponse, has_colours: bool) -> String {
    let colour = match told.health() {
        Health::Healthy => "32",
        Health::Degraded => "33",
        Health::Unavailable | Health::Unspecified => "31",
    };
    let health = told.health().to_string();
    let health = if has_colours { format!("\x1b[1;{colour}m{health}\x1b[0m") } else { health };
    let mut text = format!("{health}: {}", told.summary);
    for finding in &told.findings {
        let _ = write!(
            text,
            "\n\n{}: {}: {}\n    do: {}",
            finding.severity(),
            finding.subject,
            finding.what,
            finding.advice
        );
    }
    text
}
