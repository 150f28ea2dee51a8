//! The verbs of the command line, one file each.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::plan::DEFAULT_WORLD;

mod build;
mod other;

/// Builds CPython and native packages into prelinked WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "eryx-build", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a component that holds Python and the named packages.
    Bundle(BundleArgs),
    /// Show the steps of a build and what the cache knows of them.
    Plan(BundleArgs),
    /// Run Python code in a component.
    Run(RunArgs),
    /// Compile a component ahead of time: native code for machines like this one, in `COMPONENT.native`.
    ///
    /// `run` takes it from there. Native code is not sandboxed: take it only from those from whom you would take a
    /// program.
    Compile {
        /// The component.
        component: PathBuf,
    },
    /// Check a component: imports, exports, sections, and that every bundled package works.
    Check {
        /// The component; its manifest is looked for beside it.
        component: PathBuf,
    },
    /// Fetch every input of a build, so that it can run with `--offline` afterwards.
    Fetch(BundleArgs),
    /// List the packages that recipes build, with versions.
    Recipes,
    /// Remove everything from the cache.
    Clean,
    /// Open a shell in the work directory of a step that failed.
    Shell {
        /// The step's name as `plan` shows it, such as `extension numpy`.
        step: String,
    },
}

/// What a build is told.
#[derive(Debug, Args)]
struct BundleArgs {
    /// Packages, such as `numpy`, `numpy==2.5.5` or `jinja2>=3`; none for the bare interpreter.
    packages: Vec<String>,
    /// The WIT world that the component implements.
    #[arg(long, default_value = DEFAULT_WORLD)]
    world: String,
    /// Leave the libraries apart, to be bound at each start; slow, and the yardstick for what is prelinked.
    #[arg(long)]
    no_prelink: bool,
    /// Save no memory: Python starts anew in every instance.
    #[arg(long)]
    no_preinit: bool,
    /// Import this module before the memory is saved, in the place of the named packages' own.
    #[arg(long = "import", value_name = "MODULE", conflicts_with_all = ["no_prelink", "no_preinit"])]
    imports: Vec<String>,
    /// Run this Python file before the memory is saved; its globals are there in every instance.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_prelink", "no_preinit"])]
    setup: Option<PathBuf>,
    /// Keep the names of functions, for traces of traps.
    #[arg(long)]
    debug_names: bool,
    /// Make no network request.
    #[arg(long)]
    offline: bool,
    /// A directory of files by name that is looked at before the network.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// How many processes may run at once; the number of processors by default.
    #[arg(long, short)]
    jobs: Option<usize>,
}

/// What `run` is told.
#[derive(Debug, Args)]
struct RunArgs {
    /// The component.
    component: PathBuf,
    /// Run this code.
    #[arg(short, value_name = "CODE", conflicts_with = "file")]
    code: Option<String>,
    /// A file with the code; `-` for standard input.
    file: Option<PathBuf>,
    /// Let the code see a directory: `HOST::GUEST`, and `:ro` behind it for reading only.
    #[arg(long = "dir", value_name = "HOST::GUEST[:ro]")]
    dirs: Vec<String>,
    /// Stop after this time, such as `10`, `500ms` or `2m`.
    #[arg(long)]
    timeout: Option<String>,
    /// The most memory that the component may have, such as `512MiB`.
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<String>,
}

/// Parses the command line, runs the verb and prints its error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprint!("{}", error.render());
            ExitCode::from(1)
        }
    }
}

fn run(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Bundle(arguments) => build::bundle(&arguments),
        Verb::Plan(arguments) => build::plan(&arguments),
        Verb::Fetch(arguments) => build::fetch(&arguments),
        Verb::Run(arguments) => other::run(&arguments),
        Verb::Compile { component } => other::compile(&component),
        Verb::Check { component } => other::check(&component),
        Verb::Recipes => other::recipes(),
        Verb::Clean => other::clean(),
        Verb::Shell { step } => other::shell(&step),
    }
}
