//! The clock of runs: reads time and waits for it.
//!
//! Decisions take a [`Moment`] as an argument, and code that waits takes a [`Clock`], so that tests can use one of their
//! own. Only the display, logging, the sandbox and some timeouts read the machine's clock themselves.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::model::{BootId, Moment, Uptime};

/// The longest single sleep. After a suspend, the clock is read again within this time instead of waiting out the full
/// rest.
const SLICE: Duration = Duration::from_secs(5);

pub trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> Moment;

    /// Identifies the boot that this clock's uptimes belong to.
    fn boot(&self) -> BootId;

    /// Waits until the uptime is at least `until`. Cancel safe.
    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()>;
}

#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
}

impl SystemClock {
    pub fn new() -> Self {
        Self {
            boot: read_boot_id(),
        }
    }
}

/// Reads the clock that counts from boot, including suspend. All processes share it.
#[cfg(unix)]
fn uptime() -> Uptime {
    // On macOS the monotonic clock includes suspend, on Linux it doesn't.
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = time.tv_sec.saturating_mul(1_000_000_000);
    Uptime::from_nanos(seconds.saturating_add(time.tv_nsec))
}

/// Reads the clock that counts from boot, including suspend. All processes share it. The resolution is about 16 ms.
#[cfg(windows)]
fn uptime() -> Uptime {
    Uptime::from_nanos(0).after(Duration::from_millis(winsafe::GetTickCount64()))
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            uptime: uptime(),
            wall: Timestamp::now(),
        }
    }

    fn boot(&self) -> BootId {
        self.boot.clone()
    }

    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let left = until.since(uptime());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(SLICE)).await;
            }
        })
    }
}

/// Identifies this boot. If the platform can't, every process gets an id of its own, and its timestamps are compared
/// with those of others by wall clock.
fn read_boot_id() -> BootId {
    match platform_boot_id() {
        Some(text) if !text.trim().is_empty() => BootId::new(text.trim()),
        _ => BootId::new(format!("process-{}", uuid::Uuid::new_v4())),
    }
}

#[cfg(target_os = "macos")]
fn platform_boot_id() -> Option<String> {
    let mut sysctl = std::process::Command::new("/usr/sbin/sysctl");
    let found = sysctl.args(["-n", "kern.bootsessionuuid"]).output().ok()?;
    String::from_utf8(found.stdout).ok()
}

/// Windows has no boot id. The first process stores one in a volatile registry key, which lasts until the session ends.
#[cfg(windows)]
fn platform_boot_id() -> Option<String> {
    const KEY: &str = r"Software\mde-cancel\boot";
    // Serializes processes that start at once, so that they agree on one id.
    let lock = std::fs::File::create(std::env::temp_dir().join("mde-cancel-boot.lock")).ok()?;
    lock.lock().ok()?;
    let mut options = windows_registry::CURRENT_USER.options();
    let key = options.read().write().create().volatile().open(KEY).ok()?;
    key.get_string("id").ok().or_else(|| {
        let name = uuid::Uuid::new_v4().to_string();
        key.set_string("id", &name).ok()?;
        Some(name)
    })
}

#[cfg(not(any(windows, target_os = "macos")))]
fn platform_boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_forward_and_every_process_names_the_same_boot() {
        let clock = SystemClock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second.uptime >= first.uptime);
        let boot = clock.boot();
        assert_eq!(SystemClock::new().boot(), boot);
        assert!(!boot.as_str().starts_with("process-"), "{boot:?}");
    }
}
