//! The three functions: check out, compare, push.

use std::collections::BTreeSet;
use std::path::Path;

use web::Web;

use crate::checkout::{Checkout, Difference, Happened};
use crate::object::{Id, Object};
use crate::remote::Remote;
use crate::{Error, broken, name, pack, tree};

/// The longest message of a commit, in bytes.
const LONGEST_MESSAGE: usize = 4096;

/// Where the tool works.
pub struct Place<'p, W> {
    /// Sends requests.
    pub web: &'p W,
    /// The host's address.
    pub host: &'p str,
    /// The workspace.
    pub folder: &'p Path,
    /// Who makes commits: `name <address>`.
    pub author: &'p str,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// What was pushed.
#[derive(Debug)]
pub struct Pushed {
    /// The new commit.
    pub commit: Id,
    /// What differs from the one before.
    pub changes: Vec<(String, Happened)>,
}

impl<W: Web> Place<'_, W> {
    /// Writes the files of a branch into the workspace, and says how many.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn checkout(&self, repository: &str, branch: &str) -> Result<(Checkout, u32), Error> {
        let (repository, branch) = (name::repository(repository)?, name::branch(branch)?);
        let remote = Remote::new(self.web, self.host, repository);
        let commit = remote.branch(branch)?;
        let objects = remote.commit(commit)?;
        let root = objects.get(&commit).ok_or_else(|| broken("the commit was not sent"))?.tree()?;
        let paths = tree::paths(root, &|id| objects.get(&id))?;
        let (repository, branch) = (repository.to_owned(), branch.to_owned());
        let mut checkout = Checkout { repository, branch, commit, paths, left_out: BTreeSet::new() };
        let files = checkout.write(self.folder, &|id| objects.get(&id))?;
        Ok((checkout, files))
    }

    /// What differs from the checkout.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn changes(&self) -> Result<Vec<(String, Happened)>, Error> {
        Ok(Checkout::read(self.folder)?.difference(self.folder)?.changes)
    }

    /// Makes a commit of what differs, and pushes it as a new branch.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn commit_and_push(&self, branch: &str, message: &str) -> Result<Pushed, Error> {
        let branch = name::branch(branch)?;
        if message.trim().is_empty() || message.len() > LONGEST_MESSAGE || message.contains('\0') {
            let why = format!("a message has between 1 and {LONGEST_MESSAGE} bytes, and no NUL");
            return Err(Error::BadName(why));
        }
        let checkout = Checkout::read(self.folder)?;
        let Difference { changes, paths, contents } = checkout.difference(self.folder)?;
        if changes.is_empty() {
            return Err(Error::Nothing("nothing has changed".to_owned()));
        }
        let before: BTreeSet<Id> = tree::trees(&checkout.paths)?.into_iter().map(|(id, _)| id).collect();
        let trees = tree::trees(&paths)?;
        let root = trees.last().map(|(id, _)| *id).ok_or_else(|| broken("there is no folder"))?;
        let commit = Object::commit(root, checkout.commit, self.author, self.now, message);
        let id = commit.id()?;
        let new = trees.into_iter().filter(|(id, _)| !before.contains(id)).map(|(_, tree)| tree);
        let objects: Vec<Object> = std::iter::once(commit).chain(new).chain(contents).collect();
        let remote = Remote::new(self.web, self.host, name::repository(&checkout.repository)?);
        remote.push(branch, id, &pack::write(objects.iter())?)?;
        Ok(Pushed { commit: id, changes })
    }
}
