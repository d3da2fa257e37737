//! One mishap: what goes wrong with a call, and whether the work behind it was done all the same.
//!
//! | text | what the caller sees |
//! |---|---|
//! | `latency:50ms..150ms` | the answer, later; other mishaps may come on top |
//! | `hang` | no answer, ever |
//! | `reset`, `close` | the connection ends without an answer (RST, FIN) |
//! | `503`, `503:8s`, any 4xx or 5xx but 429 | that status, with `Retry-After` where a wait is given |
//! | `429-storm`, `429-storm:8s`, `…:header`, `…:hint` | 429 for no quota's sake; the wait stands in header and text, or in one |
//! | `html`, `broken-json`, `empty` | a 200 with a portal's page, half a record, nothing |
//! | `202`, `302` | accepted without a body; a redirect to a sign-in page |
//! | `slow:2s` | the body, in pieces over that time |
//!
//! `applied-` in front (`applied-reset`) says that the work was done before the mishap, `unapplied-` that it was not.
//! Without either, `broken-json`, `empty` and `202` come after the work, the others instead of it.

use std::fmt;
use std::time::Duration;

use super::span::{Latency, Span, parse_span};

/// Whether the work behind a call is done although the call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The record is as it was.
    Skipped,
    /// The record changed as if nothing had gone wrong.
    Done,
}

/// Where a 429 says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// In the `Retry-After` header and in the text.
    Both,
    /// In the header alone.
    Header,
    /// In the text alone.
    Hint,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer comes late.
    Latency(Latency),
    /// The answer never comes.
    Hang,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
    /// An error status, with a wait in `Retry-After` where one is given.
    Status(u16, Option<Duration>),
    /// A 429 that no quota caused, with a wait and where it stands, if it is told at all.
    Storm(Option<(Duration, Tells)>),
    /// A 200 with a web page.
    Html,
    /// A 200 with half a body.
    BrokenJson,
    /// A 200 without a body.
    Empty,
    /// A 202 without a body.
    Accepted,
    /// A 302 to somewhere else.
    Redirect,
    /// The body comes in pieces over this time.
    Slow(Duration),
}

impl FaultKind {
    /// Returns what becomes of the work where the text does not say.
    fn usual_work(self) -> Work {
        match self {
            Self::Latency(_) | Self::Slow(_) | Self::BrokenJson | Self::Empty | Self::Accepted => {
                Work::Done
            }
            Self::Hang
            | Self::Reset
            | Self::Close
            | Self::Status(..)
            | Self::Storm(..)
            | Self::Html
            | Self::Redirect => Work::Skipped,
        }
    }

    /// Returns whether the answer is only delayed, so that its work cannot be skipped.
    fn only_delays(self) -> bool {
        matches!(self, Self::Latency(_) | Self::Slow(_))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(str::trim);
        let name = parts.next()?;
        let argument = parts.next();
        let second = parts.next();
        if parts.next().is_some() {
            return None;
        }
        match (name, argument, second) {
            ("latency", Some(range), None) => Latency::parse(range).ok().map(Self::Latency),
            ("slow", Some(span), None) => parse_span(span).map(Self::Slow),
            ("429-storm" | "429", wait, tells) => {
                let tells = match tells {
                    None => Tells::Both,
                    Some("header") => Tells::Header,
                    Some("hint") => Tells::Hint,
                    Some(_) => return None,
                };
                match wait {
                    Some(wait) => Some(Self::Storm(Some((parse_span(wait)?, tells)))),
                    None => Some(Self::Storm(None)),
                }
            }
            (_, None, None) => match name {
                "hang" => Some(Self::Hang),
                "reset" => Some(Self::Reset),
                "close" => Some(Self::Close),
                "html" => Some(Self::Html),
                "broken-json" => Some(Self::BrokenJson),
                "empty" => Some(Self::Empty),
                "202" => Some(Self::Accepted),
                "302" => Some(Self::Redirect),
                code => error_status(code).map(|code| Self::Status(code, None)),
            },
            (code, Some(wait), None) => {
                Some(Self::Status(error_status(code)?, Some(parse_span(wait)?)))
            }
            _ => None,
        }
    }
}

fn error_status(text: &str) -> Option<u16> {
    let code: u16 = text.parse().ok()?;
    (text.len() == 3 && (400..600).contains(&code) && code != 429).then_some(code)
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(latency) => write!(f, "latency:{latency}"),
            Self::Hang => f.write_str("hang"),
            Self::Reset => f.write_str("reset"),
            Self::Close => f.write_str("close"),
            Self::Status(code, None) => write!(f, "{code}"),
            Self::Status(code, Some(wait)) => write!(f, "{code}:{}", Span(*wait)),
            Self::Storm(None) => f.write_str("429-storm"),
            Self::Storm(Some((wait, tells))) => {
                write!(f, "429-storm:{}", Span(*wait))?;
                f.write_str(match tells {
                    Tells::Both => "",
                    Tells::Header => ":header",
                    Tells::Hint => ":hint",
                })
            }
            Self::Html => f.write_str("html"),
            Self::BrokenJson => f.write_str("broken-json"),
            Self::Empty => f.write_str("empty"),
            Self::Accepted => f.write_str("202"),
            Self::Redirect => f.write_str("302"),
            Self::Slow(span) => write!(f, "slow:{}", Span(*span)),
        }
    }
}

/// One mishap with the fate of the work behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Whether the work was done.
    pub work: Work,
}

impl Fault {
    /// Returns the mishap with the usual fate of its work.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            work: kind.usual_work(),
        }
    }

    /// Reads a mishap; `None` where the text names none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (kind, work) = if let Some(rest) = text.strip_prefix("applied-") {
            (FaultKind::parse(rest)?, Work::Done)
        } else if let Some(rest) = text.strip_prefix("unapplied-") {
            (FaultKind::parse(rest)?, Work::Skipped)
        } else {
            return FaultKind::parse(text).map(Self::new);
        };
        (!kind.only_delays()).then_some(Self { kind, work })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.work != self.kind.usual_work() {
            f.write_str(match self.work {
                Work::Done => "applied-",
                Work::Skipped => "unapplied-",
            })?;
        }
        self.kind.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mishap_reads_what_it_prints() {
        for text in [
            "latency:50ms..150ms",
            "hang",
            "applied-hang",
            "reset",
            "applied-reset",
            "applied-close",
            "408",
            "503:8s",
            "applied-500",
            "429-storm",
            "429-storm:8s",
            "429-storm:8s:hint",
            "429-storm:8s:header",
            "html",
            "applied-html",
            "broken-json",
            "unapplied-empty",
            "202",
            "302",
            "slow:2s",
        ] {
            assert_eq!(Fault::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_mishap_is_refused() {
        for text in [
            "",
            "boom",
            "200",
            "399",
            "600",
            "+503",
            "503:x",
            "503:1s:hint",
            "hang:1s",
            "latency",
            "applied-latency:1s",
            "429-storm:1s:both:x",
            "applied-applied-hang",
        ] {
            assert_eq!(Fault::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_follows_the_work_has_done_it() {
        let done = |text: &str| Fault::parse(text).unwrap().work == Work::Done;
        assert!(done("empty") && done("202") && done("broken-json") && done("applied-503"));
        assert!(!done("503") && !done("html") && !done("reset") && !done("unapplied-202"));
    }
}
