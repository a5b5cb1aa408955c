//! Tells whether the kernel gives a ring, and whether files in a folder (the argument, or where it runs) can be read and written by it. Ends with 1 if not.

use std::path::PathBuf;
use std::process::ExitCode;

use writeback_uring::UringStore;

fn main() -> ExitCode {
    if let Err(refused) = UringStore::probe() {
        println!("no ring: {refused}");
        return ExitCode::FAILURE;
    }
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = folder.join(format!("probe-{}", std::process::id()));
    let created = UringStore::create(&path);
    let outcome = match &created {
        Ok(store) => format!("a ring, and {:?}", store.registered()),
        Err(error) => format!("a ring, but no such file: {error}"),
    };
    println!("{outcome}");
    let _ = std::fs::remove_file(&path);
    if created.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
