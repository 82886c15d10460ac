//! The log's way to stderr: through a bounded queue and a thread of its own. Whoever reads stderr
//! may be slow or stopped, and the event loop has heartbeats to send: a line that finds the queue
//! full is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const QUEUE_MAX_LINES: usize = 1024;
/// At the end, a reader gets this long to take what is queued.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Makes writers into the queue.
#[derive(Clone)]
pub struct Log {
    lines: Sender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Writes out what is queued when it goes.
pub struct Flush {
    lines: Sender<Vec<u8>>,
    written: Receiver<()>,
}

/// One line on its way into the queue; each event is written in one call.
pub struct Line<'a>(&'a Log);

/// A log that ends in `sink`.
///
/// # Errors
/// When no thread can be had.
pub fn start(sink: impl Write + Send + 'static) -> io::Result<(Log, Flush)> {
    let (lines, queue) = bounded(QUEUE_MAX_LINES);
    let (end, written) = bounded(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let log = Log {
        lines: lines.clone(),
        dropped: Arc::clone(&dropped),
    };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            drain(&queue, &dropped, sink);
            // Nobody waits for it if the end was not asked for.
            let _ = end.send(());
        })?;
    Ok((log, Flush { lines, written }))
}

/// Writes lines until an empty one, which no event is, says that it was the last.
fn drain(queue: &Receiver<Vec<u8>>, dropped: &AtomicU64, mut sink: impl Write) {
    for line in queue.iter().take_while(|line| !line.is_empty()) {
        // Without a reader there is nobody to tell.
        let _ = sink.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                sink,
                "{lost} lines were dropped here: they came faster than they were read"
            );
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() && self.0.lines.try_send(line.to_vec()).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.lines.send_timeout(Vec::new(), FLUSH_MAX).is_ok() {
            // A reader that takes nothing does not keep the process.
            let _ = self.written.recv_timeout(FLUSH_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    /// A reader that takes a line only when it is let.
    struct Reader {
        turn: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn.recv().map_err(io::Error::other)?;
            self.taken.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stopped_holds_nobody_up_and_learns_what_it_missed() {
        let (go, turn) = unbounded();
        let (taken, seen) = unbounded();
        let (log, flush) = start(Reader { turn, taken }).expect("a thread");
        let lines = QUEUE_MAX_LINES + 100;
        for n in 0..lines {
            log.make_writer()
                .write_all(format!("{n}\n").as_bytes())
                .expect("never fails");
        }
        (0..=lines).for_each(|_| go.send(()).expect("the reader waits"));
        drop(flush);
        let seen: Vec<Vec<u8>> = seen.try_iter().collect();
        assert_eq!(seen[0], b"0\n");
        let told = seen
            .iter()
            .any(|line| line.ends_with(b"faster than they were read\n"));
        assert!(told, "the gap is told");
        assert!(seen.len() < lines, "some were dropped");
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let (go, turn) = unbounded();
        let (taken, seen) = unbounded();
        let (log, flush) = start(Reader { turn, taken }).expect("a thread");
        (0..3).for_each(|_| go.send(()).expect("the reader waits"));
        for line in [b"a\n", b"b\n", b"c\n"] {
            log.make_writer().write_all(line).expect("never fails");
        }
        drop(flush);
        assert_eq!(
            seen.try_iter().collect::<Vec<_>>(),
            [b"a\n", b"b\n", b"c\n"]
        );
    }
}
