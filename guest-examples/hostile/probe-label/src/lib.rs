//! For tests: attempts on labels.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe-label/probe-label-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use bindings::ambit::agent::labels;
use bindings::exports::ambit_examples::probe_label::probe_label::Guest;

struct Probe;

impl Guest for Probe {
    fn labels() -> Vec<String> {
        labels::list()
    }
    fn remove(label: String) -> Result<(), String> {
        labels::remove(&label).map_err(|refusal| format!("{:?}", refusal.code))
    }
    fn read_and_remove(path: String, label: String) -> Result<String, String> {
        let text = Self::read(path)?;
        Self::remove(label)?;
        Ok(text)
    }
    fn read(path: String) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }
    fn write(path: String, text: String) -> Result<(), String> {
        std::fs::write(path, text).map_err(|error| error.to_string())
    }
    fn write_and_remove(path: String, text: String, label: String) -> Result<(), String> {
        Self::write(path, text)?;
        Self::remove(label)
    }
    fn print(text: String) {
        println!("{text}");
    }
    #[expect(clippy::panic, reason = "that is what it is for")]
    fn read_and_fall(path: String) -> String {
        panic!("{:?}", Self::read(path));
    }
}
