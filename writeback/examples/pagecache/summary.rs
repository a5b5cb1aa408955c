//! What the user is told at the end.

use std::fs::File;

use indicatif::HumanCount;
use serde_json::json;

use crate::common::Fallible;
use crate::common::outcome::Outcome;
use crate::input::{Input, digest};

/// The input and what became of it.
pub(crate) struct Digests {
    bytes: u64,
    passes: usize,
    input: String,
    result: String,
}

impl Digests {
    pub(crate) fn compare(input: &Input, before: &str, result: &File) -> Fallible<Self> {
        if input.digest()? != before {
            return Err("the input changed while it was being read".into());
        }
        let result = digest(result).map_err(|error| format!("cannot read the result: {error}"))?;
        Ok(Self { bytes: input.len(), passes: input.passes(), input: before.into(), result })
    }

    pub(crate) fn are_equal(&self) -> bool {
        self.input == self.result
    }
}

/// The summary for programs.
pub(crate) fn json(
    name: &str,
    passed: bool,
    outcome: &Outcome,
    digests: Option<&Digests>,
) -> String {
    let mut summary = outcome.json();
    summary["file"] = json!(name);
    summary["passed"] = json!(passed);
    if let Some(digests) = digests {
        summary["input"] = json!({
            "bytes": digests.bytes,
            "passes": digests.passes,
            "sha256_input": digests.input,
            "sha256_result": digests.result,
            "equal": digests.are_equal(),
        });
    }
    format!("{summary:#}\n")
}

/// The summary for people.
pub(crate) fn text(outcome: &Outcome, digests: Option<&Digests>) -> String {
    let mut text = String::from("\n");
    let mut line = |name: &str, value: &str| text += &format!("  {name:<30} {value}\n");
    for (name, value) in outcome.table() {
        line(name, &value);
    }
    if let Some(digests) = digests {
        line("input", &format!("{} bytes", HumanCount(digests.bytes)));
        line("times every page was rewritten", &digests.passes.to_string());
        line("SHA-256 of the input", &digests.input);
        line("SHA-256 of the result", &digests.result);
    }
    text.push('\n');
    text += &outcome.verdict();
    text += match digests {
        Some(digests) if digests.are_equal() => "The result is the input, byte for byte.\n",
        Some(_) => "The result is NOT the input.\n",
        None => "",
    };
    text += "The file was read through the operating system: this shows what reached the file and\n\
             was followed by an fdatasync, not what a device keeps when its power fails.\n";
    text
}
