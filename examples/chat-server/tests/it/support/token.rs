//! Tokens of every kind, good and bad.

use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::clock::{Clock, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::server::SECRET;

/// Keys made for these tests and used nowhere else.
pub(crate) const SIGNER: &str = include_str!("keys/signer.pem");
/// The public part of [`SIGNER`].
pub(crate) const SIGNER_PUBLIC: &str = include_str!("keys/signer.pub.pem");
/// A key nobody trusts.
pub(crate) const STRANGER: &str = include_str!("keys/stranger.pem");

/// A user nobody has met before.
pub(crate) fn fresh(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since 1970, so many from now.
pub(crate) fn in_seconds(offset: i64) -> i64 {
    i64::try_from(SystemClock.now().as_millis() / 1_000).unwrap() + offset
}

/// Claims that hold for ten minutes.
pub(crate) fn claims(user: &str) -> Value {
    json!({ "sub": user, "iss": "chat", "aud": "chat", "exp": in_seconds(600) })
}

/// A good token.
pub(crate) fn good(user: &str) -> String {
    hs256(&claims(user))
}

/// A good token of an administrator of the platform.
pub(crate) fn admin(user: &str) -> String {
    with(user, |claims| claims["roles"] = json!(["admin"]))
}

/// One with other claims.
pub(crate) fn with(user: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims(user);
    change(&mut claims);
    hs256(&claims)
}

/// One that lacks a claim.
pub(crate) fn lacking(claim: &str) -> String {
    with("nobody", |claims| {
        claims.as_object_mut().unwrap().remove(claim);
    })
}

/// These claims, signed with the known secret.
pub(crate) fn hs256(claims: &Value) -> String {
    hmac(Algorithm::HS256, SECRET.as_bytes(), claims)
}

/// These claims, signed with some secret.
pub(crate) fn hmac(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// These claims, signed with an RSA key.
pub(crate) fn rs256(private: &str, claims: &Value) -> String {
    encode(&Header::new(Algorithm::RS256), claims, &EncodingKey::from_rsa_pem(private.as_bytes()).unwrap())
        .unwrap()
}

/// Good claims that nobody signed.
pub(crate) fn unsigned(user: &str) -> String {
    let signed = good(user);
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", signed.split('.').nth(1).unwrap())
}

/// Good claims under the signature of others.
pub(crate) fn tampered(user: &str) -> String {
    let (mine, theirs) = (good(user), good("somebody else"));
    let (mine, theirs): (Vec<&str>, Vec<&str>) = (mine.split('.').collect(), theirs.split('.').collect());
    format!("{}.{}.{}", mine[0], mine[1], theirs[2])
}
