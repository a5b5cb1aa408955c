//! Builds a tool's tests from a copy of the sources, and runs single ones with a mutant switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::data::Expected;
use crate::tools::Tool;

/// Schedules of a race under shuttle when it is to find a mutant; it ends with the first that fails.
const SCHEDULES: u32 = 10_000;
/// The same for a whole group of races, and without a mutant.
const SCHEDULES_FEW: u32 = 2_000;
const SCHEDULES_CONTROL: u32 = 100;

/// So many mutants are worth an optimized build of shuttle's tests, which takes some 70 seconds of a processor longer, and plays a mutant
/// in a third of the time.
const MANY: usize = 30;

/// The test binaries of one tool, by folder of the package and name.
pub(crate) struct Build(BTreeMap<(String, String), Binary>);

pub(crate) struct Binary {
    path: PathBuf,
    /// The folder of its package, where cargo would run it.
    folder: PathBuf,
    tests: BTreeSet<String>,
}

/// How a run of one test ended.
pub(crate) enum Outcome {
    Passed,
    /// With what the test said of where, if it did.
    Failed(Option<String>),
    /// It was stopped: whether it would ever have ended nobody knows.
    OutOfTime,
}

/// Builds the tests of `tool`, or those of `wanted` binaries, to be run with so many mutants, from the sources in `copy`; `kind` keeps
/// builds from different copies apart.
pub(crate) fn build(
    tool: &Tool,
    mutants: usize,
    copy: &Path,
    target: &Path,
    kind: &str,
    wanted: Option<&BTreeSet<&str>>,
) -> Result<Build> {
    let wrapper = wrapper(tool, target, kind)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "test",
        "--no-run",
        "--quiet",
        "--profile",
        "checker",
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.args(["--features", tool.features, "--manifest-path"]).arg(copy.join("Cargo.toml"));
    cargo
        .args(tool.package.map_or(&["-p", "tagged-radix", "-p", "writeback"][..], |_| &["-p"]))
        .args(tool.package);
    let all: BTreeSet<&str> = tool.binaries.iter().copied().collect();
    let binaries = wanted.cloned().unwrap_or(all);
    if binaries.is_empty() {
        cargo.args(["--lib", "--tests"]);
    }
    for binary in binaries {
        if binary == "lib" {
            cargo.arg("--lib")
        } else {
            cargo.args(["--test", binary])
        };
    }
    // The building takes longer than the tests, unless a checker repeats them often. Under loom, threads have too small a stack for it.
    if tool.cfgs.is_empty() || (tool.features == "shuttle" && mutants < MANY) {
        for package in ["engines", "page-frames", "tagged-radix", "writeback", "writeback-uring"] {
            cargo.args(["--config", &format!("profile.checker.package.{package}.opt-level=0")]);
        }
    }
    // What sets a build's flags also says which crates get them: the tools share what they depend on.
    cargo
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("MUTANT");
    let output = cargo.stderr(Stdio::inherit()).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{} with all mutants in it does not compile", tool.name).into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let binaries =
        messages.lines().filter_map(|line| binary(line).transpose()).collect::<Result<_>>()?;
    Ok(Build(binaries))
}

/// A script that cargo calls in place of rustc for the crates of the workspace.
fn wrapper(tool: &Tool, target: &Path, kind: &str) -> Result<PathBuf> {
    let folder = target.join("flavours");
    let path = folder.join(format!("{kind}-{}", tool.name));
    let cfgs: String = tool.cfgs.iter().map(|cfg| format!(" --cfg {cfg}")).collect();
    let script = format!("#!/bin/sh\nexec \"$@\"{cfgs} -Awarnings\n");
    if fs::read_to_string(&path).ok().as_ref() != Some(&script) {
        fs::create_dir_all(&folder)?;
        fs::write(&path, script)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
    }
    Ok(path)
}

/// The test binary that one of cargo's messages tells of.
fn binary(message: &str) -> Result<Option<((String, String), Binary)>> {
    let message: Value = serde_json::from_str(message)?;
    let Some(path) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)
    else {
        return Ok(None);
    };
    let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
    let folder = manifest.parent().ok_or("cargo names no package")?.to_owned();
    let is_lib = message["target"]["kind"][0] != "test";
    let name = if is_lib { "lib" } else { message["target"]["name"].as_str().unwrap_or_default() };
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let list =
        Command::new(path).args(["--list", "--format", "terse"]).current_dir(&folder).output()?;
    let tests = String::from_utf8(list.stdout)?;
    let tests =
        tests.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    Ok(Some(((package, name.to_owned()), Binary { path: path.into(), folder, tests })))
}

impl Build {
    /// The binary that has the test, if this tool builds it: the package's own, or another's that is built on it.
    pub(crate) fn binary(&self, package: &str, expected: &Expected) -> Option<&Binary> {
        let own = self.0.get(&(package.to_owned(), expected.binary.clone()));
        let mut others = self.0.iter().filter(|((_, name), _)| *name == expected.binary);
        own.or_else(|| others.next().map(|(_, binary)| binary))
    }

    /// All tests of the package.
    pub(crate) fn tests(&self, package: &str) -> Vec<(&Binary, Expected)> {
        let of_package = self.0.iter().filter(|((folder, _), _)| folder == package);
        of_package
            .flat_map(|((_, name), binary)| {
                let expected = |test: &String| Expected {
                    binary: name.clone(),
                    test: test.clone(),
                    race: None,
                };
                binary.tests.iter().map(move |test| (binary, expected(test)))
            })
            .collect()
    }
}

impl Binary {
    pub(crate) fn has(&self, expected: &Expected) -> bool {
        self.tests.contains(&expected.test)
    }

    /// Runs one test, with the mutant if one is named.
    pub(crate) fn play(
        &self,
        expected: &Expected,
        mutant: Option<&str>,
        limit: Duration,
    ) -> Result<Outcome> {
        let mut output = tempfile::tempfile()?;
        let mut test = Command::new(&self.path);
        test.args(["--exact", &expected.test, "--nocapture"]).current_dir(&self.folder);
        let schedules = match (mutant, &expected.race) {
            (None, _) => SCHEDULES_CONTROL,
            // One race a test, in the page cache.
            (Some(_), None) if self.folder.ends_with("radix") => SCHEDULES_FEW,
            (Some(_), _) => SCHEDULES,
        };
        for name in ["TAGGED_RADIX_SCHEDULES", "WRITEBACK_SCHEDULES"] {
            test.env(name, schedules.to_string());
        }
        for (name, value) in [
            ("CHECKER_FAIL_FAST", "1"),
            ("PROPTEST_MAX_SHRINK_ITERS", "0"),
            ("TAGGED_RADIX_STRESS_SECONDS", "1"),
            ("SHUTTLE_SILENCE_WARNINGS", "1"),
            ("RUST_BACKTRACE", "0"),
        ] {
            test.env(name, value);
        }
        test.env("MUTANT", mutant.unwrap_or_default());
        if mutant.is_none() {
            // The long models are played to their end elsewhere.
            test.env("LOOM_QUICK", "1");
        } else {
            // So that a test that hangs is one that fails, by its own watch.
            test.env("TEST_LIMIT_SECONDS", (limit.as_secs() / 2).to_string());
        }
        if let Some(race) = &expected.race {
            test.env("SHUTTLE_RACE", race);
        }
        test.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let Some(status) = run(&mut test, limit)? else { return Ok(Outcome::OutOfTime) };
        let mut said = Vec::new();
        std::io::Seek::rewind(&mut output)?;
        output.read_to_end(&mut said)?;
        let said = String::from_utf8_lossy(&said);
        if !said.contains("running 1 test\n") {
            return Err(format!("{expected} did not run: {status}").into());
        }
        if status.success() {
            return Ok(Outcome::Passed);
        }
        let place = said
            .lines()
            .find_map(|line| line.split_once("killed: "))
            .map(|(_, place)| place.to_owned());
        Ok(Outcome::Failed(place))
    }
}

/// Runs a command to its end; `None` if it had to be stopped.
fn run(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
