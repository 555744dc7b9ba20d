//! The compiled matcher of paths: a trie of segments.

use std::sync::Arc;

use super::{PathTemplate, RouteSettings, Segment};
use crate::method::MethodSet;

/// Conflicts that are told of one route at one path.
const MOST_TOLD: usize = 8;

/// Where some segments of templates lead. Children are owned, so each node is come to in one way only: a look-up visits
/// each node once at most, however it goes back.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by segment.
    literals: Vec<(Box<str>, Node)>,
    param: Option<Box<Node>>,
    end: Option<Leaf>,
    rest: Option<Leaf>,
}

/// The routes of one path shape; their declared methods have nothing in common.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) routes: Vec<LeafRoute>,
    /// The union of what the routes take, as the value of `Allow`.
    pub(super) allow: Arc<str>,
    /// Which segments are parameters, counted from 0.
    pub(super) params: Box<[usize]>,
}

#[derive(Debug)]
pub(super) struct LeafRoute {
    pub(super) index: usize,
    /// Which of the route's paths has this shape.
    pub(super) template: usize,
    pub(super) methods: MethodSet,
    declared: MethodSet,
    cors: bool,
}

impl Node {
    /// Adds one of a route's paths; says which routes that are there it has a declared method in common with.
    pub(super) fn insert(&mut self, place: usize, index: usize, route: &RouteSettings) -> Vec<usize> {
        let Some(template) = route.paths.get(place) else { return Vec::new() };
        let mut node = self;
        for segment in template.segments() {
            node = match segment {
                Segment::Literal(literal) => node.literal_or_new(literal),
                Segment::Param(_) => &mut **node.param.get_or_insert_default(),
            };
        }
        let leaf = if template.takes_rest() { &mut node.rest } else { &mut node.end };
        leaf.get_or_insert_with(|| Leaf::new(template)).insert(place, index, route)
    }

    fn literal_or_new(&mut self, literal: &str) -> &mut Node {
        let place = match self.literals.binary_search_by(|(known, _)| known.as_ref().cmp(literal)) {
            Ok(place) => place,
            Err(place) => {
                self.literals.insert(place, (literal.into(), Node::default()));
                place
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or inserted at this place")]
        &mut self.literals[place].1
    }

    /// The most specific leaf for this rest of a path: begins with a slash, or nothing is left. From the left, a literal
    /// beats a parameter beats `/**`. Goes as deep as the longest template.
    pub(super) fn find(&self, path: &str) -> Option<&Leaf> {
        let Some((segment, after)) = split_segment(path) else {
            return self.end.as_ref().or(self.rest.as_ref());
        };
        self.literal(segment)
            .and_then(|node| node.find(after))
            .or_else(|| self.param.as_ref().filter(|_| !segment.is_empty()).and_then(|node| node.find(after)))
            .or(self.rest.as_ref())
    }

    /// Every leaf for this rest of a path, the most specific first, up to `most`: what `find` would come to if those before
    /// weren't there.
    pub(super) fn fitting<'n>(&'n self, path: &str, most: usize, found: &mut Vec<&'n Leaf>) {
        if found.len() >= most {
            return;
        }
        let Some((segment, after)) = split_segment(path) else {
            return found.extend(self.end.iter().chain(&self.rest).take(most - found.len()));
        };
        if let Some(node) = self.literal(segment) {
            node.fitting(after, most, found);
        }
        if let Some(node) = self.param.as_ref().filter(|_| !segment.is_empty()) {
            node.fitting(after, most, found);
        }
        found.extend(self.rest.iter().take(most.saturating_sub(found.len())));
    }

    fn literal(&self, segment: &str) -> Option<&Node> {
        let place = self.literals.binary_search_by(|(known, _)| known.as_ref().cmp(segment)).ok()?;
        self.literals.get(place).map(|(_, node)| node)
    }
}

impl Leaf {
    fn new(template: &PathTemplate) -> Leaf {
        let is_param = |segment: &Segment| matches!(segment, Segment::Param(_));
        let params = template.segments().iter().enumerate().filter(|(_, segment)| is_param(segment));
        Leaf { routes: Vec::new(), allow: "".into(), params: params.map(|(place, _)| place).collect() }
    }

    fn insert(&mut self, template: usize, index: usize, route: &RouteSettings) -> Vec<usize> {
        let common = |there: &&LeafRoute| !there.declared.intersection(&route.declared_methods).is_empty();
        let conflicts = self.routes.iter().filter(common).map(|there| there.index).take(MOST_TOLD).collect::<Vec<_>>();
        if conflicts.len() == MOST_TOLD {
            // The table is refused anyway: no need to get slower with each route of a file that repeats itself.
            return conflicts;
        }
        let (methods, declared) = (route.methods.clone(), route.declared_methods.clone());
        self.routes.push(LeafRoute { index, template, methods, declared, cors: route.cors.is_some() });
        let taken = self.routes.iter().fold(MethodSet::NONE, |taken, route| taken.union(&route.methods));
        self.allow = taken.allow_header(self.routes.iter().any(|route| route.cors)).into();
        conflicts
    }
}

/// The first segment of a path, and the path after it; None at the end, before or after a last slash.
pub(super) fn split_segment(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/').filter(|path| !path.is_empty())?;
    Some(path.split_at(path.find('/').unwrap_or(path.len())))
}
