//! The tables of `docs/mutants.md`, from the data.

use std::fmt::Write;

use crate::Result;
use crate::data::{Excuse, Family, Mutant};

const BEGIN: &str = "<!-- Written by ci/mutants.sh --write-docs from ci/mutants/*.toml. -->\n";
const END: &str = "<!-- The end of what is written. -->\n";

/// `page` with its tables made anew.
pub(crate) fn renew(page: &str, families: &[Family]) -> Result<String> {
    let (before, rest) =
        page.split_once(BEGIN).ok_or("docs/mutants.md does not say where its tables begin")?;
    let (_, after) =
        rest.split_once(END).ok_or("docs/mutants.md does not say where its tables end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", tables(families)))
}

fn tables(families: &[Family]) -> String {
    let all = || families.iter().flat_map(|family| &family.mutants);
    let equivalent =
        all().filter(|mutant| matches!(mutant.excuse, Some(Excuse::Equivalent(_)))).count();
    let unseen = all().filter(|mutant| matches!(mutant.excuse, Some(Excuse::Unseen(_)))).count();
    let noticed = all().count() - equivalent - unseen;
    let mut out = format!(
        "\n{} mutants: {noticed} are noticed, {equivalent} are equivalent (nobody could ever see them, for the reason given), \
         {unseen} are seen by no tool here.\n",
        all().count()
    );
    for family in families {
        let Family { name, title, mutants } = family;
        write!(
            out,
            "\n## {title}\n\n`{name}.toml`\n\n| mutant | claim | noticed by |\n|---|---|---|\n"
        )
        .expect("a string takes all");
        for mutant in mutants {
            writeln!(
                out,
                "| {} | {} | {} |",
                mutant.name,
                cell(&mutant.claim),
                cell(&noticed_by(mutant))
            )
            .expect("a string takes all");
        }
    }
    out + "\n"
}

fn noticed_by(mutant: &Mutant) -> String {
    match &mutant.excuse {
        Some(Excuse::Equivalent(reason)) => format!("equivalent: {reason}"),
        Some(Excuse::Unseen(reason)) => format!("nobody: {reason}"),
        None => {
            let by: Vec<_> = mutant.by.iter().map(|tool| tool.name).collect();
            let tests: Vec<_> =
                mutant.expect.iter().map(|expected| format!("`{expected}`")).collect();
            format!("{}: {}", by.join(", "), tests.join(", "))
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
