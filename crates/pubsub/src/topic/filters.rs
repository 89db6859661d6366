//! The tree of filters: an arena of nodes, one map of edges, levels as numbers.
//!
//! A filter `a/+/#` is the node `a/+` and stands in its list `below`; `a/+` itself stands in its list `here`.

mod shrink;

use super::levels::{LevelId, Levels, Quick};
use super::{Filter, Group};
use crate::{QoS, SubscriptionOptions};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

const NONE: u32 = u32::MAX;
/// The level of a node for `+`.
const PLUS: LevelId = u32::MAX;
/// The bit of [`Entry::who`] that says: a group.
const GROUP: u32 = 1 << 31;
const ROOT: u32 = 0;

/// One subscription in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The subscriber, below 2³¹.
    pub who: u32,
    /// The subscription's identifier, 0 for none.
    pub id: u32,
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Not what the subscriber published itself.
    pub no_local: bool,
    /// The retain flag stays as published.
    pub retain_as_published: bool,
}

impl Entry {
    /// An entry of a subscriber.
    pub fn new(who: u32, options: &SubscriptionOptions) -> Self {
        Self {
            who,
            id: options.id.map_or(0, std::num::NonZeroU32::get),
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        }
    }
}

/// Identifiers of subscriptions, mostly none or one.
pub type Ids = SmallVec<[u32; 2]>;

/// A subscriber of a name, however many of its filters are for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Who.
    pub who: u32,
    /// The highest QoS of its filters ([MQTT-3.3.4-2]).
    pub qos: QoS,
    /// Whether any of its filters wants the retain flag as published.
    pub retain_as_published: bool,
    /// The identifiers of all its filters that have one ([MQTT-3.3.4-3], [MQTT-3.3.4-4]).
    pub ids: Ids,
}

/// All subscribers of a name.
#[derive(Debug, Default)]
pub struct Matches {
    /// Of filters that are not shared, sorted by subscriber, each once.
    pub direct: Vec<Match>,
    /// Of shared ones: one member of each group is to get it.
    pub groups: Vec<Arc<Group>>,
}

type List = SmallVec<[Entry; 1]>;

struct Node {
    parent: u32,
    level: LevelId,
    plus: u32,
    /// Lists of the filters that end here, and of those that go on with `#`.
    here: u32,
    below: u32,
    children: u32,
}

/// The filters of many subscribers.
#[derive(Default)]
pub struct Filters {
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    edges: HashMap<u64, u32, Quick>,
    levels: Levels,
    lists: Vec<List>,
    free_lists: Vec<u32>,
    groups: Vec<Option<Arc<Group>>>,
    free_groups: Vec<u32>,
    count: usize,
    grown: usize,
    /// Members of all groups.
    members: usize,
}

fn edge(parent: u32, level: LevelId) -> u64 {
    u64::from(parent) << 32 | u64::from(level)
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

impl Filters {
    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// About how much memory it takes; found out without looking at them all.
    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.edges.capacity() * 17
            + self.lists.capacity() * size_of::<List>()
            + self.levels.bytes()
            + self.grown * size_of::<Entry>()
            + self.groups.capacity() * (size_of::<Option<Arc<Group>>>() + size_of::<Group>())
            + self.members * size_of::<Entry>()
    }

    /// Adds a subscription, or replaces that of the same subscriber with the same filter; true if it is new.
    pub fn add(&mut self, filter: &Filter, entry: Entry) -> bool {
        let (node, below) = self.make(filter.pattern());
        let list = self.list_of(node, below);
        let new = match filter.group() {
            None => put(&mut self.lists[list as usize], entry, &mut self.grown),
            Some(name) => {
                let group = self.group_in(list, name).unwrap_or_else(|| self.new_group(list, name));
                match self.groups[group as usize].as_mut().map(Arc::make_mut) {
                    Some(group) => {
                        let new = put_member(&mut group.members, entry);
                        self.members += usize::from(new);
                        new
                    }
                    None => false,
                }
            }
        };
        self.count += usize::from(new);
        new
    }

    /// Removes a subscription; false if there was none.
    pub fn remove(&mut self, filter: &Filter, who: u32) -> bool {
        let Some((node, below)) = self.find(filter.pattern()) else { return false };
        let list = if below { self.nodes[node as usize].below } else { self.nodes[node as usize].here };
        if list == NONE {
            return false;
        }
        let removed = match filter.group() {
            None => take(&mut self.lists[list as usize], who, &mut self.grown),
            Some(name) => self.leave_group(list, name, who),
        };
        if removed {
            self.count -= 1;
            if self.lists[list as usize].is_empty() {
                self.drop_list(node, below, list);
            }
            self.prune(node);
            if self.is_sparse() {
                self.shrink();
            }
        }
        removed
    }

    /// Adds what is for a name to `found`, raw: [`Found::join`] makes matches of it. `publisher` does not get its own message through
    /// filters with no-local ([MQTT-3.8.3-3]).
    pub(super) fn collect(&self, name: &str, publisher: Option<u32>, found: &mut Found) {
        if self.nodes.is_empty() {
            return;
        }
        let mut frontier: SmallVec<[u32; 16]> = smallvec::smallvec![ROOT];
        let mut next: SmallVec<[u32; 16]> = SmallVec::new();
        let hidden = name.starts_with('$');
        for (depth, level) in name.split('/').enumerate() {
            let id = self.levels.find(level);
            let wild = depth > 0 || !hidden;
            for at in frontier.drain(..) {
                let node = &self.nodes[at as usize];
                if wild {
                    self.take_list(node.below, publisher, found);
                    if node.plus != NONE {
                        next.push(node.plus);
                    }
                }
                if let Some(child) = id.and_then(|id| self.edges.get(&edge(at, id))) {
                    next.push(*child);
                }
            }
            std::mem::swap(&mut frontier, &mut next);
            if frontier.is_empty() {
                return;
            }
        }
        for at in frontier {
            let node = &self.nodes[at as usize];
            self.take_list(node.here, publisher, found);
            // `a/#` is for `a` as well.
            self.take_list(node.below, publisher, found);
        }
    }

    /// How many nodes there are, in use or not.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is held: no node but the root, no text, no list.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.edges.is_empty()
            && self.free_nodes.len() + 1 >= self.nodes.len()
            && self.free_lists.len() == self.lists.len()
            && self.free_groups.len() == self.groups.len()
            && self.levels.is_empty()
    }

    /// All subscribers of a name.
    pub fn matches(&self, name: &str, publisher: Option<u32>) -> Matches {
        let mut found = Found::default();
        self.collect(name, publisher, &mut found);
        found.join()
    }

    fn take_list(&self, list: u32, publisher: Option<u32>, found: &mut Found) {
        if list == NONE {
            return;
        }
        found.lists += 1;
        for entry in &self.lists[list as usize] {
            if entry.who & GROUP != 0 {
                let group = self.groups.get((entry.who & !GROUP) as usize).and_then(Option::as_ref);
                found.groups.extend(group.cloned());
            } else if !(entry.no_local && publisher == Some(entry.who)) {
                found.entries.push(*entry);
            }
        }
    }

    /// The node of a pattern and whether the pattern ends with `#`.
    fn find(&self, pattern: &str) -> Option<(u32, bool)> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut at = ROOT;
        for level in pattern.split('/') {
            at = match level {
                "#" => return Some((at, true)),
                "+" => Some(self.nodes[at as usize].plus).filter(|plus| *plus != NONE)?,
                text => *self.edges.get(&edge(at, self.levels.find(text)?))?,
            };
        }
        Some((at, false))
    }

    fn make(&mut self, pattern: &str) -> (u32, bool) {
        if self.nodes.is_empty() {
            self.new_node(NONE, PLUS);
        }
        let mut at = ROOT;
        for level in pattern.split('/') {
            at = match level {
                "#" => return (at, true),
                "+" => match self.nodes[at as usize].plus {
                    NONE => self.new_node(at, PLUS),
                    plus => plus,
                },
                text => {
                    let known = self.levels.find(text).and_then(|id| self.edges.get(&edge(at, id)));
                    match known {
                        Some(child) => *child,
                        None => {
                            let id = self.levels.hold(text);
                            self.new_node(at, id)
                        }
                    }
                }
            };
        }
        (at, false)
    }

    fn new_node(&mut self, parent: u32, level: LevelId) -> u32 {
        let node = Node { parent, level, plus: NONE, here: NONE, below: NONE, children: 0 };
        let at = match self.free_nodes.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                number(self.nodes.len() - 1)
            }
        };
        if parent != NONE {
            self.nodes[parent as usize].children += 1;
            if level == PLUS {
                self.nodes[parent as usize].plus = at;
            } else {
                self.edges.insert(edge(parent, level), at);
            }
        }
        at
    }

    /// Gives back nodes from here upwards that hold nothing any more.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT {
            let node = &self.nodes[at as usize];
            if node.children > 0 || node.here != NONE || node.below != NONE {
                return;
            }
            let (parent, level) = (node.parent, node.level);
            if level == PLUS {
                self.nodes[parent as usize].plus = NONE;
            } else {
                self.edges.remove(&edge(parent, level));
                self.levels.release(level);
            }
            self.nodes[parent as usize].children -= 1;
            self.free_nodes.push(at);
            at = parent;
        }
    }

    fn list_of(&mut self, node: u32, below: bool) -> u32 {
        let node = &mut self.nodes[node as usize];
        let list = if below { &mut node.below } else { &mut node.here };
        if *list == NONE {
            *list = match self.free_lists.pop() {
                Some(list) => list,
                None => {
                    self.lists.push(List::new());
                    number(self.lists.len() - 1)
                }
            };
        }
        *list
    }

    fn drop_list(&mut self, node: u32, below: bool, list: u32) {
        let node = &mut self.nodes[node as usize];
        *(if below { &mut node.below } else { &mut node.here }) = NONE;
        self.lists[list as usize] = List::new();
        self.free_lists.push(list);
    }

    fn group_in(&self, list: u32, name: &str) -> Option<u32> {
        let groups = self.lists[list as usize].iter().filter(|entry| entry.who & GROUP != 0);
        groups.map(|entry| entry.who & !GROUP).find(|group| {
            self.groups
                .get(*group as usize)
                .and_then(Option::as_ref)
                .is_some_and(|group| *group.name == *name)
        })
    }

    fn new_group(&mut self, list: u32, name: &str) -> u32 {
        let group = Some(Arc::new(Group::new(name)));
        let at = match self.free_groups.pop() {
            Some(at) => {
                self.groups[at as usize] = group;
                at
            }
            None => {
                self.groups.push(group);
                number(self.groups.len() - 1)
            }
        };
        let marker = Entry::new(at | GROUP, &SubscriptionOptions::default());
        put(&mut self.lists[list as usize], marker, &mut self.grown);
        at
    }

    fn leave_group(&mut self, list: u32, name: &str, who: u32) -> bool {
        let Some(at) = self.group_in(list, name) else { return false };
        let Some(group) = self.groups[at as usize].as_mut().map(Arc::make_mut) else { return false };
        let Ok(member) = group.members.binary_search_by_key(&who, |entry| entry.who) else { return false };
        group.members.remove(member);
        self.members -= 1;
        if group.members.is_empty() {
            self.groups[at as usize] = None;
            self.free_groups.push(at);
            take(&mut self.lists[list as usize], at | GROUP, &mut self.grown);
        }
        true
    }
}

/// Puts an entry in its place, which is by subscriber: new ones have high numbers, so mostly the end.
fn put(list: &mut List, entry: Entry, grown: &mut usize) -> bool {
    match list.binary_search_by_key(&entry.who, |other| other.who) {
        Ok(at) => {
            list[at] = entry;
            false
        }
        Err(at) => {
            let before = if list.spilled() { list.capacity() } else { 0 };
            list.insert(at, entry);
            *grown += if list.spilled() { list.capacity() - before } else { 0 };
            true
        }
    }
}

fn put_member(members: &mut Vec<Entry>, entry: Entry) -> bool {
    match members.binary_search_by_key(&entry.who, |other| other.who) {
        Ok(at) => {
            members[at] = entry;
            false
        }
        Err(at) => {
            members.insert(at, entry);
            true
        }
    }
}

fn take(list: &mut List, who: u32, grown: &mut usize) -> bool {
    let Ok(at) = list.binary_search_by_key(&who, |entry| entry.who) else { return false };
    list.remove(at);
    // A list that shrank gives its memory back, in steps that are far enough apart to cost nothing.
    if list.spilled() && list.len() * 4 <= list.capacity() {
        let before = list.capacity();
        list.shrink_to_fit();
        *grown -= before - if list.spilled() { list.capacity() } else { 0 };
    }
    true
}

/// What was found, before several filters of one subscriber are joined.
#[derive(Default)]
pub(super) struct Found {
    entries: Vec<Entry>,
    groups: Vec<Arc<Group>>,
    lists: usize,
}

impl Found {
    pub fn join(mut self) -> Matches {
        if self.lists > 1 {
            self.entries.sort_by_key(|entry| entry.who);
        }
        let mut direct: Vec<Match> = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let id = Some(entry.id).filter(|id| *id != 0);
            match direct.last_mut().filter(|last| last.who == entry.who) {
                Some(last) => {
                    last.qos = last.qos.max(entry.qos);
                    last.retain_as_published |= entry.retain_as_published;
                    last.ids.extend(id);
                }
                None => direct.push(Match {
                    who: entry.who,
                    qos: entry.qos,
                    retain_as_published: entry.retain_as_published,
                    ids: id.into_iter().collect(),
                }),
            }
        }
        Matches { direct, groups: self.groups }
    }
}
