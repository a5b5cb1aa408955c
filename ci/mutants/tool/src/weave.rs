//! One copy of the sources with all mutants in it, each switched on by the environment variable `MUTANT`.
//!
//! A function that mutants change gets one body for each of them besides its own:
//!
//! ```text
//! fn unlock(&self) { BODY }        fn unlock(&self) { if mutant_is_live(1) { BODY 1 } else if mutant_is_live(2) { BODY 2 } else { BODY } }
//! ```
//!
//! So an edit may be anything that leaves a function's head as it is. An edit elsewhere (of a type, or of a head) has its mutant built alone.
//! The switch is plain memory of the standard library, which no model checker sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use syn::visit::Visit;

use crate::Result;
use crate::data::{Edit, Mutant};

/// What belongs to a copy: all that the workspace is made of.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "frames",
    "radix",
    "writeback",
    "uring",
    "engines",
    "benches",
    "ci/instructions",
];

/// Makes `copy` one of the sources, with `mutants` to be switched, and `alone` in force whatever the switch says. What is equal already
/// is left alone, so that cargo builds only what changed.
pub(crate) fn weave(
    root: &Path,
    copy: &Path,
    mutants: &[&Mutant],
    alone: Option<&Mutant>,
) -> Result<()> {
    let mut edited: BTreeMap<&str, Vec<(&str, &Edit)>> = BTreeMap::new();
    for mutant in mutants.iter().copied().chain(alone) {
        for edit in &mutant.edits {
            edited.entry(&edit.file).or_default().push((&mutant.name, edit));
        }
    }
    let alone = alone.map(|mutant| mutant.name.as_str());
    let listed = files(root)?;
    for file in &listed {
        let mut contents = fs::read(root.join(file))?;
        if let Some(edits) = edited.remove(file.as_str()) {
            let text = String::from_utf8(contents)?;
            contents = weave_file(file, &text, &edits, alone)?.into_bytes();
        }
        let target = copy.join(file);
        if fs::read(&target).is_ok_and(|there| there == contents) {
            continue;
        }
        fs::create_dir_all(target.parent().expect("a file is in a folder"))?;
        fs::write(target, contents)?;
    }
    let listed: BTreeSet<_> = listed.iter().map(|file| copy.join(file)).collect();
    remove_others(copy, &listed)
}

/// The files that git knows or would know.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
    ])
    .args(PARTS)
    .current_dir(root);
    let output = git.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let names = String::from_utf8(output.stdout)?;
    Ok(names
        .split_terminator('\0')
        .filter(|file| root.join(file).is_file())
        .map(str::to_owned)
        .collect())
}

/// Removes what is in the folder and not listed: a source that was renamed, a failure that a test noted beside itself.
fn remove_others(folder: &Path, listed: &BTreeSet<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, listed)?;
        } else if !listed.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn weave_file(
    file: &str,
    text: &str,
    edits: &[(&str, &Edit)],
    alone: Option<&str>,
) -> Result<String> {
    let bodies = bodies(file, text)?;
    let in_force = |(name, edit): &&(&str, &Edit)| edit.always || Some(*name) == alone;
    let mut names: Vec<&str> = Vec::new();
    // What replaces what, by where it begins: bodies with all their variants, and edits that are always in force.
    let mut pieces: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (_, edit) in edits.iter().filter(in_force) {
        pieces.insert(edit.range.start, (edit.range.end, edit.replace.clone()));
    }
    for body in &bodies {
        let switched: Vec<_> = edits
            .iter()
            .filter(|edit| !in_force(edit))
            .filter(|(_, edit)| holds(body, &edit.range))
            .collect();
        let mut variants = String::new();
        let here: BTreeSet<&str> = switched.iter().map(|(name, _)| *name).collect();
        for name in here {
            let number = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let own = switched.iter().filter(|(of, _)| *of == name).map(|(_, edit)| *edit);
            write!(
                variants,
                "if mutant_is_live({}) {} else ",
                number + 1,
                replaced(text, body.clone(), own)
            )?;
        }
        if !variants.is_empty() {
            let fixed = edits
                .iter()
                .filter(in_force)
                .map(|(_, edit)| *edit)
                .filter(|edit| holds(body, &edit.range));
            let plain = replaced(text, body.clone(), fixed);
            pieces.retain(|start, _| !body.contains(start));
            pieces.insert(body.start, (body.end, format!("{{ {variants}{plain} }}")));
        }
    }
    let mut woven = String::new();
    let mut at = 0;
    for (start, (end, piece)) in pieces {
        if start < at {
            return Err(format!(
                "{file}: an edit that is always in force is partly in a function's body: {piece}"
            )
            .into());
        }
        woven += &text[at..start];
        woven += &piece;
        at = end;
    }
    woven += &text[at..];
    if !names.is_empty() {
        woven += &switch(&names);
    }
    Ok(woven)
}

/// `text[range]` with the edits made.
pub(crate) fn replaced<'a>(
    text: &str,
    range: Range<usize>,
    edits: impl Iterator<Item = &'a Edit>,
) -> String {
    let mut edits: Vec<_> = edits.collect();
    edits.sort_by_key(|edit| edit.range.start);
    let mut out = String::new();
    let mut at = range.start;
    for edit in edits {
        out += &text[at..edit.range.start];
        out += &edit.replace;
        at = edit.range.end;
    }
    out + &text[at..range.end]
}

/// The function that a file's switches call. Each file has its own, since some are part of tests as well.
fn switch(names: &[&str]) -> String {
    let arms: String =
        names.iter().zip(1..).map(|(name, number)| format!("Ok({name:?}) => {number}, ")).collect();
    format!(
        "\n#[inline]\nfn mutant_is_live(number: u32) -> bool {{
    // One more than the number of the live one; zero: not looked at yet. Relaxed, and no lock of the standard library: it must
    // bring no order that the code itself has not, nor look like a race to ThreadSanitizer, which does not see into that.
    static LIVE: ::std::sync::atomic::AtomicU32 = ::std::sync::atomic::AtomicU32::new(0);
    let mut live = LIVE.load(::std::sync::atomic::Ordering::Relaxed);
    if live == 0 {{
        live = 1 + match ::std::env::var(\"MUTANT\").as_deref() {{ {arms}_ => 0 }};
        LIVE.store(live, ::std::sync::atomic::Ordering::Relaxed);
    }}
    live == number + 1
}}\n"
    )
}

/// Where the bodies of a file's functions are, braces included; of nested ones, the outermost.
pub(crate) fn bodies(file: &str, text: &str) -> Result<Vec<Range<usize>>> {
    let parsed = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
    let mut bodies = Bodies(Vec::new());
    bodies.visit_file(&parsed);
    Ok(bodies.0)
}

struct Bodies(Vec<Range<usize>>);

impl Bodies {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        // The switch is no constant.
        if signature.constness.is_none() {
            self.0.push(block.brace_token.span.join().byte_range());
        }
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
    }
}

/// Whether the edit is between the braces.
pub(crate) fn holds(body: &Range<usize>, edit: &Range<usize>) -> bool {
    body.start < edit.start && edit.end < body.end
}
