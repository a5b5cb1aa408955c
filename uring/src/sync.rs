//! The lock of the queue: the model checker's in its build (`--cfg uring_loom` and the feature `loom`), `parking_lot`'s in every other.

#[cfg(not(all(uring_loom, feature = "loom")))]
pub(crate) use parking_lot::Mutex;

#[cfg(all(uring_loom, feature = "loom"))]
mod checker {
    use loom::sync::MutexGuard;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no thread of a model panics")
        }
    }
}

#[cfg(all(uring_loom, feature = "loom"))]
pub(crate) use checker::Mutex;
