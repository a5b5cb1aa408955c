//! Taking pages and blocks for another writer than writeback.

use std::ops::Range;

use crate::error::Result;
use crate::held;
use crate::pages::blocks::BlockMap;
use crate::rules::changes::NoHold;
use crate::rules::core::Mapping;
use crate::rules::hold::Hold;

impl Mapping {
    /// Takes the contents of the page at `index` for another writer than writeback; reads the page
    /// in if it is not cached.
    ///
    /// # Concurrency
    /// Waits while another hold has it, a write of it is under way, or a writeback waits for it.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold_page(0)?;
    /// // ... log the page's contents ...
    /// drop(hold);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn hold_page(&self, index: u64) -> Result<Hold> {
        self.hold_blocks(index, 0..self.core.division.count)
    }

    /// As [`hold_page`](Self::hold_page), of some blocks of the page, by number: those have [`block_size`](Self::block_size)
    /// bytes. All of them at one instant.
    ///
    /// # Concurrency
    /// Waits while another hold has any of them, a write of any of them is under way, or a writeback waits for
    /// any of them; not for what happens to the other blocks of the page.
    ///
    /// # Errors
    /// As [`page`](Self::page); [`Error::OutOfRange`](crate::Error::OutOfRange) also if the page has no such
    /// blocks.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Budget, Config, Mapping, MemStore, SyncMode};
    ///
    /// let store = MemStore::new();
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(store.clone()), config)?;
    /// mapping.handle().write_at(&[1; 16_384], 0)?;
    /// let hold = mapping.hold_blocks(0, 1..2)?;
    /// let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED)?;
    /// assert_eq!((progress.submitted, progress.declined), (1, 1));
    /// let written = store.accepted();
    /// assert!(written[..4096].iter().chain(&written[8192..]).all(|byte| *byte == 1));
    /// assert!(written[4096..8192].iter().all(|byte| *byte == 0));
    /// assert_eq!(hold.page().dirty_blocks(), 0b10);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn hold_blocks(&self, index: u64, blocks: Range<usize>) -> Result<Hold> {
        held::refuse(self.core.id(), "a hold");
        loop {
            let page = self.page(index)?;
            let map = page.check_blocks(&blocks).map(|_| BlockMap::of(blocks.clone()))?;
            match self.core.try_hold(&page, map) {
                Ok(()) => return Ok(Hold::new(page, map)),
                Err(_) => page.wait_for_blocks(map),
            }
        }
    }

    /// As [`hold_page`](Self::hold_page), but returns `None` rather than waiting for whoever has the page.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(b"abc"))?;
    /// let hold = mapping.try_hold_page(0)?.expect("it is free");
    /// assert!(mapping.try_hold_page(0)?.is_none());
    /// drop(hold);
    /// assert!(mapping.try_hold_page(0)?.is_some());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_hold_page(&self, index: u64) -> Result<Option<Hold>> {
        self.try_hold_blocks(index, 0..self.core.division.count)
    }

    /// As [`hold_blocks`](Self::hold_blocks), but returns `None` rather than waiting for whoever has any of
    /// them.
    ///
    /// # Errors
    /// As [`hold_blocks`](Self::hold_blocks).
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let config = Config::new().block_size(512);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::with_contents([0; 4096])), config)?;
    /// let hold = mapping.try_hold_blocks(0, 0..2)?.expect("they are free");
    /// assert!(mapping.try_hold_blocks(0, 1..3)?.is_none());
    /// assert!(mapping.try_hold_blocks(0, 2..3)?.is_some());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_hold_blocks(&self, index: u64, blocks: Range<usize>) -> Result<Option<Hold>> {
        loop {
            let page = self.page(index)?;
            let map = page.check_blocks(&blocks).map(|_| BlockMap::of(blocks.clone()))?;
            match self.core.try_hold(&page, map) {
                Ok(()) => return Ok(Some(Hold::new(page, map))),
                Err(NoHold::Busy) => return Ok(None),
                Err(NoHold::Gone) => {}
            }
        }
    }
}
