//! Where a session begins: behind all that its predecessors have committed.

use std::time::Duration;

use flumen_types::Offset;

use super::{At, End, Pump, Trouble, empty};
use crate::chunk::Piece;
use crate::dead_letter::{Body, Letter, Place};
use crate::guest::CallError;
use crate::io::{GroupOffset, IoError};
use crate::pump::quarantine::Quarantine;
use crate::section::Heads;
use crate::{Policy, sql};

impl Pump<'_> {
    /// Finds where its predecessor was, in the group or in the database.
    pub(super) async fn resume(&mut self, assigned: &[At]) -> Result<(), End> {
        let mut groups = Vec::with_capacity(assigned.len());
        for (topic, partition) in assigned {
            let committed = self.task.log.committed(&self.group, topic, *partition).await?;
            let (at, offset) = ((topic.clone(), *partition), committed.map(|group| group.offset));
            self.positions.insert(at.clone(), offset.unwrap_or(Offset::ZERO));
            // Its lag shows though its guest may never start.
            self.show(&at);
            self.published.insert(at, offset);
            groups.push(committed);
        }
        self.start_guest().await?;
        if self.task.info.sql {
            self.resume_sql(assigned, &groups).await?;
        }
        self.shaken = false;
        let errors = &self.task.spec.errors;
        if errors.policy == Policy::Quarantine {
            let (log, plugin) = (self.task.log.clone(), &self.task.spec.name);
            self.quarantine = Some(Quarantine::load(log, plugin, &errors.topic).await?);
        }
        for ((topic, partition), at) in &self.positions {
            self.task.progress.set(topic, *partition, *at);
            self.task.board.reached(topic, *partition, *at);
        }
        Ok(())
    }

    async fn resume_sql(&mut self, assigned: &[At], groups: &[Option<GroupOffset>]) -> Result<(), End> {
        let taken = self.take(assigned).await?;
        let mut untied = Vec::new();
        for ((at, taken), group) in assigned.iter().zip(taken).zip(groups) {
            let sql::Resume { next, letters, reset } = taken.resume(*group);
            let next = next.unwrap_or(Offset::ZERO);
            self.positions.insert(at.clone(), next);
            if reset {
                tracing::warn!(plugin = self.task.spec.name, topic = %at.0, partition = at.1, from = next.0, "the group was reset: going on from there");
                self.pass(&empty(at, next, next)).await?;
            }
            for letter in letters {
                self.publish(at, letter).await?;
            }
            if taken.next.is_some() && *group != Some(GroupOffset { offset: next, by_pump: true }) {
                self.transaction.advance(&at.0, at.1, next);
            }
            untied.extend(taken.untied.then(|| empty(at, next, next)));
        }
        self.commit().await?;
        for here in untied {
            self.pass(&here).await?;
        }
        self.commit().await
    }

    /// A letter that a predecessor wrote into the database, and did not come to send.
    async fn publish(&mut self, at: &At, letter: &sql::Letter) -> Result<(), End> {
        let offset = Offset(letter.offset);
        let read = self.task.log.read(&at.0, at.1, offset, 1, Duration::ZERO).await;
        let pieces = match read {
            Ok(read) => crate::chunk::pieces(&at.0, at.1, offset, &read, 1).pieces,
            // Retention has taken the record; the letter says what there was.
            Err(IoError::OutOfRange { .. }) => Default::default(),
            Err(other) => return Err(other.into()),
        };
        let chunk = pieces.iter().find_map(|piece| match piece {
            Piece::Records(chunk) => Some(chunk),
            Piece::Unreadable { .. } => None,
        });
        let head = chunk.and_then(|chunk| {
            let head = Heads::new(&chunk.records, chunk.count).next()?.ok()?;
            let here = chunk.base_offset + i64::from(head.offset_delta) == letter.offset;
            here.then(|| (head.raw, chunk.timestamp(head.timestamp_delta)))
        });
        let unreadable = pieces.iter().find_map(|piece| match piece {
            Piece::Unreadable { batch, .. } => Some(batch.bytes()),
            Piece::Records(_) => None,
        });
        let (body, timestamp) = match (head, unreadable) {
            (Some((raw, timestamp)), _) => (Body::Record(raw), timestamp),
            (None, Some(bytes)) => (Body::Bytes(bytes), -1),
            (None, None) => (Body::Bytes(b""), -1),
        };
        let place = Place::Log { topic: &at.0, partition: at.1, offset: letter.offset };
        let letter = Letter { body, place, reason: &letter.reason, attempts: letter.attempts, timestamp };
        let sender = self.sender().await?.clone();
        self.transaction.park(&sender, &letter).await?;
        Ok(())
    }

    /// In the database, every partition that is ours.
    async fn take(&mut self, assigned: &[At]) -> Result<Vec<sql::Taken>, CallError> {
        if !self.topics.are_same().await.map_err(|error| CallError::retry(error.to_string()))? {
            return Err(CallError::Fenced);
        }
        let claim = |(topic, partition): &At| sql::Claim {
            topic: topic.to_string(),
            partition: *partition,
            topic_id: self.topics.id(topic),
        };
        let claims: Vec<sql::Claim> = assigned.iter().map(claim).collect();
        self.guest.run(move |instance| Box::pin(async move { instance.take(&claims).await })).await
    }

    async fn start_guest(&mut self) -> Result<(), CallError> {
        if self.guest.run(|instance| Box::pin(async { Ok(instance.is_alive()) })).await? {
            return Ok(());
        }
        let started = self.guest.start().await;
        if let Err(CallError::Broken(_)) = &started {
            self.task.board.restarted();
        }
        started
    }

    /// A guest that can be called. One that cannot be set up is no record's fault.
    pub(super) async fn ready_guest(&mut self) -> Result<(), Trouble> {
        if !self.shaken {
            return Ok(());
        }
        match self.revive().await {
            Ok(()) => {
                self.shaken = false;
                Ok(())
            }
            Err(CallError::Broken(broken)) => {
                Err(Trouble::Retry { reason: format!("setting it up failed: {broken}"), after: None })
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn revive(&mut self) -> Result<(), CallError> {
        if self.guest.run(|instance| Box::pin(async { Ok(instance.is_alive()) })).await? {
            return Ok(());
        }
        self.start_guest().await?;
        if !self.task.info.sql {
            return Ok(());
        }
        let assigned: Vec<At> = self.positions.keys().cloned().collect();
        let taken = self.take(&assigned).await?;
        let known = taken.iter().zip(self.positions.values());
        let moved = known.into_iter().any(|(taken, at)| taken.next.is_some_and(|next| next != *at));
        // A commit whose answer was lost may have happened. Then a session must begin.
        if moved { Err(CallError::Fenced) } else { Ok(()) }
    }
}
