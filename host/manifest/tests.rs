//! What a reader sees when a value is wrong, and what the other manifests' tests share.

use std::any::Any;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::*;

/// Two keys: `filesystem`, a list of mounts, and `tools`, a list of names.
pub(crate) const VOCABULARY: Vocabulary<'static> = &[&Filesystem, &Tools];

struct Filesystem;
struct Tools;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Mount {
    pub(crate) host: String,
    pub(crate) guest: GuestPath,
    #[serde(default)]
    pub(crate) access: Access,
    pub(crate) quota: Option<ByteSize>,
    pub(crate) most_files: Option<u32>,
    #[serde(default)]
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    #[default]
    Read,
    Write,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesystemRequest {
    pub(crate) mounts: Vec<GuestPath>,
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolsRequest {
    pub(crate) names: Vec<Spanned<String>>,
    pub(crate) reason: String,
}

impl Section for Filesystem {
    fn key(&self) -> &'static str {
        "filesystem"
    }

    fn grant(&self, value: Spanned<DeValue<'_>>, base: &Path) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        let mut mounts: Vec<Mount> = read(value)?;
        for mount in &mut mounts {
            mount.host = base.join(&mount.host).display().to_string();
        }
        Ok(Box::new(mounts))
    }

    fn request(&self, value: Spanned<DeValue<'_>>) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        Ok(Box::new(read::<FilesystemRequest>(value)?))
    }
}

impl Section for Tools {
    fn key(&self) -> &'static str {
        "tools"
    }

    fn grant(&self, value: Spanned<DeValue<'_>>, _base: &Path) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        Ok(Box::new(read::<Vec<Spanned<String>>>(value)?))
    }

    fn request(&self, value: Spanned<DeValue<'_>>) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        Ok(Box::new(read::<ToolsRequest>(value)?))
    }

    fn tools_in_grant(&self, grant: &dyn Any) -> Vec<Spanned<String>> {
        grant.downcast_ref::<Vec<Spanned<String>>>().cloned().unwrap()
    }

    fn tools_in_request(&self, request: &dyn Any) -> Vec<Spanned<String>> {
        request.downcast_ref::<ToolsRequest>().unwrap().names.clone()
    }
}

/// A diagnostic as a terminal without colours and without Unicode shows it.
pub(crate) fn render(error: &ManifestError) -> String {
    let mut text = String::new();
    let theme = GraphicalTheme::none();
    GraphicalReportHandler::new_themed(theme).with_width(100).render_report(&mut text, error).unwrap();
    text
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "only read, to see what is said about it")]
struct Sample {
    count: Option<u32>,
    size: Option<ByteSize>,
    time: Option<HumanDuration>,
    path: Option<GuestPath>,
    access: Option<Access>,
    mount: Option<Mount>,
    names: Option<Vec<String>>,
    ready: Option<bool>,
    pair: Option<(u32, u32)>,
    ratio: Option<f64>,
}

/// What is said about `[sample]` with this line in it: the message, the text under the caret, and the help.
fn said(line: &str) -> String {
    let source = Source::new("sample.toml", line);
    let error = match Fields::of_document(&source, &["sample"]) {
        Ok(mut fields) => fields.read::<Sample>("sample").expect_err("the line is wrong"),
        Err(error) => error,
    };
    let span = error.span.unwrap();
    let pointed = &line[span.offset()..span.offset() + span.len()];
    format!("{error} | {pointed} | {}", error.help_text().unwrap_or("-"))
}

#[test]
fn says_what_is_wrong_with_a_value() {
    let lines = [
        "count = -5",
        "count = 5000000000",
        "count = \"five\"",
        "count = 1.5",
        "count = [1]",
        "count = { a = 1 }",
        "count = 1979-05-27",
        "coutn = 5",
        "size = \"64Mib\"",
        "size = \"MiB\"",
        "size = \"1.5GiB\"",
        "size = -1",
        "size = 1.5",
        "size = true",
        "size = \"99999999999999999999\"",
        "size = \"99999999TiB\"",
        "time = 60",
        "time = \"30m1h\"",
        "time = \"1h 30m\"",
        "time = \"\"",
        "time = \"600000000000d\"",
        "path = \"documents\"",
        "path = \"/\"",
        "path = \"/a/../b\"",
        "path = \"/a/./b\"",
        "path = \"/a//b\"",
        "path = \"/a/\"",
        "path = 'C:\\a'",
        "path = '/a\\b'",
        "path = \"/a\\u0000b\"",
        "path = 5",
        "access = \"wirte\"",
        "access = 5",
        "access = \"none\"",
        "mount = \"/a\"",
        "mount = { host = \"a\" }",
        "mount = { host = \"a\", guest = \"/a\", qouta = 5 }",
        "names = \"a\"",
        "names = [\"a\", 5]",
        "ready = \"yes\"",
        "pair = [1]",
        "ratio = \"half\"",
        "\"a\\nb\\u001b[31m\" = 5",
    ];
    let said: Vec<String> = lines.iter().map(|line| said(&format!("[sample]\n{line}"))).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    expected an integer from 0 to 4294967295, found the integer `-5` | -5 | -
    expected an integer from 0 to 4294967295, found the integer `5000000000` | 5000000000 | -
    expected an integer from 0 to 4294967295, found the string `five` | "five" | -
    expected an integer from 0 to 4294967295, found the fraction `1.5` | 1.5 | -
    expected an integer from 0 to 4294967295, found an array | [1] | -
    expected an integer from 0 to 4294967295, found a table | { a = 1 } | -
    expected an integer from 0 to 4294967295, found a date | 1979-05-27 | -
    unknown key `coutn` | coutn | did you mean `count`? known keys are `count`, `size`, `time`, `path`, `access`, `mount`, `names`, `ready`, `pair`, `ratio`
    `64Mib` is not a size | "64Mib" | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `MiB` is not a size | "MiB" | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `1.5GiB` is not a size | "1.5GiB" | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `-1` is not a size | -1 | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `1.5` is not a size | 1.5 | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    expected a size, as `"64MiB"`, found the boolean `true` | true | -
    `99999999999999999999` is too large for a size | "99999999999999999999" | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `99999999TiB` is too large for a size | "99999999TiB" | write a size as `"64MiB"`, `"512KiB"` or `"10kB"`, or a plain number of bytes
    `60` is not a duration | 60 | write a duration as `"500ms"`, `"60s"`, `"15m"` or `"1h30m"`
    `30m1h` is not a duration | "30m1h" | write a duration as `"500ms"`, `"60s"`, `"15m"` or `"1h30m"`
    `1h 30m` is not a duration | "1h 30m" | write a duration as `"500ms"`, `"60s"`, `"15m"` or `"1h30m"`
    `` is not a duration | "" | write a duration as `"500ms"`, `"60s"`, `"15m"` or `"1h30m"`
    `600000000000d` is too long for a duration | "600000000000d" | write a duration as `"500ms"`, `"60s"`, `"15m"` or `"1h30m"`
    `documents` is no path for a guest: it does not begin with `/` | "documents" | write an absolute path of the guest, as `"/documents"`
    `/` is no path for a guest: it names no folder | "/" | write an absolute path of the guest, as `"/documents"`
    `/a/../b` is no path for a guest: it has `.` or `..` | "/a/../b" | write an absolute path of the guest, as `"/documents"`
    `/a/./b` is no path for a guest: it has `.` or `..` | "/a/./b" | write an absolute path of the guest, as `"/documents"`
    `/a//b` is no path for a guest: it has an empty name | "/a//b" | write an absolute path of the guest, as `"/documents"`
    `/a/` is no path for a guest: it has an empty name | "/a/" | write an absolute path of the guest, as `"/documents"`
    `C:\a` is no path for a guest: it does not begin with `/` | 'C:\a' | write an absolute path of the guest, as `"/documents"`
    `/a\b` is no path for a guest: it has a backslash | '/a\b' | write an absolute path of the guest, as `"/documents"`
    `/a?b` is no path for a guest: it has a control character | "/a\u0000b" | write an absolute path of the guest, as `"/documents"`
    `5` is no path for a guest: it does not begin with `/` | 5 | write an absolute path of the guest, as `"/documents"`
    unknown value `wirte` | "wirte" | did you mean `write`? valid values are `read`, `write`
    expected a string | 5 | -
    unknown value `none` | "none" | valid values are `read`, `write`
    expected a table, found the string `/a` | "/a" | -
    missing key `guest` | { host = "a" } | add `guest = …`
    unknown key `qouta` | qouta | did you mean `quota`? known keys are `host`, `guest`, `access`, `quota`, `most-files`, `labels`
    expected an array, found the string `a` | "a" | -
    expected a string, found the integer `5` | 5 | -
    expected a boolean, found the string `yes` | "yes" | -
    expected an array of 2, found 1 | [1] | -
    expected a number, found the string `half` | "half" | -
    unknown key `a b?[31m` | "a\nb\u001b[31m" | known keys are `count`, `size`, `time`, `path`, `access`, `mount`, `names`, `ready`, `pair`, `ratio`
    "#);
}

#[test]
fn says_what_is_wrong_with_the_text() {
    let lines =
        ["count = 1\ncount = 2", "count = \"1", "count 1", "count = ", "[sample", "count = 0x", "= 1", "[sample]"];
    let said: Vec<String> = lines.iter().map(|line| said(&format!("[sample]\n{line}"))).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    duplicate key `count` | count | write each key once
    invalid basic string, expected `"` |  | -
    key with no value, expected `=` |  | -
    string values must be quoted, expected literal string |  | -
    unclosed table, expected `]` |  | -
    integer number overflowed | 0x | -
    unquoted keys cannot be empty, expected letters, numbers, `-`, `_` |  | -
    duplicate key `sample` | sample | write each key once
    "#);
}

#[test]
fn nothing_in_a_file_reaches_the_terminal_as_a_command() {
    let source = Source::new("x\u{1b}.toml", "a = \"\u{1b}[31m\u{202e}\u{9b}1m\u{7f}\" # ä");
    let error = ManifestError::at(&source, 0..1, "\u{1b}bad", "\u{1b}help".to_owned());
    let shown = render(&error);
    assert!(!shown.chars().any(|letter| letter.is_control() && letter != '\n'), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
    assert!(shown.contains("# ä"));
}

#[test]
fn points_at_the_first_line_of_a_table() {
    let source = Source::new("a.toml", "a = [\n  1,\n  2\n]\n");
    insta::assert_snapshot!(render(&ManifestError::at(&source, 4..16, "too many", None)), @r#"
     x too many
      ,-[a.toml:1:5]
    1 | a = [
      :     ^
    2 |   1,
      `----
    "#);
}

#[test]
fn what_is_not_text_is_shown_where_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let folder = crate::bundle::open_folder(folder.path()).unwrap();
    folder.write("a.toml", b"a = 1\nb = \"\xff\"\n").unwrap();
    let error = Source::read(&folder, Path::new("a.toml"), Path::new("here/a.toml")).unwrap_err();
    insta::assert_snapshot!(render(&error), @r#"
     x this is not UTF-8
      ,-[here/a.toml:2:6]
    1 | a = 1
    2 | b = "�"
      :      ^
      `----
     help: save the file as UTF-8
    "#);
}

#[test]
fn reads_only_regular_files_of_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let place = crate::bundle::open_folder(place.path()).unwrap();
    place.write("outside", "secret").unwrap();
    place.create_dir("inside").unwrap();
    let folder = place.open_dir("inside").unwrap();
    folder.write("four", "1234").unwrap();
    folder.write("five", "12345").unwrap();
    folder.symlink("four", "link").unwrap();
    folder.symlink("../outside", "escape").unwrap();
    rustix::fs::mknodat(&folder, "pipe", rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();

    let read = |name: &str| read_file(&folder, Path::new(name), 4);
    assert_eq!(read("four").unwrap(), b"1234");
    assert_eq!(read("link").unwrap(), b"1234");
    assert!(matches!(read("five"), Err(ReadError::TooLong(longest)) if longest.bytes() == 4));
    assert!(matches!(read("none"), Err(ReadError::Missing)));
    assert!(matches!(read("four/none"), Err(ReadError::Missing)));
    assert!(matches!(read("escape"), Err(ReadError::Escapes)));
    assert!(matches!(read("../outside"), Err(ReadError::Escapes)));
    assert!(matches!(read("/etc/passwd"), Err(ReadError::Escapes)));
    assert!(matches!(read("."), Err(ReadError::NotAFile)));
    assert!(matches!(read("pipe"), Err(ReadError::NotAFile)));
}

#[test]
fn suggests_only_what_is_near() {
    let known = ["filesystem", "tools", "env"];
    let help = |name| suggestion(name, known, "known keys are").unwrap();
    assert!(help("filesytem").starts_with("did you mean `filesystem`?"));
    assert!(help("toosl").starts_with("did you mean `tools`?"));
    assert!(help("nev").starts_with("did you mean `env`?"));
    assert_eq!(help("network"), "known keys are `filesystem`, `tools`, `env`");
    assert_eq!(suggestion("serch", ["search"], "known keys are").unwrap(), "did you mean `search`?");
    assert_eq!(suggestion("serch", [], "known keys are"), None);
}

#[test]
fn a_path_covers_itself_and_what_is_below() {
    let path = |text: &str| text.parse::<GuestPath>().unwrap();
    assert!(path("/a").covers(&path("/a")));
    assert!(path("/a").covers(&path("/a/b")));
    assert!(!path("/a").covers(&path("/ab")));
    assert!(!path("/a/b").covers(&path("/a")));
    assert!(format!("/{}", "a".repeat(4095)).parse::<GuestPath>().is_ok());
    assert!(format!("/{}", "a".repeat(4096)).parse::<GuestPath>().is_err());
}

#[test]
fn sizes_and_durations_have_the_usual_forms() {
    let size = |text: &str| text.parse::<ByteSize>().unwrap().bytes();
    assert_eq!(size("64MiB"), 64 << 20);
    assert_eq!(size("1 MiB"), 1 << 20);
    assert_eq!(size("512KiB"), 512 << 10);
    assert_eq!(size("10kB"), 10_000);
    assert_eq!(size("0"), 0);
    assert_eq!(size("7 B"), 7);
    assert_eq!(ByteSize::new(1 << 20).to_string(), "1MiB");
    assert_eq!(ByteSize::new(10_000).to_string(), "10kB");
    assert_eq!(ByteSize::new(0).to_string(), "0B");
    let milliseconds = |text: &str| text.parse::<HumanDuration>().unwrap().duration().as_millis();
    assert_eq!(milliseconds("60s"), 60_000);
    assert_eq!(milliseconds("90m"), 5_400_000);
    assert_eq!(milliseconds("1h30m"), 5_400_000);
    assert_eq!(milliseconds("500ms"), 500);
    assert_eq!(milliseconds("1d1ms"), 86_400_001);
    assert_eq!(HumanDuration::from_millis(60_000).to_string(), "1m");
    assert_eq!(HumanDuration::from_millis(0).to_string(), "0s");
}

proptest! {
    #[test]
    fn a_size_is_read_as_it_is_written(bytes in prop_oneof![any::<u64>(), (0_u64..4096, 0_u32..50).prop_map(|(number, shift)| number << shift)]) {
        let size = ByteSize::new(bytes);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn a_duration_is_read_as_it_is_written(milliseconds in any::<u64>()) {
        let duration = HumanDuration::from_millis(milliseconds);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn a_quantity_is_never_read_in_two_ways(text in "[0-9]{0,3}[ ]{0,2}[kKMGTiBdhms0-9]{0,4}") {
        if let Ok(size) = text.parse::<ByteSize>() {
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
        if let Ok(duration) = text.parse::<HumanDuration>() {
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn whatever_is_written_is_read_or_shown(text in "\\PC{0,80}|[a-z\\[\\]={}\"'.\\n#0-9]{0,60}") {
        let source = Source::new("any.toml", text);
        if let Err(error) = Fields::of_document(&source, &["sample"]).and_then(|mut fields| fields.read::<Sample>("sample")) {
            prop_assert!(render(&error).contains("any.toml:"));
        }
    }
}
