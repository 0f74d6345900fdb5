//! The router: what is looked at, and the patterns in their order.

use std::borrow::Cow;

use flumen_sdk::{Context, Error, Output, Plugin, RecordRef, Result, Setup, Transform, json};
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the patterns are held against: `key`, `value`, `field:NAME` of a JSON value (`field:a.b` for a
    /// nested one), or `header:NAME`.
    #[schemars(regex(pattern = r"^(key|value|(field|header):.+)$"))]
    pub by: String,
    /// In order; the first that matches decides.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
    /// The topic for what matches none.
    pub otherwise: Option<String>,
    /// What happens to it where there is no such topic.
    #[serde(default)]
    pub unmatched: Unmatched,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A regular expression (Rust's regex syntax), anywhere in the text unless it says ^ and $.
    #[serde(rename = "match")]
    pub pattern: String,
    /// One of the topics in the transform's `to`.
    pub to: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    #[default]
    Drop,
    Reject,
}

pub struct RegexRoute {
    by: By,
    routes: Vec<(Regex, u32)>,
    otherwise: Option<u32>,
    unmatched: Unmatched,
    named: String,
}

enum By {
    Key,
    Value,
    Field { first: String, inner: Vec<String> },
    Header(String),
}

impl Plugin for RegexRoute {
    type Config = Config;

    fn new(config: Config, setup: &Setup) -> Result<Self> {
        let mut routes = Vec::new();
        for Route { pattern, to } in &config.routes {
            let regex = Regex::new(pattern).or_fatal(format_args!("match = {pattern:?}"))?;
            routes.push((regex, setup.output(to)?));
        }
        Ok(RegexRoute {
            by: By::parse(&config.by)?,
            routes,
            otherwise: config.otherwise.as_deref().map(|topic| setup.output(topic)).transpose()?,
            unmatched: config.unmatched,
            named: config.by,
        })
    }
}

impl By {
    fn parse(by: &str) -> Result<By> {
        match by.split_once(':') {
            None if by == "key" => Ok(By::Key),
            None if by == "value" => Ok(By::Value),
            Some(("field", path)) if !path.is_empty() => {
                let mut names = path.split('.').map(str::to_owned);
                Ok(By::Field { first: names.next().unwrap_or_default(), inner: names.collect() })
            }
            Some(("header", name)) if !name.is_empty() => Ok(By::Header(name.to_owned())),
            _ => {
                Err(Error::fatal(format_args!("by = {by:?}: expected key, value, field:NAME or header:NAME")))
            }
        }
    }

    /// What of the record is looked at; none where it has no such thing.
    fn of<'a>(&self, record: &RecordRef<'a>) -> Result<Option<Cow<'a, [u8]>>> {
        Ok(match self {
            By::Key => record.key().map(Cow::Borrowed),
            By::Value => record.value().map(Cow::Borrowed),
            By::Header(name) => record.header(name).map(Cow::Borrowed),
            By::Field { first, inner } => {
                let Some(value) = record.value() else { return Ok(None) };
                let outer = json::fields(value)?.find(first)?;
                let raw = outer.and_then(|raw| raw.at_path(inner.iter().map(String::as_str)));
                raw.filter(|raw| !raw.is_null()).map(|raw| match raw.to_text() {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                })
            }
        })
    }
}

impl Transform for RegexRoute {
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()> {
        let text = self.by.of(record)?;
        let matched = text.and_then(|text| self.routes.iter().find(|(regex, _)| regex.is_match(&text)));
        match (matched.map(|(_, output)| *output).or(self.otherwise), self.unmatched) {
            (Some(output), _) => out.forward_to(output, record),
            (None, Unmatched::Drop) => {}
            (None, Unmatched::Reject) => {
                return Err(Error::reject(format_args!("no route matches its {}", self.named)));
            }
        }
        Ok(())
    }
}
