//! `ambit secret`: the secrets of the home. Values come from standard input, and are never shown.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Context, Failure, Format, output};
use crate::edge::secrets::SecretError;
use crate::secret::{LONGEST, Secret, SecretName};

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Set a secret to what stands on standard input, without the line's end
    #[command(
        after_help = "The value is read from standard input alone: what stands on a command line, others can read.\n\
        \n  printf %s \"$TOKEN\" | ambit secret set billing-token\n\
        \nFrom a terminal it is read without being shown. One line's end is taken off. A lease of the value before is over \
        with the next request."
    )]
    Set {
        /// What it is called, in a-z, 0-9, `-`, `_` and `.`
        name: SecretName,
    },
    /// List secrets: names, versions and where they come from, never values
    List,
    /// Remove a secret; leases of it are over with the next request
    Remove {
        /// What it is called
        name: SecretName,
    },
    /// Seal everything anew under a new data key, which the configured key wraps
    Rotate,
}

pub(super) fn secret(context: &Context, verb: Verb) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let runtime = super::runtime()?;
    let by = format!("uid {}", crate::config::user_id());
    let said = match verb {
        Verb::List => {
            list(context, &host)?;
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Set { name } => {
            let value = value(&name)?;
            let version = runtime.block_on(host.secrets.set(name.clone(), value, by)).map_err(failed)?;
            serde_json::json!({ "secret": name, "version": version })
        }
        Verb::Remove { name } => {
            runtime.block_on(host.secrets.stored().remove(name.clone(), by)).map_err(failed)?;
            serde_json::json!({ "removed": name })
        }
        Verb::Rotate => {
            let count = runtime.block_on(host.secrets.stored().rotate(by)).map_err(failed)?;
            serde_json::json!({ "sealed": count })
        }
    };
    if context.format == Format::Json {
        output::json(&said)?;
    } else {
        let text = |key: &str| said[key].as_str().unwrap_or_default();
        let line = match () {
            () if said.get("version").is_some() => format!("{} is set (version {})", text("secret"), said["version"]),
            () if said.get("removed").is_some() => format!("{} is removed", text("removed")),
            () => format!("{} sealed anew", said["sealed"]),
        };
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: SecretError) -> Failure {
    match error {
        SecretError::Missing(_) | SecretError::Elsewhere { .. } | SecretError::Unfit { .. } => {
            Failure::Usage(miette::miette!("{error}"))
        }
        error => Failure::Host(miette::miette!("{error}")),
    }
}

fn list(context: &Context, host: &crate::front::Host) -> Result<(), Failure> {
    let stored = host.secrets.stored().list().map_err(failed)?;
    let elsewhere: Vec<_> = host.secrets.elsewhere().map(|(name, place)| (name.to_string(), place)).collect();
    if context.format == Format::Json {
        let own = stored.iter().map(|own| {
            serde_json::json!({ "name": own.name, "source": "home", "version": own.version, "set_at": own.set_at })
        });
        let others = elsewhere.iter().map(|(name, place)| serde_json::json!({ "name": name, "source": place }));
        return output::json(&own.chain(others).collect::<Vec<_>>());
    }
    if stored.is_empty() && elsewhere.is_empty() {
        writeln!(std::io::stderr(), "there are no secrets: `ambit secret set NAME` sets one")?;
    }
    let mut out = std::io::stdout().lock();
    for own in stored {
        let time = super::audit::time(own.set_at);
        writeln!(out, "{:<24}  version {:<4}  set {time}", own.name, own.version)?;
    }
    for (name, place) in elsewhere {
        writeln!(out, "{name:<24}  from {}", output::printable(&place))?;
    }
    Ok(())
}

/// The value on standard input.
fn value(name: &SecretName) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    // Read without the buffer of standard input, which would keep a copy; and never moved to a larger place.
    let mut value = Zeroizing::new(Vec::with_capacity(LONGEST + 4));
    let is_terminal = stdin.is_terminal();
    let quiet = if is_terminal {
        write!(std::io::stderr(), "value of {name}, which is not shown: ")?;
        Some(Quiet::new()?)
    } else {
        None
    };
    let mut byte = Zeroizing::new([0]);
    while value.len() < LONGEST + 3 && rustix::io::read(&stdin, &mut *byte).map_err(std::io::Error::from)? == 1 {
        value.push(byte[0]);
        if is_terminal && byte[0] == b'\n' {
            break;
        }
    }
    if quiet.is_some() {
        writeln!(std::io::stderr())?;
    }
    for end in [b'\n', b'\r'] {
        if value.last() == Some(&end) {
            value.pop();
        }
    }
    Secret::new(value).map_err(|why| Failure::Usage(miette::miette!("the value of `{name}` is no secret: {why}")))
}

/// A terminal that does not show what is typed, as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn new() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
