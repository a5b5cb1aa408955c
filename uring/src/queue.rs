//! What waits for the store's thread, and how that is woken.
//!
//! The thread sleeps in the kernel, where it waits for ends. Before it does it looks into the queue a last time, and if that is empty leaves a mark, under the queue's lock.
//! Whoever adds something takes the mark away, under that lock, and if there was one wakes the thread. So either the thread finds what was added, or whoever added it finds the mark;
//! and while the thread is awake nobody calls the system. A wake that comes too late for a sleep ends the next one early, which is no harm.

use std::collections::VecDeque;
use std::fmt;

use crate::sync::Mutex;

/// Wakes the thread from its sleep, or from its next.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    waker: Box<dyn Wake>,
}

struct State<T> {
    waiting: VecDeque<T>,
    asleep: bool,
    closed: bool,
}

/// What the thread found in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Something, which is now the thread's.
    Some,
    /// Nothing: whoever comes next wakes the thread.
    None,
    /// Nothing, and nothing comes any more.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(waker: Box<dyn Wake>) -> Self {
        let state = State { waiting: VecDeque::new(), asleep: false, closed: false };
        Self { state: Mutex::new(state), waker }
    }

    /// Adds something; hands it back if the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(item);
        }
        state.waiting.push_back(item);
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.waker.wake();
        }
        Ok(())
    }

    /// Takes nothing any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.waker.wake();
        }
    }

    /// Moves all that waits to `into`. The caller may sleep if that is nothing.
    pub(crate) fn take(&self, into: &mut VecDeque<T>) -> Found {
        let mut state = self.state.lock();
        state.asleep = state.waiting.is_empty();
        if !state.asleep {
            into.append(&mut state.waiting);
            Found::Some
        } else if state.closed {
            Found::Closed
        } else {
            Found::None
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Count(Arc<AtomicU32>);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_sleeps_is_woken_once_and_who_does_not_is_not() {
        let wakes = Arc::new(AtomicU32::new(0));
        let queue = Queue::new(Box::new(Count(Arc::clone(&wakes))));
        let woken = || wakes.load(Ordering::Relaxed);
        let mut into = VecDeque::new();
        queue.push(1).unwrap();
        assert_eq!((queue.take(&mut into), woken()), (Found::Some, 0));
        assert_eq!(queue.take(&mut into), Found::None);
        queue.push(2).unwrap();
        queue.push(3).unwrap();
        assert_eq!((queue.take(&mut into), woken()), (Found::Some, 1));
        assert_eq!(queue.take(&mut into), Found::None);
        queue.close();
        assert_eq!((queue.take(&mut into), woken()), (Found::Closed, 2));
        assert_eq!((queue.push(4), into), (Err(4), VecDeque::from([1, 2, 3])));
    }
}

/// The queue under loom.
#[cfg(all(test, uring_loom, feature = "loom"))]
mod models {
    use loom::sync::{Arc, Condvar, Mutex as LoomMutex};
    use loom::thread;

    use super::*;

    /// As an eventfd: a wake stays until somebody has slept over it.
    #[derive(Default)]
    struct Event(LoomMutex<bool>, Condvar);

    impl Event {
        fn sleep(&self) {
            let mut woken = self.0.lock().unwrap();
            while !*woken {
                woken = self.1.wait(woken).unwrap();
            }
            *woken = false;
        }
    }

    struct Waker(Arc<Event>);

    impl Wake for Waker {
        fn wake(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_one();
        }
    }

    /// What is added is taken though the thread goes to sleep at that moment, and so is the end; a wake that is lost is a model that stands still.
    #[test]
    fn nothing_that_is_added_is_slept_over() {
        loom::model(|| {
            let event = Arc::new(Event::default());
            let queue = Arc::new(Queue::new(Box::new(Waker(Arc::clone(&event)))));
            let adders: Vec<_> = (1..=2)
                .map(|number| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || queue.push(number).unwrap())
                })
                .collect();
            let mut taken = VecDeque::new();
            while taken.len() < 2 {
                if queue.take(&mut taken) == Found::None {
                    event.sleep();
                }
            }
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            assert_eq!(taken.iter().sum::<i32>(), 3);
        });
    }

    #[test]
    fn an_end_that_comes_while_the_thread_goes_to_sleep_is_found() {
        loom::model(|| {
            let event = Arc::new(Event::default());
            let queue = Arc::new(Queue::new(Box::new(Waker(Arc::clone(&event)))));
            let closer = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    queue.push(1).unwrap();
                    queue.close();
                }
            });
            let mut taken = VecDeque::new();
            loop {
                match queue.take(&mut taken) {
                    Found::Some => {}
                    Found::None => event.sleep(),
                    Found::Closed => break,
                }
            }
            closer.join().unwrap();
            assert_eq!(taken, [1]);
        });
    }
}
