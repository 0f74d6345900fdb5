//! Which databases there are, by the names under `[databases]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases(pub BTreeMap<String, Arc<Database>>);

/// Where a database is, and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    Sqlite {
        path: PathBuf,
    },
    Postgres {
        url: String,
        /// Beside the URL's own, if it has one.
        password: Option<String>,
    },
}

#[derive(Debug, Error)]
pub enum DatabaseError {
    #[error("MySQL and MariaDB are not supported yet; postgres: and sqlite: are")]
    MySql,
    #[error("\"{0}\" is no database that is known here; write sqlite:PATH or postgres://USER@HOST/NAME")]
    Scheme(String),
    #[error("the URL does not read as PostgreSQL's: {0}")]
    Postgres(#[from] tokio_postgres::Error),
}

impl Database {
    /// `sqlite:out/warehouse.db` (relative to `base`) or `postgres://user@host:5432/name`.
    pub fn parse(url: &str, password: Option<String>, base: &Path) -> Result<Database, DatabaseError> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| DatabaseError::Scheme(url.to_owned()))?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                Ok(Database::Sqlite { path: base.join(path) })
            }
            "postgres" | "postgresql" => {
                url.parse::<tokio_postgres::Config>()?;
                Ok(Database::Postgres { url: url.to_owned(), password })
            }
            "mysql" | "mariadb" => Err(DatabaseError::MySql),
            other => Err(DatabaseError::Scheme(other.to_owned())),
        }
    }
}

/// Without address or password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Sqlite { .. } => "Sqlite",
            Database::Postgres { .. } => "Postgres",
        })
    }
}
