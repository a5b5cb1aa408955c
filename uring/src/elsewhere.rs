//! No ring: the system is not Linux.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::Mutex;
use writeback::PageCache;

use crate::queue::Wake;
use crate::refused::Refused;
use crate::ring::{Call, Registered, Ring};

/// There is none.
pub(crate) enum System {}

pub(crate) fn probe() -> Result<(), Refused> {
    Err(Refused::Elsewhere)
}

impl System {
    pub(crate) fn new(
        _: u32,
        _: Option<PageCache>,
        _: Arc<Mutex<Registered>>,
    ) -> io::Result<(Self, Box<dyn Wake>)> {
        Err(Refused::Elsewhere.into())
    }

    pub(crate) fn set_file(&mut self, _: &impl AsFd) {
        match *self {}
    }
}

impl Ring for System {
    unsafe fn push(&mut self, _: u64, _: Call<'_>) -> bool {
        match *self {}
    }

    fn enter(&mut self, _: bool) -> io::Result<()> {
        match *self {}
    }

    fn reap(&mut self, _: &mut Vec<(u64, i32)>) {
        match *self {}
    }

    fn take_back(&mut self, _: &mut Vec<u64>) {
        match *self {}
    }
}
