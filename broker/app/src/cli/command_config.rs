//! `--command-config`: how to reach a secured broker, in the words of Kafka's own clients.
//!
//! The file is one of Java's properties, as `kafka-topics.sh` takes it; librdkafka's names for the same
//! settings do too. What says nothing of security is for other programs and left alone.
//!
//! Invariants: a setting of security that this client does not keep to is refused, never passed over.
//! No message quotes a value but of the settings that say which way to go.

use std::collections::HashMap;
use std::path::Path;

use flumen_auth::Mechanism;
use flumen_auth::sasl::login::Password;
use flumen_client::{Sasl, Security, Tls, TlsIdentity, TlsOptions, TlsProblem};

use super::properties::{self, Property};
use super::{Failure, jaas};

const KNOWN: [&str; 17] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.jaas.config",
    "sasl.username",
    "sasl.password",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.certificates",
    "ssl.ca.location",
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.endpoint.identification.algorithm",
];

const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";

/// What the file says of security.
pub(crate) fn read(path: &Path) -> Result<Security, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(error))?;
    let settings = Settings::new(path, properties::parse(&text))?;
    let Some(protocol) = settings.get("security.protocol") else {
        return match settings.by_key.values().min_by_key(|property| property.line) {
            None => Ok(Security::default()),
            Some(first) => Err(settings
                .wrong(first, "nothing says that it is to be used")
                .todo("add security.protocol=SASL_SSL, SSL, or SASL_PLAINTEXT")),
        };
    };
    let (tls, sasl) = match &*protocol.value.trim().to_uppercase() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        _ => {
            let what = format!("there is no security.protocol \"{}\"", protocol.value);
            return Err(settings
                .wrong(protocol, &what)
                .todo("write PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
        }
    };
    Ok(Security {
        tls: tls.then(|| settings.tls()).transpose()?,
        sasl: sasl.then(|| settings.sasl(protocol)).transpose()?,
    })
}

/// The settings of security; the last one of a key counts.
struct Settings<'a> {
    path: &'a Path,
    by_key: HashMap<String, Property>,
}

impl Settings<'_> {
    fn new(path: &Path, properties: Vec<Property>) -> Result<Settings<'_>, Failure> {
        let security = |property: &Property| {
            ["security.", "sasl.", "ssl.", "enable.ssl."]
                .iter()
                .any(|prefix| property.key.starts_with(prefix))
        };
        let by_key = properties.into_iter().filter(security).map(|property| (property.key.clone(), property));
        let settings = Settings { path, by_key: by_key.collect() };
        let unknown = settings.by_key.values().filter(|property| !KNOWN.contains(&&*property.key));
        match unknown.min_by_key(|property| property.line) {
            Some(unknown) => Err(settings
                .wrong(unknown, &format!("flumen does not know {}", unknown.key))
                .todo("leave it out, in a file for flumen alone; docs/reference/command-config.md lists the others")),
            None => Ok(settings),
        }
    }

    fn get(&self, key: &str) -> Option<&Property> {
        self.by_key.get(key)
    }

    /// The first of these names for the same thing.
    fn either(&self, keys: &[&str]) -> Option<&Property> {
        keys.iter().find_map(|key| self.get(key))
    }

    fn wrong(&self, at: &Property, what: &str) -> Failure {
        Failure::usage(format!("{}:{}: {what}", self.path.display(), at.line))
    }

    fn sasl(&self, protocol: &Property) -> Result<Sasl, Failure> {
        let missing = |what: &str| self.wrong(protocol, &format!("{} needs {what}", protocol.value.trim()));
        let named = self.either(&["sasl.mechanism", "sasl.mechanisms"]);
        let named = named.ok_or_else(|| missing(&format!("sasl.mechanism={MECHANISMS}")))?;
        let mechanism = Mechanism::from_name(named.value.trim())
            .filter(|mechanism| *mechanism != Mechanism::OauthBearer)
            .ok_or_else(|| {
                let what = format!("flumen's commands know no mechanism \"{}\"", named.value.trim());
                self.wrong(named, &what).todo(format!("write {MECHANISMS}"))
            })?;
        let password = match (self.get("sasl.jaas.config"), self.get("sasl.username")) {
            (Some(login), _) => jaas::password(&login.value).map_err(|why| {
                self.wrong(login, &format!("sasl.jaas.config is not understood: {why}"))
                    .todo("write MODULE required username=\"NAME\" password=\"PASSWORD\";")
            })?,
            (None, Some(user)) => {
                let password = self.get("sasl.password");
                let password = password.ok_or_else(|| self.wrong(user, "a user without sasl.password"))?;
                Password { user: user.value.clone(), password: password.value.clone() }
            }
            (None, None) => return Err(missing("sasl.jaas.config, or sasl.username and sasl.password")),
        };
        Ok(Sasl { mechanism, password })
    }

    fn tls(&self) -> Result<Tls, Failure> {
        for key in ["ssl.truststore.type", "ssl.keystore.type"] {
            if let Some(other) = self.get(key).filter(|kind| kind.value.trim() != "PEM") {
                return Err(self
                    .wrong(other, &format!("{key} is not PEM, the only one that flumen reads"))
                    .todo("`keytool -exportcert -rfc` and `openssl pkcs12` make PEM of the others"));
            }
        }
        let authorities =
            self.pem("ssl.truststore.certificates", &["ssl.truststore.location", "ssl.ca.location"])?;
        let certificates = self
            .pem("ssl.keystore.certificate.chain", &["ssl.keystore.location", "ssl.certificate.location"])?;
        // Kafka's PEM store is one file with both in it.
        let key = self.pem("ssl.keystore.key", &["ssl.key.location", "ssl.keystore.location"])?;
        let identity = match (&certificates, &key) {
            (Some((_, certificates)), Some((_, key))) => {
                Some(TlsIdentity { certificates: certificates.clone(), key: key.clone() })
            }
            (None, None) => None,
            (Some((at, _)), None) => return Err(self.wrong(at, "a certificate without its key")),
            (None, Some((at, _))) => return Err(self.wrong(at, "a key without its certificate")),
        };
        let name = self.get("ssl.endpoint.identification.algorithm").map(|name| name.value.trim());
        let options = TlsOptions {
            authorities: authorities.as_ref().map(|(_, pem)| pem.clone()),
            identity,
            any_name: matches!(name, Some("" | "none")),
        };
        Tls::new(&options).map_err(|problem| {
            let (part, why) = match problem {
                TlsProblem::Authorities(why) => (&authorities, why),
                TlsProblem::Certificates(why) => (&certificates, why),
                TlsProblem::Key(why) => (&key, why),
            };
            match part {
                Some((at, _)) => self.wrong(at, &format!("{} is not usable: {why}", at.key)),
                None => Failure::usage(format!("{}: {why}", self.path.display())),
            }
        })
    }

    /// PEM that stands in the file itself, or in one that it names.
    fn pem(&self, inline: &str, files: &[&str]) -> Result<Option<(&Property, Vec<u8>)>, Failure> {
        if let Some(here) = self.get(inline) {
            return Ok(Some((here, here.value.clone().into_bytes())));
        }
        let Some(named) = self.either(files) else { return Ok(None) };
        match std::fs::read(named.value.trim()) {
            Ok(pem) => Ok(Some((named, pem))),
            Err(error) => Err(self
                .wrong(named, &format!("cannot read {} = {}", named.key, named.value.trim()))
                .because(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Security, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn refusal(text: &str) -> String {
        let failure = read_text(text).unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        failure.what.rsplit_once("client.properties").unwrap().1.to_string()
    }

    #[test]
    fn a_user_is_read_in_the_words_of_java_and_of_librdkafka() {
        let java = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nacks=all\n\
                    sasl.jaas.config=M required \\\n  username=\"alice\" \\\n  password=\"hunter2\";\n";
        let c = "security.protocol=sasl_plaintext\nsasl.mechanisms=SCRAM-SHA-512\n\
                 sasl.username=alice\nsasl.password=hunter2\n";
        for text in [java, c] {
            let security = read_text(text).unwrap();
            let sasl = security.sasl.as_ref().unwrap();
            assert_eq!(sasl.mechanism.name(), "SCRAM-SHA-512");
            assert_eq!((&*sasl.password.user, &*sasl.password.password), ("alice", "hunter2"));
            assert!(security.tls.is_none() && !format!("{security:?}").contains("hunter2"), "{security:?}");
        }
    }

    #[test]
    fn the_page_lists_every_setting() {
        let page = include_str!("../../../../docs/reference/command-config.md");
        for key in KNOWN {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn what_says_nothing_of_security_is_left_alone() {
        let security = read_text("bootstrap.servers=a:1\nacks=all\n").unwrap();
        assert!(security.tls.is_none() && security.sasl.is_none());
        assert!(read_text("security.protocol=SSL\n").unwrap().tls.is_some());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_no_secret() {
        let user = "sasl.username=a\nsasl.password=hunter2\n";
        for (text, expected) in [
            ("security.protocol=TLS".into(), ":1: there is no security.protocol \"TLS\""),
            (user.into(), ":1: nothing says that it is to be used"),
            (format!("{user}security.protocol=SASL_SSL"), ":3: SASL_SSL needs sasl.mechanism="),
            (
                "security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI".into(),
                ":2: flumen's commands know no mechanism \"GSSAPI\"",
            ),
            (
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=hunter2".into(),
                ":3: sasl.jaas.config is not understood: it does not end with a semicolon",
            ),
            ("security.protocol=SSL\nssl.truststore.type=JKS".into(), ":2: ssl.truststore.type is not PEM"),
            (
                "security.protocol=SSL\nssl.truststore.location=/no/such".into(),
                ":2: cannot read ssl.truststore.location = /no/such",
            ),
            (
                "security.protocol=SSL\nssl.key.password=hunter2".into(),
                ":2: flumen does not know ssl.key.password",
            ),
            ("security.protocol=SSL\nssl.keystore.key=hunter2".into(), ":2: a key without its certificate"),
            (
                "security.protocol=SSL\nssl.truststore.certificates=hunter2".into(),
                ":2: ssl.truststore.certificates is not usable: no certificate in it",
            ),
        ] {
            let said = refusal(&text);
            assert!(said.starts_with(expected), "{text}: {said}");
        }
    }
}
