//! The same little work by other means: a native program, that in a sandbox, interpreters, the command lines of wasmtime and
//! of ambit. Each is started, gives its answer, and ends.
#![expect(clippy::disallowed_types, reason = "a benchmark compares with other processes")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::this_program;
use super::series::{Measure, Sample, Taken};
use super::subject;
use crate::config::Instant;

/// Does what the function `work` does. Linked statically, so that starting it is as cheap as it can be.
const NATIVE: &str = r#"#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    const char *text = argc > 1 ? argv[1] : "";
    unsigned seen[256] = {0}, different = 0;
    for (const char *c = text; *c; c++) different += seen[(unsigned char)*c]++ == 0;
    printf("%zu characters, %u of them different\n", strlen(text), different);
    return 0;
}
"#;

const PYTHON: &str = "import sys; t = sys.argv[1]; print(f'{len(t)} characters, {len(set(t))} of them different')";
const NODE: &str = "const t = process.argv[1]; \
    console.log(`${t.length} characters, ${new Set(t).size} of them different`)";
const TEXT: &str = "the quick brown fox";

const TRIVIAL: &str = r#"name = "trivial"
version = "0.1.0"

[agent]
component = "agent.wasm"
"#;

/// A program with its arguments.
fn started(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a program so often, and looks at what it says.
fn measured(mut command: Command, expected: &str, times: u32) -> Taken {
    let begun = Instant::now();
    for _ in 0..times {
        let output = command.output().map_err(|error| format!("it cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !said.contains(expected) {
            return Err(format!("it ended with {} and said `{}`", output.status, crate::audit::escaped(said.trim())));
        }
    }
    Ok(Sample { operations: times, took: begun.elapsed() })
}

/// The first program of that name on the path.
#[expect(clippy::disallowed_methods, reason = "a benchmark compares with what is installed")]
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Compiles the native program.
fn native(folder: &Path) -> Result<PathBuf, String> {
    let compiler = find("cc").ok_or("no C compiler `cc` is installed to compile it with")?;
    let (source, program) = (folder.join("native.c"), folder.join("native"));
    super::write(&source, NATIVE.as_bytes()).map_err(|_| "its source cannot be written".to_owned())?;
    let (source, out) = (source.to_string_lossy().into_owned(), program.to_string_lossy().into_owned());
    let made = started(&compiler, &["-O2", "-static", "-o", &out, &source]).status();
    match made {
        Ok(status) if status.success() => Ok(program),
        _ => Err("the C compiler cannot link it statically".to_owned()),
    }
}

/// One kind of process that is measured; where it cannot be, that is said.
fn process<'a>(
    name: &'static str,
    what: &str,
    times: u32,
    every: u32,
    command: Result<(PathBuf, Vec<String>), String>,
    expected: &'static str,
) -> Measure<'a> {
    let take = move || {
        let (program, arguments) = command.clone()?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        measured(started(&program, &arguments), expected, times)
    };
    Measure { name, what: what.to_owned(), every, take: Box::new(take) }
}

fn installed(name: &str, arguments: &[&str]) -> Result<(PathBuf, Vec<String>), String> {
    let program = find(name).ok_or_else(|| format!("`{name}` is not installed"))?;
    Ok((program, arguments.iter().map(|text| (*text).to_owned()).collect()))
}

/// All of them, but for ambit itself.
pub(super) fn measures<'a>(folder: &Path) -> Vec<Measure<'a>> {
    let expected = "19 characters, 16 of them different";
    let native = native(folder);
    let alone = native.clone().map(|program| (program, vec![TEXT.to_owned()]));
    let sandboxed = native.and_then(|program| {
        let file = program.to_string_lossy().into_owned();
        installed("bwrap", &["--unshare-all", "--die-with-parent", "--ro-bind", &file, "/native", "/native", TEXT])
    });
    vec![
        process("process", "a static native program, from fork to exit", 20, 1, alone, expected),
        process("bubblewrap", "the same program in bubblewrap (--unshare-all)", 4, 1, sandboxed, expected),
        process(
            "python",
            "python3 -I -S, the same in Python",
            1,
            2,
            installed("python3", &["-I", "-S", "-c", PYTHON, TEXT]),
            expected,
        ),
        process("node", "node, the same in JavaScript", 1, 2, installed("node", &["-e", NODE, TEXT]), expected),
    ]
}

/// The command lines of wasmtime, with a component that it compiled beforehand, and of ambit, with one that is in its cache.
pub(super) fn starts<'a>(folder: &Path) -> Vec<Measure<'a>> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let ours = trivial(&folder.join("start"));
    let theirs = precompiled(folder)
        .map(|(program, file)| (program, ["run", "--allow-precompiled", &text(&file)].map(ToOwned::to_owned).to_vec()));
    let expected = "5 characters, 5 of them different";
    vec![
        process("ambit_run", "`ambit run` of a cached bundle, as a process", 3, 1, ours, expected),
        process("wasmtime_run", "`wasmtime run` of a precompiled component", 3, 1, theirs, expected),
    ]
}

/// A bundle that asks for nothing, in a home of its own, and how it is run.
fn trivial(folder: &Path) -> Result<(PathBuf, Vec<String>), String> {
    let program = this_program().map_err(|_| "ambit's own program is not found".to_owned())?;
    let agent = subject::trivial().map_err(|_| "ambit's own component cannot be read".to_owned())?;
    for (path, content) in [
        ("bundle/bundle.toml", TRIVIAL.as_bytes()),
        ("bundle/agent.wasm", &agent),
        ("policy/grants.toml", b"bundle = \"trivial\"\n"),
    ] {
        super::write(&folder.join(path), content).map_err(|_| "its bundle cannot be written".to_owned())?;
    }
    let [bundle, policy, home] =
        ["bundle", "policy", "home"].map(|name| folder.join(name).to_string_lossy().into_owned());
    let arguments = ["--home", &home, "run", &bundle, "--policy", &policy, "--text", "--input", "input"];
    Ok((program, arguments.map(ToOwned::to_owned).to_vec()))
}

fn precompiled(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let program = find("wasmtime").ok_or("`wasmtime` is not installed")?;
    let (wasm, compiled) = (folder.join("command.wasm"), folder.join("command.cwasm"));
    let bytes = subject::command().map_err(|_| "ambit's own component cannot be read".to_owned())?;
    super::write(&wasm, &bytes).map_err(|_| "its component cannot be written".to_owned())?;
    let (wasm, out) = (wasm.to_string_lossy().into_owned(), compiled.to_string_lossy().into_owned());
    match started(&program, &["compile", "-o", &out, &wasm]).status() {
        Ok(status) if status.success() => Ok((program, compiled)),
        _ => Err("`wasmtime compile` failed".to_owned()),
    }
}
