//! Root causes at work: which silence waits, hides, or stands for itself.
//!
//! ```text
//!   silent ──► waiting ──hold H ends──┬─ a node explains it ──► hidden under the node's incident
//!                 │                   ├─ enough siblings silent ► inferred root, all of them hidden under it
//!                 │ answers           └─ neither ─────────────► its own incident
//!                 ▼
//!              nothing                hidden ──node recovers, hold R ends, still silent──► one incident of the rest
//! ```

use super::{
    AlarmClass, AlarmIx, Bilingual, ControlRoom, DeviceIx, IncidentState, NodeIx, Opening, Priority, Timestamp, Uuid,
};
use crate::inhibition::{NodeKind, Silence};
use crate::plan::{MAINS_OUTAGE, OTHER_EVENTS};

/// Ends the root of an incident for children that did not come back with their node.
const UNRESTORED: &str = "/unrestored";

impl ControlRoom {
    /// A proof that a node is lost.
    pub(super) fn evidence_rose(&mut self, ix: AlarmIx, node: NodeIx, now: Timestamp) {
        let own = self.alarms.get(ix).record().incident.filter(|id| self.desk.get(*id).is_some());
        let covering = self.topology.upwards(node).find_map(|node| self.roots.get(&node).map(|id| (node, *id)));
        if let Some((covering, id)) = covering.filter(|(_, id)| own.is_none_or(|own| own == *id)) {
            self.recovering.remove(&covering);
            if own == Some(id) {
                self.open_or_repeat(ix, now);
            } else {
                self.join_evidence(ix, id, now);
            }
            if covering == node && self.is_inferred(node, id) {
                self.become_root(ix, node, id, now);
            }
        } else if let (None, Some((below, id))) = (own, self.root_below(node)) {
            self.join_evidence(ix, id, now);
            self.roots.remove(&below);
            self.recovering.remove(&below);
            self.become_root(ix, node, id, now);
            self.take_root(node, id, now);
        } else {
            self.open_or_repeat(ix, now);
            if let Some(id) = self.alarms.get(ix).record().incident {
                self.take_root(node, id, now);
            }
        }
        self.hide_waiting(node, now);
    }

    /// Adds evidence to an incident that is already open. People are called only if it is worse than they were told.
    fn join_evidence(&mut self, ix: AlarmIx, id: Uuid, now: Timestamp) {
        let (key, priority) = (self.alarms.get(ix).def().key.clone(), self.alarms.get(ix).def().priority);
        self.attach(ix, Some(id));
        self.desk.note(now, id, "evidence", &key, "");
        self.desk.raise_priority(id, priority, now);
    }

    fn become_root(&mut self, ix: AlarmIx, node: NodeIx, id: Uuid, now: Timestamp) {
        let def = self.alarms.get(ix).def().clone();
        let cause = self.opening_of(&def).unwrap_or_else(|| {
            let (root, guess) = (def.key.to_string(), self.suspicion(node));
            Opening { root, title: self.title_of(&def), ..guess }
        });
        self.desk.set_root(id, cause, now);
    }

    /// A device fell silent.
    pub(super) fn child_fell_silent(&mut self, ix: AlarmIx, now: Timestamp) {
        self.silences_changed = true;
        let record = self.alarms.get(ix).record();
        if let Some(node) = self.explaining(self.alarms.get(ix).def().device) {
            self.hide(ix, node, now);
        } else if record.incident.is_some_and(|id| self.desk.get(id).is_some()) {
            self.open_or_repeat(ix, now);
        } else {
            self.waiting.insert(ix, now + self.timings.child_hold);
        }
    }

    /// Ends the holds that have run out. A clock that was set back prolongs none of them.
    pub(super) fn end_holds(&mut self, now: Timestamp) {
        for end in self.waiting.values_mut() {
            *end = (*end).min(now + self.timings.child_hold);
        }
        for end in self.recovering.values_mut() {
            *end = (*end).min(now + self.timings.recovery_hold);
        }
        let ripe: Vec<AlarmIx> = self.waiting.iter().filter(|(_, end)| **end <= now).map(|(ix, _)| *ix).collect();
        for ix in ripe {
            // The decision about a sibling may have settled this one.
            if self.waiting.remove(&ix).is_some() {
                self.decide(ix, now);
            }
        }
        self.regroup(now);
        let ripe: Vec<NodeIx> = self.recovering.iter().filter(|(_, end)| **end <= now).map(|(node, _)| *node).collect();
        for node in ripe {
            self.release(node, now);
        }
        self.settle(now);
    }

    /// The hold of a silent child has ended.
    fn decide(&mut self, ix: AlarmIx, now: Timestamp) {
        let device = self.alarms.get(ix).def().device;
        let inferred = self.guess(device);
        match (self.explaining(device), inferred) {
            (Some(node), _) => self.hide(ix, node, now),
            (None, Some(node)) => {
                self.infer(node, now);
                self.hide(ix, node, now);
            }
            (None, None) => self.open_or_repeat(ix, now),
        }
    }

    /// More devices have fallen silent under a guess: perhaps a node further up explains them all.
    fn regroup(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.silences_changed) {
            return;
        }
        // Every round joins guesses into one further up, so there are fewer rounds than guesses.
        for _ in 0..self.roots.len() {
            let better = self.roots.iter().filter(|(node, id)| self.is_inferred(**node, **id)).find_map(|(node, _)| {
                let below = self.topology.below(*node).iter().filter(|device| self.is_silent(**device) == Some(true));
                let mut found = below.filter_map(|device| self.guess(*device));
                found.find(|better| self.roots_below(*better).any(|(other, _)| other == *node))
            });
            match better {
                Some(node) => self.infer(node, now),
                None => return,
            }
        }
    }

    /// A node is suspected: the incidents of what lies below it become one.
    fn infer(&mut self, node: NodeIx, now: Timestamp) {
        let guess = self.suspicion(node);
        let id = match self.root_below(node).filter(|_| self.desk.find_root(&guess.root).is_none()) {
            Some((below, id)) => {
                self.roots.remove(&below);
                self.recovering.remove(&below);
                self.desk.set_root(id, guess, now);
                id
            }
            None => self.open_node(node, now),
        };
        self.take_root(node, id, now);
        self.hide_waiting(node, now);
    }

    /// The incident of a node, opened if there is none: its own alarm may be one that opens none.
    fn root_incident(&mut self, node: NodeIx, now: Timestamp) -> Uuid {
        match self.roots.get(&node) {
            Some(id) => *id,
            None => {
                let id = self.open_node(node, now);
                self.roots.insert(node, id);
                id
            }
        }
    }

    fn open_node(&mut self, node: NodeIx, now: Timestamp) -> Uuid {
        let guess = self.suspicion(node);
        match self.desk.find_root(&guess.root) {
            // It was lost before and came back, and nobody has closed that incident yet.
            Some(id) => {
                self.desk.relapse(id);
                self.desk.call_again(id, "reoccurred", now);
                id
            }
            None => self.open(guess, now),
        }
    }

    /// Makes `id` the incident of the node. Guesses and lone children below it are the same trouble and join it.
    fn take_root(&mut self, node: NodeIx, id: Uuid, now: Timestamp) {
        self.roots.insert(node, id);
        let below: Vec<(NodeIx, Uuid)> = self.roots_below(node).filter(|(_, other)| *other != id).collect();
        for (below, other) in below {
            self.roots.remove(&below);
            self.recovering.remove(&below);
            self.merge(other, id, now);
        }
        let name = self.topology.node(node).id.clone();
        let members: Vec<AlarmIx> = self.members(id).map(|(ix, _)| ix).collect();
        for ix in members {
            let record = self.alarms.record_mut(ix);
            if record.suppressed_by.is_some() {
                record.suppressed_by = Some(name.clone());
                self.dirty.insert(ix);
            }
        }
        self.pull_lone_children(node, id, now);
    }

    fn merge(&mut self, from: Uuid, into: Uuid, now: Timestamp) {
        let members: Vec<AlarmIx> = self.members(from).map(|(ix, _)| ix).collect();
        for ix in members {
            self.attach(ix, Some(into));
        }
        self.desk.merge(from, into, now);
    }

    /// Children that fell silent so slowly that they were taken for lone ones, and that nobody has accepted.
    fn pull_lone_children(&mut self, node: NodeIx, id: Uuid, now: Timestamp) {
        let silences = self.topology.below(node).iter().flat_map(|device| self.alarms.silence_of(*device));
        let lone = silences.copied().filter(|ix| {
            let active = self.alarms.get(*ix).record().active;
            active && self.may_hide(*ix) && self.lone_incident(*ix).is_some_and(|lone| lone != id)
        });
        let lone: Vec<AlarmIx> = lone.collect();
        for ix in lone {
            self.hide(ix, node, now);
        }
    }

    /// The open incident that the alarm opened for itself, if nobody has accepted it.
    fn lone_incident(&self, ix: AlarmIx) -> Option<Uuid> {
        let incident = self.desk.get(self.alarms.get(ix).record().incident?)?;
        let lone = incident.root == *self.alarms.get(ix).def().key && incident.state == IncidentState::Open;
        lone.then_some(incident.id)
    }

    /// Hides a silent child under the node's incident. Nobody is called for it.
    fn hide(&mut self, ix: AlarmIx, node: NodeIx, now: Timestamp) {
        self.waiting.remove(&ix);
        let (id, lone) = (self.root_incident(node, now), self.lone_incident(ix));
        self.alarms.record_mut(ix).suppressed_by = Some(self.topology.node(node).id.clone());
        self.attach(ix, Some(id));
        let detail = self.topology.node(node).id.clone();
        self.note(ix, "alarm_suppressed", &detail, now);
        if let Some(lone) = lone.filter(|lone| *lone != id) {
            self.desk.merge(lone, id, now);
        }
    }

    /// Hides every waiting child of the node.
    fn hide_waiting(&mut self, node: NodeIx, now: Timestamp) {
        let below = self.topology.below(node);
        let mine = |ix: &AlarmIx| below.contains(&self.alarms.get(*ix).def().device);
        let mine: Vec<AlarmIx> = self.waiting.keys().copied().filter(mine).collect();
        for ix in mine {
            self.hide(ix, node, now);
        }
    }

    /// Starts and stops the recovery holds of the nodes that have an incident.
    pub(super) fn review_roots(&mut self, now: Timestamp) {
        let roots: Vec<(NodeIx, Uuid)> = self.roots.iter().map(|(node, id)| (*node, *id)).collect();
        for (node, id) in roots {
            let suspected = self.is_inferred(node, id) && self.silence_below(node).is_suspicious();
            if suspected || self.has_evidence(node) {
                self.recovering.remove(&node);
            } else {
                self.recovering.entry(node).or_insert(now + self.timings.recovery_hold);
            }
        }
    }

    /// After a restart: the holds of nodes whose proofs had gone before end when they would have ended. A node whose hold
    /// is over and that hides nobody any more was released already, although its incident is still open.
    pub(super) fn resume_recoveries(&mut self, now: Timestamp) {
        let mut ends = Vec::new();
        for (node, id) in &self.roots {
            if self.is_inferred(*node, *id) || self.has_evidence(*node) {
                continue;
            }
            let keys = self.topology.upwards(*node).flat_map(|node| &self.topology.node(node).evidence);
            let proofs = keys.filter_map(|key| self.alarms.find(key));
            if let Some(cleared) = proofs.filter_map(|ix| self.alarms.get(ix).record().cleared_at).max() {
                let hides = self.members(*id).any(|(_, record)| record.suppressed_by.is_some());
                ends.push((*node, cleared + self.timings.recovery_hold, hides));
            }
        }
        for (node, end, hides) in ends {
            if end <= now && !hides {
                self.roots.remove(&node);
            } else {
                self.recovering.insert(node, end);
            }
        }
    }

    /// The node is back for long enough; children that are still silent stand for themselves.
    fn release(&mut self, node: NodeIx, now: Timestamp) {
        self.recovering.remove(&node);
        let Some(id) = self.roots.remove(&node) else { return };
        let heir = self.standing_evidence(id);
        if let Some((ix, heir)) = heir {
            self.become_root(ix, heir, id, now);
            self.take_root(heir, id, now);
        }
        let hidden = self.members(id).filter(|(_, record)| record.active && record.suppressed_by.is_some());
        let mut rest: Vec<AlarmIx> = hidden.map(|(ix, _)| ix).collect();
        rest.retain(|ix| {
            let device = self.alarms.get(*ix).def().device;
            heir.is_none_or(|(_, heir)| !self.topology.below(heir).contains(&device))
        });
        for ix in &rest {
            self.alarms.record_mut(*ix).suppressed_by = None;
            self.attach(*ix, None);
            self.note(*ix, "alarm_unsuppressed", &self.topology.node(node).id.clone(), now);
        }
        // Another node may still explain some of them.
        rest.retain(|ix| match self.explaining(self.alarms.get(*ix).def().device) {
            Some(other) => {
                self.hide(*ix, other, now);
                false
            }
            None => true,
        });
        match rest.as_slice() {
            [] => {}
            [one] => self.open_or_repeat(*one, now),
            many => self.open_unrestored(node, many, now),
        }
    }

    /// Evidence in the incident that still stands, and the node it is for: the floor that stays dark when the main is
    /// back. The highest one, if there are several.
    fn standing_evidence(&self, id: Uuid) -> Option<(AlarmIx, NodeIx)> {
        let standing = self.members(id).filter(|(_, record)| record.active);
        let proved = standing.filter_map(|(ix, record)| Some((ix, self.topology.evidence_for(&record.key)?)));
        proved.min_by_key(|(_, node)| self.topology.upwards(*node).count())
    }

    /// Several children did not come back with their node: one incident for all of them.
    fn open_unrestored(&mut self, node: NodeIx, rest: &[AlarmIx], now: Timestamp) {
        let (name, kind) = (self.topology.node(node).name.clone(), self.topology.node(node).kind);
        let root = format!("{}{UNRESTORED}", self.topology.node(node).id);
        let n = rest.len();
        let id = if let Some(id) = self.desk.find_root(&root) {
            self.desk.relapse(id);
            self.desk.call_again(id, "more did not come back", now);
            id
        } else {
            let title = match kind {
                NodeKind::Feeder => Bilingual::new(
                    format!("{}复电后未恢复 {n} 台", name.zh),
                    format!("{}: {n} not back after power", name.en),
                ),
                NodeKind::Line => Bilingual::new(
                    format!("{}恢复后仍失联 {n} 台", name.zh),
                    format!("{}: {n} still silent after recovery", name.en),
                ),
            };
            let action = self.action_of(&root);
            self.open(Opening { root, plan: self.plan_of(node), priority: Priority::P2, title, action }, now)
        };
        for ix in rest {
            self.attach(*ix, Some(id));
        }
    }

    /// Forgets that the incident belongs to a node; it was closed.
    pub(super) fn forget_root(&mut self, id: Uuid) {
        let nodes: Vec<NodeIx> = self.roots.iter().filter(|(_, root)| **root == id).map(|(node, _)| *node).collect();
        for node in nodes {
            self.roots.remove(&node);
            self.recovering.remove(&node);
        }
    }

    /// The node above a device that explains its silence: one with an incident first, else one with evidence.
    fn explaining(&self, device: DeviceIx) -> Option<NodeIx> {
        let above = self.topology.above(device);
        let with_incident = above.iter().find(|node| self.roots.contains_key(node));
        with_incident.or_else(|| above.iter().find(|node| self.has_evidence(**node))).copied()
    }

    /// Whether an alarm stands that proves the loss of the node or of what feeds it.
    fn has_evidence(&self, node: NodeIx) -> bool {
        let keys = self.topology.upwards(node).flat_map(|node| &self.topology.node(node).evidence);
        keys.filter_map(|key| self.alarms.find(key)).any(|ix| self.alarms.get(ix).record().active)
    }

    /// Whether the incident of the node still rests on a guess.
    fn is_inferred(&self, node: NodeIx, id: Uuid) -> bool {
        self.desk.get(id).is_some_and(|incident| incident.root == self.topology.node(node).id)
    }

    /// The guesses that `node` would explain: roots below it in the tree, and inferred ones all of whose devices are
    /// below it, such as the line of a building that is without power.
    fn roots_below(&self, node: NodeIx) -> impl Iterator<Item = (NodeIx, Uuid)> {
        self.roots.iter().map(|(other, id)| (*other, *id)).filter(move |(other, id)| {
            let in_tree = self.topology.upwards(*other).any(|above| above == node);
            let covered = self.topology.below(*other).is_subset(self.topology.below(node));
            *other != node && (in_tree || (covered && self.is_inferred(*other, *id)))
        })
    }

    /// Of the incidents that `node` explains the one that goes on: an unaccepted one first, so that no ladder is cut
    /// short, then the worst, then the oldest.
    fn root_below(&self, node: NodeIx) -> Option<(NodeIx, Uuid)> {
        self.roots_below(node).min_by_key(|(_, id)| {
            let incident = self.desk.get(*id);
            let accepted = incident.is_some_and(|incident| incident.state == IncidentState::Acknowledged);
            (accepted, incident.map(|incident| incident.priority), *id)
        })
    }

    pub(super) fn node_of(&self, root: &str) -> Option<NodeIx> {
        self.topology.find(root).or_else(|| self.topology.evidence_for(root))
    }

    fn may_hide(&self, ix: AlarmIx) -> bool {
        let def = self.alarms.get(ix).def();
        def.class == AlarmClass::Communication
            && self.topology.evidence_for(&def.key).is_none()
            && self.topology.may_hide(def.device)
    }

    /// Whether the alarm is a silence for which nothing was decided before a restart.
    pub(super) fn is_unexplained_silence(&self, ix: AlarmIx) -> bool {
        let record = self.alarms.get(ix).record();
        let decided = record.incident.is_some_and(|id| self.desk.get(id).is_some());
        record.active && !record.acked && !decided && self.may_hide(ix)
    }

    /// Whether a device is silent; `None` if no alarm watches that.
    fn is_silent(&self, device: DeviceIx) -> Option<bool> {
        let watchers = self.alarms.silence_of(device);
        (!watchers.is_empty()).then(|| watchers.iter().any(|ix| self.alarms.get(*ix).record().active))
    }

    /// As [`Self::is_silent`], but a silence whose cause is proved says nothing about any other node.
    fn speaks_for_a_guess(&self, device: DeviceIx) -> Option<bool> {
        let proved = |ix: &AlarmIx| {
            let root = self.alarms.get(*ix).record().suppressed_by.as_deref();
            let node = root.and_then(|root| self.topology.find(root));
            node.is_some_and(|node| self.roots.get(&node).is_some_and(|id| !self.is_inferred(node, *id)))
        };
        if self.alarms.silence_of(device).iter().any(proved) { None } else { self.is_silent(device) }
    }

    /// The node that best explains why this device is silent.
    fn guess(&self, device: DeviceIx) -> Option<NodeIx> {
        let raised = self.alarms.silence_of(device).iter().map(|ix| self.alarms.get(*ix).record().raised_at).min();
        let heard = |other: DeviceIx| self.heard.get(&other).copied() > raised;
        self.topology.infer(device, &|other| self.speaks_for_a_guess(other), &heard)
    }

    fn silence_below(&self, node: NodeIx) -> Silence {
        self.topology.silence(node, &|device| self.is_silent(device))
    }

    fn plan_of(&self, node: NodeIx) -> String {
        match self.topology.node(node).kind {
            NodeKind::Feeder => MAINS_OUTAGE.to_owned(),
            NodeKind::Line => OTHER_EVENTS.to_owned(),
        }
    }

    /// The incident of a node that is only suspected, with the exceptions counted.
    fn suspicion(&self, node: NodeIx) -> Opening {
        let (Silence { silent, watched }, name) = (self.silence_below(node), &self.topology.node(node).name);
        let title = Bilingual::new(
            format!("疑似{}故障 {silent}/{watched}台失联", name.zh),
            format!("{} suspected lost, {silent}/{watched} silent", name.en),
        );
        let root = self.topology.node(node).id.clone();
        let action = self.action_of(&root);
        Opening { root, plan: self.plan_of(node), priority: Priority::P2, title, action }
    }

    /// What to do about a root: the alarm's own action, or what its kind of node needs.
    pub(super) fn action_of(&self, root: &str) -> Bilingual {
        if let Some(ix) = self.alarms.find(root) {
            return self.alarms.get(ix).def().action.clone();
        }
        let node = self.topology.find(root.strip_suffix(UNRESTORED).unwrap_or(root));
        match node.map(|node| self.topology.node(node).kind) {
            Some(NodeKind::Feeder) => Bilingual::new("到配电房核实并查轿厢困人", "Check switch room and lift cars"),
            Some(NodeKind::Line) | None => Bilingual::new("监测失效,改人工巡检", "Blind: walk the rounds"),
        }
    }
}
