//! Rounds: what is compared is measured in turns, so that a machine that is slow for a while is slow for all of it.

use std::time::Duration;

use serde::Serialize;

/// What one measurement came to, or why it cannot be made.
pub(super) type Taken = Result<Sample, String>;

/// A number of operations, and how long they took together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) operations: u32,
    pub(super) took: Duration,
}

/// Something that is measured.
pub(super) struct Measure<'a> {
    /// What it is called in the results.
    pub(super) name: &'static str,
    /// What one operation is, in words.
    pub(super) what: String,
    /// How often a round measures it: dear things less often than every time.
    pub(super) every: u32,
    /// Measures once.
    pub(super) take: Box<dyn FnMut() -> Taken + 'a>,
}

/// What was measured of something, in seconds for each operation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) what: String,
    /// The median of the rounds, in seconds.
    pub(super) median: f64,
    /// The quartiles, in seconds.
    pub(super) quartiles: (f64, f64),
    /// How many rounds measured it.
    pub(super) rounds: usize,
}

/// Something that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Unmeasured {
    pub(super) name: &'static str,
    pub(super) what: String,
    pub(super) why: String,
}

/// Goes through the measures `rounds` times, in turns. `step` is told before each.
pub(super) fn interleaved(
    measures: Vec<Measure<'_>>,
    rounds: u32,
    mut step: impl FnMut(&str),
) -> (Vec<Series>, Vec<Unmeasured>) {
    let mut taken: Vec<(Measure<'_>, Vec<f64>, Option<String>)> =
        measures.into_iter().map(|measure| (measure, Vec::new(), None)).collect();
    for round in 0..=rounds {
        for (measure, samples, failed) in &mut taken {
            if failed.is_some() || !round.is_multiple_of(measure.every) {
                continue;
            }
            step(&measure.what);
            match (measure.take)() {
                // The first time fills caches.
                Ok(_) if round == 0 && rounds > 0 => {}
                Ok(Sample { operations, took }) => samples.push(took.as_secs_f64() / f64::from(operations.max(1))),
                Err(why) => *failed = Some(why),
            }
        }
    }
    let (mut series, mut unmeasured) = (Vec::new(), Vec::new());
    for (Measure { name, what, .. }, samples, failed) in taken {
        match (failed, Series::of(name, what.clone(), samples)) {
            (None, Some(one)) => series.push(one),
            (why, _) => {
                let why = why.unwrap_or_else(|| "there were too few rounds".to_owned());
                unmeasured.push(Unmeasured { name, what, why });
            }
        }
    }
    (series, unmeasured)
}

impl Series {
    fn of(name: &'static str, what: String, mut sorted: Vec<f64>) -> Option<Self> {
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| sorted.get((sorted.len().checked_sub(1)? * quarter + 2) / 4).copied();
        let (median, quartiles) = (at(2)?, (at(1)?, at(3)?));
        Some(Self { name, what, median, quartiles, rounds: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure<'a>(name: &'static str, every: u32, take: impl FnMut() -> Taken + 'a) -> Measure<'a> {
        Measure { name, what: name.to_owned(), every, take: Box::new(take) }
    }

    #[test]
    fn measures_take_turns_and_the_first_round_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let mut times = [9, 1, 5, 3].into_iter();
        let first = measure("a", 1, || {
            order.borrow_mut().push('a');
            Ok(Sample { operations: 2, took: Duration::from_secs(times.next().unwrap()) })
        });
        let second = measure("b", 2, || {
            order.borrow_mut().push('b');
            Ok(Sample { operations: 1, took: Duration::from_secs(1) })
        });
        let (series, unmeasured) = interleaved(vec![first, second], 3, |_| ());
        assert_eq!(*order.borrow(), "abaaba");
        assert_eq!((series[0].median, series[0].quartiles, series[0].rounds), (1.5, (1.5, 2.5), 3));
        assert_eq!(series[1].rounds, 1);
        assert!(unmeasured.is_empty());
    }

    #[test]
    fn what_fails_is_said_and_not_tried_again() {
        let mut tries = 0;
        let broken = measure("c", 1, || {
            tries += 1;
            Err("it is not installed".to_owned())
        });
        let (series, unmeasured) = interleaved(vec![broken], 5, |_| ());
        assert!(series.is_empty());
        assert_eq!((unmeasured[0].why.as_str(), tries), ("it is not installed", 1));
    }
}
