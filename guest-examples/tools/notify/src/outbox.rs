//! The outbox: one key for each message, `message/<number>`, and the number of the newest in `number`.

use kept::State;
use serde::{Deserialize, Serialize};

/// The longest text, in bytes.
pub const LONGEST: usize = 4_000;

/// How many messages are shown when no limit is given, and how many at most.
pub const USUAL: u32 = 20;
/// See [`USUAL`].
pub const MOST: u32 = 100;

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number, from 1.
    pub number: u64,
    /// Where it went.
    pub channel: String,
    /// What it says.
    pub text: String,
}

/// Why a message was not sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no channel's name.
    BadChannel,
    /// The text is empty.
    Empty,
    /// The text is longer than [`LONGEST`].
    TooLong,
    /// The state cannot be used.
    Outbox(String),
}

impl From<String> for Error {
    fn from(why: String) -> Self {
        Error::Outbox(why)
    }
}

/// Sends a text to a channel, and returns the message's number.
///
/// # Errors
///
/// See [`Error`].
pub fn send(state: &impl State, channel: String, text: String) -> Result<u64, Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&channel.len()) || !channel.bytes().all(fits) {
        return Err(Error::BadChannel);
    }
    if text.trim().is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > LONGEST {
        return Err(Error::TooLong);
    }
    let number = state.increment("number", 1)?;
    let message = Message { number, channel, text };
    state.set(&key(number), &serde_json::to_vec(&message).map_err(|error| error.to_string())?)?;
    Ok(number)
}

/// The newest messages, the newest first.
///
/// # Errors
///
/// See [`Error`].
pub fn sent(state: &impl State, limit: Option<u32>) -> Result<Vec<Message>, Error> {
    let mut numbers: Vec<u64> = state.keys()?.iter().filter_map(|key| key.strip_prefix(PREFIX)?.parse().ok()).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.truncate(limit.unwrap_or(USUAL).min(MOST) as usize);
    let mut messages = Vec::new();
    for number in numbers {
        let Some(value) = state.get(&key(number))? else { continue };
        let message =
            serde_json::from_slice(&value).map_err(|error| format!("message {number} is damaged: {error}"))?;
        messages.push(message);
    }
    Ok(messages)
}

const PREFIX: &str = "message/";

fn key(number: u64) -> String {
    format!("{PREFIX}{number}")
}

#[cfg(test)]
mod tests {
    use kept::Memory;

    use super::*;

    fn tell(state: &Memory, channel: &str, text: &str) -> Result<u64, Error> {
        send(state, channel.to_owned(), text.to_owned())
    }

    #[test]
    fn messages_are_kept_newest_first() {
        let state = Memory::default();
        assert_eq!(sent(&state, None), Ok(Vec::new()));
        assert_eq!(tell(&state, "support", "one"), Ok(1));
        assert_eq!(tell(&state, "support", "two"), Ok(2));
        let texts = |limit| sent(&state, limit).unwrap().into_iter().map(|message| message.text).collect::<Vec<_>>();
        assert_eq!(texts(None), ["two", "one"]);
        assert_eq!(texts(Some(1)), ["two"]);
    }

    #[test]
    fn what_is_no_message_is_not_kept() {
        let state = Memory::default();
        for channel in ["", "Support", "a/b", "#support"] {
            assert_eq!(tell(&state, channel, "x"), Err(Error::BadChannel), "{channel}");
        }
        assert_eq!(tell(&state, "support", " \n"), Err(Error::Empty));
        assert_eq!(tell(&state, "support", &"x".repeat(LONGEST + 1)), Err(Error::TooLong));
        assert_eq!(sent(&state, None), Ok(Vec::new()));
    }
}
