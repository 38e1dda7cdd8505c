//! How to ask the service, and where it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::config::Secret;
use chat_core::error::{Code, Error, Result};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Gives the token of the moment.
pub type Bearer = Arc<dyn Fn() -> Secret + Send + Sync>;

/// How to ask the service that has the truth about users.
#[derive(Clone)]
pub struct HttpUserOptions {
    /// How long an operation may take, whatever it waits for: 5 s by default.
    pub deadline: Duration,
    /// How long a connection may take to be made: 2 s by default.
    pub connect: Duration,
    /// How many ids one request asks for at most: 200 by default; fewer when the address would have more than 6 KiB.
    pub ids_at_once: usize,
    /// How many requests go out at the same time, for all callers together: 8 by default.
    pub concurrency: usize,
    /// The largest answer taken, in bytes: 2 MiB by default.
    pub largest: usize,
    /// What comes between the address and the id of one user: `/users/` by default; `/` for seed 002's `PUT /:id`.
    pub profiles: String,
    /// What else is said with every request: see [`with_header`](Self::with_header).
    pub headers: Vec<(String, Secret)>,
    /// Gives the token shown with every request: see [`with_bearer`](Self::with_bearer).
    pub bearer: Option<Bearer>,
    /// Whom to trust; the system's root certificates by default.
    pub tls: Option<ClientConfig>,
}

impl Default for HttpUserOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            connect: Duration::from_secs(2),
            ids_at_once: 200,
            concurrency: 8,
            largest: 2 * 1024 * 1024,
            profiles: "/users/".to_owned(),
            headers: Vec::new(),
            bearer: None,
            tls: None,
        }
    }
}

impl HttpUserOptions {
    /// Shows this token to the service.
    #[must_use]
    pub fn with_bearer(self, token: Secret) -> Self {
        self.with_bearer_from(move || token.clone())
    }

    /// Shows the service whatever token this gives at the moment, for those that are renewed. It must not wait.
    #[must_use]
    pub fn with_bearer_from(mut self, token: impl Fn() -> Secret + Send + Sync + 'static) -> Self {
        self.bearer = Some(Arc::new(token));
        self
    }

    /// Sends this header along.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: Secret) -> Self {
        self.headers.push((name.into(), value));
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if !self.profiles.starts_with('/') || self.profiles.contains(['?', '#', ' ']) {
            return Err(Error::invalid(Code::ConfigInvalid, "the path of profiles is none"));
        }
        self.headers().map(drop)
    }

    pub(super) fn bearer(&self) -> Option<Secret> {
        self.bearer.as_ref().map(|bearer| bearer())
    }

    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let parsed = |(name, value): &(String, Secret)| {
            let wrong = || Error::invalid(Code::ConfigInvalid, format!("the header {name} is none"));
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value))
        };
        self.headers.iter().map(parsed).collect()
    }

    pub(super) fn tls(&self, is_needed: bool) -> Result<ClientConfig> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let mut roots = RootCertStore::empty();
        if is_needed {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::invalid(Code::ConfigInvalid, "this system has no root certificates"));
            }
        }
        let wrong = |error: rustls::Error| {
            Error::invalid(Code::ConfigInvalid, "TLS cannot be set up").caused_by(error)
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

impl fmt::Debug for HttpUserOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUserOptions")
            .field("deadline", &self.deadline)
            .field("connect", &self.connect)
            .field("ids_at_once", &self.ids_at_once)
            .field("concurrency", &self.concurrency)
            .field("largest", &self.largest)
            .field("profiles", &self.profiles)
            .field("headers", &self.headers)
            .field("bearer", &self.bearer.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Where the service is, without a slash at its end.
#[derive(Clone)]
pub(super) struct Base(String);

impl Base {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: &'static str| Error::invalid(Code::ConfigInvalid, reason);
        let uri: Uri = text.parse().map_err(|_| wrong("the address of the users' service is none"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("the users' service is at an http: or https: address"));
        }
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if has_user || uri.query().is_some() || text.contains('#') {
            return Err(wrong("the address of the users' service has no user, query or fragment"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }

    pub(super) fn with(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_taken() {
        for bad in [
            "",
            "auth",
            "ftp://auth",
            "http://",
            "http://me:secret@auth",
            "http://auth?x",
            "http://auth/#x",
            "/",
        ] {
            let error = Base::parse(bad).unwrap_err();
            assert_eq!(error.code(), Code::ConfigInvalid, "{bad}");
            assert!(!format!("{error:?}").contains("secret"));
        }
        assert_eq!(Base::parse("https://auth/api/").unwrap().with("/batch"), "https://auth/api/batch");
        assert!(Base::parse("HTTPS://auth").unwrap().is_https());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = || Secret::new("s3cret");
        let options = HttpUserOptions::default().with_bearer(secret()).with_header("x-key", secret());
        assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
        let bad = HttpUserOptions::default().with_header("x-key", Secret::new("s3cret\n"));
        let error = bad.check().unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}
