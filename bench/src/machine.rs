//! What the figures were taken on, and what processes used of it.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::{fs, io, path::Path, process::Command, thread, time::Duration};

/// A machine in words.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How many threads it runs at once.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// The type of the file system that holds the data.
    pub file_system: String,
    /// The commit that is measured.
    pub commit: String,
}

impl Machine {
    /// This machine, with data in `directory`. What cannot be found out is "unknown".
    pub fn this(directory: &Path) -> Machine {
        let unknown = || "unknown".to_owned();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let commit = Command::new("git").args(["rev-parse", "HEAD"]).output();
        let commit = commit.ok().filter(|output| output.status.success());
        Machine {
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(unknown),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: directory
                .canonicalize()
                .ok()
                .and_then(|path| file_system(&read("/proc/mounts"), &path))
                .unwrap_or_else(unknown),
            commit: commit.map_or_else(unknown, |output| {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }),
        }
    }
}

impl Machine {
    /// As the head of every file of results.
    pub fn json(&self) -> Value {
        json!({
            "cores": self.cores,
            "processor": self.processor,
            "kernel": self.kernel,
            "file_system": self.file_system,
        })
    }

    /// In one line, for a table or a picture.
    pub fn line(&self) -> String {
        format!(
            "{} cores of {}, {}, Linux {}; commit {}",
            self.cores, self.processor, self.file_system, self.kernel, self.commit
        )
    }
}

fn processor(cpu_info: &str) -> Option<String> {
    let line = cpu_info.lines().find(|line| line.starts_with("model name"));
    Some(line?.split_once(": ")?.1.to_owned())
}

/// The type of the mount that is nearest above `path`; of two at one point, the later hides the
/// earlier.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    let nearest = above.max_by_key(|(point, _)| point.components().count());
    nearest.map(|(_, kind)| kind.to_owned())
}

/// The processor time that a process has used so far, by all its threads.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(process_id: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat"))?;
    let ticks = processor_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs(ticks) / u32::try_from(ticks_per_second).unwrap_or(u32::MAX))
}

/// The processor time that this thread has used so far.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time goes forward")
}

/// What a process has used since it started, and its memory now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time of all its threads.
    pub processor: Duration,
    /// `VmRSS`.
    pub resident_bytes: u64,
    /// `RssAnon`: of that, what is no file.
    pub anonymous_bytes: u64,
}

/// What a process has used.
///
/// # Errors
/// When there is no such process.
pub fn usage(process_id: u32) -> io::Result<Usage> {
    let read = |name| fs::read_to_string(format!("/proc/{process_id}/{name}"));
    let status = read("status")?;
    Ok(Usage {
        processor: processor_time(process_id)?,
        resident_bytes: number_behind("VmRSS:", &status) << 10,
        anonymous_bytes: number_behind("RssAnon:", &status) << 10,
    })
}

/// The number behind this name at the start of a line; 0 without one.
fn number_behind(name: &str, text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let number = lines.next().and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The sum of utime and stime, fields 14 and 15 of proc(5), counted from behind the name of the
/// program, which may hold anything.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 70 7 0 0 20 0 1 0 99";
        assert_eq!(processor_ticks(stat), Some(77));
        assert_eq!(processor_ticks("42 (cut off) R 1"), None);
    }

    #[test]
    fn the_nearest_mount_above_a_path_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /home tmpfs rw 0 0\n/dev/b /home/me xfs rw 0 0";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/home/me/data").as_deref(), Some("xfs"));
        assert_eq!(kind("/home/meter").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/srv").as_deref(), Some("ext4"));
    }

    #[test]
    fn a_running_process_has_used_time_and_a_missing_one_has_none() {
        assert!(processor_time(std::process::id()).is_ok());
        assert!(processor_time(u32::MAX).is_err());
    }
}
