//! Memory given back: the tree written anew without what is free, once most of it is.

use super::{Filters, GROUP, NONE, Node, PLUS, edge, number};
use std::collections::HashMap;

/// Nodes below which a tree is not worth shrinking.
const NODES_MIN: usize = 1024;

/// New numbers for what is in use of so many, in the same order.
fn renumber(count: usize, free: &[u32]) -> Vec<u32> {
    let mut map = vec![0; count];
    for at in free {
        map[*at as usize] = NONE;
    }
    for (at, new) in map.iter_mut().filter(|new| **new != NONE).enumerate() {
        *new = number(at);
    }
    map
}

/// What is in use, at its new number.
fn keep<T>(all: Vec<T>, map: &[u32]) -> Vec<T> {
    let mut kept: Vec<T> =
        all.into_iter().zip(map).filter(|(_, new)| **new != NONE).map(|(one, _)| one).collect();
    kept.shrink_to_fit();
    kept
}

fn to(map: &[u32], old: u32) -> u32 {
    // NONE and PLUS are the same number, which stands for itself.
    map.get(old as usize).copied().unwrap_or(old)
}

impl Filters {
    /// Whether three of four nodes are free: then so much was removed since the last time that this costs nothing in the mean.
    pub(super) fn is_sparse(&self) -> bool {
        self.nodes.len() > NODES_MIN && self.free_nodes.len() > self.nodes.len() / 4 * 3
    }

    pub(super) fn shrink(&mut self) {
        const { assert!(NONE == PLUS) };
        let nodes = renumber(self.nodes.len(), &self.free_nodes);
        let lists = renumber(self.lists.len(), &self.free_lists);
        let groups = renumber(self.groups.len(), &self.free_groups);
        let levels = self.levels.shrink();
        self.nodes = keep(std::mem::take(&mut self.nodes), &nodes);
        for node in &mut self.nodes {
            let Node { parent, level, plus, here, below, .. } = node;
            (*parent, *plus) = (to(&nodes, *parent), to(&nodes, *plus));
            (*here, *below) = (to(&lists, *here), to(&lists, *below));
            *level = to(&levels, *level);
        }
        self.lists = keep(std::mem::take(&mut self.lists), &lists);
        for entry in self.lists.iter_mut().flatten().filter(|entry| entry.who & GROUP != 0) {
            entry.who = to(&groups, entry.who & !GROUP) | GROUP;
        }
        self.groups = keep(std::mem::take(&mut self.groups), &groups);
        (self.free_nodes, self.free_lists, self.free_groups) = Default::default();
        let inner =
            self.nodes.iter().enumerate().filter(|(_, node)| node.parent != NONE && node.level != PLUS);
        let mut edges = HashMap::with_hasher(self.edges.hasher().clone());
        edges.extend(inner.map(|(at, node)| (edge(node.parent, node.level), number(at))));
        edges.shrink_to_fit();
        self.edges = edges;
    }
}
