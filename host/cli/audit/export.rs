//! `ambit audit export`: the log for other programs, page by page.

use std::io::Write;
use std::process::ExitCode;

use super::super::{Context, Failure, FormatArgument, Mistake, unwritten};
use super::{named, readable};
use crate::audit::{Record, ocsf, otlp};

/// Records that are held at once.
const PAGE: u64 = 1_000;

#[derive(clap::Args)]
pub(in super::super) struct Arguments {
    /// Only those of a task and its calls: its name, or enough of its beginning
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only those after this record
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
}

pub(in super::super) fn export(
    context: &Context,
    arguments: &Arguments,
    format: FormatArgument,
) -> Result<ExitCode, Failure> {
    if format == FormatArgument::Json {
        let help = "use `--format jsonl`, which is also what is written without it, `ocsf` or `otlp`";
        return Err(Mistake::failure("an export is no single JSON value", help));
    }
    if format == FormatArgument::Html {
        return Err(unwritten("use `--format jsonl`, which is also what is written without it, `ocsf` or `otlp`"));
    }
    let host = context.host()?;
    let task = arguments.task.as_deref().map(|name| named(&host, name)).transpose()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = arguments.after;
    loop {
        let page = readable(host.audit.records(task.as_deref(), after, PAGE)?)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        write_page(&mut out, &page, format)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write_page(out: &mut impl Write, page: &[Record], format: FormatArgument) -> std::io::Result<()> {
    if format == FormatArgument::Otlp {
        serde_json::to_writer(&mut *out, &otlp::request(page))?;
        return out.write_all(b"\n");
    }
    for record in page {
        match format {
            FormatArgument::Ocsf => serde_json::to_writer(&mut *out, &ocsf::event(record))?,
            _ => serde_json::to_writer(&mut *out, record)?,
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}
