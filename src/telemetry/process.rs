//! What the system knows of this process.

use super::meter::Meter;

/// Exports CPU time, memory and open files, where the system tells: on Linux.
#[cfg(target_os = "linux")]
pub(super) fn observe(meter: &Meter) {
    use super::{
        meter::Labels,
        metric::Metric,
        metrics::{PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_START_TIME},
    };

    let number = |metric: &Metric, read: fn() -> Option<f64>| {
        meter.observe(metric, move || read().map(|value| (Labels::new(), value)).into_iter().collect());
    };
    number(&PROCESS_CPU, linux::cpu_seconds);
    number(&PROCESS_MEMORY, linux::resident_bytes);
    number(&PROCESS_OPEN_FDS, linux::open_files);
    number(&PROCESS_MAX_FDS, linux::max_files);
    number(&PROCESS_START_TIME, linux::start_time);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn observe(_: &Meter) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{SystemTime, UNIX_EPOCH};

    use procfs::process::{Process, Stat};

    /// This process and its decoders: they do its work.
    fn family() -> Vec<Stat> {
        let Ok(me) = Process::myself() else { return Vec::new() };
        let children = me.tasks().into_iter().flatten().flatten().filter_map(|task| task.children().ok()).flatten();
        let children = children.filter_map(|pid| Process::new(i32::try_from(pid).ok()?).ok());
        children.chain(Process::myself()).filter_map(|process| process.stat().ok()).collect()
    }

    /// Of decoders that have ended too.
    pub(super) fn cpu_seconds() -> Option<f64> {
        let ticks = |stat: &Stat| stat.utime + stat.stime + stat.cutime.unsigned_abs() + stat.cstime.unsigned_abs();
        let family = family();
        let ticks: u64 = family.iter().map(ticks).sum();
        (!family.is_empty()).then(|| ticks as f64 / procfs::ticks_per_second() as f64)
    }

    pub(super) fn resident_bytes() -> Option<f64> {
        let family = family();
        let pages: u64 = family.iter().map(|stat| stat.rss).sum();
        (!family.is_empty()).then(|| (pages * procfs::page_size()) as f64)
    }

    pub(super) fn open_files() -> Option<f64> {
        Some(Process::myself().ok()?.fd_count().ok()? as f64)
    }

    pub(super) fn max_files() -> Option<f64> {
        match Process::myself().ok()?.limits().ok()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Value(limit) => Some(limit as f64),
            procfs::process::LimitValue::Unlimited => None,
        }
    }

    /// Rounded to what the clock of the scheduler knows.
    pub(super) fn start_time() -> Option<f64> {
        let ticks = Process::myself().ok()?.stat().ok()?.starttime;
        let booted = procfs::boot_time_secs().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        Some((booted as f64 + ticks as f64 / procfs::ticks_per_second() as f64).min(now))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_work_of_children_is_counted_while_they_live() {
            let before = resident_bytes().unwrap();
            let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(100));
            let family = family().len();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(family >= 2, "the child is missing");
            assert!(before > 1e6 && cpu_seconds().unwrap() > 0.0 && open_files().unwrap() > 2.0);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            assert!(start_time().unwrap() <= now && start_time().unwrap() > now - 86_400.0);
        }
    }
}
