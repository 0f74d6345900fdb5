//! Bearer tokens: JSON Web Tokens signed with RS256 or ES256 by a key of a given set.
//!
//! Invariants: the token's own header chooses among the given keys and algorithms, never outside them;
//! `none` is not one. A token without an end is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

use crate::identity::Identity;

/// Longer ones are not looked at.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A set of public keys (RFC 7517).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwks(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
}

impl Jwks {
    /// Keys of other kinds are left out; what is wrong, if there is no usable one.
    pub fn parse(text: &str) -> Result<Jwks, String> {
        let set: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let keys = set["keys"].as_array().ok_or("there is no \"keys\" list in it")?;
        let keys: Vec<Key> = keys.iter().filter_map(key).collect();
        match keys.is_empty() {
            true => Err("there is no RSA or P-256 key in it".into()),
            false => Ok(Jwks(keys)),
        }
    }
}

fn key(key: &Value) -> Option<Key> {
    let bytes = |name: &str| BASE64.decode(key[name].as_str()?.trim_end_matches('=')).ok();
    if key["use"].as_str().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let material = match key["kty"].as_str()? {
        "RSA" => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
        "EC" if key["crv"] == "P-256" => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            Material::P256([&[4][..], &padded(&x)?, &padded(&y)?].concat())
        }
        _ => return None,
    };
    Some(Key { id: key["kid"].as_str().map(str::to_string), material })
}

/// A coordinate has 32 bytes; some issuers leave leading zeros out.
fn padded(number: &[u8]) -> Option<Vec<u8>> {
    let missing = 32_usize.checked_sub(number.len())?;
    Some([&vec![0; missing][..], number].concat())
}

/// What a token must be to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtRules {
    pub keys: Jwks,
    /// `sasl.oauthbearer.expected.issuer`
    pub issuer: Option<String>,
    /// `sasl.oauthbearer.expected.audience`: one of them.
    pub audiences: Vec<String>,
    /// `sasl.oauthbearer.sub.claim.name`
    pub principal_claim: String,
    /// `sasl.oauthbearer.clock.skew.seconds`
    pub skew_s: i64,
}

impl JwtRules {
    /// Whose token it is; else why it is refused, in words that have nothing of the token.
    pub fn check(&self, token: &str, now_ms: i64) -> Result<Identity, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("it is no signed token")?;
        let (head, claims) = signed.split_once('.').ok_or("it is no signed token")?;
        let head = decode(head)?;
        let signature = BASE64.decode(signature).map_err(|_| "the signature is not base64url")?;
        self.check_signature(&head, signed.as_bytes(), &signature)?;
        self.check_claims(&decode(claims)?, now_ms)
    }

    fn check_signature(&self, head: &Value, signed: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        if head.get("crit").is_some() {
            return Err("the token asks for an extension that is not known");
        }
        let algorithm = head["alg"].as_str().unwrap_or_default();
        let of_id = |key: &&Key| match head["kid"].as_str() {
            Some(id) => key.id.as_deref() == Some(id),
            None => true,
        };
        let verified = |key: &Key| match (&key.material, algorithm) {
            (Material::Rsa { n, e }, "RS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            (Material::P256(point), "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            _ => false,
        };
        match self.keys.0.iter().filter(of_id).any(verified) {
            true => Ok(()),
            false => Err("no key of the set has signed it with RS256 or ES256"),
        }
    }

    fn check_claims(&self, claims: &Value, now_ms: i64) -> Result<Identity, &'static str> {
        let now_s = now_ms.div_euclid(1000);
        let seconds = |name: &str| claims[name].as_f64().map(|seconds| seconds as i64);
        let expires_s = seconds("exp").ok_or("it never expires")?;
        if expires_s.saturating_add(self.skew_s) <= now_s {
            return Err("it has expired");
        }
        let not_before = seconds("nbf").or_else(|| seconds("iat"));
        if not_before.is_some_and(|start| start.saturating_sub(self.skew_s) > now_s) {
            return Err("it is not valid yet");
        }
        if self.issuer.as_deref().is_some_and(|issuer| claims["iss"] != issuer) {
            return Err("it is of another issuer");
        }
        let is_for = |audience: &String| match &claims["aud"] {
            Value::Array(all) => all.iter().any(|one| one == audience),
            one => one == audience,
        };
        if !self.audiences.is_empty() && !self.audiences.iter().any(is_for) {
            return Err("it is for another audience");
        }
        match claims[&self.principal_claim].as_str().map(str::trim) {
            None | Some("") => Err("it does not say whose it is"),
            Some(name) => {
                Ok(Identity { name: name.into(), expires_at_ms: Some(expires_s.saturating_mul(1000)) })
            }
        }
    }
}

fn decode(part: &str) -> Result<Value, &'static str> {
    let bytes = BASE64.decode(part).map_err(|_| "it is not base64url")?;
    serde_json::from_slice(&bytes).map_err(|_| "it is not JSON inside")
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    struct Issuer(EcdsaKeyPair);

    impl Issuer {
        fn new() -> Issuer {
            let random = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
            Issuer(pair.unwrap())
        }

        fn rules(&self) -> JwtRules {
            let point = self.0.public_key().as_ref();
            let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
            let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y }] });
            JwtRules {
                keys: Jwks::parse(&set.to_string()).unwrap(),
                issuer: Some("me".into()),
                audiences: vec!["flumen".into()],
                principal_claim: "sub".into(),
                skew_s: 30,
            }
        }

        fn token(&self, head: Value, claims: Value) -> String {
            let part = |value: Value| BASE64.encode(value.to_string());
            let signed = format!("{}.{}", part(head), part(claims));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64.encode(signature))
        }
    }

    fn head() -> Value {
        json!({ "alg": "ES256", "kid": "k" })
    }

    fn claims() -> Value {
        let now = NOW_MS / 1000;
        json!({ "sub": "alice", "iss": "me", "aud": ["x", "flumen"], "iat": now, "exp": now + 60 })
    }

    #[test]
    fn a_signed_token_says_whose_it_is_and_until_when() {
        let issuer = Issuer::new();
        let found = issuer.rules().check(&issuer.token(head(), claims()), NOW_MS).unwrap();
        assert_eq!((found.name.as_str(), found.expires_at_ms), ("alice", Some(NOW_MS + 60_000)));
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let issuer = Issuer::new();
        let rules = issuer.rules();
        let with = |key: &str, value: Value| {
            let mut claims = claims();
            claims[key] = value;
            issuer.token(head(), claims)
        };
        let good = issuer.token(head(), claims());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for (token, why) in [
            (Issuer::new().token(head(), claims()), "signed"),
            (issuer.token(json!({ "alg": "ES256", "kid": "other" }), claims()), "signed"),
            (issuer.token(json!({ "alg": "none" }), claims()), "signed"),
            (issuer.token(json!({ "alg": "RS256", "kid": "k" }), claims()), "signed"),
            (issuer.token(json!({ "alg": "ES256", "crit": ["x"] }), claims()), "extension"),
            (format!("{signed}."), "signed"),
            (with("exp", json!(NOW_MS / 1000 - 31)), "expired"),
            (with("exp", Value::Null), "never"),
            (with("nbf", json!(NOW_MS / 1000 + 31)), "yet"),
            (with("iss", json!("you")), "issuer"),
            (with("aud", json!("x")), "audience"),
            (with("sub", json!(" ")), "whose"),
            ("a.b".into(), "signed"),
            (String::new(), "signed"),
        ] {
            let refused = rules.check(&token, NOW_MS).unwrap_err();
            assert!(refused.contains(why), "{token}: {refused}");
        }
    }

    /// Made by openssl: `openssl dgst -sha256 -sign key`.
    #[test]
    fn an_rsa_signature_of_openssl_is_taken() {
        let n = "yuBsPzyE4VrQdV8De-k499W-Gu3da4mvvli3KBakYulSnHhe0ak-467h2zFT7PNS8IaLfdJi5n7s0O4sQw-CMcDqx-\
                 SYc_-0RsDeBHkfkqR-N6dNd5XKVlKOtIV2mhm2LzKiM6LwJV5EqcjMZxbShs3Nzk8zk04F08lv-vNSWxWe8Zhu2FIo\
                 _-mzmgMiMKKylB2Ngq9JXR1IuIyKmzQh-kk6ZZLfRLzeGP2O5yULOeo9pGzSHnbE_KkXV8We68N3c8ZLgcHASppzfP\
                 mvODVKWQsW8D04KVOzMbsNzVBy_SgwBYUdrJqdDj_g1LgzgzfD75eZJb1Kb3nr2w3vZkNInQ";
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDA2MH0.GRqHvYuehHU\
                 HKn3DdKwU6GjLkmRFy-dncHQkPTNFMiASgMez2Hvx8o7rp7QuxdiwGjAoCrYfKReGozkwSiRBbrye9yowXOHsJmt60\
                 JCZkd3pnBfY3tXLkgzixZf4aiazRNys3nH2qEosdNa2zyknRB_RbodS0MILlpdkcN_znMPxGYLw6Mza2Ohw57bbMxw\
                 ONtmOOUuqaLh4sjyIgfqGBPsJ3iMtSe_eVJsJQ8fW06IBuPW1LnuAV8r7wMn3MXRBoP_a1puCNwWx6A5oX-z7nJD0H\
                 pZFGAY6f65ciG7vh321Nboqr0i2l7vf1D_LWolYJCBB8_hFbTO0lVqUsEi3Dg";
        let set = json!({ "keys": [{ "kty": "RSA", "kid": "r", "n": n, "e": "AQAB" }] });
        let keys = Jwks::parse(&set.to_string()).unwrap();
        let rules = JwtRules { keys, principal_claim: "sub".into(), ..JwtRules::default() };
        assert_eq!(rules.check(token, NOW_MS).unwrap().name, "alice");
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = BASE64.encode(r#"{"sub":"mallory","exp":1800000060}"#);
        assert!(rules.check(&format!("{head}.{forged}.{signature}"), NOW_MS).is_err());
    }

    #[test]
    fn a_set_without_a_usable_key_is_told() {
        assert!(Jwks::parse("{}").unwrap_err().contains("keys"));
        assert!(Jwks::parse(r#"{"keys":[{"kty":"oct","k":"x"}]}"#).unwrap_err().contains("no RSA"));
    }
}
