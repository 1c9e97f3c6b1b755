//! Pages instead of a folder: reads those that the request names and what they lead to, and searches them.
//!
//! The agent does not know what may be read. It follows links to the hosts that it was sent to, up to [`MOST`] pages and in
//! the order in which they were found; what is refused is told, and is no failure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use retrieval::answer::{self, Corpus};
use retrieval::passages::Format;
use serde_json::Value;

use crate::tools::{self, CallError, Extent, Found, Page, Term, Tools};

/// How many pages are read at most, those that could not be read included.
pub const MOST: usize = 40;

/// The pages that were read, and those that were not.
#[derive(Debug, Default)]
pub struct Pages {
    /// Text by address, in the order of addresses.
    texts: BTreeMap<String, String>,
    /// The addresses that were refused.
    pub refused: Vec<String>,
    /// What else went wrong, as sentences.
    pub notes: Vec<String>,
}

/// Reads pages and what they lead to.
///
/// # Errors
///
/// There is no tool that reads pages.
pub fn read(tools: &impl Tools, starts: &[String]) -> Result<Pages, CallError> {
    let mut pages = Pages::default();
    let hosts: BTreeSet<&str> = starts.iter().map(|start| host(start)).collect();
    let mut seen: BTreeSet<String> = starts.iter().cloned().collect();
    let mut waiting: VecDeque<String> = starts.iter().cloned().collect();
    let mut asked = 0;
    while let Some(url) = waiting.pop_front() {
        if asked == MOST {
            pages.notes.push(format!("{} more pages were not read: {MOST} are the most", waiting.len() + 1));
            break;
        }
        asked += 1;
        match tools::browse(tools, &url) {
            Ok(page) => {
                let Page { url, text, links } = page;
                let follow = |link: &String| hosts.contains(host(link)) && seen.insert(link.clone());
                waiting.extend(links.into_iter().filter(follow));
                seen.insert(url.clone());
                pages.texts.insert(url, text);
            }
            Err(CallError::Unknown) => return Err(CallError::Unknown),
            Err(error) => pages.note(&url, &error),
        }
    }
    Ok(pages)
}

/// Whether the error of `browse` is `refused(url)`.
fn is_refusal(error: &str) -> bool {
    serde_json::from_str::<Value>(error).is_ok_and(|error| error.get("refused").is_some())
}

/// The scheme, the host and the port of an address.
fn host(url: &str) -> &str {
    let behind = url.find("://").map_or(0, |at| at + 3);
    let end = url[behind..].find(['/', '?', '#']).map_or(url.len(), |at| behind + at);
    &url[..end]
}

impl Pages {
    fn note(&mut self, url: &str, error: &CallError) {
        match error {
            CallError::Refused(code, record) => {
                self.refused.push(url.to_owned());
                self.notes.push(format!("{url} was refused ({code}; audit record {record})"));
            }
            // The tool's own error for what the host did not let out.
            CallError::Failed(error) if is_refusal(error) => {
                self.refused.push(url.to_owned());
                self.notes.push(format!("{url} was refused: it is not for this task to read"));
            }
            CallError::Failed(why) | CallError::Broken(why) => {
                self.notes.push(format!("{url} could not be read: {why}"));
            }
            CallError::Unknown => {}
        }
    }

    /// The addresses that were read.
    pub fn read(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// Finds the passages that fit a question best, or nothing when the question has no word to look for.
    #[must_use]
    pub fn search(&self, question: &str, limit: usize) -> Option<Found> {
        let answer::Answer { passages, terms, searched } = answer::answer(question, limit, &mut Texts(&self.texts))?;
        let answer::Extent { files, bytes, passages: number, .. } = searched;
        Some(Found {
            passages,
            terms: terms.into_iter().map(|(word, passages)| Term { word, passages }).collect(),
            searched: Extent { files, bytes, passages: number },
        })
    }
}

struct Texts<'a>(&'a BTreeMap<String, String>);

impl Corpus for Texts<'_> {
    fn walk(&mut self, found: &mut dyn FnMut(answer::Found<'_>)) {
        for (url, text) in self.0 {
            found(answer::Found::File(url, text.as_bytes()));
        }
    }

    fn read(&mut self, url: &str) -> Option<Vec<u8>> {
        self.0.get(url).map(|text| text.clone().into_bytes())
    }

    /// Whatever it was, the tool gives it as Markdown.
    fn format(_: &str) -> Option<Format> {
        Some(Format::Markdown)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::*;

    /// A web of pages that lead to one another.
    struct Web {
        pages: fn(&str) -> Result<Value, CallError>,
        asked: RefCell<Vec<String>>,
    }

    impl Tools for Web {
        fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
            assert_eq!(name, "browse.read");
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let url = arguments["url"].as_str().unwrap();
            self.asked.borrow_mut().push(url.to_owned());
            (self.pages)(url).map(|page| page.to_string())
        }
    }

    fn page(url: &str, text: &str, links: &[&str]) -> Value {
        json!({"url": url, "status": 200, "title": "", "text": text, "links": links})
    }

    fn read_from(
        pages: fn(&str) -> Result<Value, CallError>,
        starts: &[&str],
    ) -> (Result<Pages, CallError>, Vec<String>) {
        let web = Web { pages, asked: RefCell::new(Vec::new()) };
        let starts: Vec<String> = starts.iter().map(|start| (*start).to_owned()).collect();
        (read(&web, &starts), web.asked.into_inner())
    }

    #[test]
    fn links_are_followed_within_the_hosts_that_were_named() {
        let (pages, asked) = read_from(
            |url| match url {
                "http://a/docs" => {
                    Ok(page("http://a/docs/", "Read on.", &["http://a/x", "http://b/", "https://a/", "http://a:1/"]))
                }
                "http://a/x" => {
                    Ok(page(url, "# Fuel\n\nFuel is charged.", &["http://a/docs/", "http://a/x", "http://a/y"]))
                }
                "http://a/y" => Err(CallError::Failed(r#"{"refused":"http://a/y"}"#.to_owned())),
                _ => Err(CallError::Failed(r#"{"status":404}"#.to_owned())),
            },
            &["http://a/docs"],
        );
        let pages = pages.unwrap();
        assert_eq!(asked, ["http://a/docs", "http://a/x", "http://a/y"]);
        assert_eq!(pages.read().collect::<Vec<_>>(), ["http://a/docs/", "http://a/x"]);
        assert_eq!((pages.refused.as_slice(), pages.notes.len()), (&["http://a/y".to_owned()][..], 1));
        let found = pages.search("how is fuel charged?", 5).unwrap();
        assert_eq!((found.passages[0].file.as_str(), found.passages[0].heading.as_str()), ("http://a/x", "Fuel"));
        assert_eq!((found.passages.len(), found.searched.files), (1, 2));
    }

    #[test]
    fn there_is_an_end_of_pages() {
        let (pages, asked) =
            read_from(|url| Ok(page(url, "", &[&format!("{url}x"), &format!("{url}y")])), &["http://a/"]);
        assert_eq!(asked.len(), MOST);
        assert!(pages.unwrap().notes[0].ends_with("more pages were not read: 40 are the most"));
    }

    #[test]
    fn what_goes_wrong_is_a_note_and_no_tool_is_a_failure() {
        let (pages, _) = read_from(|_| Err(CallError::Broken("it trapped".to_owned())), &["http://a/"]);
        assert_eq!(pages.unwrap().notes, ["http://a/ could not be read: it trapped"]);
        let (pages, _) = read_from(|_| Err(CallError::Refused("denied".to_owned(), 7)), &["http://a/"]);
        assert_eq!(pages.unwrap().refused, ["http://a/"]);
        assert_eq!(read_from(|_| Err(CallError::Unknown), &["http://a/"]).0.unwrap_err(), CallError::Unknown);
    }

    #[test]
    fn hosts_are_told_apart() {
        for (url, expected) in
            [("http://a/b", "http://a"), ("http://a:1?b", "http://a:1"), ("a", "a"), ("http://a", "http://a")]
        {
            assert_eq!(host(url), expected);
        }
    }
}
