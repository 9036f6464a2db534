//! The `waypost` command: see [`waypost::cli`].

use std::process::ExitCode;

/// Sessions, hooks and deliveries allocate in small pieces from many threads, which the system's allocator serves with
/// more contention.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    waypost::cli::main()
}
