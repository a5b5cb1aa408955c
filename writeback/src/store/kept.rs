//! Passing on how something has ended, not before something else is done.

use std::sync::Arc;

use crate::primitives::Mutex;

/// How something ends, kept until it may be passed on: by whoever comes second, the end or the leave to pass it on.
pub(super) struct Kept<T>(Arc<Mutex<Passing<T>>>);

type Call<T> = Box<dyn FnOnce(T) + Send + Sync>;

struct Passing<T> {
    end: Option<T>,
    /// `None` once it was called, or is about to be.
    pass: Option<Call<T>>,
    may_pass: bool,
}

impl<T: Send + 'static> Kept<T> {
    /// What ends it, and what gives leave to `pass` that on.
    pub(super) fn new(pass: impl FnOnce(T) + Send + Sync + 'static) -> (Call<T>, Self) {
        let passing = Passing { end: None, pass: Some(Box::new(pass)), may_pass: false };
        let kept = Arc::new(Mutex::new(passing));
        let passing = Arc::clone(&kept);
        let end = move |end| {
            passing.lock().end = Some(end);
            pass_if_due(&passing);
        };
        (Box::new(end), Self(kept))
    }

    pub(super) fn pass_on(self) {
        self.0.lock().may_pass = true;
        pass_if_due(&self.0);
    }
}

/// Of two who find that it is due, one has the call.
fn pass_if_due<T>(passing: &Mutex<Passing<T>>) {
    let mut this = passing.lock();
    if !this.may_pass || this.end.is_none() {
        return;
    }
    let due = this.end.take().zip(this.pass.take());
    drop(this);
    if let Some((end, pass)) = due {
        pass(end);
    }
}
