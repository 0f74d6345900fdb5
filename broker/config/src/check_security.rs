//! What only the whole file can tell of listeners, users, rules and quotas.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flumen_auth::quota::{Entity, Name, key_of};
use flumen_auth::{Operation, Pattern};

use crate::broker::Broker;
use crate::check::Check;
use crate::draft::Draft;
use crate::listener::Listener;
use crate::problem::Problem;
use crate::protocol::{ClientAuth, Mechanism, Protocol};
use crate::security::AuthorizerClass;

impl Check<'_, '_> {
    /// Every name has a protocol, and every protocol what it needs.
    pub(crate) fn listeners(&mut self, broker: &Broker) {
        for (index, listener) in broker.listeners.iter().enumerate() {
            let path = format!("broker.listeners.{index}");
            let Some(protocol) = broker.protocol(listener) else {
                self.without_protocol(&path, listener);
                continue;
            };
            if matches!(protocol, Protocol::Ssl | Protocol::SaslSsl) && broker.ssl_certificate.is_none() {
                let found = format!("{listener} is {protocol}, and there is no certificate");
                self.wrong(&path, found, "set ssl.keystore.location (and ssl.key.location) to PEM files");
            }
            self.openness(&path, listener, protocol, broker);
        }
        for listener in broker.advertised_listeners.iter().flatten() {
            if !broker.listeners.iter().any(|own| own.name == listener.name) {
                let path = "broker.advertised.listeners";
                let found = format!("{path} has {listener}, and there is no listener of that name");
                let names = broker.listeners.iter().map(|own| own.name.as_str());
                let problem = Problem::new(self.place(path), found).near(&listener.name, names);
                self.ctx.problems.push(problem);
            }
        }
        self.files(broker);
    }

    fn without_protocol(&mut self, path: &str, listener: &Listener) {
        let found = format!("{listener} has the name {}, which is no protocol", listener.name);
        let names = Protocol::ALL.iter().map(|protocol| protocol.as_str());
        let problem = Problem::new(self.place(path), found)
            .expected("expected one, or its protocol in listener.security.protocol.map")
            .near(&listener.name, names);
        self.ctx.problems.push(problem);
    }

    /// What everybody who reaches it can do, or hear.
    fn openness(&mut self, path: &str, listener: &Listener, protocol: Protocol, broker: &Broker) {
        if listener.address.is_loopback() {
            return;
        }
        let known = match protocol {
            Protocol::Plaintext => false,
            Protocol::Ssl => broker.ssl_client_auth == ClientAuth::Required,
            Protocol::SaslPlaintext | Protocol::SaslSsl => true,
        };
        if !known && broker.authorizer == AuthorizerClass::None {
            let found = format!("anybody who reaches {} can read and write every topic", listener.address);
            let expected = "make it SASL_SSL with users, or keep it on 127.0.0.1 or a trusted network";
            self.warn(path, found, expected);
        }
        if protocol == Protocol::SaslPlaintext && broker.sasl_mechanisms.contains(&Mechanism::Plain) {
            let found = format!("passwords of PLAIN go over {listener} for everybody to read");
            self.warn(path, found, "make it SASL_SSL, or take PLAIN out of sasl.enabled.mechanisms");
        }
    }

    fn files(&mut self, broker: &Broker) {
        let clients = broker.ssl_client_auth != ClientAuth::None;
        if clients && broker.ssl_clients.is_none() {
            let path = "broker.ssl.client.auth";
            let found = format!("{path} is \"{}\", and there are no authorities", broker.ssl_client_auth);
            self.wrong(path, found, "set ssl.truststore.location to a PEM file");
        }
        if broker.sasl_mechanisms.contains(&Mechanism::OauthBearer) && broker.bearer_keys.is_none() {
            let path = "broker.sasl.enabled.mechanisms";
            let found = format!("{path} has OAUTHBEARER, and there are no keys to check tokens with");
            self.wrong(path, found, "set sasl.oauthbearer.jwks.endpoint.url");
        }
        let named = [
            ("ssl.keystore.location", broker.ssl_certificate.as_ref().map(|file| &file.path)),
            ("ssl.key.location", broker.ssl_key.as_ref().map(|file| &file.path)),
            ("ssl.truststore.location", broker.ssl_clients.as_ref().map(|file| &file.path)),
            ("sasl.oauthbearer.jwks.endpoint.url", broker.bearer_keys.as_ref().map(|keys| &keys.path)),
        ];
        for (key, file) in named {
            if let Some(file) = file.filter(|file| !self.ctx.world.exists(file)) {
                let found = format!("broker.{key}: {} is not there", file.display());
                self.wrong(&format!("broker.{key}"), found, "expected a file");
            }
        }
    }

    pub(crate) fn authorizer(&mut self, broker: &Broker, draft: &Draft) {
        let rules = !draft.acls.is_empty();
        let path = "broker.authorizer.class.name";
        match broker.authorizer {
            AuthorizerClass::None if rules || !broker.super_users.0.is_empty() => {
                let path = if rules { "acls" } else { "broker.super.users" };
                let expected =
                    "set authorizer.class.name = \"org.apache.kafka.metadata.authorizer.StandardAuthorizer\"";
                self.warn(path, "without an authorizer everybody may do everything".into(), expected);
            }
            AuthorizerClass::Standard
                if !rules && broker.super_users.0.is_empty() && !broker.allow_everyone =>
            {
                let found = "nobody may do anything: there are no super.users and no [[acls]]".into();
                self.warn(path, found, "expected somebody who may, such as super.users = \"User:admin\"");
            }
            _ => {}
        }
    }

    pub(crate) fn users(&mut self, draft: &Draft) {
        for (name, user) in &draft.users {
            let path = format!("users.{name}");
            if user.password.is_none() && user.keys().is_empty() {
                let found = format!("[{path}] has neither a password nor keys");
                self.wrong(
                    &path,
                    found,
                    "expected password = \"${env:NAME}\", or SCRAM-SHA-256 = \"salt=...\"",
                );
            }
            if user.password.as_ref().is_some_and(|password| password.reveal().is_empty()) {
                self.wrong(&format!("{path}.password"), format!("{path}.password is empty"), "expected one");
            }
            for (hash, keys) in user.keys() {
                if let Err(what) = keys {
                    let path = format!("{path}.{}", hash.mechanism());
                    let found = format!("{path} is no key of {}: {what}", hash.mechanism());
                    let expected =
                        "expected salt=...,stored_key=...,server_key=...,iterations=4096, in base64";
                    self.wrong(&path, found, expected);
                }
            }
        }
    }

    pub(crate) fn acls(&mut self, draft: &Draft) {
        for (index, rule) in draft.acls.iter().enumerate() {
            let path = format!("acls.{index}");
            let resources = rule.resources();
            if resources.is_empty() {
                let expected = "expected topic, group, transactional.id or cluster = true";
                self.wrong(&path, format!("{path} is about nothing"), expected);
            }
            for operation in &rule.operation {
                let wanted = Operation::from(*operation);
                let cannot = |(kind, _): &&(flumen_auth::ResourceType, &str)| {
                    wanted != Operation::All && !kind.operations().contains(&wanted)
                };
                if let Some((kind, _)) = resources.iter().find(cannot) {
                    let found = format!("{operation} is nothing that is done to a {}", kind.name());
                    let all: Vec<_> = kind.operations().iter().map(|operation| operation.name()).collect();
                    self.wrong(
                        &format!("{path}.operation"),
                        found,
                        &format!("expected {} or All", all.join(", ")),
                    );
                }
            }
            let stars = rule.acls().iter().any(|acl| acl.pattern == Pattern::Prefixed && acl.name == "*");
            if stars {
                let found = format!("{path} is about names that begin with a star");
                self.warn(&path, found, "every name is resource.pattern.type = \"literal\" and \"*\"");
            }
        }
    }

    pub(crate) fn quotas(&mut self, draft: &Draft) {
        let mut known = BTreeSet::new();
        for (index, rule) in &draft.quotas {
            let path = format!("quotas.{index}");
            let Some(entity) = rule.entity() else {
                let expected = "expected user, client-id, both, or ip alone";
                self.wrong(&path, format!("{path} is about nobody, or about too many"), expected);
                continue;
            };
            let quotas = rule.quotas();
            if quotas.is_empty() {
                self.wrong(
                    &path,
                    format!("{path} limits nothing"),
                    "expected a rate, such as producer_byte_rate",
                );
            }
            if let Some(key) = quotas.keys().find(|key| key_of(&entity, key).is_none()) {
                let expected =
                    "expected connection_creation_rate of an ip, and the others of users and clients";
                self.wrong(&format!("{path}.{key}"), format!("{key} is nothing that {entity} has"), expected);
            }
            if let Entity::Ip(Name::Named(ip)) = &entity
                && ip.parse::<IpAddr>().is_err()
            {
                self.wrong(
                    &format!("{path}.ip"),
                    format!("{ip} is no address"),
                    "expected one such as \"10.0.0.7\"",
                );
            }
            if !known.insert(entity.clone()) {
                self.wrong(
                    &path,
                    format!("{entity} has quotas above already"),
                    "expected one table for each",
                );
            }
        }
    }
}
