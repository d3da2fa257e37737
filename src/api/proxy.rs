//! Finds the proxy of an address, and asks why it refuses a call. The HTTP client chooses the proxy by the same rules,
//! but doesn't expose the proxy's response.

use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::model::truncate_line;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response head that is read, in bytes.
const MAX_HEAD: u64 = 8 * 1024;

/// The longest text kept of it, in characters.
const MAX_TEXT: usize = 200;

pub struct Proxy {
    scheme: String,
    host: String,
    port: u16,
    /// `Proxy-Authorization`, from the user info of the proxy's address.
    authorization: Option<Vec<u8>>,
}

impl Proxy {
    /// Returns the proxy that the system or the environment sets for `url`.
    pub fn of(url: &Url) -> Option<Self> {
        let found = Matcher::from_system().intercept(&url.as_str().parse().ok()?)?;
        let scheme = found.uri().scheme_str()?.to_owned();
        let port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => 1080,
        };
        Some(Self {
            host: found.uri().host()?.to_owned(),
            port: found.uri().port_u16().unwrap_or(port),
            authorization: found.basic_auth().map(|value| value.as_bytes().to_vec()),
            scheme,
        })
    }

    /// Returns the address without user name and password.
    pub fn name(&self) -> String {
        let scheme = match self.scheme.as_str() {
            "http" => String::new(),
            other => format!("{other}://"),
        };
        format!("{scheme}{}:{}", self.host, self.port)
    }

    /// Asks an http proxy for a tunnel to `url` and returns why it refuses; `None` if it doesn't or cannot be asked.
    pub async fn refusal(&self, url: &Url) -> Option<String> {
        if self.scheme != "http" {
            return None;
        }
        let target = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let asked = async {
            let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.write_all(&request).await?;
            let mut head = Vec::new();
            let mut bounded = stream.take(MAX_HEAD);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if bounded.read_buf(&mut head).await? == 0 {
                    break;
                }
            }
            std::io::Result::Ok(head)
        };
        let head = tokio::time::timeout(TIMEOUT, asked).await.ok()?.ok()?;
        told(&String::from_utf8_lossy(&head))
    }
}

/// Parses the head of a refusal; `None` if the tunnel was opened.
fn told(head: &str) -> Option<String> {
    let mut lines = head.split("\r\n");
    let (_, status) = lines.next()?.split_once(' ')?;
    if status.starts_with("200") {
        return None;
    }
    let wanted: Vec<_> = lines
        .take_while(|line| !line.is_empty())
        .filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case("Proxy-Authenticate")
        })
        .collect();
    let text = if wanted.is_empty() {
        status.to_owned()
    } else {
        format!("{status} ({})", wanted.join(", "))
    };
    Some(truncate_line(&text, MAX_TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_status_and_what_it_wants() {
        let head = "HTTP/1.1 407 Proxy Authentication Required\r\nServer: x\r\nproxy-authenticate: Negotiate\r\n\
                    Proxy-Authenticate: Basic realm=\"corp\"\r\n\r\nProxy-Authenticate: body";
        assert_eq!(
            told(head).unwrap(),
            "407 Proxy Authentication Required (proxy-authenticate: Negotiate, Proxy-Authenticate: Basic realm=\"corp\")"
        );
        assert_eq!(
            told("HTTP/1.1 403 Forbidden\u{1b}[2J").unwrap(),
            "403 Forbidden\\u{1b}[2J"
        );
        assert_eq!(told("HTTP/1.0 200 Connection established\r\n\r\n"), None);
        assert_eq!(told(""), None);
    }
}
