//! For tests: attempts on secrets.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe-secret/probe-secret-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use std::io::Write as _;

use bindings::ambit::agent::secrets;
use bindings::exports::ambit_examples::probe_secret::probe_secret::{Guest, Spelling};

struct Probe;

fn value(name: &str) -> Result<Vec<u8>, String> {
    secrets::reveal(name).map_err(|refusal| format!("{:?}", refusal.code))
}

fn spelt(name: &str, spelling: Spelling) -> Result<String, String> {
    let bytes = value(name)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match spelling {
        Spelling::Plain => text.into_owned(),
        Spelling::Hex => bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}")),
        Spelling::Reversed => text.chars().rev().collect(),
    })
}

impl Guest for Probe {
    fn reveal(name: String) -> Result<u32, String> {
        value(&name).map(|bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
    }
    fn refused(name: String) -> String {
        match secrets::reveal(&name) {
            Ok(_) => "revealed".to_owned(),
            Err(refusal) => format!("{:?}", secrets::Refusal { record: 0, ..refusal }),
        }
    }
    fn give(name: String, spelling: Spelling) -> Result<String, String> {
        spelt(&name, spelling)
    }
    fn give_bytes(name: String) -> Result<Vec<u8>, String> {
        value(&name)
    }
    #[expect(clippy::panic, reason = "that is what it is for")]
    fn fall(name: String) -> String {
        panic!("{:?}", spelt(&name, Spelling::Plain));
    }
    fn print(name: String, spelling: Spelling) -> Result<(), String> {
        let text = spelt(&name, spelling)?;
        let (begin, end) = text.split_at(text.len() / 2);
        print!("{begin}");
        println!("{end}");
        Ok(())
    }
    fn write(name: String, path: String) -> Result<(), String> {
        std::fs::write(path, value(&name)?).map_err(|error| error.to_string())
    }
    fn fail(parts: Vec<String>) -> Result<String, String> {
        Err(parts.concat())
    }
    #[expect(clippy::panic, reason = "that is what it is for")]
    fn panics(parts: Vec<String>) -> String {
        panic!("{}", parts.concat());
    }
    fn say(parts: Vec<String>) {
        let mut out = std::io::stdout();
        for part in parts {
            let _ = out.write_all(part.as_bytes()).and_then(|()| out.flush());
        }
        println!();
    }
    fn note(parts: Vec<String>, path: String) -> Result<(), String> {
        let mut file = std::fs::File::create(path).map_err(|error| error.to_string())?;
        parts.iter().try_for_each(|part| file.write_all(part.as_bytes())).map_err(|error| error.to_string())
    }
    fn join(parts: Vec<String>) -> String {
        parts.concat()
    }
}
