//! Who a socket says it is.

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

/// Far away, so that no run ends on it: the year 2100.
const EXPIRES: u64 = 4_102_444_800;

/// Signs tokens with the secret of the server.
pub(crate) struct Signer(EncodingKey);

impl Signer {
    /// With the secret in `CHAT_JWT_SECRET`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn from_env() -> Result<Self> {
        let secret = std::env::var("CHAT_JWT_SECRET").context("CHAT_JWT_SECRET is not set")?;
        Ok(Self(EncodingKey::from_secret(secret.as_bytes())))
    }

    /// A token of this user.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn sign(&self, user: &str) -> Result<String> {
        let claims = json!({ "sub": user, "iss": "chat", "aud": "chat", "exp": EXPIRES });
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &self.0)?)
    }
}
