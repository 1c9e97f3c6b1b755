//! Path rules: what a guest may call a file, decided before any system call.
//!
//! A path is relative to a folder that the guest holds, and is brought into one normal form: names between single `/`,
//! without `.` and `..`, and `.` alone for the folder itself. Where it ends in `/` or `/.` it has to be a folder, and
//! that is kept beside it: no system call sees a trailing slash. `..` is resolved in the text, so that the path that is
//! decided on is the path that is opened, also where a link stands in it.
//!
//! | refused | with |
//! | --- | --- |
//! | empty, absolute, climbing above the folder | `access` |
//! | longer than 4096 bytes, or a name longer than 255 | `name-too-long` |
//! | NUL | `invalid` |

use std::fmt;

use super::failure::Failed;
use super::types::ErrorCode;

/// Longest path, in bytes (`PATH_MAX` of Linux).
const LONGEST_PATH: usize = 4096;
/// Longest name in it, in bytes (`NAME_MAX` of Linux).
const LONGEST_NAME: usize = 255;

/// A path below a folder, in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    path: String,
    folder: bool,
}

impl Inside {
    /// The folder itself.
    pub(super) fn itself() -> Self {
        Self { path: ".".to_owned(), folder: true }
    }

    /// Brings what a guest wrote into normal form.
    ///
    /// # Errors
    /// When it breaks a rule of this module.
    pub(super) fn parse(text: &str) -> Result<Self, Failed> {
        check(text)?;
        let mut names = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    let climbs = Failed::Outside(ErrorCode::Access, "the path climbs above its folder".into());
                    names.pop().ok_or(climbs)?;
                }
                name => names.push(name),
            }
        }
        if names.is_empty() {
            return Ok(Self::itself());
        }
        let folder = matches!(text.rsplit('/').next(), Some("" | "." | ".."));
        Ok(Self { path: names.join("/"), folder })
    }

    /// The path: never empty, never absolute, without `..`.
    pub(super) fn as_str(&self) -> &str {
        &self.path
    }

    /// Whether it has to be a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.folder
    }

    /// The folder that it lies in, if that is another, and its name there. None for the folder itself.
    pub(super) fn split(&self) -> Option<(Option<&str>, &str)> {
        match self.path.rsplit_once('/') {
            _ if self.path == "." => None,
            Some((parent, name)) => Some((Some(parent), name)),
            None => Some((None, &self.path)),
        }
    }

    /// How the guest knows it, when it knows its folder as `folder`.
    ///
    /// # Errors
    /// When that is longer than a path may be: opening folders one in another is no way around it.
    pub(super) fn below(&self, folder: &str) -> Result<String, Failed> {
        let path = if self.path == "." { folder.to_owned() } else { format!("{folder}/{}", self.path) };
        if path.len() > LONGEST_PATH {
            Err(Failed::Outside(ErrorCode::NameTooLong, "the path is too long".into()))
        } else {
            Ok(path)
        }
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Checks what a symbolic link is to hold: a relative path that leads downwards only.
///
/// A guest could not follow any other out of its folder, but whoever reads the folder on the host could.
///
/// # Errors
/// When it leads upwards or to the root, or is no path at all.
pub(super) fn check_target(target: &str) -> Result<(), Failed> {
    check(target)?;
    if target.split('/').any(|name| name == "..") {
        return Err(Failed::Outside(ErrorCode::Access, "the link would lead upwards".into()));
    }
    Ok(())
}

fn check(text: &str) -> Result<(), Failed> {
    let refused = |code, why: &'static str| Err(Failed::Outside(code, why.into()));
    if text.is_empty() {
        refused(ErrorCode::Access, "the path is empty")
    } else if text.len() > LONGEST_PATH || text.split('/').any(|name| name.len() > LONGEST_NAME) {
        refused(ErrorCode::NameTooLong, "the path is too long")
    } else if text.contains('\0') {
        refused(ErrorCode::Invalid, "the path has a NUL in it")
    } else if text.starts_with('/') {
        refused(ErrorCode::Access, "the path is absolute")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> (String, bool) {
        let path = Inside::parse(text).unwrap();
        (path.path, path.folder)
    }

    fn code(text: &str) -> ErrorCode {
        match Inside::parse(text) {
            Err(Failed::Outside(code, _)) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_have_one_form() {
        for (text, path, folder) in [
            ("a", "a", false),
            ("./a//b", "a/b", false),
            ("a/", "a", true),
            ("a/.", "a", true),
            ("a/./", "a", true),
            ("a/b/..", "a", true),
            ("a/../b", "b", false),
            ("a/..", ".", true),
            (".", ".", true),
            ("a..b/...", "a..b/...", false),
        ] {
            assert_eq!(normal(text), (path.to_owned(), folder), "{text}");
        }
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        for text in
            ["", "/", "/etc/passwd", "//a", "..", "../", "../a", "a/../..", "a/../../b", "./..", "a/../b/../../c"]
        {
            assert_eq!(code(text), ErrorCode::Access, "{text}");
        }
        assert_eq!(code("a\0b"), ErrorCode::Invalid);
        assert_eq!(code(&"a/".repeat(2049)), ErrorCode::NameTooLong);
        assert_eq!(code(&"a".repeat(256)), ErrorCode::NameTooLong);
        assert_eq!(normal(&"a".repeat(255)).0.len(), 255);
    }

    #[test]
    fn opening_folders_one_in_another_does_not_make_longer_paths() {
        let name = Inside::parse(&"a".repeat(200)).unwrap();
        assert_eq!(Inside::itself().below("/m").unwrap(), "/m");
        assert!(name.below(&"/b".repeat(1900)).is_ok());
        assert!(name.below(&"/b".repeat(1950)).is_err());
    }

    #[test]
    fn names_are_split_from_their_folders() {
        let split = |text: &str| {
            Inside::parse(text).unwrap().split().map(|(folder, name)| (folder.map(str::to_owned), name.to_owned()))
        };
        assert_eq!(split("a/b/"), Some((Some("a".to_owned()), "b".to_owned())));
        assert_eq!(split("a"), Some((None, "a".to_owned())));
        assert_eq!(split("."), None);
    }

    #[test]
    fn links_lead_downwards() {
        assert!(check_target("a/b").is_ok());
        for target in ["", "/etc", "..", "a/../b", "../a", "a\0", &"a".repeat(256)] {
            assert!(check_target(target).is_err(), "{target}");
        }
    }

    proptest! {
        /// Whatever a guest writes, what comes out names something below the folder, and is its own normal form.
        #[test]
        fn normal_paths_stay_inside(text in "[a./\\x00]{0,12}") {
            if let Ok(path) = Inside::parse(&text) {
                let form = path.as_str();
                prop_assert!(form == "." || form.split('/').all(|name| !matches!(name, "" | "." | "..")));
                prop_assert_eq!(Inside::parse(form).unwrap().path, form);
            }
        }
    }
}
