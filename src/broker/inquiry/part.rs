//! What a core answers to a question about its shards.
//! Kind: machine
//!
//! A question is looked at in each turn until it is answered: queue entries may have to be read, offsets
//! have to be confirmed, and many queues are taken a few at a time.

use std::sync::Arc;

use engine::consumequeue::QueueKey;
use engine::shard::Searched;
use proto::code::response;
use runtime::clock::Now;

use super::super::dispatch::Stop;
use super::super::limits::{CLEAN_LOOKS, OFFSETS_TOLD_MAX, RESETS_MAX};
use super::super::{Broker, Refusal};
use super::{
    CloneOffsets, CommittedOffset, Counted, Part, Question, QueueFacts, QueueQuestion,
    ResetOffsets, Target, Times,
};
use crate::observe::{Course, Span};

/// A question that this core is asked, and how far it is.
#[derive(Debug)]
pub(super) struct Asked {
    pub id: u64,
    question: Question,
    /// The next topic and queue to look at.
    at: (usize, u32),
    facts: Vec<QueueFacts>,
    offsets: Vec<CommittedOffset>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    Looking,
    /// Offsets were changed: to be appended in these shards, by their places.
    Appending(Vec<usize>),
    /// They were: to be confirmed up to these log offsets.
    Confirming(Vec<(usize, u64)>),
}

/// Why a question is not answered now.
enum Later {
    /// Something is being read, or confirmed, or it was enough for a turn.
    NotNow,
    Refused(Refusal),
}

impl Asked {
    pub fn new(id: u64, question: Question) -> Asked {
        let (facts, offsets) = (Vec::new(), Vec::new());
        Asked { id, question, at: (0, 0), facts, offsets, stage: Stage::New }
    }

    pub fn is_new(&self) -> bool {
        matches!(self.stage, Stage::New)
    }
}

impl Broker {
    /// `None`: later.
    pub(super) fn answer_part(
        &mut self,
        now: Now,
        asked: &mut Asked,
        left: &mut usize,
    ) -> Option<Part> {
        match self.try_part(now, asked, left) {
            Ok(part) => Some(part),
            Err(Later::NotNow) => None,
            Err(Later::Refused(refusal)) => Some(Part::Refused(refusal)),
        }
    }

    fn try_part(&mut self, now: Now, asked: &mut Asked, left: &mut usize) -> Result<Part, Later> {
        if asked.is_new() {
            asked.stage = Stage::Looking;
        }
        match &asked.question {
            Question::TopicsOf(group) => return Ok(Part::Names(self.topics_of(group))),
            Question::GroupsOf(topic) => return Ok(Part::Names(self.groups_of(topic))),
            Question::Queues(question) => {
                let question = Arc::clone(question);
                self.look_at_queues(&question, asked, left)?;
                return Ok(Part::Queues(std::mem::take(&mut asked.facts)));
            }
            Question::Confirmed if matches!(asked.stage, Stage::Looking) => {
                let ends = self.shards.iter().map(|shard| shard.log().appended());
                asked.stage = Stage::Confirming(ends.enumerate().collect());
            }
            Question::Offsets => {
                self.look_at_offsets(asked, left)?;
                return Ok(Part::Offsets(std::mem::take(&mut asked.offsets)));
            }
            Question::Runtime => return Ok(Part::Runtime(Box::new(self.runtime(now)))),
            Question::Counted(counted) => return Ok(Part::Counted(self.counted(now, counted))),
            Question::Clean => {
                self.clean_looks = CLEAN_LOOKS;
                return Ok(Part::Done);
            }
            Question::Reset(reset) if matches!(asked.stage, Stage::Looking) => {
                let reset = Arc::clone(reset);
                self.look_up_targets(&reset, asked, left)?;
                if !reset.is_done {
                    return Ok(Part::Queues(std::mem::take(&mut asked.facts)));
                }
                // A core that has none of the queues refuses nothing: the others go on.
                if !asked.facts.is_empty() {
                    self.check_room_for_offsets()?;
                }
                asked.stage = Stage::Appending(self.reset_offsets(now, &reset, &asked.facts)?);
            }
            Question::Clone(clone) if matches!(asked.stage, Stage::Looking) => {
                let clone = Arc::clone(clone);
                self.check_room_for_offsets()?;
                asked.stage = Stage::Appending(self.clone_offsets(now, &clone)?);
            }
            Question::RemoveGroup(group) if matches!(asked.stage, Stage::Looking) => {
                let (now_ms, group) = (now.monotonic_ms(), Arc::clone(group));
                self.check_room_for_offsets()?;
                self.resets.retain(|(of, _), _| *of != group);
                for shard in &mut self.shards {
                    shard.offsets_mut().remove_group(now_ms, &group);
                }
                asked.stage = Stage::Appending((0..self.shards.len()).collect());
            }
            Question::Reset(_)
            | Question::Clone(_)
            | Question::RemoveGroup(_)
            | Question::Confirmed => {}
        }
        self.await_offsets(asked)?;
        Ok(match asked.question {
            Question::Reset(_) => Part::Queues(std::mem::take(&mut asked.facts)),
            _ => Part::Done,
        })
    }

    fn topics_of(&self, group: &str) -> Vec<Arc<str>> {
        let topics = self.shards.iter().flat_map(|shard| shard.offsets().topics_of(group));
        topics.filter_map(|topic| self.catalog.topic_name(topic)).map(Arc::from).collect()
    }

    fn groups_of(&self, topic: &str) -> Vec<Arc<str>> {
        let Some(topic) = self.catalog.topic(topic) else { return Vec::new() };
        let groups = self.shards.iter().map(|shard| shard.offsets().groups_of(topic.incarnation));
        groups.flatten().map(Arc::from).collect()
    }

    fn counted(&self, now: Now, counted: &Counted) -> Option<[Course; Span::ALL.len()]> {
        let now_ms = now.monotonic_ms();
        let incarnation = |topic: &str| self.catalog.topic(topic).map(|topic| topic.incarnation);
        match counted {
            Counted::Topic(topic) => self.tally.topic_over(now_ms, incarnation(topic)?),
            Counted::Group(topic, group) => {
                self.tally.consumer_over(now_ms, incarnation(topic)?, group)
            }
            Counted::Incoming => Some(self.tally.all_over(now_ms, true)),
            Counted::Outgoing => Some(self.tally.all_over(now_ms, false)),
        }
    }

    /// Group by group, a group's offsets in one shard together: `asked.at` is the shard's place and the
    /// group's number there.
    fn look_at_offsets(&self, asked: &mut Asked, left: &mut usize) -> Result<(), Later> {
        while let Some(shard) = self.shards.get(asked.at.0) {
            let (offsets, number) = (shard.offsets(), asked.at.1 as usize);
            if number >= offsets.group_numbers() {
                asked.at = (asked.at.0 + 1, 0);
                continue;
            }
            if *left == 0 {
                return Err(Later::NotNow);
            }
            *left -= 1;
            asked.at.1 += 1;
            let Some(name) = offsets.group_of(number) else { continue };
            let group: Arc<str> = Arc::from(name);
            for incarnation in offsets.topics_of(name) {
                let Some(topic) = self.catalog.topic_name(incarnation).map(Arc::<str>::from) else {
                    continue;
                };
                for (QueueKey { queue, .. }, offset) in offsets.of_topic(name, incarnation) {
                    let (group, topic) = (Arc::clone(&group), Arc::clone(&topic));
                    asked.offsets.push(CommittedOffset { group, topic, queue, offset });
                    *left = left.saturating_sub(1);
                }
            }
            if asked.offsets.len() > OFFSETS_TOLD_MAX {
                let remark = format!(
                    "more than {OFFSETS_TOLD_MAX} offsets are committed, as many as are told at once"
                );
                return Err(refused(response::SYSTEM_ERROR, remark));
            }
        }
        Ok(())
    }

    /// Calls `look` for each queue of the topics that is in a shard here, from `asked.at` on, and keeps
    /// what it found.
    fn each_queue(
        &mut self,
        topics: &[(Arc<str>, u32)],
        asked: &mut Asked,
        left: &mut usize,
        look: impl Fn(&mut Broker, (usize, QueueKey), QueueFacts) -> Result<QueueFacts, Later>,
    ) -> Result<(), Later> {
        while let Some((topic, count)) = topics.get(asked.at.0) {
            let (index, queue) = asked.at;
            if queue >= *count {
                asked.at = (index + 1, 0);
                continue;
            }
            if *left == 0 {
                return Err(Later::NotNow);
            }
            *left -= 1;
            // Of another core's shard, or of a topic that was deleted meanwhile: not ours to tell.
            let id = i32::try_from(queue).expect("QUEUES_PER_TOPIC_MAX");
            if let Ok(Some(here)) = self.queue_here(topic, id) {
                let (min, max) = self.shards[here.0].queues().bounds(here.1).unwrap_or((0, 0));
                let facts = QueueFacts {
                    topic: index,
                    queue,
                    min,
                    max,
                    committed: None,
                    target: 0,
                    oldest_ms: None,
                    newest_ms: None,
                    consumed_ms: None,
                    next_ms: None,
                };
                let facts = look(self, here, facts)?;
                asked.facts.push(facts);
            }
            asked.at.1 += 1;
        }
        Ok(())
    }

    fn look_at_queues(
        &mut self,
        question: &QueueQuestion,
        asked: &mut Asked,
        left: &mut usize,
    ) -> Result<(), Later> {
        let QueueQuestion { group, topics, times } = question;
        self.each_queue(topics, asked, left, |broker, (place, queue), mut facts| {
            let shard = &mut broker.shards[place];
            facts.committed = shard.offsets().committed(group, queue);
            let (min, max) = (facts.min, facts.max);
            let consumed = facts.committed.unwrap_or(0);
            let mut time_of = |offset: Option<u64>| match offset {
                Some(offset) if (min..max).contains(&offset) => {
                    read(shard.time_of(queue, offset)).map(Some)
                }
                _ => Ok(None),
            };
            let is_span = *times == Times::Span;
            if is_span {
                facts.oldest_ms = time_of(Some(min))?;
                facts.next_ms = time_of(Some(consumed.max(min)))?;
            }
            if is_span || *times == Times::Newest {
                facts.newest_ms = time_of(max.checked_sub(1))?;
            }
            if is_span || *times == Times::Consumed {
                facts.consumed_ms = time_of(consumed.checked_sub(1))?;
            }
            Ok(facts)
        })
    }

    // ---- resets ---------------------------------------------------------------------------------

    fn look_up_targets(
        &mut self,
        reset: &ResetOffsets,
        asked: &mut Asked,
        left: &mut usize,
    ) -> Result<(), Later> {
        let ResetOffsets { group, topic, queues, only, target, .. } = reset;
        // One queue may be one that is not read any more.
        let count = only.map_or(*queues, |queue| queue.saturating_add(1));
        if let Some(queue) = only {
            asked.at.1 = asked.at.1.max(*queue);
        }
        let topics = [(Arc::clone(topic), count)];
        self.each_queue(&topics, asked, left, |broker, (place, queue), mut facts| {
            let shard = &mut broker.shards[place];
            facts.committed = shard.offsets().committed(group, queue);
            let (min, max) = (facts.min, facts.max);
            facts.target = match *target {
                Target::End => max,
                Target::Time(time_ms) => read(shard.search_time(queue, time_ms, false))?,
                Target::Offset(offset) => match u64::try_from(offset) {
                    Ok(offset) if (min..=max + 1).contains(&offset) => offset,
                    _ => {
                        let remark = format!(
                            "Target offset {offset} not in consume queue range [{min}-{max}]"
                        );
                        return Err(refused(response::SYSTEM_ERROR, remark));
                    }
                },
            };
            Ok(facts)
        })
    }

    /// Refuses before anything is changed that could not be written now.
    fn check_room_for_offsets(&mut self) -> Result<(), Later> {
        let mut shards = self.shards.iter_mut();
        shards.try_for_each(|shard| shard.has_room_for_offsets().map_err(|it| later(it.into())))
    }

    /// Sets the offsets, and notes that the group has to hear so. The places of the shards that changed.
    fn reset_offsets(
        &mut self,
        now: Now,
        reset: &ResetOffsets,
        facts: &[QueueFacts],
    ) -> Result<Vec<usize>, Later> {
        if self.resets.len() + facts.len() > RESETS_MAX {
            let remark = format!("{RESETS_MAX} queues wait for groups that are to hear of a reset");
            return Err(refused(response::SYSTEM_ERROR, remark));
        }
        let mut places = Vec::new();
        for facts in facts {
            let id = i32::try_from(facts.queue).expect("QUEUES_PER_TOPIC_MAX");
            let Ok(Some((place, queue))) = self.queue_here(&reset.topic, id) else { continue };
            self.commit(now, place, &reset.group, queue, facts.target).map_err(later)?;
            self.resets.insert((Arc::clone(&reset.group), queue), facts.target);
            // Pulls that wait there come again, and are told.
            self.shards[place].wake_topic(queue.topic);
            places.push(place);
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    fn clone_offsets(&mut self, now: Now, clone: &CloneOffsets) -> Result<Vec<usize>, Later> {
        let CloneOffsets { source, target, topics } = clone;
        for topic in topics {
            let Some(topic) = self.catalog.topic(topic).map(|topic| topic.incarnation) else {
                continue;
            };
            for place in 0..self.shards.len() {
                let offsets = self.shards[place].offsets_mut();
                let new: Vec<_> = offsets.of_topic(source, topic).collect();
                let old: Vec<_> = offsets.of_topic(target, topic).collect();
                // Also where the source has none: it has some in another shard.
                for (queue, _) in old {
                    if new.iter().all(|(other, _)| *other != queue) {
                        offsets.remove(now.monotonic_ms(), target, queue);
                    }
                }
                for (queue, offset) in new {
                    self.commit(now, place, target, queue, offset).map_err(later)?;
                }
            }
        }
        Ok((0..self.shards.len()).collect())
    }

    /// Appends what was changed and waits until it is confirmed.
    fn await_offsets(&mut self, asked: &mut Asked) -> Result<(), Later> {
        if let Stage::Appending(places) = &asked.stage {
            for place in places {
                let shard = &mut self.shards[*place];
                while shard.offsets().is_dirty() {
                    shard.append_offsets(None).map_err(|refused| later(refused.into()))?;
                }
            }
            // Behind records of earlier commits, too, that may have changed the same.
            let end = |place: &usize| (*place, self.shards[*place].log().appended());
            asked.stage = Stage::Confirming(places.iter().map(end).collect());
        }
        let Stage::Confirming(ends) = &asked.stage else { unreachable!("appended above") };
        for (place, end) in ends {
            let shard = &mut self.shards[*place];
            if shard.log().confirmed() < *end {
                shard.has_room(0).or_else(|refused| match later(refused.into()) {
                    Later::NotNow => Ok(()),
                    refused @ Later::Refused(_) => Err(refused),
                })?; // says so if the log is poisoned
                return Err(Later::NotNow);
            }
        }
        Ok(())
    }
}

fn later(stop: Stop) -> Later {
    match stop {
        Stop::Refuse(refusal) => Later::Refused(refusal),
        Stop::Wait => Later::NotNow,
        Stop::Elsewhere(core) => unreachable!("asked of this core, not of {core}"),
    }
}

fn refused(code: i32, remark: String) -> Later {
    Later::Refused(Refusal::new(code, remark))
}

fn read(searched: Searched) -> Result<u64, Later> {
    match searched {
        Searched::Found(number) => Ok(number),
        Searched::Cold => Err(Later::NotNow),
        Searched::Failed(reason) => Err(Later::Refused(Refusal::unreadable("the queue", &reason))),
    }
}
