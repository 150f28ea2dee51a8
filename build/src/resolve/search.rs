//! The search for a set of versions in which every wish is met.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, VersionOrUrl};

use super::candidate::{self, Pick, Wish};
use super::environment::Target;
use super::explain::{self, Unknown};
use super::{Recipes, Requirement};
use crate::error::{Context, Error, Result};
use crate::index::Index;
use crate::lock::Lock;
use crate::name::PackageName;

/// After this many versions were given up, the first contradiction is reported.
const MOST_EXCLUSIONS: usize = 50;
/// Rounds after which wishes that go round in a circle are given up.
const MOST_ROUNDS: usize = 1000;

/// What to search for.
pub(super) struct Question<'a> {
    pub(super) requests: &'a [Requirement],
    pub(super) recipes: &'a dyn Recipes,
    pub(super) target: &'a Target,
    pub(super) index: &'a dyn Index,
    /// Who makes the requests, for messages.
    pub(super) from: &'a str,
}

/// The answer for one package.
pub(super) struct Choice {
    pub(super) pick: Pick,
    /// The packages that it requires, sorted.
    pub(super) edges: Vec<PackageName>,
}

/// A package that is wanted, with all that is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    wishes: Vec<Wish>,
    extras: BTreeSet<ExtraName>,
    edges: BTreeSet<PackageName>,
}

struct Search<'a> {
    question: &'a Question<'a>,
    lock: &'a Lock,
    picks: BTreeMap<PackageName, Pick>,
    excluded: BTreeSet<(PackageName, Version)>,
}

/// Wanted packages as they are met, each queued once.
#[derive(Default)]
struct Walk {
    nodes: BTreeMap<PackageName, Node>,
    queue: VecDeque<PackageName>,
}

impl Walk {
    fn want(
        &mut self,
        requirement: &Requirement,
        from: &str,
        package: Option<&PackageName>,
    ) -> Result<PackageName> {
        let name = PackageName::new(requirement.name.as_ref())?;
        let specifiers = match &requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.clone(),
            Some(VersionOrUrl::Url(url)) => {
                return Err(Error::new(format!("`{name}` is wanted by {from} from an address: `{url}`"))
                    .hint("only names with versions are supported"));
            }
            None => VersionSpecifiers::empty(),
        };
        if !self.nodes.contains_key(&name) {
            self.queue.push_back(name.clone());
        }
        let node = self.nodes.entry(name.clone()).or_default();
        node.extras.extend(requirement.extras.iter().cloned());
        let wish = Wish { specifiers, from: from.to_owned(), package: package.cloned() };
        if !node.wishes.contains(&wish) {
            node.wishes.push(wish);
        }
        Ok(name)
    }
}

/// Searches, and adds the chosen wheels to the lock.
pub(super) fn run(question: &Question<'_>, lock: &mut Lock) -> Result<BTreeMap<PackageName, Choice>> {
    let mut search = Search { question, lock, picks: BTreeMap::new(), excluded: BTreeSet::new() };
    let nodes = search.settle()?;
    let mut picks = search.picks;
    let mut choices = BTreeMap::new();
    for (name, node) in nodes {
        let Some(pick) = picks.remove(&name) else { continue };
        if let Pick::Wheel(wheel) = &pick {
            lock.insert(wheel.clone());
        }
        choices.insert(name, Choice { pick, edges: node.edges.into_iter().collect() });
    }
    Ok(choices)
}

impl Search<'_> {
    /// Picks until every wanted package has a pick that fits.
    fn settle(&mut self) -> Result<BTreeMap<PackageName, Node>> {
        let mut first_contradiction: Option<Error> = None;
        for _ in 0..MOST_ROUNDS {
            let nodes = self.collect()?;
            let (mut unknown, mut failures) = (Vec::new(), Vec::new());
            let mut changed = false;
            for (name, node) in &nodes {
                let fits = |pick: &Pick| candidate::satisfies(pick.version(), &node.wishes);
                if self.picks.get(name).is_some_and(fits) {
                    continue;
                }
                match self.pick(name, &node.wishes)? {
                    Found::Pick(pick) => {
                        self.picks.insert(name.clone(), pick);
                        changed = true;
                    }
                    Found::Unknown => {
                        unknown.push(Unknown { name: name.clone(), wishes: node.wishes.clone() })
                    }
                    Found::Hopeless(error) => failures.push(error),
                    Found::Contradiction(error) if self.give_up_a_wisher(name, &nodes)? => {
                        first_contradiction.get_or_insert(error);
                        // The wishes of this round are no longer those of the picks.
                        (unknown, failures) = (Vec::new(), Vec::new());
                        changed = true;
                        break;
                    }
                    // The first is the one about the versions that one would have wanted.
                    Found::Contradiction(error) => {
                        failures.push(first_contradiction.clone().unwrap_or(error))
                    }
                }
            }
            if !unknown.is_empty() {
                failures.push(explain::unknown(&unknown, &self.question.recipes.names()));
            }
            if !failures.is_empty() {
                return Err(explain::all(failures));
            }
            if !changed {
                return Ok(nodes);
            }
        }
        Err(Error::new("the requirements go round in a circle: no choice of versions settles")
            .hint("name exact versions (`name==version`) for some of the packages"))
    }

    /// All that is wanted when the picks so far stand.
    fn collect(&self) -> Result<BTreeMap<PackageName, Node>> {
        let mut extras: BTreeMap<PackageName, BTreeSet<ExtraName>> = BTreeMap::new();
        // An extra that is wanted late adds requirements to a package that was walked early: walk again.
        loop {
            let nodes = self.walk(&extras)?;
            let wanted: BTreeMap<_, _> =
                nodes.iter().map(|(name, node)| (name.clone(), node.extras.clone())).collect();
            if wanted == extras {
                return Ok(nodes);
            }
            extras = wanted;
        }
    }

    fn walk(
        &self,
        extras: &BTreeMap<PackageName, BTreeSet<ExtraName>>,
    ) -> Result<BTreeMap<PackageName, Node>> {
        let target = &self.question.target.markers;
        let mut walk = Walk::default();
        for request in self.question.requests {
            if request.evaluate_markers(target, &[]) {
                walk.want(request, self.question.from, None)?;
            }
        }
        while let Some(name) = walk.queue.pop_front() {
            let Some(pick) = self.picks.get(&name) else { continue };
            let requires = match pick {
                Pick::Recipe(_) => self.question.recipes.requires(&name),
                Pick::Wheel(wheel) => wheel.requires.clone(),
            };
            let active: Vec<ExtraName> = extras.get(&name).into_iter().flatten().cloned().collect();
            let from = format!("`{name}` {}", pick.version());
            let mut edges = BTreeSet::new();
            for requirement in requires {
                if requirement.evaluate_markers(target, &active) {
                    edges.insert(walk.want(&requirement, &from, Some(&name))?);
                }
            }
            // A package may require itself with an extra; that is no edge.
            edges.remove(&name);
            walk.nodes.entry(name).or_default().edges = edges;
        }
        Ok(walk.nodes)
    }

    fn pick(&self, name: &PackageName, wishes: &[Wish]) -> Result<Found> {
        let question = self.question;
        if let Some(version) = question.recipes.version(name) {
            if candidate::satisfies(&version, wishes) {
                return Ok(Found::Pick(Pick::Recipe(version)));
            }
            return Ok(Found::Contradiction(explain::recipe_does_not_fit(name, &version, wishes)));
        }
        if let Some(wheel) = candidate::from_lock(name, wishes, &self.excluded, question.target, self.lock) {
            return Ok(Found::Pick(Pick::Wheel(wheel)));
        }
        let who = || format!("cannot choose a version of `{name}` (wanted by {})", explain::wishers(wishes));
        let asked = question.index.project(name).context(who);
        // Without an index a misspelt name looks like one that is only missing from the lock.
        let asked = asked.map_err(|error| explain::with_nearest(error, name, &question.recipes.names()));
        let Some(project) = asked? else { return Ok(Found::Unknown) };
        let found = candidate::from_index(&project, wishes, &self.excluded, question.target, question.index);
        if let Some(wheel) = found.context(who)? {
            return Ok(Found::Pick(Pick::Wheel(wheel)));
        }
        let versions = candidate::versions(&project, question.target);
        if versions.usable.is_empty() {
            return Ok(Found::Hopeless(explain::nothing_usable(name, &versions, wishes, question.target)));
        }
        Ok(Found::Contradiction(explain::nothing_fits(name, &versions, wishes, question.target)))
    }

    /// Gives up the version of a wheel whose wish cannot be met, if the wheel has another version.
    fn give_up_a_wisher(&mut self, name: &PackageName, nodes: &BTreeMap<PackageName, Node>) -> Result<bool> {
        let wishes = nodes.get(name).map(|node| node.wishes.as_slice()).unwrap_or_default();
        for wisher in wishes.iter().filter_map(|wish| wish.package.as_ref()) {
            let (Some(Pick::Wheel(wheel)), Some(node)) = (self.picks.get(wisher), nodes.get(wisher)) else {
                continue;
            };
            if self.excluded.len() >= MOST_EXCLUSIONS {
                return Ok(false);
            }
            self.excluded.insert((wisher.clone(), wheel.version.clone()));
            if let Found::Pick(other) = self.pick(wisher, &node.wishes)? {
                self.picks.insert(wisher.clone(), other);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

enum Found {
    Pick(Pick),
    /// The index does not know the name.
    Unknown,
    /// Nothing meets all wishes.
    Contradiction(Error),
    /// Nothing would meet any wish.
    Hopeless(Error),
}
