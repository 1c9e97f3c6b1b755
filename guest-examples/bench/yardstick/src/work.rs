//! The little that a task does which does little: a map, a few allocations, a text.

use std::collections::HashMap;

/// Counts the characters of a text, and says how many different ones there are.
pub(crate) fn work(input: &str) -> String {
    let mut seen: HashMap<char, u32> = HashMap::new();
    for character in input.chars() {
        *seen.entry(character).or_default() += 1;
    }
    format!("{} characters, {} of them different", input.len(), seen.len())
}
