//! HTTP and DNS.
