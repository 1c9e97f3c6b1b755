//! Names of repositories and branches: those that stand for themselves in addresses and lines alone.

use crate::Error;

/// The longest name, in bytes.
const LONGEST: usize = 200;

/// A repository's path at its host, as `team/site.git`.
///
/// # Errors
///
/// It is none.
pub fn repository(name: &str) -> Result<&str, Error> {
    if fits(name) {
        Ok(name)
    } else {
        Err(Error::BadName(format!("{name:?} is no path of a repository, as `team/site.git`")))
    }
}

/// A branch's name (git-check-ref-format has more of them).
///
/// # Errors
///
/// It is none.
pub fn branch(name: &str) -> Result<&str, Error> {
    let locked = name.split('/').any(|part| part.strip_suffix(".lock").is_some());
    if fits(name) && !locked {
        Ok(name)
    } else {
        Err(Error::BadName(format!("{name:?} is no name of a branch, as `fix/typo`")))
    }
}

/// Parts between single `/`, each of letters, digits, `.`, `_` and `-`, with a letter, a digit or `_` first and no `.` last or
/// twice.
fn fits(name: &str) -> bool {
    let plain = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|first| first.is_ascii_alphanumeric() || *first == b'_')
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
            && !part.ends_with('.')
            && !part.contains("..")
    };
    name.len() <= LONGEST && name.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_themselves() {
        for name in ["main", "fix/typo-2", "v1.0_x", "team/site.git"] {
            assert!(branch(name).is_ok() && repository(name).is_ok(), "{name}");
        }
        let long = "x".repeat(201);
        for name in
            ["", "/", "a/", "/a", "a//b", "-a", ".git", "a/../b", "a..b", "a.", "a b", "a?b", "a%2f", "ä", "a\n", &long]
        {
            assert!(branch(name).is_err() && repository(name).is_err(), "{name:?}");
        }
        assert!(branch("a.lock").is_err() && branch("a.lock/b").is_err());
    }
}
