//! By which names the server may be called, and from which pages: exact lists against DNS rebinding and foreign sites.
//! A web page of an attacker can point its own name at 127.0.0.1; it cannot change the Host header its browser then sends.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use tb_core::{ApiError, ErrorCode};

/// The names in a Host header that are answered.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// In lower case, with the port unless it is HTTP's own.
    names: Vec<String>,
    /// Bound to every address of the machine: a caller may then name the one that it reached.
    any_address: bool,
    port: u16,
}

impl Hosts {
    /// The list for a server bound to `bound`, which the user named `host`.
    ///
    /// # Errors
    /// An allowed name that is no host name.
    pub fn new(host: &str, bound: SocketAddr, allow: &[String]) -> Result<Self, ApiError> {
        let port = bound.port();
        let mut hosts = Self { names: Vec::new(), any_address: bound.ip().is_unspecified(), port };
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            hosts.add(name);
        }
        if !bound.ip().is_unspecified() {
            hosts.add(&literal(bound.ip()));
            hosts.add(&bracketed(host));
        }
        for name in allow {
            let name = bracketed(name);
            if !is_host(&name) {
                return Err(ApiError::new(
                    ErrorCode::InvalidArgument,
                    format!("The server was not started: '{name}' is no host name."),
                )
                .hint("Give the name alone, such as tonebridge.example.org, with a port if it is another."));
            }
            if has_port(&name) {
                hosts.names.push(name.to_ascii_lowercase());
            } else {
                hosts.add(&name);
                // A proxy in front is called without this server's port.
                hosts.names.push(name.to_ascii_lowercase());
            }
        }
        Ok(hosts)
    }

    fn add(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if self.port == 80 {
            self.names.push(name.clone());
        }
        self.names.push(format!("{name}:{}", self.port));
    }

    /// The host that a request names, if it names exactly one and that one is on the list. `local` is the address at which
    /// the connection arrived.
    pub fn allowed<'a>(&self, headers: &'a HeaderMap, uri: &Uri, local: SocketAddr) -> Option<&'a str> {
        let host = only(headers, &header::HOST)?.to_str().ok()?;
        let known = |host: &str| {
            let host = host.to_ascii_lowercase();
            self.names.contains(&host) || (self.any_address && self.is_local(&host, local))
        };
        // A target in absolute form names a host of its own.
        let target = uri.authority().is_none_or(|a| a.as_str().eq_ignore_ascii_case(host));
        (known(host) && target).then_some(host)
    }

    fn is_local(&self, host: &str, local: SocketAddr) -> bool {
        let name = literal(local.ip().to_canonical());
        host == format!("{name}:{}", self.port) || (self.port == 80 && host == name)
    }
}

/// Who made a browser send a request, as far as its headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A page of this server.
    Own,
    /// The user's own hand (an address typed, a bookmark), or no browser at all.
    Nobody,
    /// Another page follows or gives a link to here: it sees nothing of the answer.
    Link,
    /// Another page.
    Foreign,
}

/// Judges Origin and Sec-Fetch-Site of a request that named `host`.
pub(crate) fn sender(method: &Method, headers: &HeaderMap, host: &str) -> Sender {
    let own = |origin: &HeaderValue| {
        origin.to_str().is_ok_and(|origin| {
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            authority.is_some_and(|a| a.eq_ignore_ascii_case(host))
        })
    };
    let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
    let has_origin = origins.peek().is_some();
    if has_origin && !origins.all(own) {
        return Sender::Foreign;
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    match text("sec-fetch-site") {
        Some("same-origin") => Sender::Own,
        None | Some("none") if has_origin => Sender::Own,
        None | Some("none") => Sender::Nobody,
        Some(_) => {
            let visits = *method == Method::GET
                && text("sec-fetch-mode") == Some("navigate")
                && text("sec-fetch-dest") == Some("document");
            if visits { Sender::Link } else { Sender::Foreign }
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// An IPv6 address as a Host header carries it; any other name as it is.
pub(crate) fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

fn is_host(name: &str) -> bool {
    let (host, port) = if has_port(name) { name.rsplit_once(':').unwrap_or((name, "")) } else { (name, "1") };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let named = match inner {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
    };
    named && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 4310);

    fn request(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers
    }

    fn allows(hosts: &Hosts, host: &str, local: impl Into<SocketAddr>) -> bool {
        hosts.allowed(&request(host), &Uri::from_static("/"), local.into()).is_some()
    }

    #[test]
    fn only_exact_names_with_the_exact_port_are_answered() {
        let hosts =
            Hosts::new("127.0.0.1", LOCAL.into(), &["bridge.example.org".into(), "[fd00::1]:8443".into()]).unwrap();
        for good in [
            "127.0.0.1:4310",
            "localhost:4310",
            "LocalHost:4310",
            "[::1]:4310",
            "bridge.example.org:4310",
            "bridge.example.org",
            "[fd00::1]:8443",
        ] {
            assert!(allows(&hosts, good, LOCAL), "{good}");
        }
        for bad in [
            "localhost",
            "127.0.0.1",
            "127.0.0.1:4311",
            "localhost.:4310",
            "localhost.attacker.example:4310",
            "127.0.0.1.nip.io:4310",
            "[::1]evil:4310",
            "x.local:4310",
            "user@localhost:4310",
            "127.1:4310",
            "0.0.0.0:4310",
            "192.168.1.5:4310",
            "[fd00::1]:4310",
            " ",
            "",
        ] {
            assert!(!allows(&hosts, bad, LOCAL), "{bad}");
        }
        assert!(hosts.allowed(&HeaderMap::new(), &Uri::from_static("/"), LOCAL.into()).is_none());
        let mut two = request("localhost:4310");
        two.append(header::HOST, "localhost:4310".parse().unwrap());
        assert!(hosts.allowed(&two, &Uri::from_static("/"), LOCAL.into()).is_none());
        let elsewhere = Uri::from_static("http://attacker.example/");
        assert!(hosts.allowed(&request("localhost:4310"), &elsewhere, LOCAL.into()).is_none());
    }

    #[test]
    fn bound_to_every_address_the_one_that_was_reached_may_be_named() {
        let hosts = Hosts::new("0.0.0.0", ([0, 0, 0, 0], 4310).into(), &[]).unwrap();
        assert!(allows(&hosts, "192.168.1.5:4310", ([192, 168, 1, 5], 4310)));
        assert!(!allows(&hosts, "192.168.1.6:4310", ([192, 168, 1, 5], 4310)));
        assert!(!allows(&hosts, "0.0.0.0:4310", ([192, 168, 1, 5], 4310)));
    }

    #[test]
    fn a_browser_leaves_out_the_port_80() {
        let hosts = Hosts::new("localhost", ([127, 0, 0, 1], 80).into(), &[]).unwrap();
        assert!(allows(&hosts, "localhost", LOCAL) && allows(&hosts, "localhost:80", LOCAL));
    }

    #[test]
    fn names_that_are_no_hosts_are_refused() {
        for bad in ["", "*", "*.example.org", "http://example.org", "a/b", "a b", "a:0", "a:99999", "[::1", "a,b"] {
            assert!(Hosts::new("127.0.0.1", LOCAL.into(), &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sender_is_judged_by_origin_and_fetch_site() {
        let judge = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            sender(&method, &headers, "localhost:4310")
        };
        assert_eq!(judge(Method::POST, &[("origin", "http://localhost:4310")]), Sender::Own);
        assert_eq!(judge(Method::POST, &[("origin", "https://LOCALHOST:4310")]), Sender::Own);
        assert_eq!(judge(Method::GET, &[("sec-fetch-site", "same-origin")]), Sender::Own);
        assert_eq!(judge(Method::GET, &[]), Sender::Nobody);
        assert_eq!(judge(Method::GET, &[("sec-fetch-site", "none")]), Sender::Nobody);
        for bad in [
            "null",
            "file://",
            "http://localhost:4311",
            "http://localhost",
            "http://127.0.0.1:4310",
            "http://tauri.localhost.evil",
            "http://localhost:4310.evil",
            "http://localhost:4310/",
            "ftp://localhost:4310",
            "",
        ] {
            assert_eq!(judge(Method::POST, &[("origin", bad)]), Sender::Foreign, "{bad}");
        }
        assert_eq!(judge(Method::POST, &[("origin", "http://localhost:4310"), ("origin", "null")]), Sender::Foreign);
        let visit = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(judge(Method::GET, &visit), Sender::Link);
        assert_eq!(judge(Method::POST, &visit), Sender::Foreign);
        assert_eq!(judge(Method::GET, &[("sec-fetch-site", "same-site")]), Sender::Foreign);
        let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert_eq!(judge(Method::GET, &frame), Sender::Foreign);
    }
}
