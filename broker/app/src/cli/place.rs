//! A place in a partition as a person writes it: `start`, `end`, an offset, `-N` from the end,
//! `@TIME`.

use std::collections::BTreeMap;

use flumen_client::{At, Client, Error};
use flumen_types::{Millis, Offset, Timestamp, TopicPartition};

use crate::clock;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    End,
    Offset(i64),
    /// This many offsets before the end.
    Last(i64),
    Time(Timestamp),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text {
            "start" | "beginning" | "earliest" => return Ok(Place::Start),
            "end" | "latest" => return Ok(Place::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return moment(time).map(Place::Time);
        }
        match text.parse::<i64>() {
            Ok(last) if text.starts_with('-') => {
                Ok(Place::Last(last.unsigned_abs().try_into().unwrap_or(i64::MAX)))
            }
            Ok(offset) => Ok(Place::Offset(offset)),
            Err(_) => Err("write start, end, an offset, -N for the last N, or @TIME".into()),
        }
    }
}

/// `2026-01-31T12:00:00Z`, a local date and time, milliseconds since 1970, or `-15m` for a time ago.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Some(ago) = text.strip_prefix('-') {
        let ago: Millis = ago.parse().map_err(|error: flumen_types::ParseMillisError| error.to_string())?;
        return Ok(Timestamp(clock::now().0.saturating_sub(ago.0)));
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Timestamp(ms));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(time.as_millisecond()));
    }
    let local = text.parse::<jiff::civil::DateTime>().ok();
    let local = local.and_then(|time| time.to_zoned(jiff::tz::TimeZone::system()).ok());
    local.map(|time| Timestamp(time.timestamp().as_millisecond())).ok_or_else(|| {
        format!("\"{text}\" is not a time; write 2026-01-31T12:00:00Z, milliseconds since 1970, or -15m")
    })
}

/// The offset of the place in each of these partitions. `end` is what the reader counts as the end.
pub(crate) async fn find(
    client: &Client,
    partitions: &[TopicPartition],
    place: Place,
    end: At,
) -> Result<BTreeMap<TopicPartition, Offset>, Error> {
    let looked_up = async |at| -> Result<BTreeMap<TopicPartition, Option<Offset>>, Error> {
        client.offsets_at(partitions, at).await
    };
    let all = |offset: Offset| partitions.iter().map(|partition| (partition.clone(), offset)).collect();
    let known = |found: BTreeMap<TopicPartition, Option<Offset>>| {
        found.into_iter().map(|(partition, offset)| (partition, offset.unwrap_or(Offset::ZERO))).collect()
    };
    Ok(match place {
        Place::Offset(offset) => all(Offset(offset)),
        Place::Start => known(looked_up(At::Start).await?),
        Place::End => known(looked_up(end).await?),
        Place::Last(count) => {
            let mut found: BTreeMap<_, _> = known(looked_up(end).await?);
            let starts: BTreeMap<_, _> = known(looked_up(At::Start).await?);
            for (partition, offset) in &mut found {
                let start = starts.get(partition).copied().unwrap_or(Offset::ZERO);
                *offset = Offset(offset.0.saturating_sub(count)).max(start);
            }
            found
        }
        Place::Time(time) => {
            let ends = looked_up(end).await?;
            let found = looked_up(At::Time(time)).await?;
            // No record that late: the end, where the next one will be.
            let or_end = |(partition, offset): (TopicPartition, Option<Offset>)| {
                let end = ends.get(&partition).copied().flatten();
                (partition, offset.or(end).unwrap_or(Offset::ZERO))
            };
            found.into_iter().map(or_end).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_where() {
        for (text, place) in [
            ("start", Place::Start),
            ("latest", Place::End),
            ("42", Place::Offset(42)),
            ("-5", Place::Last(5)),
            ("@1700000000000", Place::Time(Timestamp(1_700_000_000_000))),
            ("@2026-01-31T12:00:00Z", Place::Time(Timestamp(1_769_860_800_000))),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for wrong in ["", "soon", "@soon", "1.5", "@-5 parsecs"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        assert!(matches!("@-15m".parse(), Ok(Place::Time(time)) if time.0 > 1_700_000_000_000));
    }
}
