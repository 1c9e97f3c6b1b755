//! `ambit audit verify`: whether a log holds, in the home or exported.

use std::io::{BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::{Context, Failure, Format, Mistake, answered, output};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::exported::{self, ExportError};
use crate::audit::note::VerifierKey;
use crate::audit::{Flaw, Hash, Head, Verifier};

/// The longest file of checkpoints, in bytes.
const LONGEST: u64 = 64 << 20;

#[derive(clap::Args)]
pub(in super::super) struct Arguments {
    /// Checkpoints that were kept elsewhere: without one, nobody can tell a log whose end was cut off, or an older copy
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// A key that was kept elsewhere, as `ambit audit key` prints it; without it, the home's own is believed
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// An exported log (JSON Lines), or - for standard input: the home is not looked at
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// What a log is that holds.
struct Held {
    head: Head,
    root: Hash,
    /// How many checkpoints hold, and of how many records the longest of them speaks.
    checkpoints: (u64, u64),
    /// What to say besides.
    notes: Vec<String>,
}

pub(super) fn verify(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let help = "write it as `ambit audit key` prints it";
    let key = |text: &String| text.parse().map_err(|error| Mistake::failure(format!("{error}"), help));
    let keys: Vec<VerifierKey> = arguments.key.iter().map(key).collect::<Result<_, _>>()?;
    let kept = arguments.checkpoint.as_deref().map(kept).transpose()?;
    let verdict = match &arguments.log {
        Some(log) => of_export(log, kept, &keys)?,
        None => of_home(context, kept, &keys)?,
    };
    let code = if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    answered(tell(context.format, &verdict), code)
}

fn tell(format: Format, verdict: &Result<Held, Flaw>) -> Result<(), Failure> {
    match (verdict, format) {
        (Ok(held), Format::Human) => {
            let Held { head, root, checkpoints: (count, covered), notes } = held;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{} records, the chain is intact, head {}", head.seq, head.hash)?;
            writeln!(out, "root {root}")?;
            if *count > 0 {
                writeln!(out, "{count} checkpoints hold, the longest of {covered} records")?;
            }
            notes.iter().try_for_each(|note| writeln!(std::io::stderr(), "note: {note}"))?;
        }
        (Ok(held), Format::Json) => {
            let (count, covered) = held.checkpoints;
            output::json(&serde_json::json!({
                "intact": true, "records": held.head.seq, "head": held.head.hash, "root": held.root,
                "checkpoints": count, "covered": covered, "notes": held.notes,
            }))?;
        }
        (Err(flaw), Format::Human) => writeln!(std::io::stderr(), "error: {flaw}")?,
        (Err(flaw), Format::Json) => {
            output::json(&serde_json::json!({ "intact": false, "flaw": flaw.to_string() }))?;
        }
    }
    Ok(())
}

fn of_home(
    context: &Context,
    kept: Option<Vec<Checkpoint>>,
    keys: &[VerifierKey],
) -> Result<Result<Held, Flaw>, Failure> {
    let host = context.host()?;
    let elsewhere = kept.is_some();
    let kept = kept.unwrap_or_default();
    let (count, longest) = (kept.len() as u64, kept.iter().map(|checkpoint| checkpoint.size).max().unwrap_or_default());
    let verdict = match host.audit.verify(kept, keys)? {
        Ok(verdict) => verdict,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let mut notes = Vec::new();
    if keys.is_empty() && (elsewhere || verdict.checkpoints > 0) {
        notes.push(
            "checkpoints were verified with the key of this home, which whoever holds the home could have changed: \
             `--key VKEY` gives one that was kept elsewhere"
                .to_owned(),
        );
    }
    if verdict.by_home > 0 {
        let others = verdict.by_home;
        notes.push(format!(
            "{others} stored checkpoints are of names that no given key is of: the home's own verified them"
        ));
    }
    if !elsewhere {
        notes.push(END.to_owned());
    }
    if let Some(why) = verdict.unsigned {
        notes.push(format!("the last {} records have no checkpoint: {why}", verdict.head.seq - verdict.covered));
    }
    let checkpoints = (verdict.checkpoints + count, verdict.covered.max(longest));
    Ok(Ok(Held { head: verdict.head, root: verdict.root, checkpoints, notes }))
}

/// What cannot be told without a checkpoint.
const END: &str = "whether the end was cut off, or all of it is an older copy, shows with `--checkpoint FILE` alone";

fn of_export(log: &Path, kept: Option<Vec<Checkpoint>>, keys: &[VerifierKey]) -> Result<Result<Held, Flaw>, Failure> {
    if kept.is_some() && keys.is_empty() {
        let help = "give the key that was kept elsewhere: `--key VKEY`, as `ambit audit key` printed it";
        return Err(Mistake::failure("nothing tells whose checkpoints these are", help));
    }
    let notes = if kept.is_none() { vec![END.to_owned()] } else { Vec::new() };
    let kept = kept.unwrap_or_default();
    let checkpoints = (kept.len() as u64, kept.iter().map(|checkpoint| checkpoint.size).max().unwrap_or_default());
    if let Err(flaw) = exported::believed(&kept, keys) {
        return Ok(Err(flaw));
    }
    let mut verifier = Verifier::against(kept);
    let checked = exported::check(&mut BufReader::new(open(log)?), &mut verifier);
    let ended = checked.and_then(|()| Ok(verifier.end()?));
    match ended {
        Ok(head) => Ok(Ok(Held { head, root: verifier.tree().root(), checkpoints, notes })),
        Err(ExportError::Flaw(flaw)) => Ok(Err(flaw)),
        Err(ExportError::Read(error)) => Err(unreadable(log, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Mistake::failure(format!("cannot read `{}`: {error}", path.display()), "name a file that can be read")
}

#[expect(clippy::disallowed_types, reason = "the operator names this file on the command line")]
fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(std::fs::File::open(path).map_err(|error| unreadable(path, &error))?))
}

/// The checkpoints in a file.
fn kept(path: &Path) -> Result<Vec<Checkpoint>, Failure> {
    let mut text = String::new();
    let read = open(path)?.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if read as u64 > LONGEST {
        let message = format!("`{}` is longer than {} MiB", path.display(), LONGEST >> 20);
        return Err(Mistake::failure(message, "give the checkpoints that matter: the newest is enough"));
    }
    Checkpoint::all(&text).map_err(|error| {
        let message = format!("`{}` holds something else than checkpoints: {error}", path.display());
        Mistake::failure(message, "it holds what `ambit audit checkpoint` printed, unchanged, one after another")
    })
}
