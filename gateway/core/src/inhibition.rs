//! Root causes and their children: which devices fall silent together, and why.
//!
//! ```text
//!             feeder main ◄─evidence─ ups-1/on-battery
//!              │        │
//!        feeder floor-1  feeder floor-2      line rs485-a
//!              │  fed_by                          │ via
//!              └────────── meter-101 ─────────────┘
//! ```
//!
//! A device hangs on the nodes that feed it and on the line it is polled over. When a node goes, everything below it
//! falls silent, usually before the node's own evidence arrives. So a communication alarm waits for the hold H, and
//! then belongs to the first of these that holds:
//!
//! 1. a node above it whose evidence is active, or whose incident is open: it hides under that;
//! 2. a node above it of which [`SHARE_PERCENT`] or [`CHILDREN_MAX_UNEXPLAINED`] children are silent, and at least
//!    [`CHILDREN_MIN`]: that node is the inferred root of one incident;
//! 3. itself.
//!
//! Among several inferred roots the one wins whose silent children outnumber its answering ones the most: a dead floor
//! explains 14 of 14, its line only 14 of 20. Two feeders of one parent that both fail point to the parent.
//!
//! Never hidden and never waiting: life-safety and process alarms, the evidence itself, and the silence of a fire
//! panel or a lift. That one means that people must walk the building instead, which no other page says.
//!
//! This module knows the building; [`crate::incident::ControlRoom`] keeps the clocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::profile::EquipmentClass;
use crate::reading::DeviceIx;
use crate::text::Bilingual;

/// From this share of silent children on, in percent, the node itself is suspected.
pub const SHARE_PERCENT: usize = 30;
/// From this number of silent children on the node is suspected whatever the share.
pub const CHILDREN_MAX_UNEXPLAINED: usize = 10;
/// A single silent child is its own cause.
pub const CHILDREN_MIN: usize = 2;

/// What a node carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Power; runs EP-02 when it goes.
    Feeder,
    /// Data; its loss is blindness and runs EP-11.
    Line,
}

/// A feeder or a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique, without `/`, so that it is never taken for an alarm's key.
    pub id: String,
    /// What it carries.
    pub kind: NodeKind,
    /// What people call it.
    pub name: Bilingual,
    /// The feeder above it.
    #[serde(default)]
    pub fed_by: Option<String>,
    /// The keys of the alarms that prove its loss.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// Where a device hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLinks {
    /// Which device.
    pub device: DeviceIx,
    /// Where and what it is, as pages name it.
    pub name: Bilingual,
    /// What it is; decides whether its silence may be hidden.
    pub class: EquipmentClass,
    /// The feeder it takes its power from.
    pub fed_by: Option<String>,
    /// The line it is polled over.
    pub via: Option<String>,
}

/// Why a topology cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Two nodes, or two devices, of one name.
    #[error("{0:?} is described twice; rename or remove one")]
    Duplicate(String),
    /// An id that looks like an alarm's key.
    #[error("the node id {0:?} is empty or contains '/'; choose a plain word")]
    Id(String),
    /// A link to a node that does not exist.
    #[error("{from:?} hangs on {to:?}, which does not exist; add that feeder or line, or correct the name")]
    UnknownNode {
        /// Who.
        from: String,
        /// On what.
        to: String,
    },
    /// A node that feeds itself.
    #[error("{0:?} feeds itself around a circle; cut one of the links")]
    Cycle(String),
    /// One alarm that proves two losses.
    #[error("the alarm {0:?} is evidence for two nodes; leave it at the upper one")]
    EvidenceTwice(String),
}

/// The index of a node in its [`Topology`]. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(u32);

/// How many of a node's children are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Silence {
    /// Children that do not answer.
    pub silent: usize,
    /// Children whose silence is watched.
    pub watched: usize,
}

impl Silence {
    /// Whether so much silence points at the node.
    pub fn is_suspicious(self) -> bool {
        let Self { silent, watched } = self;
        silent >= CHILDREN_MIN && (silent >= CHILDREN_MAX_UNEXPLAINED || silent * 100 >= watched * SHARE_PERCENT)
    }

    /// Whether this explains more: silent children speak for a node, answering ones against it.
    fn outweighs(self, other: Self) -> bool {
        let weight = |silence: Self| (2 * silence.silent as i64 - silence.watched as i64, silence.silent);
        weight(self) > weight(other)
    }
}

/// The feeders, lines and devices of a site.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    nodes: Vec<Node>,
    parents: Vec<Option<NodeIx>>,
    by_id: BTreeMap<String, NodeIx>,
    evidence: HashMap<String, NodeIx>,
    devices: HashMap<DeviceIx, DeviceLinks>,
    /// The nodes a device hangs on, nearest first.
    above: HashMap<DeviceIx, Vec<NodeIx>>,
    below: Vec<BTreeSet<DeviceIx>>,
}

impl Topology {
    /// Checks the links.
    ///
    /// # Errors
    /// The first [`TopologyError`] found.
    pub fn new(nodes: Vec<Node>, devices: Vec<DeviceLinks>) -> Result<Self, TopologyError> {
        let mut topology = Self { below: vec![BTreeSet::new(); nodes.len()], ..Self::default() };
        for (i, node) in nodes.iter().enumerate() {
            if node.id.is_empty() || node.id.contains('/') {
                return Err(TopologyError::Id(node.id.clone()));
            }
            let ix = NodeIx(i as u32);
            if topology.by_id.insert(node.id.clone(), ix).is_some() {
                return Err(TopologyError::Duplicate(node.id.clone()));
            }
            for key in &node.evidence {
                if topology.evidence.insert(key.clone(), ix).is_some() {
                    return Err(TopologyError::EvidenceTwice(key.clone()));
                }
            }
        }
        for node in &nodes {
            let parent = node.fed_by.as_ref().map(|to| topology.link(&node.id, to)).transpose()?;
            topology.parents.push(parent);
        }
        topology.nodes = nodes;
        for (i, node) in topology.nodes.iter().enumerate() {
            // A walk upwards that is longer than there are nodes goes in a circle.
            if topology.upwards(NodeIx(i as u32)).nth(topology.nodes.len()).is_some() {
                return Err(TopologyError::Cycle(node.id.clone()));
            }
        }
        for links in devices {
            topology.hang(links)?;
        }
        Ok(topology)
    }

    fn hang(&mut self, links: DeviceLinks) -> Result<(), TopologyError> {
        let mut above: Vec<NodeIx> = Vec::new();
        for to in [&links.via, &links.fed_by].into_iter().flatten() {
            let node = self.link(&links.name.en, to)?;
            let chain: Vec<NodeIx> = self.upwards(node).filter(|node| !above.contains(node)).collect();
            above.extend(chain);
        }
        for node in &above {
            self.below[node.0 as usize].insert(links.device);
        }
        let (device, name) = (links.device, links.name.en.clone());
        self.above.insert(device, above);
        match self.devices.insert(device, links) {
            Some(_) => Err(TopologyError::Duplicate(name)),
            None => Ok(()),
        }
    }

    fn link(&self, from: &str, to: &str) -> Result<NodeIx, TopologyError> {
        let unknown = || TopologyError::UnknownNode { from: from.to_owned(), to: to.to_owned() };
        self.by_id.get(to).copied().ok_or_else(unknown)
    }

    /// The node and everything above it.
    pub fn upwards(&self, node: NodeIx) -> impl Iterator<Item = NodeIx> + '_ {
        std::iter::successors(Some(node), |node| self.parents[node.0 as usize])
    }

    /// One node.
    pub fn node(&self, node: NodeIx) -> &Node {
        &self.nodes[node.0 as usize]
    }

    /// The node of that id.
    pub fn find(&self, id: &str) -> Option<NodeIx> {
        self.by_id.get(id).copied()
    }

    /// The node whose loss that alarm proves.
    pub fn evidence_for(&self, key: &str) -> Option<NodeIx> {
        self.evidence.get(key).copied()
    }

    /// All alarms that prove the loss of some node.
    pub fn evidence(&self) -> impl Iterator<Item = &str> {
        self.evidence.keys().map(String::as_str)
    }

    /// Where and what a device is.
    pub fn device(&self, device: DeviceIx) -> Option<&DeviceLinks> {
        self.devices.get(&device)
    }

    /// The nodes a device hangs on, nearest first.
    pub fn above(&self, device: DeviceIx) -> &[NodeIx] {
        self.above.get(&device).map_or(&[], Vec::as_slice)
    }

    /// The devices below a node.
    pub fn below(&self, node: NodeIx) -> &BTreeSet<DeviceIx> {
        &self.below[node.0 as usize]
    }

    /// Whether the silence of this device may wait for, and hide under, a root cause.
    pub fn may_hide(&self, device: DeviceIx) -> bool {
        let watched_life = self.device(device).is_some_and(|links| links.class.is_read_only_for_ever());
        !watched_life && !self.above(device).is_empty()
    }

    /// How silent a node's children are. `silent` tells of a device whether it is, `None` if nothing watches that.
    pub fn silence(&self, node: NodeIx, silent: &dyn Fn(DeviceIx) -> Option<bool>) -> Silence {
        let mut count = Silence::default();
        for is_silent in self.below(node).iter().filter_map(|device| silent(*device)) {
            count.watched += 1;
            count.silent += usize::from(is_silent);
        }
        count
    }

    /// The node that best explains why this device is silent, if one does. `heard` tells of a device whether it has
    /// answered since this one fell silent.
    pub fn infer(
        &self,
        device: DeviceIx,
        silent: &dyn Fn(DeviceIx) -> Option<bool>,
        heard: &dyn Fn(DeviceIx) -> bool,
    ) -> Option<NodeIx> {
        let mut best: Option<(NodeIx, Silence, i64)> = None;
        for &node in self.above(device) {
            let silence = self.silence(node, silent);
            if silence.silent < CHILDREN_MIN {
                continue;
            }
            // A child that was not asked yet speaks neither for the node nor against it: a line that hangs is found out
            // device by device, and the first ones may well be half of somebody's floor.
            let against = self.below(node).iter().filter(|child| silent(**child) == Some(false) && heard(**child));
            let proof = silence.silent as i64 - against.count() as i64;
            let more = |other: Silence, than: i64| proof > than || (proof == than && silence.outweighs(other));
            if best.is_none_or(|(_, other, than)| more(other, than)) {
                best = Some((node, silence, proof));
            }
        }
        // The best explanation may need more silence yet; a worse one is not taken in its place.
        let best = best.filter(|(_, silence, _)| silence.is_suspicious());
        let mut root = best?.0;
        while let Some(parent) = self.parents[root.0 as usize] {
            let suspected = |node: NodeIx| self.silence(node, silent).is_suspicious();
            let children = (0..self.nodes.len() as u32).map(NodeIx);
            let siblings = children.filter(|child| self.parents[child.0 as usize] == Some(parent) && suspected(*child));
            if siblings.count() < 2 || !suspected(parent) {
                break;
            }
            root = parent;
        }
        Some(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, kind: NodeKind, fed_by: Option<&str>, evidence: &[&str]) -> Node {
        let evidence = evidence.iter().map(|key| (*key).to_owned()).collect();
        Node { id: id.into(), kind, name: Bilingual::new(id, id), fed_by: fed_by.map(Into::into), evidence }
    }

    fn meter(device: u32, fed_by: &str, via: &str) -> DeviceLinks {
        DeviceLinks {
            device: DeviceIx(device),
            name: Bilingual::new("表", format!("meter-{device}")),
            class: EquipmentClass::ElectricityMeter,
            fed_by: Some(fed_by.into()),
            via: Some(via.into()),
        }
    }

    /// Floor 1: 14 meters on line a. Floor 2: 6 on line a and 10 on line b.
    fn building() -> Topology {
        let nodes = vec![
            node("main", NodeKind::Feeder, None, &["ups/on-battery"]),
            node("floor-1", NodeKind::Feeder, Some("main"), &[]),
            node("floor-2", NodeKind::Feeder, Some("main"), &[]),
            node("line-a", NodeKind::Line, None, &[]),
            node("line-b", NodeKind::Line, None, &[]),
        ];
        let place = |device| match device {
            0..14 => ("floor-1", "line-a"),
            14..20 => ("floor-2", "line-a"),
            _ => ("floor-2", "line-b"),
        };
        let devices = (0..30).map(|device| meter(device, place(device).0, place(device).1)).collect();
        Topology::new(nodes, devices).unwrap()
    }

    fn inferred(device: u32, silent: impl Fn(u32) -> bool) -> Option<String> {
        let building = building();
        let root = building.infer(DeviceIx(device), &|device| Some(silent(device.0)), &|_| true)?;
        Some(building.node(root).id.clone())
    }

    #[test]
    fn one_dead_meter_is_its_own_cause() {
        assert_eq!(inferred(3, |device| device == 3), None);
    }

    #[test]
    fn a_dead_floor_is_not_taken_for_its_line() {
        assert_eq!(inferred(3, |device| device < 14).as_deref(), Some("floor-1"));
        assert_eq!(inferred(3, |device| device < 7).as_deref(), Some("floor-1"), "while it is still falling silent");
    }

    #[test]
    fn a_dead_line_is_not_taken_for_a_floor() {
        assert_eq!(inferred(3, |device| device < 20).as_deref(), Some("line-a"));
    }

    #[test]
    fn a_hanging_line_found_out_device_by_device_is_not_taken_for_a_floor() {
        let building = building();
        let silent = |n: u32| move |device: DeviceIx| Some((20..20 + n).contains(&device.0));
        let unheard_on_b = |device: DeviceIx| device.0 < 20;
        let guess =
            |n| building.infer(DeviceIx(20), &silent(n), &unheard_on_b).map(|node| building.node(node).id.clone());
        assert_eq!(guess(5).as_deref(), Some("line-b"), "5 of 16 are enough for the floor, whose other half answers");
        assert_eq!(guess(10).as_deref(), Some("line-b"));
        let long = meters_on_a_long_line();
        let wait = long.infer(DeviceIx(0), &|device| Some(device.0 < 5), &|device| device.0 >= 28);
        assert_eq!(wait, None, "5 of 28 are not enough for the line yet, and the floor is not it");
    }

    /// 28 devices on one line; the first ten share their floor with six of another line.
    fn meters_on_a_long_line() -> Topology {
        let nodes = vec![
            node("floor", NodeKind::Feeder, None, &[]),
            node("rest", NodeKind::Feeder, None, &[]),
            node("line", NodeKind::Line, None, &[]),
            node("other", NodeKind::Line, None, &[]),
        ];
        let place = |device| match device {
            0..10 => ("floor", "line"),
            10..28 => ("rest", "line"),
            _ => ("floor", "other"),
        };
        Topology::new(nodes, (0..34).map(|device| meter(device, place(device).0, place(device).1)).collect()).unwrap()
    }

    #[test]
    fn two_dead_floors_point_to_the_main_feeder() {
        assert_eq!(inferred(3, |_| true).as_deref(), Some("main"));
        assert_eq!(inferred(3, |device| !(14..=22).contains(&device)).as_deref(), Some("main"));
    }

    #[test]
    fn ten_of_many_are_enough_and_nine_of_many_are_not() {
        let nodes = vec![node("line", NodeKind::Line, None, &[]), node("main", NodeKind::Feeder, None, &[])];
        let many = Topology::new(nodes, (0..200).map(|device| meter(device, "main", "line")).collect()).unwrap();
        let line = many.find("line").unwrap();
        let suspicious = |n: u32| many.silence(line, &|device| Some(device.0 < n)).is_suspicious();
        assert!(!suspicious(9));
        assert!(suspicious(10));
    }

    #[test]
    fn a_fire_panel_and_a_lift_never_hide() {
        let nodes = vec![node("line", NodeKind::Line, None, &[]), node("main", NodeKind::Feeder, None, &[])];
        let with = |class| {
            let links = DeviceLinks { class, ..meter(0, "main", "line") };
            Topology::new(nodes.clone(), vec![links]).unwrap().may_hide(DeviceIx(0))
        };
        assert!(!with(EquipmentClass::FirePanel));
        assert!(!with(EquipmentClass::Lift));
        assert!(with(EquipmentClass::Sump));
    }

    #[test]
    fn f20i_circles_and_loose_ends_are_refused() {
        let feeder = |id, fed_by| node(id, NodeKind::Feeder, fed_by, &[]);
        let refuse = |nodes| Topology::new(nodes, vec![]).unwrap_err();
        assert_eq!(refuse(vec![feeder("a", Some("b")), feeder("b", Some("a"))]), TopologyError::Cycle("a".into()));
        assert_eq!(refuse(vec![feeder("a", Some("a"))]), TopologyError::Cycle("a".into()));
        let unknown = TopologyError::UnknownNode { from: "a".into(), to: "b".into() };
        assert_eq!(refuse(vec![feeder("a", Some("b"))]), unknown);
        assert_eq!(refuse(vec![feeder("a", None), feeder("a", None)]), TopologyError::Duplicate("a".into()));
        assert_eq!(refuse(vec![feeder("a/b", None)]), TopologyError::Id("a/b".into()));
        let twice = vec![node("a", NodeKind::Line, None, &["k"]), node("b", NodeKind::Line, None, &["k"])];
        assert_eq!(refuse(twice), TopologyError::EvidenceTwice("k".into()));
        let same = Topology::new(vec![feeder("a", None)], vec![meter(0, "a", "a"), meter(0, "a", "a")]);
        assert_eq!(same.unwrap_err(), TopologyError::Duplicate("meter-0".into()));
    }
}
