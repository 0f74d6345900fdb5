//! Table `flumen_offsets`: how far a sink has come, in the same transaction as its rows.
//!
//! ```text
//! consumer     the sink's group, flumen.NAME
//! topic, partition_id
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
//! because the group's offset is then still `published`; once they have been sent it is `next_offset`,
//! for both went together. Before it looks it has fenced its predecessor in both places: first the
//! broker's producer (InitProducerId), so that nothing more is published, then the row's epoch, so that
//! nothing more is written. The pump publishes letters before it writes the row again.
//!
//! A group's offset that is neither of the two, and lies *before* `next_offset`, was set by a person
//! (`flumen group reset`): that is where to go on. One behind it never counts (a database restored
//! from a backup lies behind its group, and must not skip what the backup lacks).

use flumen_types::Offset;
use serde::{Deserialize, Serialize};

use super::{Connection, DbError, Dialect, Value, error};

const CREATE: &str = "create table if not exists flumen_offsets (\
    consumer text not null, topic text not null, partition_id integer not null, next_offset bigint not null, \
    published bigint not null, letters text not null, epoch bigint not null, \
    primary key (consumer, topic, partition_id))";

/// A rejected record; its bytes are in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub offset: i64,
    pub reason: String,
    pub attempts: u32,
}

/// A row as an instance found it when it took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub next: Option<Offset>,
    pub published: Option<Offset>,
    pub letters: Vec<Letter>,
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
    epochs: Vec<(String, u32, i64)>,
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
        partitions: &[(String, u32)],
    ) -> Result<(Positions, Vec<Taken>), DbError> {
        let insert = statement(
            connection.dialect(),
            "insert into flumen_offsets values ($1, $2, $3, -1, -1, '[]', 1) \
             on conflict (consumer, topic, partition_id) do update set epoch = flumen_offsets.epoch + 1",
        );
        let select = statement(
            connection.dialect(),
            "select next_offset, published, letters, epoch from flumen_offsets \
             where consumer = $1 and topic = $2 and partition_id = $3",
        );
        connection.execute(CREATE, vec![vec![]]).await?;
        connection.begin().await?;
        let mut positions = Positions { consumer: consumer.to_owned(), epochs: Vec::new() };
        let mut taken = Vec::new();
        for (topic, partition) in partitions {
            let key = vec![
                Value::Text(consumer.to_owned()),
                Value::Text(topic.clone()),
                Value::Int64(i64::from(*partition)),
            ];
            connection.execute(&insert, vec![key.clone()]).await?;
            let rows = connection.query(&select, key).await?;
            let (row, epoch) = rows.first().and_then(|row| read(row)).ok_or_else(|| {
                error(
                    "HY000",
                    "table flumen_offsets does not hold what it should; was it made by something else?",
                )
            })?;
            positions.epochs.push((topic.clone(), *partition, epoch));
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
            "update flumen_offsets set next_offset = $1, published = $2, letters = $3 \
             where consumer = $4 and topic = $5 and partition_id = $6 and epoch = $7",
        );
        let held = self
            .epochs
            .iter()
            .find(|(topic, partition, _)| (topic.as_str(), *partition) == (to.topic.as_str(), to.partition));
        let Some((_, _, epoch)) = held else { return Err(AdvanceError::Fenced) };
        let letters = serde_json::to_string(&to.letters).unwrap_or_else(|_| "[]".to_owned());
        let row = vec![
            Value::Int64(to.next.0),
            Value::Int64(to.published.unwrap_or(Offset(-1)).0),
            Value::Text(letters),
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

impl Taken {
    /// Where to go on, given the group's offset in the broker, and what has yet to be published first.
    pub(crate) fn resume(&self, group: Option<Offset>) -> (Option<Offset>, &[Letter]) {
        let Some(next) = self.next else { return (None, &[]) };
        match group {
            Some(group) if group == next => (Some(next), &[]),
            Some(group) if group < next && Some(group) != self.published => (Some(group), &[]),
            _ => (Some(next), &self.letters),
        }
    }
}

fn read(row: &[Value]) -> Option<(Taken, i64)> {
    let [Value::Int64(next), Value::Int64(published), Value::Text(letters), Value::Int64(epoch)] = row else {
        return None;
    };
    let offset = |raw: i64| (raw >= 0).then_some(Offset(raw));
    let letters = serde_json::from_str(letters).ok()?;
    Some((Taken { next: offset(*next), published: offset(*published), letters }, *epoch))
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

    #[test]
    fn letters_are_published_once_and_a_reset_counts_only_backwards() {
        let letter = Letter { offset: 8, reason: "bad".into(), attempts: 1 };
        let taken =
            Taken { next: Some(Offset(10)), published: Some(Offset(5)), letters: vec![letter.clone()] };
        // Crash between the two commits.
        assert_eq!(taken.resume(Some(Offset(5))), (Some(Offset(10)), &[letter.clone()][..]));
        // Published.
        assert_eq!(taken.resume(Some(Offset(10))), (Some(Offset(10)), &[][..]));
        // Reset by a person.
        assert_eq!(taken.resume(Some(Offset(2))), (Some(Offset(2)), &[][..]));
        assert_eq!(taken.resume(Some(Offset(7))), (Some(Offset(7)), &[][..]));
        // The database was restored from a backup, or the group is gone.
        assert_eq!(taken.resume(Some(Offset(50))).0, Some(Offset(10)));
        assert_eq!(taken.resume(None).0, Some(Offset(10)));
        // A new database is filled from the start.
        let fresh = Taken { next: None, published: None, letters: vec![] };
        assert_eq!(fresh.resume(Some(Offset(50))).0, None);
    }
}
