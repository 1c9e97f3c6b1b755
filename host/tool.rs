use wasmtime::component::types::Type;
use wasmtime::component::*;
pub struct Function;
pub enum Outcome {
    Ok(serde_json::Value),
    Err(serde_json::Value),
}
#[derive(Debug)]
pub struct E0;
impl std::fmt::Display for E0 {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
impl std::error::Error for E0 {}
impl Function {
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn description(&self) -> &str {
        todo!()
    }
    pub fn parameters_schema(&self) -> &serde_json::Value {
        todo!()
    }
    pub fn result_schema(&self) -> &serde_json::Value {
        todo!()
    }
    pub fn arguments(&self, _: &str) -> Result<(Vec<Val>, String), E0> {
        todo!()
    }
    pub fn outcome(&self, _: &[Val]) -> Result<Outcome, E0> {
        todo!()
    }
    pub fn export(&self) -> &ComponentExportIndex {
        todo!()
    }
    pub fn result(&self) -> Option<&Type> {
        todo!()
    }
}
pub struct Functions;
pub struct Listed {
    pub usable: Vec<Function>,
    pub refused: Vec<E0>,
}
impl Functions {
    pub fn of(_: &Component, _: &wasmtime::Engine, _: &[u8]) -> Result<Vec<Function>, E0> {
        todo!()
    }
    pub fn list(_: &Component, _: &wasmtime::Engine, _: &[u8]) -> Listed {
        todo!()
    }
}
pub fn imports(_: &Component, _: &wasmtime::Engine) -> Vec<String> {
    todo!()
}
pub mod json {
    pub fn parse(_: &str) -> Result<serde_json::Value, super::E0> {
        todo!()
    }
}
