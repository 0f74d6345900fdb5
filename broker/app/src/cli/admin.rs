//! Asking a running `flumen run` over its admin API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Exit, Failure, config};

/// Which broker's admin API to ask.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Api {
    /// Where the admin API listens, host:port; else as the configuration file says, or 127.0.0.1:8090
    /// without one
    #[arg(long, env = "FLUMEN_HTTP", display_order = 800)]
    http: Option<String>,
    /// Its token, if it wants one; else the configuration file's
    #[arg(long, env = "FLUMEN_HTTP_TOKEN", hide_env_values = true, display_order = 801)]
    token: Option<String>,
    /// The configuration file that says so; else flumen.toml, if it is there
    #[arg(long = "config", env = "FLUMEN_CONFIG", value_name = "FILE", display_order = 802)]
    file: Option<PathBuf>,
}

const FILE: &str = "flumen.toml";
const ADDRESS: &str = "127.0.0.1:8090";

/// Where to ask, and with which token.
struct Asked {
    address: String,
    token: Option<String>,
}

const TIMEOUT: Duration = Duration::from_secs(30);

impl Api {
    /// A file that was not named is looked at for what it says, and not complained of.
    fn asked(&self) -> Result<Asked, Failure> {
        if let Some(address) = &self.http {
            return Ok(Asked { address: address.clone(), token: self.token.clone() });
        }
        let loaded = match &self.file {
            Some(path) => Some(config::read(path).map_err(|problems| config::invalid(path, &problems))?),
            None => config::read(Path::new(FILE)).ok(),
        };
        let Some(loaded) = loaded else {
            return Ok(Asked { address: ADDRESS.into(), token: self.token.clone() });
        };
        let broker = &loaded.config.broker;
        let Some(address) = &broker.http.0 else {
            return Err(Failure::new("the configuration file turns the admin API off (http = \"\")")
                .todo("name where one listens with --http"));
        };
        let of_file = || broker.http_token.as_ref().map(|token| token.reveal().to_owned());
        Ok(Asked { address: address.to_connect(), token: self.token.clone().or_else(of_file) })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let Asked { address, token } = &self.asked()?;
        let base = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // HTTP_PROXY leads to the world; what is asked here is a broker.
            .proxy(None)
            .build()
            .into();
        let mut request = agent.get(format!("{}{path}", base.trim_end_matches('/')));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| unanswered(address, error))?;
        let status = response.status();
        if status.is_success() {
            let read = response.body_mut().read_json();
            return read.map_err(|error| {
                Failure::new(format!("{address} does not answer as Flumen does")).because(error)
            });
        }
        let said: serde_json::Value = response.body_mut().read_json().unwrap_or_default();
        let text = |name: &str| said["error"][name].as_str().map(str::to_string);
        let what = text("what").unwrap_or_else(|| status.to_string());
        let mut failure = Failure::new(format!("{address} refused {path}: {what}"));
        failure.todo =
            if status.as_u16() == 401 { Some("give its token with --token".into()) } else { text("todo") };
        Err(failure)
    }
}

fn unanswered(address: &str, error: ureq::Error) -> Failure {
    let (what, todo) = if is_silent(&error) {
        let todo = "try again; if that is a broker it is overloaded or hangs, and its log may say of what; else name another with --http";
        (format!("{address} takes connections and does not answer"), todo)
    } else {
        let todo = "start the broker with `flumen run`, or name another with --http";
        (format!("no admin API answers at {address}"), todo)
    };
    Failure::new(what).exit(Exit::Unreachable).because(error).todo(todo)
}

/// Somebody is there: the connection was made.
fn is_silent(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => false,
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => true,
        ureq::Error::Io(error) => {
            [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind())
        }
        _ => false,
    }
}
