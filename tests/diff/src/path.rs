//! Where in an answer something is: `responses[$t].partitionResponses[0].errorCode`.
//!
//! An item of a list is named by what is its own among the others (a name, a number), else by its place.

use anyhow::{Context, Result, ensure};

use crate::value::Value;

/// What names an item, the first that it has.
const KEYS: [&str; 17] = [
    "name",
    "topicName",
    "topic",
    "resourceName",
    "groupId",
    "transactionalId",
    "memberId",
    "key",
    "quotaName",
    "partitionIndex",
    "partitionId",
    "partition",
    "index",
    "apiKey",
    "nodeId",
    "brokerId",
    "producerId",
];

/// What each item is called; `None` if they are not told apart by a key.
pub fn keys(items: &[Value]) -> Option<Vec<String>> {
    let key = |item: &Value| {
        let found = KEYS.iter().find_map(|name| item.get(name).filter(|value| **value != Value::Null))?;
        Some(match found {
            Value::Text(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let keys: Vec<String> = items.iter().map(key).collect::<Option<_>>()?;
    let mut sorted = keys.clone();
    sorted.sort();
    sorted.dedup();
    (sorted.len() == keys.len()).then_some(keys)
}

/// The value at a path.
pub fn find<'a>(value: &'a Value, path: &str) -> Result<&'a Value> {
    steps(path)?.iter().try_fold(value, |value, step| match value {
        Value::List(items) => {
            let place = || step.parse::<usize>().ok().filter(|at| *at < items.len());
            let at = keys(items).and_then(|keys| keys.iter().position(|key| key == step)).or_else(place);
            at.map(|at| &items[at]).with_context(|| format!("{path}: there is no [{step}]"))
        }
        value => value.get(step).with_context(|| format!("{path}: there is no {step}")),
    })
}

/// The same, to be changed; `None` if it is not there.
pub fn find_mut<'a>(value: &'a mut Value, path: &str) -> Result<Option<&'a mut Value>> {
    let mut value = value;
    for step in steps(path)? {
        let next = match value {
            Value::List(items) => {
                let place = step.parse::<usize>().ok();
                let at = keys(items).and_then(|keys| keys.iter().position(|key| *key == step)).or(place);
                at.and_then(|at| items.get_mut(at))
            }
            Value::Struct(fields) => {
                fields.iter_mut().find(|(name, _)| *name == step).map(|(_, value)| value)
            }
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some(value))
}

fn steps(path: &str) -> Result<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']').with_context(|| format!("{path}: ']' is missing"))?;
            steps.push(step.to_string());
            rest = after;
        } else {
            let named = rest.strip_prefix('.').unwrap_or(rest);
            let end = named.find(['.', '[']).unwrap_or(named.len());
            ensure!(end > 0, "{path}: a name is missing");
            steps.push(named[..end].to_string());
            rest = &named[end..];
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_name_and_by_place() {
        let answer =
            crate::text::value("{topics: [{name: b.c, n: 1}, {name: a, n: 2}], ids: [7, 8]}").unwrap();
        assert_eq!(find(&answer, "topics[b.c].n").unwrap(), &Value::Int(1));
        assert_eq!(find(&answer, "topics[1].n").unwrap(), &Value::Int(2));
        assert_eq!(find(&answer, "ids[1]").unwrap(), &Value::Int(8));
        assert!(find(&answer, "ids[2]").is_err());
    }
}
