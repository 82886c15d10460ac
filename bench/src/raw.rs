//! What the disk and the loopback network take by themselves.

use crate::{disk::AppendFile, floor::PUT_BYTES, latency::Latencies};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Synced appends of [`PUT_BYTES`], by so many writers at once, each with a file of its own.
///
/// # Errors
/// Whatever the file system reports.
pub fn synced_appends(
    directory: &Path,
    writers: usize,
    duration: Duration,
) -> io::Result<Latencies> {
    let mut files = Vec::new();
    for writer in 0..writers {
        let path = directory.join(format!("raw-{writer}"));
        files.push(AppendFile::create(&path)?);
        // The open file stays, and nothing is left behind.
        std::fs::remove_file(path)?;
    }
    let mut all = Latencies::default();
    thread::scope(|scope| {
        let threads: Vec<_> = files
            .into_iter()
            .map(|file| scope.spawn(move || append_for(file, duration)))
            .collect();
        for thread in threads {
            all.add(&thread.join().expect("the writer does not panic")?);
        }
        Ok(all)
    })
}

fn append_for(mut file: AppendFile, duration: Duration) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    let started = Instant::now();
    while started.elapsed() < duration {
        let before = Instant::now();
        file.append(&[b'v'; PUT_BYTES])?;
        latencies.record(before.elapsed());
    }
    Ok(latencies)
}

/// Round trips of one byte between two threads over loopback TCP, both blocking.
///
/// # Errors
/// Whatever the network reports.
pub fn round_trips(duration: Duration) -> io::Result<Latencies> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let echo = thread::spawn(move || echo(server));
    let mut latencies = Latencies::default();
    let started = Instant::now();
    while started.elapsed() < duration {
        let before = Instant::now();
        client.write_all(&[1])?;
        client.read_exact(&mut [0])?;
        latencies.record(before.elapsed());
    }
    drop(client);
    echo.join().expect("the echo does not panic")?;
    Ok(latencies)
}

fn echo(mut socket: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    while socket.read(&mut byte)? != 0 {
        socket.write_all(&byte)?;
    }
    Ok(())
}
