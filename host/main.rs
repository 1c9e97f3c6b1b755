//! The `ambit` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// What was freed is overwritten: values of secrets pass through buffers of libraries, which know nothing of them. What a task
/// makes and the database's thread frees would make both wait for one another with the allocator of the C library.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

#[expect(clippy::disallowed_methods, reason = "the program's arguments begin here")]
fn main() -> ExitCode {
    // The panic itself was printed by the hook: what is left to say is that it is our bug.
    std::panic::catch_unwind(|| ambit::cli::main(std::env::args_os())).unwrap_or(ExitCode::from(70))
}
