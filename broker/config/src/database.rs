//! `[databases.NAME]`: what SQL sinks may be granted. The host connects; a guest knows the name only.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field};
use crate::secret::{self, Expanded, Secret};
use crate::section::section;
use crate::tree::Value;

section! {
    /// A database, reached by the host on behalf of the plugins that it is granted to.
    pub struct Database {
        /// `sqlite:PATH` (relative to this file; made if it is missing) or `postgres://user@host:port/database`.
        pub url: DatabaseUrl = ["url"],
        /// The user, if the address does not name one.
        pub user: Option<Expanded> = ["user", null],
        /// Never printed, never given to a plugin.
        pub password: Option<Secret> = ["password", null],
    }
}

/// Which database, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    Sqlite {
        path: PathBuf,
        written: String,
    },
    /// The whole address. Shown without the password that it may hold.
    Postgres(Secret),
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            DatabaseUrl::Sqlite { written, .. } => serializer.serialize_str(written),
            DatabaseUrl::Postgres(url) => url.serialize(serializer),
        }
    }
}

impl JsonSchema for DatabaseUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DatabaseUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "sqlite:PATH (relative to this file), or postgres://user@host:port/database",
            "type": "string",
            "pattern": "^(sqlite:.+|postgres(ql)?://.+|.*\\$\\{(env|file):.+\\}.*)$"
        })
    }
}

impl Field for DatabaseUrl {
    const TYPE: &'static str = "address";
    const EXPECTED: &'static str = "expected \"sqlite:PATH\" or \"postgres://user@host:port/database\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<DatabaseUrl> {
        let Value::Text(text) = &at.node.value else {
            ctx.problem(at.node, format!("{} is not a text", at.path), Self::EXPECTED);
            return None;
        };
        let url = secret::expand(at, text, ctx)?;
        let shown = without_password(text);
        if let Some(path) = url.strip_prefix("sqlite:") {
            return sqlite(at, path, shown, ctx);
        }
        let address = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        if address.is_some_and(|address| !address.is_empty()) {
            return Some(DatabaseUrl::Postgres(Secret::new(url, shown)));
        }
        if url.starts_with("mysql://") || url.starts_with("mariadb://") {
            ctx.problem(
                at.node,
                format!("{} is MySQL, which this version does not speak", at.path),
                Self::EXPECTED,
            );
            return None;
        }
        ctx.problem(at.node, format!("{} is \"{shown}\"", at.path), Self::EXPECTED);
        None
    }
}

fn sqlite(at: At<'_>, path: &str, written: String, ctx: &mut Ctx<'_>) -> Option<DatabaseUrl> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(":memory:") {
        let found = format!("{} is \"{written}\", which no restart survives", at.path);
        ctx.problem(at.node, found, "expected the path of a file such as \"sqlite:out/warehouse.db\"");
        return None;
    }
    Some(DatabaseUrl::Sqlite { path: ctx.resolve(at.node, path), written })
}

/// `postgres://user:secret@host/db` as `postgres://user:***@host/db`; a password among the parameters
/// likewise. References stay as they are: they tell nothing.
fn without_password(url: &str) -> String {
    let (url, references) = without_references(url);
    let (base, query) = url.split_once('?').map_or((url.as_str(), None), |(base, query)| (base, Some(query)));
    let mut shown = base.to_string();
    if let Some(start) = base.find("://").map(|at| at + 3)
        && let Some(end) = base.rfind('@').filter(|end| *end > start)
        && let Some(colon) = base[start..end].find(':')
    {
        shown.replace_range(start + colon + 1..end, "***");
    }
    if let Some(query) = query {
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((key, _)) if key.contains("password") => format!("{key}=***"),
            _ => part.to_string(),
        });
        shown = format!("{shown}?{}", parts.collect::<Vec<_>>().join("&"));
    }
    references.into_iter().fold(shown, |shown, (mark, reference)| shown.replace(mark, &reference))
}

/// Each `${...}` replaced by one letter of Unicode's private area, so that its colon is none of the
/// address's.
fn without_references(url: &str) -> (String, Vec<(char, String)>) {
    let (mut text, mut references) = (url.to_string(), Vec::new());
    for mark in '\u{e000}'..'\u{f8ff}' {
        let Some(start) = text.find("${") else { break };
        let Some(end) = text[start..].find('}').map(|end| start + end + 1) else { break };
        references.push((mark, text[start..end].to_string()));
        text.replace_range(start..end, mark.encode_utf8(&mut [0; 4]));
    }
    (text, references)
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        for (url, shown) in [
            ("postgres://ada:s3cret@db:5432/w", "postgres://ada:***@db:5432/w"),
            ("postgres://ada:s3@c:ret@db/w", "postgres://ada:***@db/w"),
            ("postgres://ada@db/w?password=s3cret&x=1", "postgres://ada@db/w?password=***&x=1"),
            ("postgres://ada@db/w", "postgres://ada@db/w"),
            ("postgres://${env:USER}@db/w", "postgres://${env:USER}@db/w"),
            ("postgres://${env:USER}:${env:PW}x@${env:HOST}/w", "postgres://${env:USER}:***@${env:HOST}/w"),
            ("sqlite:out/a.db", "sqlite:out/a.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
