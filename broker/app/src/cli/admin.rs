//! Asking a running `flumen run` over its admin API.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Exit, Failure};

/// Which broker's admin API to ask.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Api {
    /// Where the admin API listens, host:port
    #[arg(long, env = "FLUMEN_HTTP", default_value = "127.0.0.1:8090", display_order = 800)]
    http: String,
    /// Its token, if it wants one
    #[arg(long, env = "FLUMEN_HTTP_TOKEN", hide_env_values = true, display_order = 801)]
    token: Option<String>,
}

const TIMEOUT: Duration = Duration::from_secs(30);

impl Api {
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let address = &self.http;
        let base = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // HTTP_PROXY leads to the world; what is asked here is a broker.
            .proxy(None)
            .build()
            .into();
        let mut request = agent.get(format!("{}{path}", base.trim_end_matches('/')));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| {
            Failure::new(format!("no admin API answers at {address}"))
                .exit(Exit::Unreachable)
                .because(error)
                .todo("start the broker with `flumen run`, or name another with --http")
        })?;
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
