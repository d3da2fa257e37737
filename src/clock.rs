//! The only place that reads a clock or sleeps.
//!
//! Everything else takes a [`Moment`] as an argument, or a [`Clock`] where it has to wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::model::{BootId, Moment, Uptime};

/// The longest nap before the clock is looked at again: a lid closed in mid-wait is then noticed soon after it opens,
/// and not waited for a second time.
const SLICE: Duration = Duration::from_secs(5);

/// Reads time and waits for it.
pub trait Clock: Send + Sync {
    /// Looks at both clocks.
    fn now(&self) -> Moment;

    /// Names the boot whose uptimes this clock shows.
    fn boot(&self) -> BootId;

    /// Waits until the uptime is at least `until`.
    ///
    /// # Cancel safety
    /// Safe: nothing but the wait is lost.
    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()>;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
}

impl SystemClock {
    /// Opens the machine's clocks.
    pub fn new() -> Self {
        Self {
            boot: read_boot_id(),
        }
    }
}

/// Reads the clock that counts from the machine's boot, sleep included: all processes read the same.
#[cfg(unix)]
fn uptime() -> Uptime {
    // The monotonic clock of macOS counts sleep, that of Linux does not.
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = time.tv_sec.saturating_mul(1_000_000_000);
    Uptime::from_nanos(seconds.saturating_add(time.tv_nsec))
}

/// Reads the clock that counts from the machine's boot, sleep included: all processes read the same, in steps of about
/// 16 ms.
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

/// Returns what names this boot. Where the platform tells nothing, each process counts as a boot of its own, and
/// stamps of others are then compared by wall clock.
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

/// Windows names no boot: the first process of a session writes a name into a key that lives in memory alone.
#[cfg(windows)]
fn platform_boot_id() -> Option<String> {
    const KEY: &str = r"Software\mde-cancel\boot";
    // Two first processes at once agree on one name.
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

/// A clock for tests: it stands still until it is moved, and whoever sleeps wakes when it passes their time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    // std Mutex: nothing awaits while it is held.
    now: Arc<Mutex<Moment>>,
    moved: tokio::sync::watch::Sender<()>,
}

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Moment) -> Self {
        Self {
            now: Arc::new(Mutex::new(now)),
            moved: tokio::sync::watch::Sender::new(()),
        }
    }

    /// Moves both clocks on by `span` and wakes those whose time has come.
    pub fn advance(&self, span: Duration) {
        let mut now = self.lock();
        *now = now.after(span);
        drop(now);
        self.moved.send_replace(());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Moment> {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.lock()
    }

    fn boot(&self) -> BootId {
        BootId::new("manual")
    }

    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()> {
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            while self.now().uptime < until {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        })
    }
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

    #[tokio::test]
    async fn a_sleeper_on_the_manual_clock_wakes_when_its_time_is_passed_and_not_before() {
        let start = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::UNIX_EPOCH,
        };
        let clock = ManualClock::new(start);
        let until = start.uptime.after(Duration::from_secs(60));
        let mut sleep = std::pin::pin!(clock.sleep_until(until));
        clock.advance(Duration::from_secs(59));
        assert!(futures::poll!(sleep.as_mut()).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(sleep.as_mut()).is_ready());
    }
}
