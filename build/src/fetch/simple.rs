//! Reads a project's page of the simple repository API: PEP 691 (JSON) or PEP 503 (HTML).

use serde::Deserialize;

use super::http::Page;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file_name::FileName;
use crate::index::ProjectFile;
use crate::name::PackageName;

/// What to ask for; the weights are those of the specification's example.
pub(super) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
     application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

#[derive(Deserialize)]
struct Listing {
    files: Vec<Listed>,
}

/// Unknown keys are allowed here: the specification lets an index add some.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    requires_python: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    yanked: Mark,
    core_metadata: Option<Mark>,
    dist_info_metadata: Option<Mark>,
}

/// A flag that may instead hold a text or digests, either of which means yes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Mark {
    Flag(bool),
    Digests(std::collections::BTreeMap<String, String>),
    Text(serde::de::IgnoredAny),
}

impl Default for Mark {
    fn default() -> Self {
        Self::Flag(false)
    }
}

impl Mark {
    fn is_set(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            Self::Text(_) | Self::Digests(_) => true,
        }
    }

    fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Digests(digests) => digests.get("sha256")?.parse().ok(),
            _ => None,
        }
    }
}

/// The files on a page; those with an unusable name or address are left out.
pub(super) fn parse(project: &PackageName, page: &Page) -> Result<Vec<ProjectFile>> {
    let base = url::Url::parse(&page.url)
        .map_err(|error| Error::new(format!("bad address `{}`: {error}", super::http::redact(&page.url))))?;
    let files =
        if page.media_type.ends_with("json") { json(project, page)? } else { html(project, &page.text) };
    let resolve = |mut file: ProjectFile| {
        file.url = base.join(&file.url).ok()?.to_string();
        Some(file)
    };
    Ok(files.into_iter().filter_map(resolve).collect())
}

fn json(project: &PackageName, page: &Page) -> Result<Vec<ProjectFile>> {
    let listing: Listing =
        serde_json::from_str(&page.text).map_err(|error| Error::new(format!("bad JSON: {error}")))?;
    let file = |listed: Listed| {
        let metadata = listed.core_metadata.or(listed.dist_info_metadata).unwrap_or_default();
        Some(ProjectFile {
            sha256: listed.hashes.get("sha256").and_then(|text| text.parse().ok()),
            size: listed.size,
            requires_python: listed.requires_python,
            yanked: listed.yanked.is_set(),
            has_metadata: metadata.is_set(),
            metadata_sha256: metadata.sha256(),
            ..ProjectFile::new(project.clone(), FileName::new(listed.filename).ok()?, listed.url)
        })
    };
    Ok(listing.files.into_iter().filter_map(file).collect())
}

/// Reads the anchors. The specification fixes the form so far that a full HTML parser is not needed: one
/// anchor per file, the file name as its text, everything else in attributes.
fn html(project: &PackageName, text: &str) -> Vec<ProjectFile> {
    let mut files = Vec::new();
    let mut rest = text;
    while let Some((attributes, after)) = next_anchor(rest) {
        let name = after.split('<').next().unwrap_or_default().trim();
        rest = after;
        let get = |key: &str| {
            let found = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.clone())
        };
        let (Some(href), Ok(name)) = (get("href"), FileName::new(plain(name))) else { continue };
        let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let metadata = get("data-core-metadata").or_else(|| get("data-dist-info-metadata"));
        let digest = |text: &str| text.strip_prefix("sha256=").and_then(|digits| digits.parse().ok());
        files.push(ProjectFile {
            sha256: digest(fragment),
            requires_python: get("data-requires-python"),
            yanked: get("data-yanked").is_some(),
            has_metadata: metadata.is_some(),
            metadata_sha256: metadata.as_deref().and_then(digest),
            ..ProjectFile::new(project.clone(), name, url.to_owned())
        });
    }
    files
}

/// The attributes of the next `<a …>` and the text behind it.
fn next_anchor(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut rest = text;
    loop {
        let at = rest.find("<a").or_else(|| rest.find("<A"))?;
        rest = rest.get(at + 2..)?;
        if rest.starts_with(|letter: char| letter.is_ascii_whitespace()) {
            break;
        }
    }
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('>') {
            return Some((attributes, after));
        }
        let end = rest.find(|letter: char| letter.is_ascii_whitespace() || "=>".contains(letter))?;
        let (key, after) = rest.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            attributes.push((key.to_owned(), String::new()));
            rest = after;
            continue;
        };
        let quote = value.chars().next()?;
        let (value, after) = if quote == '"' || quote == '\'' {
            value.get(1..)?.split_once(quote)?
        } else {
            value.split_at(value.find(|letter: char| letter.is_ascii_whitespace() || letter == '>')?)
        };
        attributes.push((key.to_owned(), plain(value)));
        rest = after;
    }
}

/// Resolves the character references that such pages contain.
fn plain(text: &str) -> String {
    let pairs =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    let text =
        pairs.iter().fold(text.to_owned(), |text, (reference, letter)| text.replace(reference, letter));
    // Last, so that an escaped ampersand does not become the start of another reference.
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn page(media_type: &str, text: String) -> Page {
        let url = "https://index.example/simple/pkg/".to_owned();
        Page { text, url, media_type: media_type.to_owned() }
    }

    fn read(page: &Page) -> Result<Vec<ProjectFile>> {
        parse(&PackageName::new("pkg")?, page)
    }

    #[test]
    fn json_and_html_say_the_same() {
        let json = format!(
            r#"{{"meta": {{}}, "files": [
                {{"filename": "pkg-1-py3-none-any.whl", "url": "../../f/pkg-1-py3-none-any.whl",
                  "hashes": {{"sha256": "{DIGEST}"}}, "requires-python": ">=3.8,<4", "yanked": "bad & broken",
                  "core-metadata": {{"sha256": "{DIGEST}"}}}},
                {{"filename": "pkg-1.tar.gz", "url": "https://other.example/pkg-1.tar.gz", "hashes": {{}}, "yanked": false}}]}}"#
        );
        let html = format!(
            r#"<!DOCTYPE html><html><head><title>a</title></head><body><abbr>x</abbr>
               <a href="../../f/pkg-1-py3-none-any.whl#sha256={DIGEST}" data-requires-python="&gt;=3.8,&lt;4"
                  data-yanked="bad &amp; broken" data-core-metadata='sha256={DIGEST}'>pkg-1-py3-none-any.whl</a><br/>
               <a href=https://other.example/pkg-1.tar.gz >pkg-1.tar.gz</a>"#
        );
        let from_json = read(&page("application/vnd.pypi.simple.v1+json", json)).unwrap();
        let from_html = read(&page("text/html", html)).unwrap();
        assert_eq!(from_json, from_html);
        let [wheel, sdist] = from_json.as_slice() else { panic!("expected two files") };
        assert_eq!(wheel.url, "https://index.example/f/pkg-1-py3-none-any.whl");
        assert_eq!(wheel.sha256, Some(DIGEST.parse().unwrap()));
        assert_eq!(wheel.requires_python.as_deref(), Some(">=3.8,<4"));
        assert!(wheel.yanked && wheel.has_metadata && wheel.metadata_sha256.is_some());
        assert!(!sdist.yanked && !sdist.has_metadata && sdist.sha256.is_none());
    }

    #[test]
    fn broken_pages_do_not_panic() {
        for text in ["<a", "<a ", "<a href", "<a href=", "<a href=\"", "<a href='x'", "<a href=x", "<a é=ü>"]
        {
            assert_eq!(read(&page("text/html", text.to_owned())).unwrap().len(), 0, "{text}");
        }
        let error = read(&page("application/json", "{".to_owned())).unwrap_err().to_string();
        assert!(error.starts_with("bad JSON: "), "{error}");
    }
}
