//! Prints `docs/errors/README.md` from the table of error codes: `./justw errors`.

use assize_model::ErrorCode;

fn main() {
    println!(
        "# Errors\n\n\
         Every error that a client can see. *Retry* says what the caller should do: `Never` (fix the statement or the data), `Transaction` (run the whole\n\
         transaction again), `Later` (the cluster is busy or failing over), `Operator` (call one). The table is `model::ErrorCode`; a tidy test compares the two.\n\n\
         | number | SQLSTATE | name | retry | about |\n|---|---|---|---|---|"
    );
    let mut codes = ErrorCode::ALL.to_vec();
    codes.sort_by_key(|code| code.errno());
    for code in codes {
        println!(
            "| {} | {} | `{}` | {:?} | {} |",
            code.errno(),
            code.sqlstate(),
            code.name(),
            code.retry(),
            code.about()
        );
    }
}
