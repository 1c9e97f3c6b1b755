//! The `ambit` program.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the program's arguments begin here")]
fn main() -> ExitCode {
    // The panic itself was printed by the hook: what is left to say is that it is our bug.
    std::panic::catch_unwind(|| ambit::cli::main(std::env::args_os())).unwrap_or(ExitCode::from(70))
}
