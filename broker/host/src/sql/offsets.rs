//! Table `flumen_offsets`: how far a sink has come, in the same transaction as its rows.
//!
//! ```text
//! consumer     the sink's group, flumen.NAME
//! topic, partition_id
//! topic_id     which of the topics that have had this name; null in rows of before there was this column
//! next_offset  where it goes on; -1: nothing has been done yet
//! published    the group's offset in the broker when this row was written; -1: none
//! letters      rejected records that the broker has yet to be given: [{"offset", "reason", "attempts"}]
//! epoch        counts the instances; only the newest may write
//! ```
//!
//! # Why no dead letter is lost or repeated
//!
//! Rows, `next_offset` and `letters` are committed together, in the database. Then one transaction of
//! the broker holds the dead letters and the group's offset (= `next_offset`). A crash between the two
//! leaves the letters here, to be sent by the next instance: it knows that they have not been sent,
//! because the group's offset is then still `published`, and a pump's; once they have been sent it is
//! `next_offset`, for both went together. Before it looks it has fenced its predecessor in both places: first the
//! broker's producer (InitProducerId), so that nothing more is published, then the row's epoch, so that
//! nothing more is written. The pump publishes letters before it writes the row again.
//!
//! A group's offset that no pump has committed was set by a person (`flumen group reset`): that is where
//! to go on, forwards too. The row is moved there first, then the group's offset is committed as a pump's;
//! a crash between the two finds both in one place. A pump's own offset that is neither of the two never
//! counts: a database restored from a backup lies behind its group, and must not skip what the backup
//! lacks.
//!
//! # Rows of another topic
//!
//! A topic that was deleted and made again, or a new data folder, begins at offset 0, and the row's
//! offsets say nothing about it. The row is tied to the topic's id: with another one it begins anew.
//! A row without an id is from a version that did not write it: it is believed once. What marks a reset
//! then is, as it was in that version, that the group lies before the row. The row is given the id when
//! the group's offset has become a pump's.

use flumen_types::Offset;
use serde::{Deserialize, Serialize};

use super::{Connection, DbError, Dialect, Value, error};
use crate::GroupOffset;

const TABLE: &str = "flumen_offsets";
const CREATE: &str = "create table if not exists flumen_offsets (\
    consumer text not null, topic text not null, partition_id integer not null, next_offset bigint not null, \
    published bigint not null, letters text not null, epoch bigint not null, topic_id text, \
    primary key (consumer, topic, partition_id))";
const ADD_TOPIC_ID: &str = "alter table flumen_offsets add column topic_id text";
const DUPLICATE_COLUMN: &str = "42701";

/// A partition that an instance takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub topic: String,
    pub partition: u32,
    pub topic_id: String,
}

/// A rejected record; its bytes are in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub offset: i64,
    pub reason: String,
    pub attempts: u32,
}

/// A row as an instance found it when it took over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub next: Option<Offset>,
    pub published: Option<Offset>,
    pub letters: Vec<Letter>,
    /// Of a version that did not tie it to the topic.
    pub untied: bool,
}

/// Where to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resume<'a> {
    /// None: at the start.
    pub next: Option<Offset>,
    /// To be published first.
    pub letters: &'a [Letter],
    /// A person has said so, and the row does not know it yet.
    pub reset: bool,
}

/// A step forward.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub topic: String,
    pub partition: u32,
    pub next: Offset,
    pub published: Option<Offset>,
    pub letters: Vec<Letter>,
}

/// One instance's hold on its partitions.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    consumer: String,
    /// With their rows' epochs.
    held: Vec<(Claim, i64)>,
}

#[derive(Debug)]
pub(crate) enum AdvanceError {
    Fenced,
    Db(DbError),
}

impl From<DbError> for AdvanceError {
    fn from(error: DbError) -> AdvanceError {
        AdvanceError::Db(error)
    }
}

impl Positions {
    /// Fences whatever wrote for these partitions before; tells where each of them is.
    pub(crate) async fn take(
        connection: &mut dyn Connection,
        consumer: &str,
        claims: &[Claim],
    ) -> Result<(Positions, Vec<Taken>), DbError> {
        make_table(connection).await?;
        connection.begin().await?;
        let mut positions = Positions { consumer: consumer.to_owned(), held: Vec::new() };
        let mut taken = Vec::new();
        for claim in claims {
            let (row, epoch) = take_one(connection, consumer, claim).await?;
            positions.held.push((claim.clone(), epoch));
            taken.push(row);
        }
        connection.commit().await?;
        Ok((positions, taken))
    }

    /// Inside the transaction that holds the rows.
    pub(crate) async fn advance(
        &self,
        connection: &mut dyn Connection,
        to: &Position,
    ) -> Result<(), AdvanceError> {
        let update = statement(
            connection.dialect(),
            "update flumen_offsets set next_offset = $1, published = $2, letters = $3, topic_id = $4 \
             where consumer = $5 and topic = $6 and partition_id = $7 and epoch = $8",
        );
        let held =
            self.held.iter().find(|(claim, _)| (&claim.topic, claim.partition) == (&to.topic, to.partition));
        let Some((claim, epoch)) = held else { return Err(AdvanceError::Fenced) };
        let letters = serde_json::to_string(&to.letters).unwrap_or_else(|_| "[]".to_owned());
        let row = vec![
            Value::Int64(to.next.0),
            Value::Int64(to.published.unwrap_or(Offset(-1)).0),
            Value::Text(letters),
            Value::Text(claim.topic_id.clone()),
            Value::Text(self.consumer.clone()),
            Value::Text(to.topic.clone()),
            Value::Int64(i64::from(to.partition)),
            Value::Int64(*epoch),
        ];
        match connection.execute(&update, vec![row]).await? {
            1 => Ok(()),
            _ => Err(AdvanceError::Fenced),
        }
    }
}

/// Makes the table, or adds what one of an older version lacks.
async fn make_table(connection: &mut dyn Connection) -> Result<(), DbError> {
    connection.execute(CREATE, vec![vec![]]).await?;
    let columns = connection.describe(TABLE).await?.unwrap_or_default();
    if columns.iter().any(|column| column.name == "topic_id") {
        return Ok(());
    }
    match connection.execute(ADD_TOPIC_ID, vec![vec![]]).await {
        // Another task was quicker.
        Err(failed) if failed.sqlstate == DUPLICATE_COLUMN => Ok(()),
        added => added.map(drop),
    }
}

/// Raises the row's epoch; a row of another topic begins anew.
async fn take_one(
    connection: &mut dyn Connection,
    consumer: &str,
    claim: &Claim,
) -> Result<(Taken, i64), DbError> {
    let dialect = connection.dialect();
    let insert = statement(
        dialect,
        "insert into flumen_offsets \
         (consumer, topic, partition_id, next_offset, published, letters, epoch, topic_id) \
         values ($1, $2, $3, -1, -1, '[]', 1, $4) \
         on conflict (consumer, topic, partition_id) do update set epoch = flumen_offsets.epoch + 1",
    );
    let select = statement(
        dialect,
        "select next_offset, published, letters, epoch, topic_id from flumen_offsets \
         where consumer = $1 and topic = $2 and partition_id = $3",
    );
    let key = vec![
        Value::Text(consumer.to_owned()),
        Value::Text(claim.topic.clone()),
        Value::Int64(i64::from(claim.partition)),
    ];
    let keyed: Vec<Value> = key.iter().cloned().chain([Value::Text(claim.topic_id.clone())]).collect();
    connection.execute(&insert, vec![keyed.clone()]).await?;
    let rows = connection.query(&select, key, usize::MAX).await?;
    let (mut row, epoch, id) = rows.first().and_then(|row| read(row)).ok_or_else(|| {
        error("HY000", "table flumen_offsets does not hold what it should; was it made by something else?")
    })?;
    if id.is_some_and(|id| id != claim.topic_id) {
        let anew = statement(
            dialect,
            "update flumen_offsets set next_offset = -1, published = -1, letters = '[]', topic_id = $4 \
             where consumer = $1 and topic = $2 and partition_id = $3",
        );
        connection.execute(&anew, vec![keyed]).await?;
        row = Taken::default();
    }
    Ok((row, epoch))
}

impl Taken {
    /// Where to go on, given the group's offset in the broker.
    pub(crate) fn resume(&self, group: Option<GroupOffset>) -> Resume<'_> {
        let go_on = |next, letters| Resume { next, letters, reset: false };
        let Some(next) = self.next else { return go_on(None, &[]) };
        let Some(group) = group else { return go_on(Some(next), &self.letters) };
        let (group, by_pump) = (group.offset, group.by_pump);
        let reset = match self.untied {
            true => group < next && Some(group) != self.published,
            false => !by_pump,
        };
        match group {
            group if group == next => go_on(Some(next), &[]),
            group if reset => Resume { next: Some(group), letters: &[], reset },
            _ => go_on(Some(next), &self.letters),
        }
    }
}

/// A row, its epoch, and its topic.
fn read(row: &[Value]) -> Option<(Taken, i64, Option<String>)> {
    let [Value::Int64(next), Value::Int64(published), Value::Text(letters), Value::Int64(epoch), id] = row
    else {
        return None;
    };
    let offset = |raw: i64| (raw >= 0).then_some(Offset(raw));
    let letters = serde_json::from_str(letters).ok()?;
    let id = match id {
        Value::Text(id) => Some(id.clone()),
        _ => None,
    };
    let row = Taken { next: offset(*next), published: offset(*published), letters, untied: id.is_none() };
    Some((row, *epoch, id))
}

/// Placeholders are the dialect's own.
fn statement(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Postgres => text.to_owned(),
        Dialect::Sqlite | Dialect::Mysql => text.replace('$', "?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter { offset: 8, reason: "bad".into(), attempts: 1 }
    }

    fn row(untied: bool) -> Taken {
        Taken { next: Some(Offset(10)), published: Some(Offset(5)), letters: vec![letter()], untied }
    }

    fn by(by_pump: bool, offset: i64) -> Option<GroupOffset> {
        Some(GroupOffset { offset: Offset(offset), by_pump })
    }

    /// Where it goes on, with how many letters, and whether that is a reset.
    fn resume(taken: &Taken, group: Option<GroupOffset>) -> (i64, usize, bool) {
        let Resume { next, letters, reset } = taken.resume(group);
        (next.map_or(-1, |next| next.0), letters.len(), reset)
    }

    #[test]
    fn letters_are_published_once() {
        // Crash between the two commits.
        assert_eq!(resume(&row(false), by(true, 5)), (10, 1, false));
        // Published.
        assert_eq!(resume(&row(false), by(true, 10)), (10, 0, false));
        // The database was restored from a backup, or the group is gone.
        assert_eq!(resume(&row(false), by(true, 50)), (10, 1, false));
        assert_eq!(resume(&row(false), by(true, 2)), (10, 1, false));
        assert_eq!(resume(&row(false), None), (10, 1, false));
    }

    #[test]
    fn what_no_pump_has_committed_is_a_reset_wherever_it_lies() {
        for to in [2, 5, 7, 50] {
            assert_eq!(resume(&row(false), by(false, to)), (to, 0, true));
        }
        assert_eq!(resume(&row(false), by(false, 10)), (10, 0, false));
        // A new database is filled from the start.
        let fresh = Taken::default();
        assert_eq!(resume(&fresh, by(false, 50)), (-1, 0, false));
    }

    #[test]
    fn a_row_of_an_older_version_is_read_as_that_version_did() {
        for (group, expected) in
            [(5, (10, 1, false)), (10, (10, 0, false)), (2, (2, 0, true)), (50, (10, 1, false))]
        {
            assert_eq!(resume(&row(true), by(false, group)), expected);
        }
    }
}
