//! Listeners, users, rules and quotas of the file, in the server's words.

use std::net::IpAddr;
use std::time::Duration;

use flumen_config::{AuthorizerClass, Broker, ClientAuth, Listener, Loaded, Protocol};
use flumen_server::{
    Advertised, BearerOptions, DeclaredAcl, DeclaredQuota, DeclaredUser, Endpoint, SecurityOptions,
    SecurityProtocol, TlsOptions,
};

/// What a listener is, and where its clients are told to connect.
pub(super) fn endpoint(broker: &Broker, listener: &Listener) -> Endpoint {
    let mut advertised = broker.advertised_listeners.iter().flatten();
    let advertised = advertised.find(|other| other.name == listener.name).map(|other| &other.address);
    // By its name: a certificate is for that. Of a number a client knows best which of ours it has reached.
    let own =
        Some(&listener.address).filter(|own| !own.host.is_empty() && own.host.parse::<IpAddr>().is_err());
    Endpoint {
        name: listener.name.clone(),
        protocol: match broker.protocol(listener) {
            Some(Protocol::Ssl) => SecurityProtocol::Ssl,
            Some(Protocol::SaslPlaintext) => SecurityProtocol::SaslPlaintext,
            Some(Protocol::SaslSsl) => SecurityProtocol::SaslSsl,
            // A name without a protocol is refused with the file.
            Some(Protocol::Plaintext) | None => SecurityProtocol::Plaintext,
        },
        advertised: advertised.or(own).map(|to| Advertised { host: to.host.clone(), port: to.port }),
    }
}

pub(super) fn options(loaded: &Loaded) -> SecurityOptions {
    let broker = &loaded.config.broker;
    SecurityOptions {
        mechanisms: broker.sasl_mechanisms.iter().map(|mechanism| (*mechanism).into()).collect(),
        reauthentication: Some(broker.reauthentication_max.duration()).filter(|span| !span.is_zero()),
        failure_delay: broker.failed_authentication_delay.duration(),
        authorizer: broker.authorizer == AuthorizerClass::Standard,
        super_users: broker.super_users.0.clone(),
        allow_everyone: broker.allow_everyone,
        tls: tls(broker),
        bearer: bearer(broker),
        users: users(loaded),
        acls: acls(loaded),
        quotas: quotas(loaded),
    }
}

pub(super) fn users(loaded: &Loaded) -> Vec<DeclaredUser> {
    let user = |(name, user): (&String, &flumen_config::User)| DeclaredUser {
        name: name.clone(),
        place: loaded.place(&format!("users.{name}")).to_string(),
        password: user.password.as_ref().map(|password| password.reveal().to_owned()),
        credentials: user.credentials(),
    };
    loaded.config.users.iter().map(user).collect()
}

pub(super) fn acls(loaded: &Loaded) -> Vec<DeclaredAcl> {
    let rules = loaded.config.acls.iter().enumerate();
    let each = rules.flat_map(|(index, rule)| {
        let place = loaded.place(&format!("acls.{index}")).to_string();
        rule.acls().into_iter().map(move |acl| DeclaredAcl { acl, place: place.clone() })
    });
    each.collect()
}

pub(super) fn quotas(loaded: &Loaded) -> Vec<DeclaredQuota> {
    let rules = loaded.config.quotas.iter().enumerate();
    let each = rules.filter_map(|(index, rule)| {
        let place = loaded.place(&format!("quotas.{index}")).to_string();
        // A rule about nobody is refused with the file.
        Some(DeclaredQuota { entity: rule.entity()?, quotas: rule.quotas(), place })
    });
    each.collect()
}

fn tls(broker: &Broker) -> Option<TlsOptions> {
    let certificate = broker.ssl_certificate.as_ref()?.path.clone();
    Some(TlsOptions {
        key: broker.ssl_key.as_ref().map_or_else(|| certificate.clone(), |key| key.path.clone()),
        certificate,
        clients: broker.ssl_clients.as_ref().map(|file| file.path.clone()),
        client_auth: match broker.ssl_client_auth {
            ClientAuth::None => flumen_server::ClientAuth::None,
            ClientAuth::Requested => flumen_server::ClientAuth::Requested,
            ClientAuth::Required => flumen_server::ClientAuth::Required,
        },
        rules: broker.ssl_rules.rules.clone(),
    })
}

fn bearer(broker: &Broker) -> Option<BearerOptions> {
    let audiences = broker.bearer_audience.iter().flatten();
    Some(BearerOptions {
        keys: broker.bearer_keys.as_ref()?.path.clone(),
        issuer: broker.bearer_issuer.as_ref().map(|issuer| issuer.value.clone()),
        audiences: audiences.map(|audience| audience.value.clone()).collect(),
        principal_claim: broker.bearer_claim.value.clone(),
        skew: Duration::from_secs(broker.bearer_skew_s.into()),
    })
}

#[cfg(test)]
mod tests {
    use flumen_config::Address;

    use super::*;

    fn advertised(host: &str, told: Option<&str>) -> Option<(String, u16)> {
        let listener = |host: &str, port| Listener {
            name: "PLAINTEXT".into(),
            address: Address { host: host.into(), port },
        };
        let advertised_listeners = told.map(|host| vec![listener(host, 19092)]);
        let broker = Broker { advertised_listeners, ..Broker::default() };
        endpoint(&broker, &listener(host, 9092)).advertised.map(|to| (to.host, to.port))
    }

    #[test]
    fn clients_are_told_the_name_of_a_listener_and_not_its_number() {
        assert_eq!(advertised("localhost", None), Some(("localhost".into(), 9092)));
        assert_eq!(advertised("kafka.example", Some("out.example")), Some(("out.example".into(), 19092)));
        for any in ["", "0.0.0.0", "::", "127.0.0.1"] {
            assert_eq!(advertised(any, None), None, "what the client has reached");
        }
    }
}
