//! Searches a folder natively, to measure: `cargo run --release --example measure -- FOLDER QUESTION`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use retrieval::answer::{Corpus, Found, LARGEST, answer};

struct Folder(PathBuf);

impl Corpus for Folder {
    fn walk(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        walk(&self.0, found);
    }

    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        fs::read(path).ok()
    }
}

fn walk(folder: &Path, found: &mut dyn FnMut(Found<'_>)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
        if kind.is_dir() {
            walk(&path, found);
        } else if kind.is_file() && entry.metadata().is_ok_and(|file| file.len() <= LARGEST as u64) {
            if let (Ok(content), Some(path)) = (fs::read(&path), path.to_str()) {
                found(Found::File(path, &content));
            }
        } else {
            found(Found::Skipped);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give a folder and a question")?);
    let question: Vec<String> = arguments.collect();
    let start = Instant::now();
    let answer = answer(&question.join(" "), 10, &mut Folder(folder)).ok_or("the question has no words")?;
    for passage in &answer.passages {
        println!("{:.2} {}:{}-{} [{}]", passage.score, passage.file, passage.line, passage.last_line, passage.heading);
        println!("    {}", passage.text.replace('\n', "\n    "));
    }
    println!("{:?}\n{:?}\n{:?}", answer.terms, answer.searched, start.elapsed());
    Ok(())
}
