//! The verbs of the command line, one file each.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::plan::DEFAULT_WORLD;

mod build;
mod lock;
mod other;
mod output;
mod publish;
mod store;

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
    /// Choose the versions of packages and write them to the lock file; build nothing.
    Lock(lock::LockArgs),
    /// Run a program in a component, as `python3` would.
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
    Fetch {
        #[command(flatten)]
        bundle: BundleArgs,
        /// Everything that any recipe needs.
        #[arg(long, conflicts_with = "packages")]
        all: bool,
    },
    /// Write every input of a build into a directory that `--mirror` takes.
    Vendor(store::VendorArgs),
    /// Tell for each step why it would run: which of its inputs changed, from what to what.
    Why(BundleArgs),
    /// Build everything a second time, elsewhere and without the cache, and compare.
    Verify(store::VerifyArgs),
    /// Tell what differs between two components or manifests: the inputs, and the first section.
    Diff {
        /// A component or a manifest.
        one: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// Remove from the cache what no component in `dist/` and no recent build needs.
    Gc(store::GcArgs),
    /// Build a component and push it to a registry, with what is in it and where it comes from.
    Publish(publish::PublishArgs),
    /// Pull a component from a registry, checked.
    Pull(publish::PullArgs),
    /// Describe a component: packages, versions, licences, sizes, imports and exports.
    Inspect(publish::InspectArgs),
    /// List the packages that recipes build, with versions.
    Recipes {
        /// Only the names of packages that change when these recipes do.
        #[arg(long, value_name = "NAME", num_args = 1..)]
        affected_by: Vec<String>,
    },
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
    /// Packages, such as `numpy`, `numpy==2.5.5`, `jinja2>=3` or `./x-1.0-py3-none-any.whl`; none for the bare
    /// interpreter.
    packages: Vec<String>,
    /// A folder with wheels that count as if they were on the index; may be given several times.
    #[arg(long, value_name = "DIR")]
    find_links: Vec<PathBuf>,
    /// A file with packages and versions that hold where a package is needed, one a line; may be given several times.
    #[arg(long = "constraint", value_name = "FILE")]
    constraints: Vec<PathBuf>,
    /// Fail rather than change the lock file.
    #[arg(long)]
    locked: bool,
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
    /// Run this Python file before the memory is saved; its globals are there in every instance. What it prints is
    /// shown.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_prelink", "no_preinit"])]
    setup: Option<PathBuf>,
    /// Keep the names of functions, for traces of traps.
    #[arg(long)]
    debug_names: bool,
    /// Make no network request.
    #[arg(long)]
    offline: bool,
    /// A directory that is looked at before the network: files by name, and what `vendor` wrote.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// A cache of results in a registry, such as `registry.test/cache`.
    #[arg(long, value_name = "REF")]
    remote: Option<String>,
    /// Push to the remote cache what it does not have.
    #[arg(long, requires = "remote")]
    remote_write: bool,
    /// Take from the remote cache only what is signed with this key (PEM, P-256); sign what is pushed.
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_key: Option<PathBuf>,
    /// Speak plain HTTP with a remote cache that is not on this machine, too.
    #[arg(long, requires = "remote")]
    remote_plain_http: bool,
    /// How many processes may run at once; the number of processors by default.
    #[arg(long, short)]
    jobs: Option<usize>,
}

/// What `run` is told.
#[derive(Debug, Args)]
#[command(
    override_usage = "eryx-build run [OPTIONS] <COMPONENT> [-c CODE | -m MODULE | SCRIPT | -] [ARGUMENT]..."
)]
struct RunArgs {
    /// The component.
    component: PathBuf,
    /// The program and its arguments, and before them options as `python3` takes them (-i -u -O -W -X -V); without any, a
    /// prompt on a terminal, else the code on standard input.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PYTHON")]
    python: Vec<OsString>,
    /// Lend the code a directory, under its own path or as `HOST::GUEST`; `:ro` behind it for reading only.
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    dirs: Vec<String>,
    /// The working directory in the guest; this one, by default, where it is lent under its own path.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set an environment variable of the guest, or pass on this process's own; may be given several times.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Stop after this time, such as `10`, `500ms` or `2m`.
    #[arg(long)]
    timeout: Option<String>,
    /// The most memory that the component may have, such as `512MiB`.
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<String>,
    /// The most that the code may write to standard output and standard error.
    #[arg(long, value_name = "SIZE")]
    max_output: Option<String>,
    /// The most that its files in memory (`/tmp`, its home) may have; 256 MiB by default.
    #[arg(long, value_name = "SIZE")]
    max_tmp: Option<String>,
}

/// Parses the command line, runs the verb and prints its error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(1)
        }
    }
}

fn run(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Bundle(arguments) => build::bundle(&arguments),
        Verb::Plan(arguments) => build::plan(&arguments),
        Verb::Lock(arguments) => lock::lock(&arguments),
        Verb::Fetch { bundle, all } => build::fetch(&bundle, all),
        Verb::Vendor(arguments) => store::vendor(&arguments),
        Verb::Why(arguments) => store::why(&arguments),
        Verb::Verify(arguments) => store::verify(&arguments),
        Verb::Diff { one, other } => store::diff(&one, &other),
        Verb::Gc(arguments) => store::gc(&arguments),
        Verb::Run(arguments) => other::run(&arguments),
        Verb::Compile { component } => other::compile(&component),
        Verb::Check { component } => other::check(&component),
        Verb::Publish(arguments) => publish::publish(&arguments),
        Verb::Pull(arguments) => publish::pull(&arguments),
        Verb::Inspect(arguments) => publish::inspect(&arguments),
        Verb::Recipes { affected_by } => other::recipes(&affected_by),
        Verb::Clean => other::clean(),
        Verb::Shell { step } => other::shell(&step),
    }
}
