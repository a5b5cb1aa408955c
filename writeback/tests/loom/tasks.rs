//! Tasks that wait, beside threads. An executor of the model is a thread that sleeps until its waker is called, so a task that is not
//! woken is a deadlock.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::disk::PAGE;
use crate::late::{serve, settle};
use crate::model::model;
use crate::world::World;

/// What wakes a thread that plays an executor.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        future.poll(&mut Context::from_waker(&waker))
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        if *rung {
            // It may have woken itself, to come again when others have had their turn.
            drop(rung);
            thread::yield_now();
            rung = self.rung.lock().unwrap();
        }
        while !*rung {
            rung = self.rings.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.rings.notify_one();
    }
}

/// Runs a task, which is polled when it is woken and not otherwise.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    run(&Bell::new(), pin!(future))
}

fn run<F: Future>(bell: &Arc<Bell>, mut future: Pin<&mut F>) -> F::Output {
    loop {
        match bell.poll(future.as_mut()) {
            Poll::Ready(output) => return output,
            Poll::Pending => bell.wait(),
        }
    }
}

async fn ended(world: &World) {
    world.mapping.async_handle().wait_range(..).await;
    assert_eq!(world.disk.accepted(0), 1);
}

/// A task that waits for a write is woken by its end.
#[test]
fn task_vs_end() {
    model("task_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let task = world.spawn(|world| block_on(ended(world)));
        world.write_out(writeback);
        task.join().unwrap();
        world.settle();
    });
}

/// A task and a thread that wait for the same are both woken.
#[test]
fn task_and_thread_vs_end() {
    model("task_and_thread_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let task = world.spawn(|world| block_on(ended(world)));
        let thread = world.spawn(|world| world.page(0).wait_writeback());
        world.write_out(writeback);
        task.join().unwrap();
        thread.join().unwrap();
        world.settle();
    });
}

/// A task that goes to another executor while it waits is woken there.
#[test]
fn moved_task_vs_end() {
    model("moved_task_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let task = world.spawn(|world| {
            let mut task = pin!(ended(world));
            if Bell::new().poll(task.as_mut()).is_pending() {
                run(&Bell::new(), task);
            }
        });
        world.write_out(writeback);
        task.join().unwrap();
        world.settle();
    });
}

/// A task that is dropped while it waits takes the wake-up of no other with it.
#[test]
fn dropped_task_vs_end() {
    model("dropped_task_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let other = world.spawn(|world| block_on(ended(world)));
        let dropped = world.spawn(|world| {
            let _ = Bell::new().poll(pin!(ended(world)));
        });
        world.write_out(writeback);
        other.join().unwrap();
        dropped.join().unwrap();
        world.settle();
    });
}

/// A task reads a page, or finds that it has been cut away, and is woken by the end of the cut that it met.
#[test]
fn task_read_vs_cut() {
    model("task_read_vs_cut", || {
        let world = World::new(1);
        let task = world.spawn(|world| {
            let mut bytes = [9; PAGE];
            let handle = world.mapping.async_handle();
            let count = block_on(handle.read_at(&mut bytes, 0)).unwrap();
            assert!(count == 0 || bytes == [0; PAGE]);
        });
        world.mapping.handle().set_len(0).unwrap();
        task.join().unwrap();
        assert_eq!(world.mapping.stats().cached, 0);
        world.settle();
    });
}

/// A task that is dropped while its read is under way leaves it to others, who find the page read.
#[test]
fn dropped_reader_vs_reader() {
    model("dropped_reader_vs_reader", || {
        let world = World::new(1);
        let device = serve(&world, 0);
        let dropped = world.spawn(|world| {
            let handle = world.mapping.async_handle();
            let _ = Bell::new().poll(pin!(handle.page(0)));
        });
        let handle = world.mapping.async_handle();
        assert!(block_on(handle.page(0)).unwrap().snapshot().is_uptodate());
        dropped.join().unwrap();
        assert_eq!(world.mapping.stats().read, 1);
        settle(&world, device);
    });
}

/// A read that nobody waits for any more ends: its page is valid, or was cut away.
#[test]
fn read_of_nobody_vs_cut() {
    model("read_of_nobody_vs_cut", || {
        let world = World::new(1);
        let device = serve(&world, 0);
        let handle = world.mapping.async_handle();
        let _ = Bell::new().poll(pin!(handle.page(0)));
        world.mapping.handle().set_len(0).unwrap();
        assert_eq!((world.mapping.stats().cached, world.mapping.stats().read), (0, 1));
        settle(&world, device);
    });
}

fn sync_in_task(world: &World) -> writeback::Result<()> {
    let handle = world.mapping.async_handle();
    block_on(handle.sync_data())
}

/// A task's sync has written what was dirty before it, and finds a write of the page under way, or another's change.
#[test]
fn task_sync_vs_write() {
    model("task_sync_vs_write", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| world.write(0, 2));
        sync_in_task(&world).unwrap();
        assert!(world.disk.durable(0) >= 1);
        writer.join().unwrap();
        world.settle();
    });
}

/// A task's sync waits for the write of an old image, and writes the page again.
#[test]
fn task_sync_vs_end() {
    model("task_sync_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        world.write(0, 2);
        let task = world.spawn(|world| {
            sync_in_task(world).unwrap();
            assert_eq!(world.disk.durable(0), 2);
        });
        world.write_out(writeback);
        task.join().unwrap();
        world.settle();
    });
}

/// A task's sync that waits for a hold comes next, and is woken by its end.
#[test]
fn task_sync_vs_hold() {
    model("task_sync_vs_hold", || {
        let world = World::dirty(1);
        let hold = world.mapping.hold_page(0).unwrap();
        let task = world.spawn(|world| {
            sync_in_task(world).unwrap();
            assert_eq!(world.disk.durable(0), 1);
        });
        drop(hold);
        drop(world.mapping.hold_page(0).unwrap());
        task.join().unwrap();
        world.settle();
    });
}

/// A flush whose task has gone ends, and a sync that waited for it is woken and covered by it or by the next.
#[test]
fn dropped_sync_vs_sync() {
    model("dropped_sync_vs_sync", || {
        let world = World::dirty(1);
        let device = serve(&world, 0);
        let dropped = world.spawn(|world| {
            let handle = world.mapping.async_handle();
            let _ = Bell::new().poll(pin!(handle.sync_data()));
        });
        world.sync(0, 1);
        dropped.join().unwrap();
        settle(&world, device);
    });
}

/// Of two syncs of tasks each finds its page durable, whoever flushed.
#[test]
fn task_sync_vs_task_sync() {
    model("task_sync_vs_task_sync", || {
        let world = World::dirty(1);
        let device = serve(&world, 0);
        let other = world.spawn(|world| {
            sync_in_task(world).unwrap();
            assert!(world.disk.durable(0) >= 1);
        });
        world.write(0, 2);
        sync_in_task(&world).unwrap();
        assert_eq!(world.disk.durable(0), 2);
        other.join().unwrap();
        settle(&world, device);
    });
}

/// A task's sync that is dropped while it has a claim leaves the page dirty, and unlocked.
#[test]
fn dropped_claim_of_a_task_vs_release() {
    model("dropped_claim_of_a_task_vs_release", || {
        let world = World::dirty(1);
        let hold = world.mapping.hold_page(0).unwrap();
        let dropped = world.spawn(|world| {
            let handle = world.mapping.async_handle();
            let _ = Bell::new().poll(pin!(handle.sync_data()));
        });
        drop(hold);
        dropped.join().unwrap();
        world.sync(0, 1);
        world.settle();
    });
}
