//! A record as fields, and which row it is about.

use std::borrow::Cow;

use flumen_sdk::json::{self, Raw};
use flumen_sdk::{Error, RecordRef, Result};

use crate::config::Config;

/// What one record asks for.
#[derive(Clone, Debug)]
pub(crate) enum Wish<'a> {
    Write(Vec<(Cow<'a, str>, Raw<'a>)>),
    /// Values of the key fields, in their order, as JSON.
    Delete(Vec<Cow<'a, str>>),
}

/// None: nothing is asked for.
pub(crate) fn wish<'a>(record: &RecordRef<'a>, config: &Config) -> Result<Option<Wish<'a>>> {
    match record.value() {
        Some(value) => fields(value, config).map(Wish::Write).map(Some),
        None if config.delete_on_tombstone => keys(record, config).map(Wish::Delete).map(Some),
        None => Ok(None),
    }
}

fn fields<'a>(value: &'a [u8], config: &Config) -> Result<Vec<(Cow<'a, str>, Raw<'a>)>> {
    let mut fields = json::fields(value)?;
    let mut found: Vec<(Cow<'a, str>, Raw<'a>)> = Vec::new();
    while let Some((name, raw)) = fields.next_field()? {
        let name = name.text();
        if !config.columns.is_empty() && !config.columns.iter().any(|column| *column == name) {
            continue;
        }
        // A name that comes twice counts as it comes last.
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => *value = raw,
            None => found.push((name, raw)),
        }
    }
    if found.is_empty() {
        return Err(Error::reject("there is no field to store"));
    }
    for key in &config.key {
        let value = found.iter().find(|(name, _)| name == key).map(|(_, raw)| raw);
        if value.is_none_or(Raw::is_null) {
            return Err(Error::reject(format_args!("key field {key:?} is missing or null")));
        }
    }
    Ok(found)
}

fn keys<'a>(record: &RecordRef<'a>, config: &Config) -> Result<Vec<Cow<'a, str>>> {
    let key = record.key().ok_or_else(|| Error::reject("a tombstone without a key deletes nothing"))?;
    let text = std::str::from_utf8(key)?;
    if text.trim_start().starts_with('{') {
        let raw = json::value(text)?;
        return config
            .key
            .iter()
            .map(|name| {
                let found = raw.at_path([name.as_str()]).filter(|raw| !raw.is_null());
                let found = found.ok_or_else(|| {
                    Error::reject(format_args!("the tombstone's key has no field {name:?}"))
                })?;
                Ok(Cow::Borrowed(found.json()))
            })
            .collect();
    }
    match config.key.len() {
        // A bare word is a text, though it stands without quotes.
        1 => Ok(vec![json::value(text).map_or_else(|_| quoted(text), |raw| Cow::Borrowed(raw.json()))]),
        _ => Err(Error::reject("the tombstone's key is no JSON object, and there are several key fields")),
    }
}

fn quoted(text: &str) -> Cow<'static, str> {
    let mut json = Vec::new();
    json::write_text(&mut json, text);
    Cow::Owned(String::from_utf8_lossy(&json).into_owned())
}
