//! The mutants as the TOML files list them, and what has to be true of them before anything is built.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::tools::{TOOLS, Tool, crate_of, tool};
use crate::weave;

/// One TOML file.
pub(crate) struct Family {
    /// The file's name without `.toml`.
    pub(crate) name: String,
    /// The heading of its table in the documentation.
    pub(crate) title: String,
    pub(crate) mutants: Vec<Mutant>,
}

/// One broken rule.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) claim: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) by: Vec<&'static Tool>,
    pub(crate) expect: Vec<Expected>,
    pub(crate) excuse: Option<Excuse>,
}

impl Mutant {
    /// Whether it can be switched at run time.
    pub(crate) fn is_switchable(&self) -> bool {
        self.edits.iter().all(|edit| edit.always || edit.in_body)
    }
}

/// A place in a file and what stands there in the mutant.
pub(crate) struct Edit {
    pub(crate) file: String,
    /// The bytes that `find` takes in the file as it is.
    pub(crate) range: Range<usize>,
    pub(crate) replace: String,
    /// Whether it is within the body of a function.
    pub(crate) in_body: bool,
    /// Harmless by itself, so that it can stand in every build: a function that only the mutant calls.
    pub(crate) always: bool,
}

/// A test that notices: `BINARY::path::of::the_test`, or `BINARY::the_test: RACE` for one race of a group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Expected {
    pub(crate) binary: String,
    pub(crate) test: String,
    pub(crate) race: Option<String>,
}

/// Why no test notices.
pub(crate) enum Excuse {
    /// Nobody could ever see it.
    Equivalent(String),
    /// No tool here can see it.
    Unseen(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFamily {
    title: Option<String>,
    #[serde(default)]
    mutant: Vec<RawMutant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMutant {
    name: String,
    claim: String,
    file: Option<String>,
    find: Option<String>,
    replace: Option<String>,
    #[serde(default)]
    edit: Vec<RawEdit>,
    #[serde(default)]
    by: Vec<String>,
    #[serde(default)]
    expect: Vec<String>,
    equivalent: Option<String>,
    unseen: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdit {
    file: Option<String>,
    find: String,
    replace: String,
    #[serde(default)]
    always: bool,
}

/// Reads every `*.toml` of `folder`. Fails with all that is wrong with the mutants, each by its name.
pub(crate) fn read(folder: &Path, root: &Path) -> Result<Vec<Family>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut reader =
        Reader { root, sources: BTreeMap::new(), names: HashSet::new(), wrong: Vec::new() };
    let mut families = Vec::new();
    for file in &files {
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        match toml::from_str::<RawFamily>(&fs::read_to_string(file)?) {
            Ok(raw) => {
                let mutants =
                    raw.mutant.into_iter().filter_map(|raw| reader.mutant(&name, raw)).collect();
                families.push(Family {
                    title: raw.title.unwrap_or_else(|| name.clone()),
                    name,
                    mutants,
                });
            }
            Err(error) => reader.wrong.push(format!("{name}.toml: {error}")),
        }
    }
    if reader.wrong.is_empty() { Ok(families) } else { Err(reader.wrong.join("\n").into()) }
}

struct Reader<'a> {
    root: &'a Path,
    /// The files that edits name; `None` if there is none.
    sources: BTreeMap<String, std::result::Result<Source, String>>,
    names: HashSet<String>,
    wrong: Vec<String>,
}

struct Source {
    text: String,
    /// Where the bodies of its functions are.
    bodies: Vec<Range<usize>>,
}

impl Reader<'_> {
    /// The mutant, unless something is wrong with it.
    fn mutant(&mut self, family: &str, raw: RawMutant) -> Option<Mutant> {
        let known = self.wrong.len();
        let name = raw.name.clone();
        let mut wrong: Vec<String> = Vec::new();
        if !self.names.insert(name.clone()) {
            wrong.push("another mutant has this name".to_owned());
        }
        if raw.claim.trim().is_empty() {
            wrong.push("the claim is missing".to_owned());
        }
        let excuse = match (raw.equivalent, raw.unseen) {
            (Some(_), Some(_)) => {
                wrong.push("both `equivalent` and `unseen`".to_owned());
                None
            }
            (Some(reason), None) => Some(Excuse::Equivalent(reason)),
            (None, reason) => reason.map(Excuse::Unseen),
        };
        if excuse.is_none() && (raw.by.is_empty() || raw.expect.is_empty()) {
            wrong.push(
                "`by` and `expect`, or a reason why no test can notice, are missing".to_owned(),
            );
        }
        let mut edits = raw.edit;
        match (raw.find, raw.replace) {
            (Some(find), Some(replace)) => {
                edits.insert(0, RawEdit { file: None, find, replace, always: false })
            }
            (None, None) => {}
            _ => wrong.push("`find` and `replace` go together".to_owned()),
        }
        let edits = self.edits(raw.file.as_deref(), edits, &mut wrong);
        let package = edits.first().and_then(|edit| crate_of(&edit.file));
        let by = raw
            .by
            .iter()
            .filter_map(|name| {
                tool(name, package).or_else(|| {
                    let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
                    wrong.push(format!(
                        "no tool is called {name:?}; there are {}",
                        known.join(", ")
                    ));
                    None
                })
            })
            .collect();
        let expect = raw
            .expect
            .iter()
            .filter_map(|text| {
                expected(text).or_else(|| {
                    wrong.push(format!("{text:?} is no test: BINARY::path::of::the_test"));
                    None
                })
            })
            .collect();
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{family}.toml: {name}: {wrong}")));
        (self.wrong.len() == known).then_some(Mutant {
            name,
            claim: raw.claim,
            edits,
            by,
            expect,
            excuse,
        })
    }

    fn edits(
        &mut self,
        file: Option<&str>,
        raw: Vec<RawEdit>,
        wrong: &mut Vec<String>,
    ) -> Vec<Edit> {
        let mut edits: Vec<Edit> = Vec::new();
        for RawEdit { file: own, find, replace, always } in raw {
            let Some(file) = own.as_deref().or(file) else {
                wrong.push("`file` is missing".to_owned());
                continue;
            };
            let root = self.root;
            let source = self.sources.entry(file.to_owned()).or_insert_with(|| source(root, file));
            let Source { text, bodies } = match source {
                Ok(source) => source,
                Err(error) => {
                    wrong.push(error.clone());
                    continue;
                }
            };
            match text.matches(&find).count() {
                _ if find.is_empty() => wrong.push("`find` is empty".to_owned()),
                _ if find == replace => wrong.push("`replace` changes nothing".to_owned()),
                1 => {
                    let start = text.find(&find).expect("it was counted");
                    let range = start..start + find.len();
                    let meets = |edit: &Edit| {
                        edit.file == file
                            && edit.range.start < range.end
                            && range.start < edit.range.end
                    };
                    if edits.iter().any(meets) {
                        wrong.push(format!("two edits of one place in {file}"));
                    }
                    let in_body = bodies.iter().any(|body| weave::holds(body, &range));
                    edits.push(Edit { file: file.to_owned(), range, replace, in_body, always });
                }
                times => {
                    wrong.push(format!("`find` is {times} times in {file}, not once:\n{find}"))
                }
            }
        }
        self.check_bodies(&edits, wrong);
        if edits.iter().all(|edit| edit.always) && wrong.is_empty() {
            wrong.push("there is no edit that breaks anything".to_owned());
        }
        edits
    }

    /// A body with its edits made is one still: it stands beside those of other mutants.
    fn check_bodies(&self, edits: &[Edit], wrong: &mut Vec<String>) {
        for (file, source) in &self.sources {
            let Ok(Source { text, bodies }) = source else { continue };
            for body in bodies {
                let here = || {
                    edits.iter().filter(|edit| {
                        edit.file == *file && !edit.always && weave::holds(body, &edit.range)
                    })
                };
                if here().next().is_none() {
                    continue;
                }
                let replaced = weave::replaced(text, body.clone(), here());
                if let Err(error) = syn::parse_str::<syn::Block>(&replaced) {
                    wrong.push(format!("no body of a function any more, in {file}: {error}"));
                }
            }
        }
    }
}

fn source(root: &Path, file: &str) -> std::result::Result<Source, String> {
    let text = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
    let bodies = weave::bodies(file, &text).map_err(|error| error.to_string())?;
    Ok(Source { text, bodies })
}

fn expected(text: &str) -> Option<Expected> {
    let (path, race) = match text.split_once(": ") {
        Some((path, race)) => (path, Some(race.to_owned())),
        None => (text, None),
    };
    let (binary, test) = path.split_once("::")?;
    Some(Expected { binary: binary.to_owned(), test: test.to_owned(), race })
}

impl std::fmt::Display for Expected {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}::{}", self.binary, self.test)?;
        self.race.as_ref().map_or(Ok(()), |race| write!(out, ": {race}"))
    }
}
