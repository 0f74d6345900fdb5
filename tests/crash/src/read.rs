//! Reading a partition to its end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flumen_client::{At, Client, Consumer, ConsumerOptions, OutOfRange, Received};
use flumen_types::{Offset, TopicPartition};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Committed,
    Uncommitted,
}

/// All that is in `partition` from `from` on, or from its start if that is later; and where it ended.
pub(crate) async fn to_end(
    client: &Client,
    partition: &TopicPartition,
    from: Offset,
    view: View,
) -> Result<(Vec<Received>, Offset)> {
    let end = if view == View::Committed { At::StableEnd } else { At::End };
    let end = place(client, partition, end).await?;
    let options = ConsumerOptions {
        read_committed: view == View::Committed,
        wait_max: Duration::from_millis(50),
        out_of_range: OutOfRange::Start,
        ..ConsumerOptions::default()
    };
    let mut consumer = Consumer::new(client, options);
    consumer.assign(partition.clone(), from);
    let (mut records, mut position) = (Vec::new(), from);
    let deadline = Instant::now() + PATIENCE;
    while position < end {
        if Instant::now() > deadline {
            bail!(
                "{partition}: expected to read up to {end}, found nothing to read at {position} for {PATIENCE:?}"
            );
        }
        for fetched in consumer.poll().await.with_context(|| format!("reading {partition} at {position}"))? {
            records.extend(fetched.records);
            position = fetched.next;
        }
    }
    Ok((records, position))
}

pub(crate) async fn place(client: &Client, partition: &TopicPartition, at: At) -> Result<Offset> {
    let found = client.offsets_at(std::slice::from_ref(partition), at).await?;
    found
        .into_values()
        .next()
        .flatten()
        .with_context(|| format!("{partition}: expected an offset, found none"))
}
