//! Fetching and pushing over HTTP (gitprotocol-http; gitprotocol-v2 to fetch, gitprotocol-pack to push).

use url::Url;
use web::{Method, Request, Response, Web};

use crate::object::Id;
use crate::pack::{self, Objects};
use crate::packet::{Line, Lines, lines};
use crate::{Error, broken};

/// The longest answer that is read, in bytes.
const LARGEST: usize = 32 << 20;
/// Asks for the second version of the protocol.
const SECOND: &[(&str, &str)] = &[("git-protocol", "version=2")];

/// A repository at its host.
pub struct Remote<'w, W> {
    web: &'w W,
    url: String,
}

impl<'w, W: Web> Remote<'w, W> {
    /// The repository of that name, which was checked, at a host.
    pub fn new(web: &'w W, host: &str, name: &str) -> Self {
        Self { web, url: format!("{}/{name}", host.trim_end_matches('/')) }
    }

    /// The commit that a branch leads to.
    ///
    /// # Errors
    ///
    /// There is no such branch, or no answer.
    pub fn branch(&self, name: &str) -> Result<Id, Error> {
        let advertised = self.get("info/refs?service=git-upload-pack", SECOND)?;
        let second = |line: &Line<'_>| line.text() == Some("version 2");
        if !lines(&advertised.body)?.iter().any(second) {
            return Err(broken("the host does not speak the second version of Git's protocol"));
        }
        let reference = format!("refs/heads/{name}");
        let ask = Lines::default().line("command=ls-refs\n").line("object-format=sha1\n").delimiter();
        let ask = ask.line(&format!("ref-prefix {reference}\n")).flush();
        let answer = self.fetch(ask)?;
        let found = lines(&answer)?.into_iter().filter_map(Line::text).find_map(|line| {
            let (id, name) = line.split_once(' ')?;
            (name == reference).then(|| id.to_owned())
        });
        found.ok_or_else(|| Error::NotFound(format!("there is no branch {name:?}")))?.parse()
    }

    /// A commit and all that is in it, without its history.
    ///
    /// # Errors
    ///
    /// No answer, or one that is broken.
    pub fn commit(&self, id: Id) -> Result<Objects, Error> {
        let ask = Lines::default().line("command=fetch\n").line("object-format=sha1\n").delimiter();
        let ask = ask.line("no-progress\n").line("ofs-delta\n").line("deepen 1\n");
        let answer = self.fetch(ask.line(&format!("want {id}\n")).line("done\n").flush())?;
        let (mut pack, mut in_pack) = (Vec::new(), false);
        for line in lines(&answer)? {
            match line {
                Line::Data(b"packfile\n") if !in_pack => in_pack = true,
                Line::Data([1, data @ ..]) if in_pack => pack.extend_from_slice(data),
                Line::Data([3, why @ ..]) if in_pack => {
                    return Err(broken(format!("the host says: {}", String::from_utf8_lossy(why).trim_end())));
                }
                Line::Data(_) | Line::Delimiter | Line::Flush => {}
            }
        }
        pack::read(&pack)
    }

    /// Makes a branch that leads to a commit, with the objects of `pack`.
    ///
    /// # Errors
    ///
    /// The branch is there already, or the host refuses.
    pub fn push(&self, branch: &str, commit: Id, pack: &[u8]) -> Result<(), Error> {
        let advertised = self.get("info/refs?service=git-receive-pack", &[])?;
        let reference = format!("refs/heads/{branch}");
        let taken = lines(&advertised.body)?.into_iter().any(|line| {
            let Line::Data(data) = line else { return false };
            let named = data.split(|byte| *byte == 0).next().unwrap_or_default();
            named.get(41..).map(<[u8]>::trim_ascii_end) == Some(reference.as_bytes())
        });
        if taken {
            return Err(Error::Exists(format!("there is a branch {branch:?} already")));
        }
        let head = format!("{} {commit} {reference}\0report-status object-format=sha1", Id::NONE);
        let mut body = Lines::default().line(&head).flush().0;
        body.extend_from_slice(pack);
        let answer = self.post("git-receive-pack", "application/x-git-receive-pack-request", &[], body)?;
        let report = lines(&answer)?;
        let mut said = report.iter().filter_map(|line| line.text());
        let unpacked = said.next() == Some("unpack ok");
        let done = format!("ok {reference}");
        if unpacked && said.clone().any(|line| line == done) {
            return Ok(());
        }
        let why = report.iter().filter_map(|line| line.text()).collect::<Vec<_>>().join("; ");
        Err(broken(format!("the host did not take it: {why}")))
    }

    fn fetch(&self, ask: Lines) -> Result<Vec<u8>, Error> {
        self.post("git-upload-pack", "application/x-git-upload-pack-request", SECOND, ask.0)
    }

    fn get(&self, path: &str, headers: &'static [(&'static str, &'static str)]) -> Result<Response, Error> {
        self.send(path, Method::Get, headers, Vec::new())
    }

    fn post(
        &self,
        path: &str,
        media_type: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        Ok(self.send(path, Method::Post(media_type), headers, body)?.body)
    }

    fn send(
        &self,
        path: &str,
        method: Method,
        headers: &'static [(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Result<Response, Error> {
        let url = format!("{}/{path}", self.url);
        let url = Url::parse(&url).map_err(|_| Error::BadName(format!("{url:?} is no address")))?;
        let request = Request { method, url, body, accept: "*/*", headers, largest: LARGEST };
        let response = self.web.send(&request).map_err(|error| match error {
            web::Error::Refused => Error::Refused("this tool may not ask that of that host".to_owned()),
            web::Error::BadUrl => Error::BadName("that is no address of a host".to_owned()),
            web::Error::TooLarge => Error::TooLarge("the answer is longer than may be read".to_owned()),
            web::Error::Unreachable(why) => Error::Unreachable(why),
        })?;
        match response.status {
            200 => Ok(response),
            401 | 403 => Err(Error::Refused(format!("the host does not admit it (status {})", response.status))),
            404 => Err(Error::NotFound("there is no such repository".to_owned())),
            status => Err(broken(format!("the host answers with status {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use web::Script;

    use super::*;
    use crate::object::{Kind, Object};

    const COMMIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    fn answer(body: Vec<u8>) -> Response {
        Response { status: 200, media_type: None, location: None, body }
    }

    fn fetching(request: &Request) -> Response {
        let asked = String::from_utf8_lossy(&request.body).into_owned();
        assert!(request.headers == SECOND, "{asked}");
        if request.method == Method::Get {
            let head = Lines::default().line("# service=git-upload-pack\n").flush();
            return answer(head.line("version 2\n").line("fetch=shallow\n").flush().0);
        }
        if asked.contains("command=ls-refs") {
            let other = format!("{} refs/heads/main2\n", Id::NONE);
            return answer(Lines::default().line(&other).line(&format!("{COMMIT} refs/heads/main\n")).flush().0);
        }
        assert!(asked.contains("deepen 1\n") && asked.contains(&format!("want {COMMIT}\n")), "{asked}");
        let object = Object { kind: Kind::Blob, bytes: b"hello\n".to_vec() };
        let pack = pack::write([&object].into_iter()).unwrap();
        let mut body = Lines::default().line("shallow-info\n").line(&format!("shallow {COMMIT}")).delimiter();
        body = body.line("packfile\n").line("\u{2}counting");
        for piece in pack.chunks(10) {
            body.0.extend(format!("{:04x}\u{1}", piece.len() + 5).into_bytes());
            body.0.extend(piece);
        }
        answer(body.flush().0)
    }

    #[test]
    fn a_branch_is_found_and_its_commit_fetched() {
        let web = Script::new(|request: &Request| Ok(fetching(request)));
        let remote = Remote::new(&web, "http://git/", "a.git");
        let id = remote.branch("main").unwrap();
        assert_eq!(id.to_string(), COMMIT);
        assert_eq!(remote.commit(id).unwrap().len(), 1);
        assert!(matches!(remote.branch("mai"), Err(Error::NotFound(_))));
        assert_eq!(web.asked()[0], "GET http://git/a.git/info/refs?service=git-upload-pack");
    }

    fn pushing(report: &'static [&'static str]) -> impl Fn(&Request) -> Result<Response, web::Error> {
        move |request| {
            if request.method == Method::Get {
                let first = format!("{COMMIT} refs/heads/main\0report-status\n");
                let head = Lines::default().line("# service=git-receive-pack\n").flush();
                return Ok(answer(head.line(&first).line(&format!("{COMMIT} refs/heads/other\n")).flush().0));
            }
            let line = format!("{} {COMMIT} refs/heads/new\0report-status", Id::NONE);
            assert!(String::from_utf8_lossy(&request.body)[4..].starts_with(&line));
            assert!(request.body.ends_with(b"0000PACK"));
            Ok(answer(report.iter().fold(Lines::default(), |lines, line| lines.line(line)).flush().0))
        }
    }

    #[test]
    fn a_new_branch_is_pushed_and_one_that_is_there_is_not() {
        let commit = COMMIT.parse().unwrap();
        let push = |branch: &str, report| {
            let web = Script::new(pushing(report));
            Remote::new(&web, "http://git", "a.git").push(branch, commit, b"PACK")
        };
        assert_eq!(push("new", &["unpack ok\n", "ok refs/heads/new\n"]), Ok(()));
        assert!(matches!(push("main", &[]), Err(Error::Exists(_))));
        assert!(matches!(push("other", &[]), Err(Error::Exists(_))));
        for report in [
            &["unpack ok\n", "ng refs/heads/new hook declined\n"][..],
            &["unpack bad\n", "ok refs/heads/new\n"],
            &["unpack ok\n", "ok refs/heads/newer\n"],
            &[],
        ] {
            assert!(matches!(push("new", report), Err(Error::Broken(_))), "{report:?}");
        }
    }

    #[test]
    fn what_the_host_does_not_give_has_a_word() {
        let ask = |given: Result<u16, web::Error>| {
            let web = Script::new(|_: &Request| {
                given.clone().map(|status| Response { status, media_type: None, location: None, body: Vec::new() })
            });
            Remote::new(&web, "http://git", "a.git").branch("main").unwrap_err()
        };
        assert!(matches!(ask(Err(web::Error::Refused)), Error::Refused(_)));
        assert!(matches!(ask(Ok(401)), Error::Refused(_)));
        assert!(matches!(ask(Ok(404)), Error::NotFound(_)));
        assert!(matches!(ask(Ok(302)), Error::Broken(_)));
        assert!(matches!(ask(Ok(200)), Error::Broken(_)), "another version");
    }
}
