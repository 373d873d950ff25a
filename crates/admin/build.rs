//! Compiles `proto/` without protoc, and keeps the descriptors for reflection.
#![allow(clippy::disallowed_methods)] // Cargo talks to build scripts through the environment.

use std::path::PathBuf;

/// Below the repository's `proto/`.
const FILES: &[&str] = &[
    "assize/admin/v1/cluster.proto",
    "assize/admin/v1/transactions.proto",
    "assize/admin/v1/shards.proto",
    "assize/admin/v1/schema.proto",
    "assize/admin/v1/sessions.proto",
    "assize/admin/v1/config.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
];

/// Fields that serde prints through a function of `src/json.rs`, because their Rust type says too little.
const PRINTED_BY: &[(&str, &str)] = &[
    ("Done.verified", "verified"),
    ("Job.state", "job_state"),
    ("Job.began_at", "timestamp"),
    ("Job.elapsed", "duration"),
    ("Job.longest_stall", "duration"),
    ("Member.member_role", "member_role"),
    ("Member.uptime", "duration"),
    ("RaftMember.member_role", "member_role"),
    ("Finding.severity", "severity"),
    ("DiagnoseResponse.health", "health"),
    ("Traffic.at", "timestamp"),
    ("Transaction.snapshot_ts", "text"),
    ("Transaction.age", "duration"),
    ("ListTransactionsRequest.age_min", "duration"),
    ("GetOutcomeResponse.outcome", "outcome"),
    ("GetOutcomeResponse.commit_ts", "text"),
    ("GetOutcomeResponse.committed_at", "timestamp"),
    ("ConflictSide.age", "duration"),
    ("Conflict.at", "timestamp"),
    ("Conflict.committed_before", "duration"),
    ("Conflict.committed_before_at_most", "duration"),
    ("HotKey.last_at", "timestamp"),
    ("Replica.lag", "duration"),
    ("Session.in_state", "duration"),
    ("Digest.total", "duration"),
    ("SlowStatement.at", "timestamp"),
    ("SlowStatement.took", "duration"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());

    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(&descriptors, compiler.encode_file_descriptor_set())?;

    let mut builder = tonic_prost_build::configure()
        .build_transport(true)
        .type_attribute(".assize.admin.v1", "#[derive(serde::Serialize)]");
    for (field, function) in PRINTED_BY {
        let attribute = format!("#[serde(serialize_with = \"crate::json::{function}\")]");
        builder = builder.field_attribute(format!(".assize.admin.v1.{field}"), attribute);
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
