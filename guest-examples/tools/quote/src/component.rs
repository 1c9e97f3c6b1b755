//! The component: the exported function, and reading of granted files.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "quote-tool" });
    export!(Quote with_types_in self);
    use super::Quote;
}

use bindings::exports::ambit_examples::quote::quote as wit;

use crate::passage::{self, LARGEST};

struct Quote;

impl wit::Guest for Quote {
    fn lines(file: String, first: u32, last: u32) -> Result<wit::Passage, wit::Error> {
        let content = read(&file)?;
        let passage = passage::passage(&file, content, first, last).map_err(wit::Error::from)?;
        let passage::Passage { first, last, total_lines, markup_removed, text } = passage;
        Ok(wit::Passage { file, first, last, total_lines, markup_removed, text })
    }
}

impl From<passage::Error> for wit::Error {
    fn from(error: passage::Error) -> Self {
        match error {
            passage::Error::NotText => wit::Error::NotText,
            passage::Error::BadRange => wit::Error::BadRange,
            passage::Error::OutOfRange(lines) => wit::Error::OutOfRange(lines),
            passage::Error::TooLong(bytes) => wit::Error::TooLong(bytes),
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, wit::Error> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => wit::Error::NotFound,
        _ => wit::Error::NotReadable(error.to_string()),
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(wit::Error::NotReadable("it is no file".to_owned()));
    }
    if metadata.len() > LARGEST {
        return Err(wit::Error::NotText);
    }
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
