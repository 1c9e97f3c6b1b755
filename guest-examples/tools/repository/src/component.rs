//! The component: the exported functions, the network, the workspace and the clock.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use web::Granted;

use crate::Error;
use crate::checkout::Happened;
use crate::work::Place;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:repository/repository-tool",
        generate_all,
    });
    export!(Repository with_types_in self);
    use super::Repository;
}

use bindings::exports::ambit_examples::repository::repository as wit;

struct Repository;

/// Where the workspace is mounted.
const WORKSPACE: &str = "/workspace";
/// The host's address, unless `REPOSITORY_URL` says another.
const HOST: &str = "http://localhost:8804";
/// Who makes commits, unless `REPOSITORY_AUTHOR` says another.
const AUTHOR: &str = "developer <developer@localhost>";

/// Does something at the place that the environment names.
fn there<T>(act: impl FnOnce(Place<'_, Granted>) -> Result<T, Error>) -> Result<T, wit::Error> {
    let variable = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let (host, author) = (variable("REPOSITORY_URL", HOST), variable("REPOSITORY_AUTHOR", AUTHOR));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let place = Place { web: &Granted, host: &host, folder: Path::new(WORKSPACE), author: &author, now };
    act(place).map_err(wit::Error::from)
}

impl wit::Guest for Repository {
    fn checkout(repository: String, branch: String) -> Result<wit::CheckoutRecord, wit::Error> {
        let (checkout, files) = there(|place| place.checkout(&repository, &branch))?;
        let left_out = checkout.left_out.into_iter().collect();
        Ok(wit::CheckoutRecord { commit: checkout.commit.to_string(), branch: checkout.branch, files, left_out })
    }

    fn changes() -> Result<Vec<wit::Change>, wit::Error> {
        there(|place| place.changes()).map(told)
    }

    fn commit_and_push(branch: String, message: String) -> Result<wit::Pushed, wit::Error> {
        let pushed = there(|place| place.commit_and_push(&branch, &message))?;
        Ok(wit::Pushed { commit: pushed.commit.to_string(), branch, changes: told(pushed.changes) })
    }
}

fn told(changes: Vec<(String, Happened)>) -> Vec<wit::Change> {
    let kind = |happened| match happened {
        Happened::Added => wit::Kind::Added,
        Happened::Modified => wit::Kind::Modified,
        Happened::Removed => wit::Kind::Removed,
    };
    changes.into_iter().map(|(path, happened)| wit::Change { path, kind: kind(happened) }).collect()
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::BadName(why) => Self::BadName(why),
            Error::Refused(why) => Self::Refused(why),
            Error::Unreachable(why) => Self::Unreachable(why),
            Error::NotFound(why) => Self::NotFound(why),
            Error::Exists(why) => Self::Exists(why),
            Error::Nothing(why) => Self::Nothing(why),
            Error::TooLarge(why) => Self::TooLarge(why),
            Error::Broken(why) => Self::Broken(why),
            Error::Workspace(why) => Self::Workspace(why),
        }
    }
}
