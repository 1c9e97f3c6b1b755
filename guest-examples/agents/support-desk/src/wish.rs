//! What a message asks for.

/// What a customer is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Money, since something is broken, wrong or missing.
    Damage,
    /// Money, since it came late.
    Delay,
    /// Money, without saying why.
    Money,
    /// To know where an order is.
    News,
    /// To know when somebody is there. No record is needed.
    Hours,
    /// Anything else. No record is needed.
    Other,
}

impl Wish {
    /// Whether it is about money.
    #[must_use]
    pub const fn is_money(self) -> bool {
        matches!(self, Wish::Damage | Wish::Delay | Wish::Money)
    }
}

const DAMAGE: [&str; 9] =
    ["broken", "damaged", "defective", "faulty", "cracked", "torn", "missing", "wrong item", "does not work"];
const DELAY: [&str; 3] = ["late", "too long", "delayed"];
const MONEY: [&str; 4] = ["refund", "money back", "reimburse", "pay me back"];
const NEWS: [&str; 4] = ["where is", "status", "not arrived", "never arrived"];
const HOURS: [&str; 3] = ["opening hours", "when are you open", "when do you open"];

/// What a message asks for: the first that fits, in the order of [`Wish`].
#[must_use]
pub fn wish(message: &str) -> Wish {
    let message = spaced(message);
    let has = |words: &[&str]| words.iter().any(|word| message.contains(&format!(" {word} ")));
    let about_order = order_in(&message.to_uppercase()).is_some();
    match () {
        () if has(&DAMAGE) => Wish::Damage,
        () if has(&DELAY) && (has(&MONEY) || about_order) => Wish::Delay,
        () if has(&MONEY) => Wish::Money,
        () if has(&NEWS) || about_order => Wish::News,
        () if has(&HOURS) => Wish::Hours,
        () => Wish::Other,
    }
}

/// The first number of an order in a text: a capital letter, `-`, and four digits or more.
#[must_use]
pub fn order_in(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| {
        let Some((letter, digits)) = word.split_once('-') else { return false };
        let is_letter = letter.len() == 1 && letter.bytes().all(|byte| byte.is_ascii_uppercase());
        is_letter && (4..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether a text speaks of something by its name.
#[must_use]
pub fn names(text: &str, name: &str) -> bool {
    spaced(text).contains(&spaced(name))
}

/// The words in small letters, with one space before and after each.
fn spaced(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty());
    words.fold(" ".to_owned(), |line, word| line + word + " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_understood() {
        let cases = [
            ("My order A-1001 arrived broken, I want my money back", Wish::Damage),
            ("A-1002 came two weeks late. Refund?", Wish::Delay),
            ("I'd like a refund for A-1003", Wish::Money),
            ("Where is my parcel?", Wish::News),
            ("What about A-1001?", Wish::News),
            ("What are your opening hours?", Wish::Hours),
            ("I was late to see how nice you are", Wish::Other),
            ("Thank you!", Wish::Other),
        ];
        for (message, expected) in cases {
            assert_eq!(wish(message), expected, "{message}");
        }
    }

    #[test]
    fn numbers_of_orders_are_found() {
        assert_eq!(order_in("it is (A-1001), not B-2"), Some("A-1001"));
        for text in ["", "A-1", "AB-1001", "a-1001", "A-10x1", "1-1001", "A-12345678901"] {
            assert_eq!(order_in(text), None, "{text}");
        }
    }

    #[test]
    fn things_are_named_by_whole_words() {
        assert!(names("The Blue  Mug, broken", "blue mug"));
        assert!(!names("smuggled", "mug"));
    }
}
