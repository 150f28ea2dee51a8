//! `publish`, `pull` and `inspect`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::output::{line, print};
use super::{BundleArgs, build};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::oci::{Access, Patience, Reference, Registry};
use crate::publish::{self, Origin, PublicKey, Publication, SigningKey};
use crate::report::{self, Outcome, Report};

/// What `publish` is told.
#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// Where to: `registry/repository:tag`; the tag is `latest` if none is given.
    reference: String,
    #[command(flatten)]
    bundle: BundleArgs,
    /// Publish this component, with the manifest beside it, and build nothing.
    #[arg(long, value_name = "FILE", conflicts_with = "packages")]
    component: Option<PathBuf>,
    /// Set this tag, too; besides those of the content: its digest, and its versions.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Sign everything with this private key (PEM, P-256).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The address of the source repository, for annotations and provenance.
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The commit; that of the checkout by default.
    #[arg(long)]
    revision: Option<String>,
    /// Who builds, as an URI, for the provenance.
    #[arg(long, value_name = "URI")]
    builder: Option<String>,
    /// Speak plain HTTP with a registry that is not on this machine, too.
    #[arg(long)]
    plain_http: bool,
}

/// What `pull` is told.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// What: `registry/repository:tag` or `registry/repository@sha256:…`.
    reference: String,
    /// The directory to put it in.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Refuse whatever is not signed with the private half of this public key (PEM, P-256).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Speak plain HTTP with a registry that is not on this machine, too.
    #[arg(long)]
    plain_http: bool,
}

/// What `inspect` is told.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A component's file, or `registry/repository:tag`.
    what: String,
    /// Print the world as WIT, and nothing else; of a component in a registry, all is pulled for it.
    #[arg(long)]
    wit: bool,
    /// Refuse whatever is not signed with the private half of this public key (PEM, P-256).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Speak plain HTTP with a registry that is not on this machine, too.
    #[arg(long)]
    plain_http: bool,
}

fn open(reference: &Reference, push: bool, plain_http: bool) -> Result<Registry> {
    Registry::open(reference, Access { push, plain_http, patience: Patience::Long })
}

pub(super) fn publish(arguments: &PublishArgs) -> Result<u8> {
    let reference: Reference = arguments.reference.parse()?;
    if reference.digest.is_some() {
        return Err(Error::new("expected a tag to publish to but found a digest")
            .hint("the digest follows from the content"));
    }
    let key = arguments.key.as_deref().map(SigningKey::read).transpose()?;
    let registry = open(&reference, true, arguments.plain_http)?;
    let component = match &arguments.component {
        Some(file) => file.clone(),
        None => {
            // A registry that does not answer would only be noticed after the build.
            registry.manifest(&reference.wanted())?;
            build::made(&arguments.bundle)?.file
        }
    };
    let origin = Origin {
        source: arguments.source.clone(),
        revision: arguments.revision.clone().or_else(revision),
        builder: arguments.builder.clone(),
    };
    let mut tags = arguments.tags.clone();
    tags.push(reference.wanted());
    let publication = Publication { component: &component, origin: &origin, tags: &tags, key: key.as_ref() };
    let report = Report::new();
    let running = report.start(&format!("push {}", reference.name()));
    let published = publish::publish(&registry, &publication);
    running.end(if published.is_ok() { Outcome::Built } else { Outcome::Failed });
    let published = published?;
    line(format_args!("reference  {}@sha256:{}", reference.name(), published.manifest.digest.0))?;
    line(format_args!("tags       {}", published.tags.join(" ")))?;
    line(format_args!("sent       {}", report::size(published.sent)))?;
    Ok(0)
}

/// The commit of the checkout, where it has one and is just that.
fn revision() -> Option<String> {
    let checkout = Layout::discover().ok()?.checkout;
    let git = |arguments: &[&str]| {
        crate::command::count_process();
        let output = Command::new("git")
            .arg("-C")
            .arg(&checkout)
            .args(arguments)
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    if changed.is_empty() { git(&["rev-parse", "HEAD"]) } else { None }
}

pub(super) fn pull(arguments: &PullArgs) -> Result<u8> {
    let reference: Reference = arguments.reference.parse()?;
    let key = arguments.key.as_deref().map(PublicKey::read).transpose()?;
    let registry = open(&reference, false, arguments.plain_http)?;
    let report = Report::new();
    let running = report.start(&format!("pull {reference}"));
    let pulled = publish::pull(&registry, key.as_ref(), &arguments.output, &|done, all| {
        running.doing(&format!("{} of {}", report::size(done), report::size(all)));
    });
    running.end(if pulled.is_ok() { Outcome::Built } else { Outcome::Failed });
    let pulled = pulled?;
    line(format_args!("component  {}", pulled.component.display()))?;
    line(format_args!("size       {}", report::size(pulled.size)))?;
    line(format_args!("sha256     {}", pulled.sha256))?;
    Ok(0)
}

pub(super) fn inspect(arguments: &InspectArgs) -> Result<u8> {
    let file = Path::new(&arguments.what);
    // A file that is there is what is meant; a name that cannot be one is a reference.
    let reference = arguments.what.parse::<Reference>();
    let text = match reference {
        Ok(reference) if !file.exists() => {
            let key = arguments.key.as_deref().map(PublicKey::read).transpose()?;
            let describe = if arguments.wit { publish::wit_of_remote } else { publish::inspect_remote };
            describe(&open(&reference, false, arguments.plain_http)?, key.as_ref())?
        }
        _ if arguments.key.is_some() => {
            return Err(Error::new(format!("`{}` is a file, and files are not signed", file.display()))
                .hint("`pull --key` checks what it writes"));
        }
        _ if arguments.wit => publish::wit_of_file(file)?,
        _ => publish::inspect_file(file)?,
    };
    print(&text)?;
    Ok(0)
}
