//! Futures that are polled beside the stack of whoever waits for them.
//!
//! A guest that waits holds the stack of its fiber, and every page of that which was ever touched. What the host does on a
//! guest's behalf goes deep, and it would be the most of what a waiting task holds. So it goes onto a stack that the thread
//! lends for as long as one poll takes, and the fiber is left as shallow as the guest's own call.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use corosensei::on_stack;
use corosensei::stack::DefaultStack;

/// Bytes of a stack that is lent, as many as a fiber has; what is not touched of it costs nothing.
const STACK: usize = 2 << 20;
/// Stacks that a thread keeps: one for each call of a tool within a call.
const KEPT: usize = 16;

thread_local! {
    /// Those that are not lent now.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// A future that is made and polled on stacks that the thread lends.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Aside<F>(Pin<Box<F>>);

/// Makes a future, to be polled aside.
pub(crate) fn aside<F: Future>(make: impl FnOnce() -> F) -> Aside<F> {
    Aside(on_lent(|| Box::pin(make())))
}

impl<F: Future> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        on_lent(|| self.0.as_mut().poll(context))
    }
}

/// Runs on a lent stack; on the one that is there where the machine has no memory for another.
fn on_lent<T>(run: impl FnOnce() -> T) -> T {
    let kept = STACKS.try_with(|stacks| stacks.borrow_mut().pop()).ok().flatten();
    let Some(mut stack) = kept.or_else(|| DefaultStack::new(STACK).ok()) else { return here(run) };
    let result = on_stack(&mut stack, run);
    // At the end of a thread nothing is kept.
    let _ = STACKS.try_with(|stacks| {
        let mut stacks = stacks.borrow_mut();
        if stacks.len() < KEPT {
            stacks.push(stack);
        }
    });
    result
}

/// Never a part of its caller: what `run` takes of the stack would be the caller's, also where it is run on another.
#[cold]
#[inline(never)]
fn here<T>(run: impl FnOnce() -> T) -> T {
    run()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the stack is now, about.
    #[inline(never)]
    fn place() -> usize {
        let here = 0_u8;
        std::hint::black_box(&raw const here) as usize
    }

    #[tokio::test]
    async fn a_future_is_polled_on_another_stack_and_gives_what_it_gives() {
        let outside = place();
        let inside = aside(|| async {
            let first = place();
            tokio::task::yield_now().await;
            let nested = aside(|| async { place() }).await;
            (first, place(), nested)
        });
        let (first, second, nested) = inside.await;
        for one in [first, second, nested] {
            assert!(one.abs_diff(outside) > STACK / 2, "{one:x} is on the stack of {outside:x}");
        }
        assert!(first.abs_diff(second) < STACK && nested.abs_diff(second) > STACK / 2, "what nests has one of its own");
    }

    #[test]
    fn stacks_are_lent_again_also_after_a_panic() {
        std::thread::spawn(|| {
            let lent = |run: fn() -> usize| std::panic::catch_unwind(|| on_lent(run));
            assert_eq!(lent(place).unwrap(), lent(place).unwrap(), "the same stack is lent again");
            assert!(lent(|| panic!("for the test")).is_err());
            // The one that was lent to it is gone, and another one is made.
            assert_eq!(lent(place).unwrap(), lent(place).unwrap());
            assert!(lent(place).unwrap().abs_diff(place()) > STACK / 2);
        })
        .join()
        .unwrap();
    }
}
