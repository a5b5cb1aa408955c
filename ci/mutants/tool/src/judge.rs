//! Which mutants are noticed, by which test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::data::{Expected, Mutant};
use crate::play::{self, Build, Outcome};
use crate::tools::{TOOLS, Tool};
use crate::weave;

/// The sources, all mutants, and where to build.
pub(crate) struct Bench<'a> {
    pub(crate) root: &'a Path,
    pub(crate) target: PathBuf,
    pub(crate) all: Vec<&'a Mutant>,
    /// For one test with one mutant.
    pub(crate) limit: Duration,
}

/// A tool's tests, built with some mutants in them.
struct Built<'a> {
    tool: &'static Tool,
    build: Build,
    mutants: Vec<&'a Mutant>,
}

impl<'a> Bench<'a> {
    /// Tries each of `chosen` with the tests that are expected to fail, and says which do. Returns the number of survivors.
    pub(crate) fn judge(&self, chosen: &[&'a Mutant]) -> Result<usize> {
        let chosen: Vec<_> =
            chosen.iter().copied().filter(|mutant| mutant.excuse.is_none()).collect();
        let (switched, alone) = split(&chosen);
        let mut alive: BTreeSet<&str> = chosen.iter().map(|mutant| mutant.name.as_str()).collect();
        for tool in &TOOLS {
            let here: Vec<_> = with_tool(&switched, tool)
                .filter(|mutant| alive.contains(mutant.name.as_str()))
                .collect();
            if !here.is_empty() {
                let start = Instant::now();
                let built = self.build_woven(tool, here)?;
                println!("{}: built in {:.0} s", tool.name, start.elapsed().as_secs_f32());
                self.control(&built)?;
                self.kill(&built, &mut alive)?;
            }
        }
        for mutant in alone {
            for &tool in &mutant.by {
                if alive.contains(mutant.name.as_str()) {
                    self.kill(&self.build_alone(tool, mutant)?, &mut alive)?;
                }
            }
        }
        for name in &alive {
            println!("{name}: SURVIVED: no test that is expected to fail does");
        }
        println!(
            "{} mutants, {} killed, {} survived",
            chosen.len(),
            chosen.len() - alive.len(),
            alive.len()
        );
        Ok(alive.len())
    }

    /// Runs all tests of the binaries that the mutants' tests are in, or of their tools, and says which fail.
    pub(crate) fn discover(&self, chosen: &[&'a Mutant]) -> Result<()> {
        let (switched, alone) = split(chosen);
        for tool in &TOOLS {
            let here: Vec<_> = with_tool(&switched, tool).collect();
            if !here.is_empty() {
                self.show_all(&self.build_woven_whole(tool, here)?)?;
            }
        }
        for mutant in alone {
            for &tool in &mutant.by {
                self.show_all(&self.build_alone(tool, mutant)?)?;
            }
        }
        Ok(())
    }

    /// Makes `copy` one of the sources with all mutants to be switched.
    pub(crate) fn weave(&self, copy: &Path) -> Result<()> {
        std::fs::create_dir_all(copy)?;
        weave::weave(self.root, copy, &split(&self.all).0, None)
    }

    fn build_woven(&self, tool: &'static Tool, mutants: Vec<&'a Mutant>) -> Result<Built<'a>> {
        self.build_binaries(tool, mutants, tool.binaries.is_empty())
    }

    fn build_woven_whole(
        &self,
        tool: &'static Tool,
        mutants: Vec<&'a Mutant>,
    ) -> Result<Built<'a>> {
        self.build_binaries(tool, mutants, false)
    }

    /// With all mutants in it, whichever are to be tried: the next call finds it built.
    fn build_binaries(
        &self,
        tool: &'static Tool,
        mutants: Vec<&'a Mutant>,
        only_expected: bool,
    ) -> Result<Built<'a>> {
        let copy = self.target.join("woven");
        self.weave(&copy)?;
        let expected: BTreeSet<&str> = mutants
            .iter()
            .flat_map(|mutant| &mutant.expect)
            .map(|test| test.binary.as_str())
            // Those that only a checker's build has tests in.
            .filter(|binary| !["loom", "shuttle"].contains(binary))
            .collect();
        let build = play::build(
            tool,
            mutants.len(),
            &copy,
            &self.target,
            "woven",
            only_expected.then_some(&expected),
        )?;
        Ok(Built { tool, build, mutants })
    }

    fn build_alone(&self, tool: &'static Tool, mutant: &'a Mutant) -> Result<Built<'a>> {
        let copy = self.target.join("alone");
        std::fs::create_dir_all(&copy)?;
        weave::weave(self.root, &copy, &[], Some(mutant))?;
        let build = play::build(tool, 1, &copy, &self.target, "alone", None)?;
        Ok(Built { tool, build, mutants: vec![mutant] })
    }

    /// Without a mutant every test passes that is to notice one.
    fn control(&self, built: &Built<'_>) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut tests = Vec::new();
        for mutant in &built.mutants {
            for (binary, expected) in expected_of(built, mutant)? {
                if seen.insert((package(mutant), expected.to_string())) {
                    tests.push((binary, expected));
                }
            }
        }
        let limit = self.limit * 10;
        let start = Instant::now();
        let failed = Mutex::new(Vec::new());
        in_parallel(built.tool, &tests, |(binary, expected)| {
            match binary.play(expected, None, limit)? {
                Outcome::Passed => {}
                Outcome::Failed(_) => {
                    failed.lock().unwrap().push(format!("{expected} fails without a mutant"))
                }
                Outcome::OutOfTime => {
                    failed.lock().unwrap().push(format!("{expected} does not end without a mutant"))
                }
            }
            Ok(())
        })?;
        println!(
            "{}: {} tests pass without a mutant, {:.0} s",
            built.tool.name,
            tests.len(),
            start.elapsed().as_secs_f32()
        );
        let failed = failed.into_inner().unwrap();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("{}: {}", built.tool.name, failed.join(", ")).into())
        }
    }

    fn kill(&self, built: &Built<'_>, alive: &mut BTreeSet<&str>) -> Result<()> {
        let killed = Mutex::new(Vec::new());
        in_parallel(built.tool, &built.mutants, |mutant| {
            let start = Instant::now();
            for (binary, expected) in expected_of(built, mutant)? {
                let name = &mutant.name;
                match binary.play(expected, Some(name), self.limit)? {
                    Outcome::Passed => {
                        println!("{name}: not noticed by {}: {expected}", built.tool.name)
                    }
                    Outcome::OutOfTime => {
                        println!("{name}: out of time in {}: {expected}", built.tool.name)
                    }
                    Outcome::Failed(place) => {
                        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
                        println!(
                            "{name}: killed by {}: {expected}{place}, {:.1} s",
                            built.tool.name,
                            start.elapsed().as_secs_f32()
                        );
                        killed.lock().unwrap().push(name.clone());
                        break;
                    }
                }
            }
            Ok(())
        })?;
        alive.retain(|name| !killed.lock().unwrap().iter().any(|killed| killed == name));
        Ok(())
    }

    fn show_all(&self, built: &Built<'_>) -> Result<()> {
        for mutant in &built.mutants {
            let mut tests = built.build.tests(package(mutant));
            if !mutant.expect.is_empty() {
                tests.retain(|(_, test)| {
                    mutant.expect.iter().any(|expected| expected.binary == test.binary)
                });
            }
            in_parallel(built.tool, &tests, |(binary, expected)| {
                let start = Instant::now();
                let outcome = match binary.play(expected, Some(&mutant.name), self.limit)? {
                    Outcome::Passed => return Ok(()),
                    Outcome::Failed(place) => format!("fails {}", place.unwrap_or_default()),
                    Outcome::OutOfTime => "is out of time".to_owned(),
                };
                println!(
                    "{}: {}: {expected} {outcome} {:.1} s",
                    mutant.name,
                    built.tool.name,
                    start.elapsed().as_secs_f32()
                );
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn with_tool<'a>(mutants: &[&'a Mutant], tool: &'static Tool) -> impl Iterator<Item = &'a Mutant> {
    mutants.iter().copied().filter(move |mutant| mutant.by.iter().any(|by| by.name == tool.name))
}

/// What has to be built to try the mutant: a tool and, of the ordinary tests, a crate's test binary. `None` if nothing can notice it.
pub(crate) fn first_build(mutant: &Mutant) -> Option<(&'static str, &str, &str)> {
    if mutant.excuse.is_some() {
        return None;
    }
    let tool = TOOLS.iter().find(|tool| mutant.by.iter().any(|by| by.name == tool.name))?;
    let binary = match tool.binaries {
        [] => mutant.expect.first()?.binary.as_str(),
        _ => "",
    };
    Some((tool.name, package(mutant), binary))
}

/// Those that can be switched at run time, and those that are built one by one.
fn split<'a>(mutants: &[&'a Mutant]) -> (Vec<&'a Mutant>, Vec<&'a Mutant>) {
    mutants.iter().partition(|mutant| mutant.is_switchable())
}

/// The folder of the crate that the mutant is in.
fn package(mutant: &Mutant) -> &str {
    mutant.edits[0].file.split('/').next().expect("a file is in a folder")
}

/// The tests of the mutant that this build has.
fn expected_of<'b, 'm>(
    built: &'b Built<'_>,
    mutant: &'m Mutant,
) -> Result<Vec<(&'b play::Binary, &'m Expected)>> {
    let here = mutant
        .expect
        .iter()
        .filter_map(|expected| Some((built.build.binary(package(mutant), expected)?, expected)));
    let here: Vec<_> = here.collect();
    match here.iter().find(|(binary, expected)| !binary.has(expected)) {
        Some((_, missing)) => {
            Err(format!("{}: there is no test {missing} in {}", mutant.name, built.tool.name)
                .into())
        }
        None if here.is_empty() => {
            Err(format!("{}: none of its tests is in {}", mutant.name, built.tool.name).into())
        }
        None => Ok(here),
    }
}

/// Calls `work` for each item; fails with the first failure. As many at a time as there are processors, of ordinary tests four times as
/// many: with a mutant some wait half a minute for what does not come.
fn in_parallel<T: Sync>(
    tool: &Tool,
    items: &[T],
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let at_a_time = if tool.cfgs.is_empty() { 4 * processors } else { processors };
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        failure.lock().unwrap().get_or_insert(error);
                        next.store(items.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap().map_or(Ok(()), Err)
}
