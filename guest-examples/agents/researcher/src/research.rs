//! The task: search, quote, choose, cite.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use text::words::words;

use crate::pages::{self, Pages};
use crate::request::{self, Request};
use crate::sentences::{Sentence, sentences};
use crate::tools::{self, CallError, Found, Passage, Tools};
use crate::weights::Weights;

/// How many passages are asked for.
const PASSAGES: u32 = 24;

/// How many of them are quoted, and how many of these from one file.
const QUOTED: usize = 6;
const QUOTED_OF_ONE_FILE: usize = 3;

/// How many sentences an answer has at most.
const SENTENCES: usize = 4;

/// A sentence that adds less than this part of what the first one says is left out.
const WORTH_SAYING: f64 = 0.2;

/// The longest quote of a citation, in bytes.
const LONGEST_QUOTE: usize = 2_000;

/// Why the task could not be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// A stable word.
    pub code: &'static str,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure with its code and its message.
    #[must_use]
    pub fn new(code: &'static str, message: &str) -> Failure {
        Failure { code, message: message.to_owned() }
    }
}

/// Answers the question in `input`, as JSON: `question`, `answer`, `citations`, `searched` and `notes`; and `pages`, with the
/// addresses that were `read` and `refused`, when the request names pages.
///
/// # Errors
///
/// `bad-input` (see [`request::request`]), `no-tools` when there is no tool to search or to browse with, `search-refused` and
/// `search-failed`. What goes wrong with a quote or a page is a note.
pub fn research(input: &str, tools: &impl Tools) -> Result<Value, Failure> {
    let Request { question, pages } = request::request(input)?;
    if pages.is_empty() {
        let found = tools::search(tools, &question, PASSAGES).map_err(|error| search_failure(&error))?;
        return Ok(report(&question, &found, |best, notes| quote(tools, best, notes)));
    }
    let pages = pages::read(tools, &pages)
        .map_err(|_| Failure::new("no-tools", "no tool `browse` with a function `read` was granted"))?;
    let found = pages.search(&question, PASSAGES as usize).ok_or_else(no_words)?;
    let mut report = report(&question, &found, |best, notes| {
        notes.extend_from_slice(&pages.notes);
        best.into_iter().map(|(passage, rank)| Excerpt::of_page(passage, rank)).collect()
    });
    report["pages"] = told(&pages);
    Ok(report)
}

/// What was read, and what was not.
fn told(pages: &Pages) -> Value {
    json!({"read": pages.read().collect::<Vec<_>>(), "refused": pages.refused})
}

/// Chooses what to say of what was found. `excerpts` gives passages their text to cite, and may leave notes.
fn report<'a>(
    question: &str,
    found: &'a Found,
    excerpts: impl FnOnce(Vec<(&'a Passage, f64)>, &mut Vec<String>) -> Vec<Excerpt<'a>>,
) -> Value {
    let weights = Weights::of(found);
    let mut notes = unknown_words(found);
    let excerpts = excerpts(best(found, &weights), &mut notes);
    let chosen = choose(&excerpts, &weights);
    let (answer, citations) = write(&excerpts, &chosen, found);
    let searched = json!({"files": found.searched.files, "bytes": found.searched.bytes});
    json!({
        "question": question,
        "answer": answer,
        "citations": citations,
        "searched": searched,
        "notes": notes,
    })
}

fn no_words() -> Failure {
    Failure::new("bad-input", "the question has no word to look for")
}

fn search_failure(error: &CallError) -> Failure {
    match error {
        CallError::Unknown => Failure::new("no-tools", "no tool `search` with a function `query` was granted"),
        CallError::Refused(code, record) => {
            Failure::new("search-refused", &format!("the search was refused ({code}); audit record {record} says why"))
        }
        CallError::Failed(error) if error.contains("no-words") => no_words(),
        CallError::Failed(error) => Failure::new("search-failed", &format!("the search tool answered {error}")),
        CallError::Broken(why) => Failure::new("search-failed", &format!("the search tool broke down: {why}")),
    }
}

/// Words of the question that stand in no document. Two words as one are not the question's.
fn unknown_words(found: &Found) -> Vec<String> {
    let words: BTreeSet<&str> = found.terms.iter().map(|term| term.word.as_str()).collect();
    let joined = |word: &str| (1..word.len()).any(|at| word.is_char_boundary(at) && words.contains(&word[..at]));
    let unknown: Vec<String> = found
        .terms
        .iter()
        .filter(|term| term.passages == 0 && !joined(&term.word))
        .map(|term| format!("no document has the word `{}`", term.word))
        .collect();
    unknown
}

/// The passages to quote: those that score well and cover much of the question, best first.
fn best<'a>(found: &'a Found, weights: &Weights) -> Vec<(&'a Passage, f64)> {
    let mut ranked: Vec<(&Passage, f64)> = found
        .passages
        .iter()
        .map(|passage| {
            let covered = weights.covered_by(&format!("{} {}", passage.heading, passage.text));
            (passage, passage.score * (0.4 + 0.6 * covered))
        })
        .collect();
    ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut of_file: BTreeMap<&str, usize> = BTreeMap::new();
    ranked.retain(|(passage, _)| {
        let number = of_file.entry(&passage.file).or_default();
        *number += 1;
        *number <= QUOTED_OF_ONE_FILE
    });
    ranked.truncate(QUOTED);
    ranked
}

/// A passage with the text to cite.
struct Excerpt<'a> {
    passage: &'a Passage,
    rank: f64,
    text: String,
    /// How its place is told.
    place: Place,
    sentences: Vec<Sentence>,
}

/// How the place of a passage is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By the lines of the sentences: each line of the text is a line of the file.
    Lines,
    /// By the lines of the passage.
    Passage,
    /// By the address alone: a page has no lines.
    Page,
}

impl<'a> Excerpt<'a> {
    fn of_page(passage: &'a Passage, rank: f64) -> Self {
        let sentences = sentences(&passage.text, false, &passage.heading);
        Excerpt { passage, rank, text: passage.text.clone(), place: Place::Page, sentences }
    }
}

/// Asks for the exact text of passages. Where there is none, that of the search has to do.
fn quote<'a>(tools: &impl Tools, best: Vec<(&'a Passage, f64)>, notes: &mut Vec<String>) -> Vec<Excerpt<'a>> {
    let mut offered = true;
    let mut excerpts = Vec::new();
    for (passage, rank) in best {
        let quote = if offered { tools::quote(tools, passage).map_err(Some) } else { Err(None) };
        let (text, place) = match quote {
            Ok(quote) if !quote.markup_removed => (quote.text, Place::Lines),
            Ok(quote) => {
                if !has_all_lines(&quote.text, &passage.text) {
                    notes.push(format!("{}:{} has changed since it was searched", passage.file, passage.line));
                }
                (passage.text.clone(), Place::Passage)
            }
            Err(why) => {
                if why == Some(CallError::Unknown) {
                    offered = false;
                }
                notes.extend(why.map(|why| quote_note(&why, passage)));
                (passage.text.clone(), Place::Passage)
            }
        };
        let sentences = sentences(&text, is_source_code(&passage.file), &passage.heading);
        excerpts.push(Excerpt { passage, rank, text, place, sentences });
    }
    excerpts
}

/// Whether a quote has what the search found in it. One line of a page can be long, and the passage a part of it.
fn has_all_lines(quote: &str, passage: &str) -> bool {
    passage.lines().all(|line| quote.contains(line.trim()))
}

fn quote_note(why: &CallError, passage: &Passage) -> String {
    let place = format!("{}:{}", passage.file, passage.line);
    match why {
        CallError::Unknown => "no tool `quote` was granted: passages are cited as the search shows them".to_owned(),
        CallError::Refused(code, record) => {
            format!(
                "the quote of {place} was refused ({code}; audit record {record}): it is cited as the search shows it"
            )
        }
        CallError::Failed(why) | CallError::Broken(why) => {
            format!("{place} could not be quoted ({why}): it is cited as the search shows it")
        }
    }
}

fn is_source_code(file: &str) -> bool {
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    !matches!(extension.as_str(), "md" | "markdown" | "mdx" | "html" | "htm" | "xhtml" | "txt" | "rst" | "adoc" | "")
        && file.rsplit('/').next().is_none_or(|name| name.contains('.'))
}

/// A sentence that goes into the answer: the number of its excerpt, and its own.
type Choice = (usize, usize);

/// Chooses the sentences that together say most, each for what those before it do not say.
fn choose(excerpts: &[Excerpt<'_>], weights: &Weights) -> Vec<Choice> {
    let highest = excerpts.iter().map(|excerpt| excerpt.rank).fold(f64::MIN_POSITIVE, f64::max);
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut chosen: Vec<Choice> = Vec::new();
    let mut first = 0.0;
    while chosen.len() < SENTENCES {
        let mut best: Option<(f64, Choice)> = None;
        for (at, excerpt) in excerpts.iter().enumerate() {
            for (number, sentence) in excerpt.sentences.iter().enumerate() {
                if says_the_same(excerpts, &chosen, &sentence.text) {
                    continue;
                }
                let terms = weights.terms_in(&sentence.text);
                let gain = weights.of_terms(&terms, &known) * form(sentence) * (0.5 + 0.5 * excerpt.rank / highest);
                if gain > best.map_or(0.0, |(gain, _)| gain) {
                    best = Some((gain, (at, number)));
                }
            }
        }
        let Some((gain, choice)) = best.filter(|(gain, _)| *gain >= first * WORTH_SAYING) else { break };
        first = f64::max(first, gain);
        known.extend(weights.terms_in(&excerpts[choice.0].sentences[choice.1].text));
        chosen.push(choice);
    }
    in_reading_order(chosen)
}

/// Sentences of the passage that was chosen first come first, each passage's in its own order.
fn in_reading_order(chosen: Vec<Choice>) -> Vec<Choice> {
    let mut order: Vec<usize> = Vec::new();
    for (excerpt, _) in &chosen {
        if !order.contains(excerpt) {
            order.push(*excerpt);
        }
    }
    let mut sorted = chosen;
    sorted.sort_by_key(|(excerpt, sentence)| (order.iter().position(|other| other == excerpt), *sentence));
    sorted
}

/// How fit a sentence is to stand alone.
fn form(sentence: &Sentence) -> f64 {
    let words = sentence.text.split_whitespace().count();
    let length = match words {
        0..=2 => 0.3,
        3..=5 => 0.7,
        6..=50 => 1.0,
        _ => 0.8,
    };
    let question = if sentence.text.ends_with('?') { 0.4 } else { 1.0 };
    length * question * if sentence.prose { 1.0 } else { 0.4 }
}

fn says_the_same(excerpts: &[Excerpt<'_>], chosen: &[Choice], text: &str) -> bool {
    let own: BTreeSet<&str> = words(text).collect();
    chosen.iter().any(|(excerpt, sentence)| {
        let other: BTreeSet<&str> = words(&excerpts[*excerpt].sentences[*sentence].text).collect();
        let common = own.intersection(&other).count();
        common * 10 >= own.len().min(other.len()) * 8
    })
}

/// Writes the answer and its citations.
fn write(excerpts: &[Excerpt<'_>], chosen: &[Choice], found: &Found) -> (String, Vec<Value>) {
    let mut sentences_of: Vec<(usize, Vec<usize>)> = Vec::new();
    for (excerpt, sentence) in chosen {
        match sentences_of.last_mut() {
            Some((last, sentences)) if last == excerpt => sentences.push(*sentence),
            _ => sentences_of.push((*excerpt, vec![*sentence])),
        }
    }
    if sentences_of.is_empty() && !excerpts.is_empty() {
        sentences_of.push((0, Vec::new()));
    }
    let mut paragraphs = Vec::new();
    let mut citations = Vec::new();
    for (id, (excerpt, sentences)) in (1..).zip(&sentences_of) {
        let excerpt = &excerpts[*excerpt];
        let said: Vec<&str> = sentences.iter().map(|number| excerpt.sentences[*number].text.as_str()).collect();
        let said = if said.is_empty() { excerpt.text.trim().to_owned() } else { said.join(" ") };
        paragraphs.push(format!("{said} [{id}]"));
        citations.push(citation(id, excerpt, sentences));
    }
    if paragraphs.is_empty() {
        let (files, bytes) = (found.searched.files, found.searched.bytes);
        return (format!("Nothing in the documents answers this ({files} files, {bytes} bytes searched)."), citations);
    }
    (paragraphs.join("\n"), citations)
}

/// Says where sentences stand: their own lines when these are known, else those of their passage.
fn citation(id: usize, excerpt: &Excerpt<'_>, chosen: &[usize]) -> Value {
    let sentences = || chosen.iter().map(|number| &excerpt.sentences[*number]);
    let lines: Vec<&str> = excerpt.text.lines().collect();
    let last_of_text = lines.len().saturating_sub(1);
    // A line of code or a row of a table says little without those around it.
    let prose = !chosen.is_empty() && sentences().all(|sentence| sentence.prose);
    let first = sentences().map(|sentence| sentence.first).filter(|_| prose).min().unwrap_or(0);
    let last = sentences().map(|sentence| sentence.last).filter(|_| prose).max().unwrap_or(last_of_text);
    let quote = lines.get(first..=last.min(last_of_text)).unwrap_or_default().join("\n");
    let quote = &quote[..quote.floor_char_boundary(LONGEST_QUOTE)];
    let passage = excerpt.passage;
    let score = (passage.score * 1000.0).round() / 1000.0;
    if excerpt.place == Place::Page {
        let (url, heading) = (&passage.file, &passage.heading);
        return json!({"id": id, "url": url, "cite": url, "heading": heading, "quote": quote, "score": score});
    }
    let (line, last_line) = if excerpt.place == Place::Lines {
        let line = |number: usize| passage.line.saturating_add(u32::try_from(number).unwrap_or(u32::MAX));
        (line(first), line(last))
    } else {
        (passage.line, passage.last_line)
    };
    json!({
        "id": id,
        "file": passage.file,
        "line": line,
        "last_line": last_line,
        "cite": format!("{}:{line}", passage.file),
        "heading": passage.heading,
        "quote": quote,
        "score": score,
    })
}

#[cfg(test)]
mod tests;
