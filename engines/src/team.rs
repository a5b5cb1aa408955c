//! Threads that work until somebody stops them all, or one of them fails.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use crate::failure::Failure;

type Member<'scope> = ScopedJoinHandle<'scope, Result<(), Failure>>;

/// What stops a team.
#[derive(Debug, Default)]
pub(crate) struct Team {
    stop: AtomicBool,
}

impl Team {
    // Relaxed, here and below: nothing is published with it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A thread that repeats `step`. If that fails, or panics, all stop.
    pub(crate) fn member<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        step: impl Fn() -> Result<(), Failure> + Send + 'scope,
    ) -> Member<'scope> {
        scope.spawn(move || {
            while !self.is_stopped() {
                let done = catch_unwind(AssertUnwindSafe(&step));
                let done = done.unwrap_or_else(|panic| Err(panicked(&*panic)));
                done.inspect_err(|_| self.stop())?;
            }
            Ok(())
        })
    }
}

/// Waits for all; tells the first failure.
pub(crate) fn wait_for(members: Vec<Member<'_>>) -> Result<(), Failure> {
    let ends = members.into_iter().map(|member| member.join().expect("its panics are caught"));
    ends.fold(Ok(()), Result::and)
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause");
    Failure::Broken(format!("a panic: {text}"))
}
