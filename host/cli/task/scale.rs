//! Where times stand on a line: execution in proportion, and waits for people shortened where they would leave no room for it.

use crate::audit::story::Story;

/// The length of the line.
pub(super) const WHOLE: u64 = 100_000;
/// Marks stand no closer than this.
const APART: u64 = WHOLE / 6;

/// A line of time.
pub(super) struct Scale {
    /// From where on a stretch lies, in time and on the line, and how much a millisecond of it is there, in parts of the whole.
    stretches: Vec<(u64, u128, u128)>,
    lasts: u64,
    whole: u128,
    /// Whether waits are shorter on it than they were.
    pub(super) is_shortened: bool,
}

impl Scale {
    pub(super) fn of(story: &Story) -> Self {
        let lasts = story.lasted_ms.max(1);
        let mut asked: Vec<(u64, u64)> = story.walk().filter_map(|(_, step)| step.waited()).collect();
        asked.sort_unstable();
        let mut waits: Vec<(u64, u64)> = Vec::new();
        for (from, until) in asked.into_iter().filter(|(from, until)| from < until) {
            match waits.last_mut() {
                Some((_, end)) if from <= *end => *end = (*end).max(until),
                _ => waits.push((from, until)),
            }
        }
        let waited: u64 = waits.iter().map(|(from, until)| until - from).sum();
        let worked = lasts.saturating_sub(waited);
        let is_shortened = waited > worked;
        // Shortened, all waits are as long as all the rest together.
        let (wait, work) = if is_shortened { (u128::from(worked.max(1)), u128::from(waited)) } else { (1, 1) };
        let (mut stretches, mut time, mut whole) = (Vec::new(), 0, 0);
        for (from, until) in waits {
            stretches.push((time, whole, work));
            whole += u128::from(from - time) * work;
            stretches.push((from, whole, wait));
            whole += u128::from(until - from) * wait;
            time = until;
        }
        stretches.push((time, whole, work));
        whole += u128::from(lasts.saturating_sub(time)) * work;
        Self { stretches, lasts, whole: whole.max(1), is_shortened }
    }

    /// Where a time stands, of [`WHOLE`].
    pub(super) fn at(&self, time: u64) -> u64 {
        let time = time.min(self.lasts);
        let after = self.stretches.partition_point(|(from, ..)| *from <= time).max(1);
        let Some((from, before, weight)) = self.stretches.get(after - 1) else { return 0 };
        let place = before + u128::from(time - from) * weight;
        u64::try_from(place * u128::from(WHOLE) / self.whole).unwrap_or(WHOLE).min(WHOLE)
    }

    /// Times that are marked: the ends first, then where waits begin and end, then round ones.
    pub(super) fn marks(&self) -> Vec<u64> {
        let mut marks = vec![0, self.lasts];
        let mut step = 1;
        while self.lasts / step > 8 {
            // 1, 2, 5, 10, 20, 50, …
            step = if step.to_string().starts_with('2') { step / 2 * 5 } else { step * 2 };
        }
        let ends = self.stretches.iter().map(|(from, ..)| *from);
        let round = (1..).map(|count| count * step).take_while(|time| *time < self.lasts);
        for time in ends.chain(round) {
            let place = self.at(time);
            if marks.iter().all(|mark| self.at(*mark).abs_diff(place) >= APART) {
                marks.push(time);
            }
        }
        marks.sort_unstable();
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;
    use crate::audit::story::tests::Log;

    /// A story of as long as this, in which people were asked from then to then.
    fn scale(lasts: u64, waits: &[(u64, u64)]) -> Scale {
        let mut log = Log::default();
        log.put(Kind::Start, 0, "", 0, "");
        for (effect, (from, until)) in (1..).zip(waits) {
            log.put(Kind::Ask, *from, "", effect, "asked");
            log.put(Kind::Refusal, *until, "", effect, "denied");
        }
        log.put(Kind::End, lasts, "", 0, "succeeded");
        Scale::of(&log.story())
    }

    #[test]
    fn without_long_waits_it_is_in_proportion() {
        let scale = scale(1000, &[(100, 200)]);
        assert!(!scale.is_shortened);
        assert_eq!([0, 100, 250, 1000, 2000].map(|time| scale.at(time)), [0, 10_000, 25_000, WHOLE, WHOLE]);
    }

    #[test]
    fn long_waits_leave_half_of_it_to_the_rest() {
        // Two that overlap are one.
        let scale = scale(1_000_100, &[(50, 500_000), (400_000, 1_000_050)]);
        assert!(scale.is_shortened);
        assert_eq!([0, 50, 1_000_050, 1_000_100].map(|time| scale.at(time)), [0, 25_000, 75_000, WHOLE]);
        let mut before = 0;
        for time in (0..1_000_100).step_by(997) {
            assert!(scale.at(time) >= before);
            before = scale.at(time);
        }
        assert_eq!(scale.marks(), [0, 50, 400_000, 1_000_050, 1_000_100]);
    }

    #[test]
    fn nothing_is_a_line_as_well() {
        assert_eq!(scale(0, &[]).at(0), 0);
        let all = scale(500, &[(0, 500)]);
        assert_eq!((all.at(0), all.at(500)), (0, WHOLE));
        assert_eq!(all.marks(), [0, 100, 200, 300, 400, 500]);
    }
}
