//! Who somebody is: a JSON Web Token says it, and nothing else does.

use std::fmt;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::config::Secret;
use chat_core::domain::{PlatformRole, UserId};
use chat_core::error::{Code, Error, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// How far the clocks of issuer and server may be apart.
pub const LEEWAY: Duration = Duration::from_secs(5);
/// How long a token made under `--dev` holds.
const DEV_TOKEN: Duration = Duration::from_secs(12 * 60 * 60);

/// Who issues tokens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
}

impl Default for Realm {
    fn default() -> Self {
        Self { issuer: "chat".to_owned(), audience: "chat".to_owned() }
    }
}

/// Checks tokens, and makes them under `--dev`.
pub struct Auth {
    realm: Realm,
    key: DecodingKey,
    signing: Option<EncodingKey>,
    validation: Validation,
}

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user: the token's `sub`.
    pub user: UserId,
    /// What they are called, if the token says so.
    pub name: Option<String>,
    /// What they may do on the whole platform.
    pub role: PlatformRole,
    /// The roles as the token writes them.
    pub roles: Vec<String>,
    /// Until when the token holds, its own words; the leeway comes on top.
    pub expires: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// Seconds; RFC 7519 allows fractions.
    exp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(default, skip_deserializing)]
    iss: String,
    #[serde(default, skip_deserializing)]
    aud: String,
}

impl Auth {
    /// Tokens signed with a shared secret (HS256). Only this kind can also be made.
    pub fn hs256(secret: &Secret, realm: Realm) -> Self {
        let bytes = secret.expose().as_bytes();
        let signing = Some(EncodingKey::from_secret(bytes));
        Self {
            validation: validation(Algorithm::HS256, &realm),
            realm,
            key: DecodingKey::from_secret(bytes),
            signing,
        }
    }

    /// Tokens signed with the private part of an RSA key (RS256); this is the public part as PEM.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] when that is no such key.
    pub fn rs256(pem: &str, realm: Realm) -> Result<Self> {
        let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| {
            Error::invalid(Code::ConfigInvalid, "not an RSA public key in PEM").caused_by(error)
        })?;
        Ok(Self { validation: validation(Algorithm::RS256, &realm), realm, key, signing: None })
    }

    /// Whether tokens can be made here.
    pub fn signs(&self) -> bool {
        self.signing.is_some()
    }

    /// Whom a token names, if it holds.
    ///
    /// # Errors
    /// [`Code::AuthRequired`] for none, [`Code::AuthExpired`], and [`Code::AuthInvalid`] for anything else.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity> {
        if token.is_empty() {
            return Err(Code::AuthRequired.into());
        }
        // Neither the token nor what the library says about it is kept: both end up in logs too easily.
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|_| invalid())?.claims;
        let expires = moment(claims.exp)?;
        if expires.after(LEEWAY) <= now {
            return Err(Code::AuthExpired.into());
        }
        if let Some(begins) = claims.nbf
            && moment(begins)? > now.after(LEEWAY)
        {
            return Err(invalid());
        }
        let user = UserId::new(&claims.sub).map_err(|_| invalid())?;
        let admin = claims.roles.iter().any(|role| role == "admin");
        let role = if admin { PlatformRole::Admin } else { PlatformRole::User };
        let name = claims.name.filter(|name| !name.trim().is_empty());
        Ok(Identity { user, name, role, roles: claims.roles, expires })
    }

    /// A token that names `user`, good for twelve hours.
    ///
    /// # Errors
    /// [`Code::Unsupported`] without a secret to sign with.
    pub fn issue(&self, user: &UserId, name: Option<&str>, now: Timestamp) -> Result<String> {
        let key = self.signing.as_ref().ok_or(Code::Unsupported)?;
        let claims = Claims {
            sub: user.to_string(),
            exp: now.after(DEV_TOKEN).as_millis() as f64 / 1_000.0,
            nbf: None,
            name: name.map(ToOwned::to_owned),
            roles: Vec::new(),
            iss: self.realm.issuer.clone(),
            aud: self.realm.audience.clone(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, key)
            .map_err(|error| Error::new(Code::Internal).during("auth.issue").caused_by(error))
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("realm", &self.realm)
            .field("signs", &self.signs())
            .finish_non_exhaustive()
    }
}

/// What every token must be. Time is checked here, against the chat's clock, not in the library.
fn validation(algorithm: Algorithm, realm: &Realm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_issuer(&[&realm.issuer]);
    validation.set_audience(&[&realm.audience]);
    validation.set_required_spec_claims(&["sub", "iss", "aud"]);
    validation
}

fn invalid() -> Error {
    Code::AuthInvalid.into()
}

/// Seconds since 1970 as a moment.
fn moment(seconds: f64) -> Result<Timestamp> {
    let millis = (seconds * 1_000.0).floor();
    if millis.is_finite() && millis >= 0.0 {
        // A number too large for the type becomes its largest, which is clamped to the year 9999.
        Ok(Timestamp::from_millis(millis as u64))
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::from_millis(1_736_862_000_000);
    const SECONDS: i64 = 1_736_862_000;

    fn auth() -> Auth {
        Auth::hs256(&Secret::new("a secret"), Realm::default())
    }

    fn token(algorithm: Algorithm, secret: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({ "sub": "ada", "exp": SECONDS + 60, "iss": "chat", "aud": "chat" });
        change(&mut claims);
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn code(token: &str) -> Option<Code> {
        auth().verify(token, NOW).err().map(|error| error.code())
    }

    #[test]
    fn a_good_token_names_its_user() {
        let token = token(Algorithm::HS256, "a secret", |claims| {
            claims["name"] = json!("Ada");
            claims["roles"] = json!(["admin", "other"]);
        });
        let identity = auth().verify(&token, NOW).unwrap();
        assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("ada", Some("Ada")));
        assert_eq!(
            (identity.role, identity.expires),
            (PlatformRole::Admin, NOW.after(Duration::from_secs(60)))
        );
    }

    #[test]
    fn what_was_issued_is_accepted_for_twelve_hours() {
        let ada = UserId::new("ada").unwrap();
        let token = auth().issue(&ada, Some("Ada"), NOW).unwrap();
        assert_eq!(auth().verify(&token, NOW).unwrap().role, PlatformRole::User);
        assert!(auth().verify(&token, NOW.after(DEV_TOKEN)).is_ok());
        let late = auth().verify(&token, NOW.after(DEV_TOKEN).after(LEEWAY));
        assert_eq!(late.map_err(|error| error.code()), Err(Code::AuthExpired));
    }

    #[test]
    fn expiry_has_a_leeway_of_five_seconds() {
        let expired = |ago: i64| {
            code(&token(Algorithm::HS256, "a secret", |claims| claims["exp"] = json!(SECONDS - ago)))
        };
        assert_eq!(expired(4), None);
        assert_eq!(expired(5), Some(Code::AuthExpired));
    }

    #[test]
    fn everything_else_is_invalid() {
        type Change = fn(&mut Value);
        let changes: [Change; 10] = [
            |claims| claims["aud"] = json!("others"),
            |claims| claims["iss"] = json!("others"),
            |claims| claims["nbf"] = json!(SECONDS + 60),
            |claims| claims["exp"] = json!("soon"),
            |claims| claims["exp"] = json!(-1),
            |claims| claims["sub"] = json!("x".repeat(129)),
            |claims| claims["sub"] = json!("a\nb"),
            |claims| drop(claims.as_object_mut().unwrap().remove("exp")),
            |claims| drop(claims.as_object_mut().unwrap().remove("sub")),
            |claims| drop(claims.as_object_mut().unwrap().remove("aud")),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert_eq!(code(&token(Algorithm::HS256, "a secret", change)), Some(Code::AuthInvalid), "{n}");
        }
        let good = |_: &mut Value| {};
        assert_eq!(code(&token(Algorithm::HS256, "another", good)), Some(Code::AuthInvalid));
        assert_eq!(code(&token(Algorithm::HS512, "a secret", good)), Some(Code::AuthInvalid));
        assert_eq!(code("not.a.token"), Some(Code::AuthInvalid));
        assert_eq!(code(""), Some(Code::AuthRequired));
    }

    #[test]
    fn an_unsigned_token_is_invalid() {
        // {"alg":"none"} with good claims and no signature.
        let signed = token(Algorithm::HS256, "a secret", |_| {});
        let claims = signed.split('.').nth(1).unwrap();
        assert_eq!(code(&format!("eyJhbGciOiJub25lIn0.{claims}.")), Some(Code::AuthInvalid));
    }

    /// A key whose other half was thrown away, and a token it signed for `ada`, good until 2100.
    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA9hfMieYcz/3bGiSMHdtw\n\
        xzwqKXAPsKbNI0ubV1jg7Bb9BtB+dgFUVIk2r2r0CvzFbvL3KclW2RN1Rl6e7p96\n\
        49ruqDHkuo/IeYpN9IdKNbG/E4jpf9KectqqjCphD6qdDAPTzULCRvJS8xAhArmH\n\
        uZeKyETK6unw8E9uxxmsB6W03cCqhV3jQc0fJvVgN75FWcpOm3PZzp2sZ0kQfe3y\n\
        cs2vKzrcDOkfoLaKanLoBWJIfvoVvWeikhAcLEjBh3W8848blF/S74UZnJ7M2wwW\n\
        4ZFfSCR0GaFXzR49QIi7gN5lzNSKJNC3mjMRKLek0Ow4xV2KzTIJrmGRKXC4QG7F\n\
        6QIDAQAB\n\
        -----END PUBLIC KEY-----";
    const SIGNED: &str = concat!(
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJjaGF0IiwiYXVkIjoiY2hhdCIsImV4cCI",
        "6NDEwMjQ0NDgwMH0.N3ilopwgejsJk1fxoa0UP5V6kDtDAAsZ0IGCJ7WHcmhiTH0uPA86ovrdW4dB4a18GLSCEgLsuKiHO1r",
        "3syOJ57lmj63EuhmKI6O01aALKlgGyddT8Sq37f_s00Nni-sxW396NBc7xR0YWeycakZOAv9517BgzvPfAKWRk639Ck56ZPF",
        "meys_QIssimpC746fxg3lCX_917qErB5Sl7Ytr9h8LzOCoc5Z9pe2BJ45rJIqNt6p_OSZqQ_VhK7CxloXANbBezhZLaQWRz6",
        "6api-rYfAc-15eedAlDD_YjaMZLv7V-8X6s-OccaCLjYsq38mHjQzvSoYSiRG8hS9_Ggs6A",
    );

    #[test]
    fn an_rsa_key_checks_tokens_and_makes_none() {
        let auth = Auth::rs256(PUBLIC_KEY, Realm::default()).unwrap();
        assert_eq!(auth.verify(SIGNED, NOW).unwrap().user.as_str(), "ada");
        assert!(!auth.signs() && auth.issue(&UserId::new("ada").unwrap(), None, NOW).is_err());
        let changed = SIGNED.replacen('.', ".e30", 1);
        assert_eq!(auth.verify(&changed, NOW).map_err(|error| error.code()), Err(Code::AuthInvalid));
        assert!(Auth::rs256("no key", Realm::default()).is_err());
    }

    #[test]
    fn a_public_key_is_no_secret_to_sign_with() {
        let auth = Auth::rs256(PUBLIC_KEY, Realm::default()).unwrap();
        let forged = token(Algorithm::HS256, PUBLIC_KEY, |_| {});
        assert_eq!(auth.verify(&forged, NOW).map_err(|error| error.code()), Err(Code::AuthInvalid));
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert!(!format!("{:?}", auth()).contains("a secret"));
    }
}
