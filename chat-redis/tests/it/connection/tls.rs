//! TLS, with a server that has a certificate of its own making.

use std::fs;
use std::path::PathBuf;

use chat_core::error::Code;
use chat_redis::config::{Node, Tls, Topology};
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::{Redis, RedisOptions, free_port};
use chat_testkit::{Absent, trials};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::{ask, command, ms};

trials! { needs "redis":
    a_server_whose_authority_is_named_is_trusted,
    no_other_server_is_trusted,
    a_server_may_ask_who_we_are,
    files_that_are_no_certificates_are_reported,
}

/// An authority, a server it vouches for, and a client.
struct Papers {
    folder: TempDir,
}

impl Papers {
    fn made_out_to(host: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &authority.pem());
        for (name, host) in [("server", host), ("client", "client")] {
            let key = KeyPair::generate().unwrap();
            let paper =
                CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
            write(&format!("{name}.pem"), &paper.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, ask_clients: &str) -> Result<(Redis, u16), Absent> {
        let port = free_port();
        let path = |name| self.path(name).display().to_string();
        let options = RedisOptions::default()
            .set("tls-port", port)
            .set("tls-cert-file", path("server.pem"))
            .set("tls-key-file", path("server.key"))
            .set("tls-ca-cert-file", path("ca.pem"))
            .set("tls-auth-clients", ask_clients);
        Ok((Redis::spawn_with(&options)?, port))
    }
}

fn config(host: &str, port: u16, tls: Tls) -> RedisConfig {
    let mut config = RedisConfig {
        topology: Topology::Single(Node { host: host.to_owned(), port }),
        tls: Some(tls),
        ..RedisConfig::default()
    };
    config.timing.connect = ms(1_000);
    config
}

async fn a_server_whose_authority_is_named_is_trusted() -> Result<(), Absent> {
    let papers = Papers::made_out_to("localhost");
    let (_server, port) = papers.server("no")?;
    let url = format!("rediss://localhost:{port}?tls_ca={}", papers.path("ca.pem").display());
    let service = RedisService::connect(&RedisConfig::from_url(&url).unwrap()).await.unwrap();
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap(), 1);
    let mut own = service.dedicated().await.unwrap();
    assert_eq!(own.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap(), 2);
    let mut news = service.subscribe(["a"]).await.unwrap();
    service.publish("a", b"x").await.unwrap();
    assert!(news.next().await.is_some());
    Ok(())
}

async fn no_other_server_is_trusted() -> Result<(), Absent> {
    let (papers, others) = (Papers::made_out_to("elsewhere.internal"), Papers::made_out_to("localhost"));
    let (_server, port) = papers.server("no")?;
    let ca = |papers: &Papers| Tls { ca: Some(papers.path("ca.pem")), identity: None };
    for (why, tls) in [
        ("the certificate is another host's", ca(&papers)),
        ("somebody else vouches for it", ca(&others)),
        ("the system does not know who vouches for it", Tls::default()),
    ] {
        let error = RedisService::connect(&config("localhost", port, tls)).await.expect_err(why);
        assert_eq!(error.code(), Code::Unavailable, "{why}");
    }
    Ok(())
}

async fn a_server_may_ask_who_we_are() -> Result<(), Absent> {
    let papers = Papers::made_out_to("localhost");
    let (_server, port) = papers.server("yes")?;
    let nobody = Tls { ca: Some(papers.path("ca.pem")), identity: None };
    assert!(RedisService::connect(&config("localhost", port, nobody.clone())).await.is_err());
    let somebody = Tls { identity: Some((papers.path("client.pem"), papers.path("client.key"))), ..nobody };
    let service = RedisService::connect(&config("localhost", port, somebody)).await.unwrap();
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap(), 1);
    Ok(())
}

async fn files_that_are_no_certificates_are_reported() -> Result<(), Absent> {
    let papers = Papers::made_out_to("localhost");
    fs::write(papers.path("empty.pem"), "nothing").unwrap();
    let ca = |name: &str| Tls { ca: Some(papers.path(name)), identity: None };
    let pair = |certificate, key| Some((papers.path(certificate), papers.path(key)));
    for tls in [
        ca("absent.pem"),
        ca("empty.pem"),
        Tls { identity: pair("client.pem", "empty.pem"), ..ca("ca.pem") },
        Tls { identity: pair("absent.pem", "client.key"), ..ca("ca.pem") },
    ] {
        let error = RedisService::lazy(&config("localhost", 1, tls)).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid, "{error}");
    }
    Ok(())
}
