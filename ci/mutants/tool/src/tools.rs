//! The tools that can notice a mutant: builds of a crate's tests, each with cfgs of its own.

/// A build of one crate's tests.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The package whose tests run; any for the ordinary tests, which are those of the mutant's crate.
    pub(crate) package: Option<&'static str>,
    /// Set on the crates of this workspace only: what they depend on is built once for all tools.
    pub(crate) cfgs: &'static [&'static str],
    pub(crate) features: &'static str,
    /// The test binaries, `lib` for the unit tests; all if there are none.
    pub(crate) binaries: &'static [&'static str],
}

const TREE: Option<&str> = Some("tagged-radix");
const CACHE: Option<&str> = Some("writeback");
const FRAMES: Option<&str> = Some("page-frames");
const ENGINES: Option<&str> = Some("engines");
const URING: Option<&str> = Some("writeback-uring");

/// As `ci/loom.sh` and `ci/shuttle.sh` build them.
pub(crate) const TOOLS: [Tool; 17] = [
    Tool {
        name: "tests",
        package: None,
        cfgs: &[],
        features: "tagged-radix/rayon,tagged-radix/serde",
        binaries: &[],
    },
    shuttle("shuttle", &["radix_shuttle"]),
    shuttle("shuttle-wide", &["radix_shuttle", "radix_wide"]),
    shuttle("compact-shuttle", &["radix_shuttle", "radix_compact"]),
    shuttle("growth-shuttle", &["radix_shuttle", "radix_compact", "radix_wide"]),
    Tool { name: "epochs-tests", package: TREE, cfgs: &[], features: "asymmetric", binaries: &[] },
    Tool {
        name: "arena-tests",
        package: TREE,
        cfgs: &[],
        features: "arena",
        binaries: &["lib", "arena", "callers"],
    },
    loom("loom", &["radix_loom"]),
    loom("compact-loom", &["radix_loom", "radix_compact"]),
    loom("growth-loom", &["radix_loom", "radix_compact", "radix_wide"]),
    Tool {
        package: CACHE,
        ..shuttle("pages-shuttle", &["writeback_shuttle", "radix_shuttle", "radix_all_tags"])
    },
    Tool { package: CACHE, binaries: &["loom"], ..loom("pages-loom", &["writeback_loom"]) },
    // Apart from the tests of the others, which take longer to build.
    Tool { name: "frames-tests", package: FRAMES, cfgs: &[], features: "", binaries: &[] },
    Tool { package: FRAMES, binaries: &["lib"], ..loom("frames-loom", &["frames_loom"]) },
    Tool { name: "engines-tests", package: ENGINES, cfgs: &[], features: "", binaries: &[] },
    Tool { name: "uring-tests", package: URING, cfgs: &[], features: "", binaries: &[] },
    Tool { package: URING, binaries: &["lib"], ..loom("uring-loom", &["uring_loom"]) },
];

const fn shuttle(name: &'static str, cfgs: &'static [&'static str]) -> Tool {
    Tool { name, package: TREE, cfgs, features: "shuttle", binaries: &["shuttle"] }
}

const fn loom(name: &'static str, cfgs: &'static [&'static str]) -> Tool {
    Tool { name, package: TREE, cfgs, features: "loom", binaries: &["lib", "loom"] }
}

/// The package that a file belongs to.
pub(crate) fn crate_of(file: &str) -> Option<&'static str> {
    match file.split('/').next()? {
        "engines" => ENGINES,
        "frames" => FRAMES,
        "radix" => TREE,
        "uring" => URING,
        "writeback" => CACHE,
        _ => None,
    }
}

/// The tool of that name. For a file of the page cache, `shuttle` and `loom` are the page cache's own.
pub(crate) fn tool(name: &str, package: Option<&str>) -> Option<&'static Tool> {
    let of_package = |tool: &&Tool| tool.package.is_none() || tool.package == package;
    let named = |wanted: &str| TOOLS.iter().find(|tool| tool.name == wanted);
    named(name)
        .filter(of_package)
        .or_else(|| named(&format!("pages-{name}")).filter(of_package))
        .or_else(|| named(name))
}
