//! The `ambit` program.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the program's arguments begin here")]
fn main() -> ExitCode {
    ambit::cli::main(std::env::args_os())
}
