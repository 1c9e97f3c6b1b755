use super::*;
pub trait Folders: Send + Sync {}
pub struct Filesystem;
use super::switch::{Granted, Request};
impl Capability for Filesystem {
    const NAME: &'static str = "filesystem";
    const SUMMARY: &'static str = "";
    const ACTIONS: &'static [&'static str] = &[];
    const INTERFACES: &'static [&'static str] = &[];
    const SCHEMA: &'static str = "";
    const POWERLESS: bool = true;
    type Grant = Granted;
    type Request = Request;
    type State = ();
    fn given(_: &Granted) -> Vec<String> {
        vec![]
    }
    fn asked(_: &Request) -> Vec<String> {
        vec![]
    }
    fn reason(r: &Request) -> &str {
        &r.reason
    }
    fn narrow(g: &Granted, _: &Request) -> Option<Granted> {
        Some(*g)
    }
    fn powerless(_: &Setting<'_>) -> Option<()> {
        Some(())
    }
    async fn open(_: Guard<'_, Granted>, _: &Setting<'_>) -> Result<(), OpenError> {
        Ok(())
    }
    fn link(_: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        Ok(())
    }
}
