//! Breaks one rule at a time and sees whether the tests notice that are meant to.
//!
//! The mutants are the entries of `ci/mutants/*.toml`. All that can be are built into one copy of the sources (see [`weave`]), one build a
//! tool, and switched at run time by the environment variable `MUTANT`. A mutant is killed if one of the tests fails that its entry expects to
//! fail; a test that fails elsewhere, or does not end in time, kills nothing.

mod data;
mod judge;
mod play;
mod table;
mod tools;
mod weave;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use crate::data::{Family, Mutant};
use crate::judge::Bench;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "Usage: ci/mutants.sh [OPTIONS] [NAME...]

Tries the mutants of these names, or all, with the tests that are expected to fail, and fails if one survives.

  --sample [N]    N of all (40 if not given), from a few builds
  --seed SEED     which ones; printed by every sample
  --limit SECONDS for one test with one mutant (60 if not given)
  --discover      runs all tests of the binaries that an entry's `expect` names, or of its tools, and prints which fail
  --check         only whether the entries fit the sources, and docs/mutants.md the entries
  --write-docs    only writes the tables of docs/mutants.md
  --weave FOLDER  only makes FOLDER a copy of the sources with all mutants, switched by MUTANT=NAME";

enum Mode {
    Judge,
    Discover,
    Check,
    WriteDocs,
    Weave(PathBuf),
}

struct Options {
    mode: Mode,
    sample: Option<usize>,
    seed: u64,
    limit: Duration,
    names: Vec<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(true), |options| work(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None` if only the usage was asked for.
fn options() -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let mut options = Options {
        mode: Mode::Judge,
        sample: None,
        seed: fastrand::u64(..1 << 32),
        limit: Duration::from_secs(60),
        names: Vec::new(),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("sample") => {
                let number = arguments.try_raw_args().and_then(|mut raw| {
                    raw.next_if(|next| {
                        next.to_str().is_some_and(|next| next.parse::<usize>().is_ok())
                    })
                });
                options.sample = Some(number.map_or(Ok(40), |number| number.parse())?);
            }
            Long("seed") => options.seed = arguments.value()?.parse()?,
            Long("limit") => options.limit = Duration::from_secs(arguments.value()?.parse()?),
            Long("discover") => options.mode = Mode::Discover,
            Long("check") => options.mode = Mode::Check,
            Long("write-docs") => options.mode = Mode::WriteDocs,
            Long("weave") => options.mode = Mode::Weave(arguments.value()?.into()),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            Value(name) => options.names.push(name.string()?),
            other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(Some(options))
}

/// Whether all is well.
fn work(options: &Options) -> Result<bool> {
    let root = env::current_dir()?;
    let families = data::read(&root.join("ci/mutants"), &root)?;
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |target| root.join(target))
        .join("checker");
    let all: Vec<_> = families.iter().flat_map(|family| &family.mutants).collect();
    let bench = Bench { root: &root, target, all, limit: options.limit };
    match &options.mode {
        Mode::Judge => Ok(bench.judge(&chosen(options, &families)?)? == 0),
        Mode::Discover => bench.discover(&chosen(options, &families)?).map(|()| true),
        Mode::Check => check(&bench, &families),
        Mode::WriteDocs => {
            let page = root.join("docs/mutants.md");
            fs::write(&page, table::renew(&fs::read_to_string(&page)?, &families)?)?;
            Ok(true)
        }
        Mode::Weave(copy) => bench.weave(&root.join(copy)).map(|()| true),
    }
}

/// What can be said without a build: that every edit fits (which was read off already), and that the documentation is as new.
fn check(bench: &Bench<'_>, families: &[Family]) -> Result<bool> {
    for mutant in &bench.all {
        if !mutant.is_switchable() {
            println!(
                "{}: is built alone: it changes more than the bodies of functions",
                mutant.name
            );
        }
    }
    let page = fs::read_to_string(bench.root.join("docs/mutants.md"))?;
    if table::renew(&page, families)? != page {
        eprintln!("mutants: docs/mutants.md is not as the mutants are: ci/mutants.sh --write-docs");
        return Ok(false);
    }
    println!("{} mutants fit the sources", bench.all.len());
    Ok(true)
}

/// The mutants that were asked for.
fn chosen<'a>(options: &Options, families: &'a [Family]) -> Result<Vec<&'a Mutant>> {
    if let Some(number) = options.sample {
        println!("a sample of {number}: --sample {number} --seed {}", options.seed);
        return Ok(sample(families, number, options.seed));
    }
    let all = || families.iter().flat_map(|family| &family.mutants);
    if options.names.is_empty() {
        return Ok(all().collect());
    }
    // The documents name some as FILE/NAME.
    let own = |name: &str| name.rsplit('/').next().expect("a split has a part").to_owned();
    let named = |name: &String| {
        all()
            .find(|mutant| mutant.name == own(name))
            .ok_or_else(|| format!("no mutant is called {name}").into())
    };
    options.names.iter().map(named).collect()
}

/// How many mutants of one build a sample tries: a build takes longer than they do.
const SAMPLE_OF_ONE_BUILD: usize = 20;

/// So many of those that can be noticed, from a few builds: the seed says which. A mutant is as likely to be among them as another.
fn sample(families: &[Family], number: usize, seed: u64) -> Vec<&Mutant> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut builds = BTreeMap::<_, Vec<_>>::new();
    for mutant in families.iter().flat_map(|family| &family.mutants) {
        if let Some(build) = judge::first_build(mutant) {
            builds.entry(build).or_default().push(mutant);
        }
    }
    let mut builds: Vec<_> = builds.into_values().collect();
    for build in &mut builds {
        random.shuffle(build);
    }
    // The more mutants, the earlier: a build comes first with a probability in proportion to their number.
    builds.sort_by_cached_key(|build| {
        let early = -random.f64().max(f64::MIN_POSITIVE).ln() / build.len() as f64;
        early.to_bits()
    });
    let few = builds.into_iter().flat_map(|build| build.into_iter().take(SAMPLE_OF_ONE_BUILD));
    few.take(number).collect()
}
