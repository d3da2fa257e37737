//! A service whose answers a test scripts, for cases that the sandbox doesn't have.

use super::raw_server::{RawServer, Then, answer as raw_answer};

/// A request's method and raw target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
}

impl Asked {
    fn of(call: &str) -> Self {
        let mut words = call.split(' ').map(str::to_owned);
        Self {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
        }
    }

    /// Returns a query option's decoded value.
    pub(crate) fn option(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// Serves on a free port until the process ends.
pub(crate) struct FakeService {
    pub(crate) url: String,
    server: RawServer,
}

impl FakeService {
    /// Answers each call with this status and body.
    pub(crate) fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let server = RawServer::answering(move |call| {
            let (status, body) = answer(&Asked::of(call));
            let headers = "Content-Type: application/json\r\nConnection: close\r\n";
            Some((
                raw_answer(&format!("{status} X"), headers, body),
                Then::Closes,
            ))
        });
        let url = server.base.trim_end_matches('/').to_owned();
        Self { url, server }
    }

    pub(crate) fn cancels(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|asked| asked.method == "POST").count()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.server
            .calls()
            .iter()
            .map(|call| Asked::of(call))
            .collect()
    }
}
