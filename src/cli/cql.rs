//! From settings to a connection to ScyllaDB or Cassandra.

use crate::{
    adapters::scylla::{JobBuckets, Login, ScyllaOptions, TlsOptions},
    config::CqlSettings,
};

/// What the settings say about the database. They are checked already.
pub fn scylla_options(settings: &CqlSettings) -> ScyllaOptions {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ScyllaOptions {
        contact_points: settings.contact_points.clone(),
        keyspace: settings.keyspace.clone(),
        datacenter: some(&settings.datacenter),
        consistency: settings.consistency.clone(),
        request_timeout: settings.request_timeout,
        login: some(&settings.username)
            .map(|username| Login { username, password_file: settings.password_file.clone().into() }),
        tls: settings.tls.then(|| TlsOptions { ca_file: some(&settings.tls_ca_file).map(Into::into) }),
        job_buckets: JobBuckets::new(settings.job_buckets).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn empty_texts_are_what_is_not_there() {
        let options = |sets: &[&str]| {
            let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
            scylla_options(&load(None, std::iter::empty(), &sets).unwrap().settings.cql)
        };
        let plain = options(&[]);
        assert_eq!((plain.datacenter, plain.login, plain.tls), (None, None, None));
        assert_eq!(plain.job_buckets, JobBuckets::default());
        let full = options(&[
            "cql.username=ann",
            "cql.password_file=/p",
            "cql.tls=true",
            "cql.datacenter=dc1",
            "cql.job_buckets=65536",
        ]);
        assert_eq!(full.login, Some(Login { username: "ann".to_owned(), password_file: "/p".into() }));
        assert_eq!(full.tls, Some(TlsOptions { ca_file: None }));
        assert_eq!(full.datacenter.as_deref(), Some("dc1"));
        assert_eq!(full.job_buckets, JobBuckets::new(65_536).unwrap());
    }
}
