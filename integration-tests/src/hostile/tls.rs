//! What a server can do wrong with TLS, and the certificates for it, which are made at the start.

use std::{io, net::Ipv4Addr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use super::{
    Cost::{Little, Time, Work},
    DETECTED, Manner, Talk,
    http1::picture,
    step::Step::{Close, Cut, Drip, Flood, Reset, Send, Silence},
};
use crate::PIXEL_PNG;

/// Whom a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    /// A certificate of our own authority for this address.
    Good,
    Expired,
    NotYetValid,
    /// For another name.
    OtherHost,
    SelfSigned,
    /// Of an authority that nobody knows.
    UnknownAuthority,
}

#[rustfmt::skip]
pub(super) fn manners() -> Vec<Manner> {
    use Certificate::{Expired, Good, NotYetValid, OtherHost, SelfSigned, UnknownAuthority};
    let answers = |name, cost, ends, does, certificate, script| Manner {
        name, does, ends, cost, certificate: Some(certificate), talk: Talk::Answers(script),
    };
    let greets = |name, cost, ends, does, script| Manner {
        name, does, ends, cost, certificate: Some(Good), talk: Talk::Greets(script),
    };
    vec![
        answers("tls-good", Little, &[DETECTED], "a certificate in order", Good, |_| vec![picture("")]),
        answers("tls-expired", Little, &["tls_failed"], "an expired certificate", Expired, |_| vec![picture("")]),
        answers("tls-not-yet", Little, &["tls_failed"], "a certificate of the future", NotYetValid, |_| vec![picture("")]),
        answers("tls-other-host", Little, &["tls_failed"], "a certificate for another name", OtherHost, |_| vec![picture("")]),
        answers("tls-self-signed", Little, &["tls_failed"], "a certificate that it signed itself", SelfSigned, |_| vec![picture("")]),
        answers("tls-unknown-authority", Little, &["tls_failed"], "a certificate of an unknown authority", UnknownAuthority, |_| vec![picture("")]),
        greets("tls-stall", Time, &["connect_timeout"], "no word in the handshake", || vec![Silence]),
        greets("tls-stall-in-record", Time, &["connect_timeout"], "a handshake that stops inside a record", || {
            vec![Send(b"\x16\x03\x03\x40\0\x02\0\0\x4c\x03\x03".to_vec()), Silence]
        }),
        greets("tls-drip", Time, &["connect_timeout"], "a handshake byte by byte", || {
            vec![Drip([b"\x16\x03\x03\x3f\xff\x02\0\x3f\xfb\x03\x03".to_vec(), vec![0; 16_000]].concat())]
        }),
        greets("tls-is-http", Little, &["tls_failed"], "HTTP in place of TLS", || {
            vec![Send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()), Close]
        }),
        greets("tls-noise", Work, &["tls_failed"], "bytes that mean nothing, for ever", || vec![Flood(vec![0xaa; 16_000])]),
        greets("tls-refused", Little, &["tls_failed"], "the alert handshake_failure", || {
            vec![Send(b"\x15\x03\x03\0\x02\x02\x28".to_vec()), Close]
        }),
        greets("tls-old", Little, &["tls_failed"], "the alert protocol_version", || {
            vec![Send(b"\x15\x03\x01\0\x02\x02\x46".to_vec()), Close]
        }),
        greets("tls-close", Little, &["connect_failed"], "closes in the handshake", || vec![Close]),
        greets("tls-reset", Little, &["connect_failed"], "breaks off in the handshake", || vec![Reset]),
        answers("tls-header-never", Time, &["first_byte_timeout"], "a handshake in order, then silence", Good, |_| vec![Silence]),
        answers("tls-body-cut", Little, &["connection_lost"], "a body that no length ends, cut off without close_notify", Good, |_| {
            vec![Send([b"HTTP/1.1 200 OK\r\n\r\n", PIXEL_PNG.as_slice()].concat()), Cut]
        }),
        answers("tls-body-closed", Little, &[DETECTED], "a body that close_notify ends", Good, |_| {
            vec![Send([b"HTTP/1.1 200 OK\r\n\r\n", PIXEL_PNG.as_slice()].concat()), Close]
        }),
        answers("tls-to-plain", Little, &["blocked_address"], "302 from https to http on the inside", Good, |_| {
            vec![Send(b"HTTP/1.1 302 Found\r\nLocation: http://[::1]/\r\nContent-Length: 0\r\n\r\n".to_vec())]
        }),
    ]
}

/// The authorities, and the key that all servers share.
pub(super) struct Authority {
    pem: String,
    known: Issuer<'static, KeyPair>,
    unknown: Issuer<'static, KeyPair>,
    key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> io::Result<Self> {
        let (known, pem) = issuer("facemill's tests")?;
        let (unknown, _) = issuer("nobody")?;
        Ok(Authority { pem, known, unknown, key: KeyPair::generate().map_err(io::Error::other)? })
    }

    /// The certificate of the authority that a client should trust.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// What a server at this address needs, with HTTP/2 on offer or without it.
    pub(super) fn acceptor(&self, certificate: Certificate, address: Ipv4Addr, http2: bool) -> io::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                let key = PrivateKeyDer::try_from(self.key.serialize_der());
                let key = key.map_err(|error| tokio_rustls::rustls::Error::General(error.to_owned()))?;
                let chain = vec![self.certificate(certificate, address)?];
                config.with_no_client_auth().with_single_cert(chain, key)
            })
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn certificate(
        &self,
        certificate: Certificate,
        address: Ipv4Addr,
    ) -> Result<CertificateDer<'static>, tokio_rustls::rustls::Error> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(match certificate {
            Certificate::OtherHost => Ipv4Addr::new(127, 0, 0, 2).into(),
            _ => address.into(),
        })];
        (params.not_before, params.not_after) = match certificate {
            Certificate::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Certificate::NotYetValid => (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1)),
            _ => (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1)),
        };
        let made = match certificate {
            Certificate::SelfSigned => params.self_signed(&self.key),
            Certificate::UnknownAuthority => params.signed_by(&self.key, &self.unknown),
            _ => params.signed_by(&self.key, &self.known),
        };
        made.map(|made| made.der().clone()).map_err(|error| tokio_rustls::rustls::Error::General(error.to_string()))
    }
}

fn issuer(name: &str) -> io::Result<(Issuer<'static, KeyPair>, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
    Ok((Issuer::new(params, key), pem))
}
