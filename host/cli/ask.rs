//! Asks the person at this terminal, while a task waits for an approval.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::QueueSelector;

use super::approvals::{describe, heading, until};
use super::run::Approvals as How;
use crate::edge::approvals::{Approvals, Listed, Verdict};
use crate::front::Host;
use crate::people::WhoError;
use crate::policy::Person;

/// How long a look at the terminal takes, in nanoseconds.
const LOOK: i64 = 100_000_000;

/// Questions that a task has for people.
pub(super) struct Questions {
    approvals: Approvals,
    /// Who answers here, if it can be told; if not, why not.
    who: Result<Person, WhoError>,
    how: How,
    /// Set when the open question has been answered, here or elsewhere.
    settled: Mutex<Arc<AtomicBool>>,
}

impl Questions {
    /// The questions of the tasks of a home.
    pub(super) fn of(host: &Host, how: How) -> Self {
        let who = host.people.answering(crate::config::user_id(), None);
        Self { approvals: host.approvals.clone(), who, how, settled: Mutex::default() }
    }

    /// Shows a question, and takes the answer here if that is wanted.
    pub(super) fn ask(&self, id: &str) {
        let mut stderr = std::io::stderr();
        // Nobody can be shown what cannot be read: the deadline will pass.
        let Ok(Some(approval)) = self.approvals.find(id) else { return };
        // What cannot be answered here is not shown here: who reads this terminal or log has no clearance for arguments.
        let may = |person: &Person| {
            !approval.groups.is_disjoint(&person.groups) && approval.user.as_ref() != Some(&person.name)
        };
        let may_answer = self.how == How::Ask && self.who.as_ref().is_ok_and(may);
        let shown = if may_answer { describe(&approval) } else { heading(&approval) };
        // Nobody may look; the question stands all the same.
        let _ = writeln!(stderr, "\n{shown}");
        match (&self.how, &self.who) {
            (How::Ask, Ok(person)) if may_answer => return self.prompt(approval, person.clone()),
            (How::Ask, Ok(person)) if approval.user.as_ref() == Some(&person.name) => {
                let _ = writeln!(stderr, "it acts on behalf of {}, who cannot approve it", person.name);
            }
            (How::Ask, Ok(person)) => {
                let _ = writeln!(stderr, "{} is in none of these groups, and cannot answer here", person.name);
            }
            (How::Ask, Err(why)) => {
                let help = miette::Diagnostic::help(why).map(|help| format!("\n  help: {help}")).unwrap_or_default();
                let _ = writeln!(stderr, "{why}{help}");
            }
            _ => {}
        }
        elsewhere(&approval);
    }

    /// The question has been answered, or nobody waits any more.
    pub(super) fn settle(&self) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::Relaxed);
    }

    /// Takes the answer from the terminal, on a thread of its own: the task's thread waits for whoever is first.
    fn prompt(&self, approval: Listed, person: Person) {
        let settled = Arc::new(AtomicBool::new(false));
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settled);
        let approvals = self.approvals.clone();
        let thread = std::thread::Builder::new().name("ambit-question".to_owned());
        let asked = thread.spawn(move || {
            let Some(verdict) = answer(&person.name, &settled) else {
                if !settled.load(Ordering::Relaxed) {
                    elsewhere(&approval);
                }
                return;
            };
            let given =
                super::runtime().ok().map(|runtime| runtime.block_on(approvals.give(&approval.id, verdict, person)));
            if let Some(Err(error)) = given {
                // Nobody else can be told; the task still waits for somebody else's answer.
                let _ = writeln!(std::io::stderr(), "the answer was not taken: {error}");
                elsewhere(&approval);
            }
        });
        if let Err(error) = asked {
            let _ = writeln!(std::io::stderr(), "cannot ask here: {error}");
        }
    }
}

/// Where else it can be answered.
fn elsewhere(approval: &Listed) {
    let id = &approval.id;
    let _ = writeln!(
        std::io::stderr(),
        "waiting until {} for an answer from another terminal:\n  ambit approvals show {id}\n  ambit approvals approve {id}\n  ambit approvals deny {id}",
        until(approval.deadline),
    );
}

/// Reads yes or no from the terminal; none when it was answered elsewhere, or there is nobody.
fn answer(name: &str, settled: &AtomicBool) -> Option<Verdict> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    // What was typed before the question was shown is no answer to it. A terminal that cannot be emptied is asked nothing.
    rustix::termios::tcflush(&stdin, QueueSelector::IFlush).ok()?;
    loop {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{name}, may it do this, once? [y/n] ").and_then(|()| stderr.flush());
        loop {
            if settled.load(Ordering::Relaxed) {
                let _ = writeln!(stderr, "(answered elsewhere)");
                return None;
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: LOOK };
            let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
            if poll(&mut terminal, Some(&wait)).is_ok_and(|ready| ready > 0) {
                break;
            }
        }
        let mut line = String::new();
        match stdin.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => match line.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => return Some(Verdict::Approve),
                "n" | "no" => return Some(Verdict::Deny),
                _ => {}
            },
        }
    }
}
