//! The component: the exported function, and the walk through the granted folders.
//!
//! The walk uses WASI directly rather than `std::fs`: it asks the host three things for each file instead of six, and
//! each folder is opened from the one above it, not by its whole path.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:search/search-tool",
        generate_all,
    });
    export!(Search with_types_in self);
    use super::Search;
}

use bindings::exports::ambit_examples::search::search as wit;
use bindings::wasi::filesystem::preopens::get_directories;
use bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, OpenFlags, PathFlags};
use retrieval::answer::{self, Corpus, Found, LARGEST};
use retrieval::passages::Format;

struct Search;

impl wit::Guest for Search {
    fn query(question: String, limit: u32) -> Result<wit::Answer, wit::Problem> {
        let mut folders = Folders::granted();
        if folders.roots.is_empty() {
            return Err(wit::Problem::NoFolder);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        answer::answer(&question, limit, &mut folders).map(wit::Answer::from).ok_or(wit::Problem::NoWords)
    }
}

impl From<answer::Answer> for wit::Answer {
    fn from(answer: answer::Answer) -> Self {
        let answer::Extent { files, bytes, passages, skipped } = answer.searched;
        wit::Answer {
            passages: answer.passages.into_iter().map(wit::Passage::from).collect(),
            terms: answer.terms.into_iter().map(|(word, passages)| wit::Term { word, passages }).collect(),
            searched: wit::Extent { files, bytes, passages, skipped },
        }
    }
}

impl From<answer::Passage> for wit::Passage {
    fn from(passage: answer::Passage) -> Self {
        let answer::Passage { file, line, last_line, heading, score, text } = passage;
        wit::Passage { file, line, last_line, heading, score, text }
    }
}

/// How many bytes are asked for at once.
const STEP: u64 = 64 << 10;

/// Hosts that answer with less than they were asked for still answer with whole pages of this many bytes, but at the end
/// of a file.
const PAGE: usize = 4096;

/// How many folders may lie in each other.
const DEEPEST: usize = 64;

/// How many entries of a folder that cannot be read are passed over in a row.
const PATIENCE: u32 = 100;

/// The granted folders.
struct Folders {
    /// Each with its path, in order.
    roots: Vec<(String, Descriptor)>,
}

impl Folders {
    fn granted() -> Folders {
        let mut roots: Vec<(String, Descriptor)> =
            get_directories().into_iter().map(|(folder, path)| (path, folder)).collect();
        roots.sort_by(|one, other| one.0.cmp(&other.0));
        Folders { roots }
    }
}

impl Corpus for Folders {
    fn walk(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        for (path, folder) in &self.roots {
            walk(folder, path.trim_end_matches('/'), DEEPEST, found);
        }
    }

    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.roots.iter().find_map(|(root, folder)| {
            let name = path.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?;
            read(folder, name)
        })
    }
}

fn walk(folder: &Descriptor, path: &str, depth: usize, found: &mut dyn FnMut(Found<'_>)) {
    let Some(entries) = entries(folder) else {
        found(Found::Skipped);
        return;
    };
    for (name, kind) in entries {
        let path = format!("{path}/{name}");
        match kind {
            _ if name.starts_with('.') => found(Found::Skipped),
            DescriptorType::Directory => match open(folder, &name, OpenFlags::DIRECTORY) {
                Some(inner) if depth > 0 => walk(&inner, &path, depth - 1, found),
                _ => found(Found::Skipped),
            },
            DescriptorType::RegularFile if Format::of(&name).is_some() => match read(folder, &name) {
                Some(content) => found(Found::File(&path, &content)),
                None => found(Found::Skipped),
            },
            // Links as well: what they lead to is found where it is, or is none of the granted.
            _ => found(Found::Skipped),
        }
    }
}

/// What lies in a folder, by name.
fn entries(folder: &Descriptor) -> Option<Vec<(String, DescriptorType)>> {
    let stream = folder.read_directory().ok()?;
    let mut entries = Vec::new();
    let mut failures = 0;
    while failures < PATIENCE {
        match stream.read_directory_entry() {
            Ok(Some(entry)) => entries.push((entry.name, entry.type_)),
            Ok(None) => break,
            Err(_) => failures += 1,
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Some(entries)
}

fn open(folder: &Descriptor, name: &str, flags: OpenFlags) -> Option<Descriptor> {
    folder.open_at(PathFlags::empty(), name, flags, DescriptorFlags::READ).ok()
}

/// The content of a file, unless it is too large.
fn read(folder: &Descriptor, name: &str) -> Option<Vec<u8>> {
    let file = open(folder, name, OpenFlags::empty())?;
    let (mut content, mut end) = file.read(STEP, 0).ok()?;
    if !end && content.len() % PAGE == 0 {
        let size = usize::try_from(file.stat().ok()?.size).ok()?;
        if size > LARGEST {
            return None;
        }
        content.reserve_exact(size.saturating_sub(content.len()));
        while !end {
            let (more, last) = file.read(STEP, content.len() as u64).ok()?;
            end = last || more.is_empty();
            content.extend_from_slice(&more);
            if content.len() > LARGEST {
                return None;
            }
        }
    }
    Some(content)
}
