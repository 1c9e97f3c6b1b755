//! placeholder
use crate::failure::Failure;
use crate::steps::Steps;
use crate::workspace::Workspace;
pub(crate) fn run(_: &mut Steps, _: &Workspace) -> Result<(), Failure> { Ok(()) }
