//! Real clients of the disk that the plugin `nbd_disk` serves: nbdcopy, qemu-img, qemu-io, fio, and `kill -9`.
//!
//! Or that another plugin serves: `NBD_PLUGIN` is its path and `NBD_PARAMETERS` is what it takes instead of `file=disk.img`, with `{}` for a name of the
//! test's own (see `ci/objects.sh`). `NBD_STORE` is what `nbd_disk` keeps it in: `file`, `direct` or `uring`.
//!
//! `ci/nbd.sh` installs what they need, and builds the plugin: `cargo test --test nbd` alone takes the one that is there, however old. Elsewhere a test whose programs are missing says so and does nothing, unless `NBD_REQUIRED` is set.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// For one command of a client, in seconds.
const PATIENCE: &str = "120";

/// Whether the plugin is built and all of `programs` are there.
fn installed(programs: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&&str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing = programs.iter().find(|program| !is_there(program)).copied();
    let Some(missing) = missing.or((!plugin().exists()).then_some("the plugin")) else {
        return true;
    };
    assert!(env::var_os("NBD_REQUIRED").is_none(), "{missing} is missing");
    eprintln!("skipped: {missing} is missing (ci/nbd.sh installs and builds what it takes)");
    false
}

/// The plugin, which cargo builds with the examples.
fn plugin() -> PathBuf {
    if let Some(path) = env::var_os("NBD_PLUGIN") {
        return path.into();
    }
    let test = env::current_exe().expect("the test runs from a file");
    let profile = test.ancestors().nth(2).expect("tests are built in PROFILE/deps");
    profile.join("examples/libnbd_disk.so")
}

/// What says where the disk of this folder is.
fn place(folder: &Path) -> Vec<String> {
    match env::var("NBD_PARAMETERS") {
        Ok(parameters) => {
            let name = folder.file_name().expect("a temporary folder has a name");
            let parameters = parameters.replace("{}", &name.to_string_lossy());
            parameters.split_whitespace().map(str::to_owned).collect()
        }
        Err(_) => {
            let store = env::var("NBD_STORE").unwrap_or_else(|_| "file".into());
            vec![format!("file={}", folder.join("disk.img").display()), format!("store={store}")]
        }
    }
}

/// What the disk of this folder holds, with no server running: the file, or what a server serves that is started for that.
fn disk(folder: &Path) -> Vec<u8> {
    if env::var_os("NBD_PLUGIN").is_none() {
        return fs::read(folder.join("disk.img")).unwrap();
    }
    let copy = folder.join("left.raw");
    let server = Server::start(folder, &[]);
    run("nbdcopy", &[&server.uri, text(&copy)]);
    server.kill();
    fs::read(copy).unwrap()
}

/// A server that ends with this value.
struct Server {
    process: Child,
    uri: String,
}

impl Server {
    /// Serves the disk of `folder`.
    fn start(folder: &Path, parameters: &[&str]) -> Self {
        let (socket, ready) = (folder.join("socket"), folder.join("pid"));
        for old in [&socket, &ready] {
            let _ = fs::remove_file(old);
        }
        let process = Command::new("nbdkit")
            .args(["--foreground", "--exit-with-parent", "--unix"])
            .arg(&socket)
            .arg("--pidfile")
            .arg(&ready)
            .arg(plugin())
            .args(place(folder))
            .args(parameters)
            .stdin(Stdio::null())
            .spawn()
            .expect("nbdkit starts");
        let mut server = Self { process, uri: format!("nbd+unix:///?socket={}", socket.display()) };
        let start = Instant::now();
        // It is written when there is somebody who listens.
        while !ready.exists() {
            assert_eq!(server.process.try_wait().unwrap(), None, "nbdkit has ended");
            assert!(start.elapsed() < Duration::from_secs(60), "nbdkit does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// As `kill -9` does it.
    fn kill(mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("it is our child");
    }

    /// As an administrator does it: what was not flushed is written.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        run("kill", &["-TERM", &pid]);
        assert!(self.process.wait().expect("it is our child").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a command prints; it has to succeed in time.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new("timeout")
        .args([PATIENCE, program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("timeout starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{said}{complaint}",
        output.status
    );
    said
}

/// A file of random bytes, with a hole in the middle.
fn image(folder: &Path, length: u64) -> PathBuf {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    let third = bytes.len() / 3;
    let mut random = SmallRng::seed_from_u64(15);
    random.fill_bytes(&mut bytes[..third]);
    random.fill_bytes(&mut bytes[2 * third..]);
    let path = folder.join("image.raw");
    fs::write(&path, bytes).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

#[test]
fn nbdcopy_takes_out_what_it_put_in() {
    if !installed(&["nbdkit", "nbdcopy"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let image = image(folder.path(), 24 * MIB);
    let copy = folder.path().join("copy.raw");
    // Half of it has room in the cache.
    let server = Server::start(folder.path(), &["size=24M", "memory=12M"]);
    run("nbdcopy", &["--flush", text(&image), &server.uri]);
    run("nbdcopy", &[&server.uri, text(&copy)]);
    assert!(fs::read(&image).unwrap() == fs::read(&copy).unwrap(), "read through the cache");
    server.kill();
    assert!(fs::read(&image).unwrap() == disk(folder.path()), "flushed, then killed");
}

#[test]
fn an_orderly_end_writes_what_was_not_flushed() {
    if !installed(&["nbdkit", "nbdcopy"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let image = image(folder.path(), 4 * MIB);
    let server = Server::start(folder.path(), &["size=4M"]);
    run("nbdcopy", &[text(&image), &server.uri]);
    server.stop();
    assert!(fs::read(image).unwrap() == disk(folder.path()));
}

#[test]
fn qemu_img_converts_and_compares() {
    if !installed(&["nbdkit", "qemu-img"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let image = image(folder.path(), 16 * MIB);
    let server = Server::start(folder.path(), &["size=16M", "memory=4M"]);
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", text(&image), &server.uri]);
    let said = run("qemu-img", &["compare", "-f", "raw", "-F", "raw", text(&image), &server.uri]);
    assert!(said.contains("Images are identical"), "{said}");
}

#[test]
fn fio_verifies_what_it_wrote() {
    if !installed(&["nbdkit", "fio"]) {
        return;
    }
    if !run("fio", &["--enghelp"]).lines().any(|engine| engine.trim() == "nbd") {
        eprintln!("skipped: this fio has no engine for NBD");
        return;
    }
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &["size=32M", "memory=8M"]);
    let uri = format!("--uri={}", server.uri);
    let job = "--name=disk --ioengine=nbd --rw=randwrite --bsrange=512-64k --size=32m --iodepth=8 --fsync=64 --randseed=15 \
               --verify=crc32c --verify_fatal=1";
    let job: Vec<_> = job.split_whitespace().chain([uri.as_str()]).collect();
    // Where it leaves its state.
    let said = Command::new("timeout")
        .arg(PATIENCE)
        .arg("fio")
        .args(job)
        .current_dir(folder.path())
        .output()
        .expect("timeout starts");
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{}{complaint}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn a_size_that_is_none_is_refused() {
    if !installed(&["nbdkit"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    for wrong in ["size=many", "memory=-1", "colour=red"] {
        let ended = Command::new("nbdkit")
            .args(["--foreground", "--exit-with-parent", "--single"])
            .arg(plugin())
            .args(place(folder.path()))
            .arg(wrong)
            .stdin(Stdio::null())
            .output()
            .expect("nbdkit starts");
        assert!(!ended.status.success() && !ended.stderr.is_empty(), "{wrong}");
    }
}

const BLOCK: u64 = 64 << 10;
const BLOCKS: usize = 48;
const PAGE: usize = 4096;
/// Of a block.
const PAGES: usize = 16;

/// What the blocks of a disk may hold after a kill: each byte says which write it came from.
struct Promises {
    /// By page: what is there if nothing written since is.
    durable: Vec<u8>,
    /// By block: written since, in order; any page may come from any of these.
    since: [Vec<u8>; BLOCKS],
}

impl Promises {
    fn flushed(&mut self) {
        for block in 0..BLOCKS {
            self.settled(block);
        }
    }

    fn settled(&mut self, block: usize) {
        if let Some(last) = self.since[block].drain(..).next_back() {
            self.durable[block * PAGES..][..PAGES].fill(last);
        }
    }

    /// Looks at what a kill has left, which is where the next server begins.
    fn check(&mut self, disk: &[u8], round: usize) {
        for (index, page) in disk.chunks(PAGE).enumerate() {
            let (found, durable) = (page[0], &mut self.durable[index]);
            assert!(page.iter().all(|&byte| byte == found), "round {round}: page {index} is torn");
            let known = found == *durable || self.since[index / PAGES].contains(&found);
            assert!(known, "round {round}, page {index}: {found} is there instead of {durable}");
            *durable = found;
        }
        self.since.iter_mut().for_each(Vec::clear);
    }
}

/// What a client asks for, one after the other.
enum Request {
    /// Of a whole block, with this byte; `true`: durable when it is acknowledged.
    Write(usize, u8, bool),
    Flush,
}

impl Request {
    fn random(random: &mut SmallRng, value: u8) -> Self {
        if random.random_ratio(1, 12) {
            return Self::Flush;
        }
        Self::Write(random.random_range(0..BLOCKS), value, random.random_ratio(1, 8))
    }

    /// As `qemu-io` has it.
    fn command(&self) -> String {
        match self {
            Self::Write(block, value, at_once) => {
                let force = if *at_once { "-f " } else { "" };
                format!("write {force}-P {value} {} {BLOCK}", *block as u64 * BLOCK)
            }
            Self::Flush => "flush".to_owned(),
        }
    }
}

/// Has a client make the requests, kills the server after some acknowledged writes, and notes what was promised. Returns how many
/// requests were acknowledged.
fn kill_amid(
    server: Server,
    requests: &[Request],
    writes: usize,
    promises: &mut Promises,
) -> usize {
    let mut client = Command::new("stdbuf")
        // A line as soon as it is said.
        .args(["-oL", "timeout", PATIENCE, "qemu-io", "-t", "writeback", "-f", "raw"])
        .args(requests.iter().flat_map(|request| ["-c".to_owned(), request.command()]))
        .arg(&server.uri)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("stdbuf starts");
    let answers = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let acknowledged = answers.map_while(Result::ok).filter(|line| line.starts_with("wrote "));
    assert_eq!(acknowledged.take(writes).count(), writes, "the server answers until it is killed");
    server.kill();
    let _ = client.kill();
    let _ = client.wait();

    let is_write = |(_, request): &(usize, &Request)| matches!(request, Request::Write(..));
    let last = requests.iter().enumerate().filter(is_write).nth(writes - 1);
    // What comes before an answered write was answered as well.
    let done = last.expect("so many were answered").0 + 1;
    for (at, request) in requests.iter().enumerate() {
        match *request {
            Request::Write(block, value, at_once) => {
                promises.since[block].push(value);
                if at_once && at < done {
                    promises.settled(block);
                }
            }
            Request::Flush if at < done => promises.flushed(),
            Request::Flush => {}
        }
    }
    done
}

#[test]
fn what_a_flush_acknowledged_survives_a_kill() {
    if !installed(&["nbdkit", "qemu-io", "stdbuf"]) {
        return;
    }
    let rounds = env::var("NBD_KILLS").map_or(6, |rounds| rounds.parse().expect("a number"));
    let folder = TempDir::new().unwrap();
    let mut promises =
        Promises { durable: vec![0; BLOCKS * PAGES], since: [const { Vec::new() }; BLOCKS] };
    let mut random = SmallRng::seed_from_u64(9);
    let mut values = (1..=u8::MAX).cycle();
    let mut acknowledged = 0;
    for round in 0..rounds {
        // For a quarter of the disk, where pages are written to make room; or for all, where they wait for a flush.
        let memory = ["memory=768K", "memory=16M"][round % 2];
        let server = Server::start(folder.path(), &["size=3M", memory]);
        let mut next = || Request::random(&mut random, values.next().expect("a cycle has no end"));
        let requests: Vec<_> = (0..200).map(|_| next()).collect();
        let writes = random.random_range(1..150);
        acknowledged += kill_amid(server, &requests, writes, &mut promises);
        let bytes = disk(folder.path());
        assert_eq!(bytes.len(), BLOCKS * PAGES * PAGE);
        promises.check(&bytes, round);
    }
    eprintln!("{rounds} kills, {acknowledged} acknowledged requests: nothing is missing");
}
