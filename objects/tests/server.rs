//! Against a real S3 server: clients and servers that are killed, requests that fail, two clients at once, and servers that say no.

mod common;

use std::collections::HashMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::history::{Line, Step};
use common::server::{Server, client};
use common::{CHUNK, contents, read_all, spilling};
use tempfile::TempDir;
use writeback::store::{FlushKind, Store};
use writeback::{Error, Mapping, StoreError};
use writeback_objects::object_store::ObjectStore;
use writeback_objects::{ObjectOptions, ObjectPages, OpenError};

/// How often, `name` says; `few` if nobody does.
fn rounds(name: &str, few: u32) -> u32 {
    env::var(name).map_or(few, |text| text.parse().expect("a number"))
}

/// Ends the test if `test` does not.
fn within(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let (tell, told) = channel();
    let running = thread::spawn(move || {
        test();
        let _ = tell.send(());
    });
    if told.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("it hangs: not done in {limit:?}");
    }
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}

fn options(number: u32) -> ObjectOptions {
    // What is staged goes out early every other time.
    let options = if number.is_multiple_of(2) { spilling() } else { ObjectPages::options() };
    options.wal(number % 4 != 3).patience(Duration::from_secs(30))
}

/// The other process of the next test: writes and flushes, says which flush is done, until it is killed.
#[test]
#[ignore = "a test starts it"]
fn writer() {
    let url = env::var("OBJECTS_URL").expect("a test says where");
    let first: u32 = env::var("OBJECTS_FIRST").expect("and what").parse().unwrap();
    let bucket: Arc<dyn ObjectStore> = Arc::new(client(&url).build().unwrap());
    let handle = Mapping::open(options(first).open("disk", bucket).unwrap()).unwrap().handle();
    for number in first.. {
        Step::new(number).write(&handle).unwrap();
        handle.sync_data().unwrap();
        println!("\nflushed {number}");
        io::stdout().flush().unwrap();
    }
}

#[test]
fn a_killed_client_leaves_what_it_flushed_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (mut line, mut random) = (Line::default(), fastrand::Rng::with_seed(3));
    let rounds = rounds("OBJECTS_KILLS", 8);
    for _ in 0..rounds {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "writer", "--nocapture"])
            .env("OBJECTS_URL", &server.url)
            .env("OBJECTS_FIRST", (line.number + 1).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap());
        let (tell, told) = channel();
        let listener = thread::spawn(move || {
            let mut last = None;
            for text in said.lines().map_while(Result::ok) {
                if let Some(number) = text.strip_prefix("flushed ") {
                    last = Some(number.parse::<u32>().unwrap());
                    let _ = tell.send(());
                }
            }
            last
        });
        told.recv_timeout(Duration::from_secs(60)).expect("it writes");
        thread::sleep(Duration::from_micros(random.u64(0..250_000)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let acknowledged = listener.join().unwrap().unwrap();
        let store = ObjectPages::open("disk", server.client()).unwrap();
        line.advance(&contents(&store), acknowledged, acknowledged + 1);
    }
    println!("{rounds} kills, {} flushes: each disk as one flush had left it", line.number);
}

/// Writes and flushes from where the line ends, until `enough`; after an error it opens the store anew.
fn write_on(
    line: &mut Line,
    bucket: &Arc<dyn ObjectStore>,
    mut enough: impl FnMut(u32) -> bool,
) -> u32 {
    let mut errors = 0;
    'open: loop {
        let acknowledged = line.number;
        let store = loop {
            match options(acknowledged).open("disk", Arc::clone(bucket)) {
                Ok(store) => break store,
                Err(error) => {
                    assert!(!matches!(error, OpenError::Fenced | OpenError::Foreign(_)), "{error}");
                    errors += 1;
                }
            }
        };
        line.advance(&contents(&store), acknowledged, acknowledged + 1);
        let handle = Mapping::open(store).unwrap().handle();
        loop {
            if enough(line.number) {
                return errors;
            }
            let written =
                Step::new(line.number + 1).write(&handle).and_then(|()| handle.sync_data());
            if let Err(error) = written {
                assert!(
                    !matches!(error, Error::Flush { source: StoreError::Fenced }),
                    "nobody else writes"
                );
                errors += 1;
                continue 'open;
            }
            line.flushed();
        }
    }
}

#[test]
fn a_killed_server_costs_nothing_that_was_acknowledged() {
    within(Duration::from_secs(600), || {
        let folder = TempDir::new().unwrap();
        let mut server = Server::start(folder.path(), &[]);
        let bucket = server.client();
        let (stop, stopped) = channel::<()>();
        let writer = thread::spawn(move || {
            let mut line = Line::default();
            let errors = write_on(&mut line, &bucket, |_| stopped.try_recv().is_ok());
            (line, errors)
        });
        let mut random = fastrand::Rng::with_seed(5);
        let rounds = rounds("OBJECTS_SERVER_KILLS", 4);
        for _ in 0..rounds {
            thread::sleep(Duration::from_millis(random.u64(200..800)));
            server.kill();
            thread::sleep(Duration::from_millis(random.u64(0..1500)));
            server.restart();
        }
        thread::sleep(Duration::from_millis(500));
        stop.send(()).unwrap();
        let (mut line, errors) = writer.join().unwrap();
        let store = ObjectPages::open("disk", server.client()).unwrap();
        let last = line.number;
        line.advance(&contents(&store), last, last);
        println!("{rounds} kills of the server, {last} flushes, {errors} errors");
    });
}

#[test]
fn requests_that_fail_cost_nothing_that_was_acknowledged() {
    within(Duration::from_secs(600), || {
        let folder = TempDir::new().unwrap();
        let server = Server::start(folder.path(), &["--fail", "20"]);
        let bucket = server.client();
        let flushes = rounds("OBJECTS_FAULTS", 40);
        let mut line = Line::default();
        let mut errors = 0;
        for until in (0..=flushes).step_by(20) {
            errors += write_on(&mut line, &bucket, |number| number >= until);
        }
        let mut store = ObjectPages::open("disk", Arc::clone(&bucket));
        while store.is_err() {
            errors += 1;
            store = ObjectPages::open("disk", Arc::clone(&bucket));
        }
        let last = line.number;
        line.advance(&contents(&store.unwrap()), last, last);
        println!("one request of 20 fails: {last} flushes, {errors} errors");
    });
}

/// Where flushes come from: each of these values was written by a writer that had found the other one.
type Parents = Mutex<HashMap<u32, u32>>;

const PAGES: usize = 8;

fn value_of(store: &ObjectPages) -> Result<u32, StoreError> {
    let bytes = read_all(store)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    assert_eq!(bytes.len(), PAGES * CHUNK);
    let values: Vec<_> =
        bytes.chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert!(values.iter().all(|value| *value == values[0]), "two writers' pages are mixed");
    Ok(values[0])
}

/// Flushes up to three values over what it finds. Returns those that were acknowledged, and whether it was shut out.
fn write_some(bucket: Arc<dyn ObjectStore>, first: u32, parents: &Parents) -> (Vec<u32>, bool) {
    let store = match ObjectPages::options().wal(!first.is_multiple_of(7)).open("disk", bucket) {
        Ok(store) => store,
        Err(OpenError::Fenced) => return (Vec::new(), true),
        Err(error) => panic!("{error}"),
    };
    let mut parent = match value_of(&store) {
        Ok(value) => value,
        Err(StoreError::Fenced) => return (Vec::new(), true),
        Err(error) => panic!("{error}"),
    };
    let mut acknowledged = Vec::new();
    for value in first..first + 3 {
        parents.lock().unwrap().insert(value, parent);
        let bytes = value.to_le_bytes().repeat(PAGES * CHUNK / 4);
        store.write_at(0, &bytes).unwrap();
        match store.sync(FlushKind::Data) {
            Ok(()) => acknowledged.push(value),
            Err(StoreError::Fenced) => return (acknowledged, true),
            Err(error) => panic!("{error}"),
        }
        parent = value;
    }
    (acknowledged, false)
}

#[test]
fn two_clients_at_once_make_one_line_of_history() {
    let folder = TempDir::new().unwrap();
    let arguments: &[&str] = if env::var_os("OBJECTS_RACY").is_some() { &["--racy"] } else { &[] };
    let server = Server::start(folder.path(), arguments);
    let parents = Parents::default();
    let (mut shut_out, mut flushes) = (0, Vec::new());
    for round in 0..rounds("OBJECTS_ROUNDS", 12) {
        let writers: Vec<_> = thread::scope(|scope| {
            let (parents, server) = (&parents, &server);
            let start = |who: u32| {
                let first = round * 10 + who * 5 + 1;
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(u64::from(round % 7 * who * 8)));
                    write_some(server.client(), first, parents)
                })
            };
            let writers = [start(0), start(1)];
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        for (acknowledged, out) in writers {
            flushes.extend(acknowledged);
            shut_out += u32::from(out);
        }
        let mut value = value_of(&ObjectPages::open("disk", server.client()).unwrap()).unwrap();
        let mut line = vec![value];
        while let Some(parent) = parents.lock().unwrap().get(&value).copied() {
            value = parent;
            line.push(value);
        }
        let lost: Vec<_> = flushes.iter().filter(|value| !line.contains(value)).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?} of {flushes:?}");
    }
    println!("{} flushes acknowledged, {shut_out} writers shut out", flushes.len());
    assert!(shut_out > 0, "they met");
}

#[test]
fn of_two_that_expect_the_same_epoch_one_opens() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut epoch = ObjectPages::open("disk", server.client()).unwrap().epoch();
    for _ in 0..6 {
        let opened: Vec<_> = thread::scope(|scope| {
            let open =
                || ObjectPages::options().expected_epoch(epoch).open("disk", server.client());
            let openers = [scope.spawn(open), scope.spawn(open)];
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        let well: Vec<_> = opened.iter().filter_map(|opened| opened.as_ref().ok()).collect();
        assert_eq!(well.len(), 1, "{opened:?}");
        epoch = well[0].epoch();
    }
}

#[test]
fn what_a_server_refuses_is_told_in_time() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let open = |bucket| {
        let start = Instant::now();
        let bucket: Arc<dyn ObjectStore> = Arc::new(bucket);
        let opened = ObjectPages::options().patience(Duration::from_secs(3)).open("disk", bucket);
        assert!(start.elapsed() < Duration::from_secs(5));
        opened.unwrap_err()
    };
    let error = open(client(&server.url).with_bucket_name("nowhere").build().unwrap());
    assert!(matches!(error, OpenError::NotFound(_)), "{error}");
    println!("{error}");
    let error = open(client(&server.url).with_secret_access_key("wrong").build().unwrap());
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    println!("{error}");
    let error = open(client(&server.url).with_access_key_id("nobody").build().unwrap());
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    println!("{error}");
    let error = open(client("http://127.0.0.1:9").build().unwrap());
    assert!(matches!(error, OpenError::Patience(_) | OpenError::Store(_)), "{error}");
    println!("{error}");
}

/// A server that is gone for longer than the patience: a flush fails in time, and so does whatever comes then; opened again, all is there.
#[test]
fn a_flush_to_a_server_that_is_gone_fails_in_time() {
    within(Duration::from_secs(120), || {
        let folder = TempDir::new().unwrap();
        let mut server = Server::start(folder.path(), &[]);
        let options = || ObjectPages::options().patience(Duration::from_secs(2));
        let store = options().open("disk", server.client()).unwrap();
        let handle = Mapping::open(store.clone()).unwrap().handle();
        handle.write_at(&[1; CHUNK], 0).unwrap();
        handle.sync_data().unwrap();
        server.kill();
        handle.write_at(&[2; CHUNK], 0).unwrap();
        let start = Instant::now();
        let error = handle.sync_data().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert!(error.is_poisoned(), "{error}");
        println!("{error}");
        server.restart();
        assert!(handle.sync_data().is_err() && store.sync(FlushKind::Data).is_err(), "for good");
        let store = options().open("disk", server.client()).unwrap();
        let bytes = contents(&store);
        assert!(bytes == [1; CHUNK] || bytes == [2; CHUNK], "one flush or the other");
    });
}
