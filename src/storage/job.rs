//! What takes too long for a turn of the event loop: writing a snapshot, reading it back, loading
//! it. A job is moved to another thread, run there step by step, and moved back; the simulator
//! runs the same steps at times of its choosing.

use std::{fmt, io};

use bytes::Bytes;
use raftkv_wal::{Media, Sink, Source};

use super::{
    error::SnapshotError,
    snapshot::{CHUNK_BYTES, Header, Loading, Reader, Writer},
    snapshot_name,
};
use crate::{
    kv::{Frozen, Kv},
    raft::{Config, Snapshot},
};

/// A piece of work on a snapshot.
pub struct Job<M: Media> {
    work: Option<Work<M>>,
    result: Option<Result<Done<M>, JobError>>,
}

enum Work<M: Media> {
    Begin {
        sink: M::Sink,
        header: Header,
        frozen: Frozen,
    },
    Write {
        writer: Writer<M::Sink>,
        frozen: Frozen,
        buffer: Vec<u8>,
    },
    Finish(Writer<M::Sink>),
    Store {
        sink: M::Sink,
        chunks: Vec<Bytes>,
        is_last: bool,
    },
    Verify {
        reader: Reader<M::Source>,
        sink: M::Sink,
        expected: Snapshot,
    },
    Publish {
        sink: M::Sink,
        snapshot: Snapshot,
        config: Config,
    },
    SyncNames {
        sink: M::Sink,
        snapshot: Snapshot,
        config: Config,
    },
    Load(Loading<M::Source>),
    Drop(Option<Kv>),
}

/// What a job has done.
pub enum Done<M: Media> {
    /// The state is written and synced under a temporary name.
    Written {
        /// Which snapshot it is.
        snapshot: Snapshot,
        /// To read it back, and to publish it.
        sink: M::Sink,
    },
    /// Fetched bytes are written, and synced if they were the last.
    Stored {
        /// To go on with.
        sink: M::Sink,
    },
    /// The file is what it should be, and durable under its name.
    Published {
        /// Which snapshot it is.
        snapshot: Snapshot,
        /// The members as of its last entry.
        config: Config,
    },
    /// The state is in memory.
    Loaded(Kv),
    /// What was given up is gone.
    Dropped,
}

/// Why a job failed.
#[derive(Debug)]
pub enum JobError {
    /// The file could not be written: the disk may be full.
    Write(io::Error),
    /// A sync, a rename or a read back failed.
    Publish(io::Error),
    /// The file is not what it should be.
    Snapshot(SnapshotError),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Write(error) => write!(f, "cannot write a snapshot: {error}"),
            JobError::Publish(error) => write!(f, "cannot finish a snapshot: {error}"),
            JobError::Snapshot(error) => error.fmt(f),
        }
    }
}

impl From<SnapshotError> for JobError {
    fn from(error: SnapshotError) -> JobError {
        JobError::Snapshot(error)
    }
}

impl<M: Media> Job<M> {
    fn new(work: Work<M>) -> Job<M> {
        Job {
            work: Some(work),
            result: None,
        }
    }

    /// Writes a frozen state.
    #[must_use]
    pub fn write(sink: M::Sink, header: Header, frozen: Frozen) -> Job<M> {
        Job::new(Work::Begin {
            sink,
            header,
            frozen,
        })
    }

    /// Writes fetched bytes.
    #[must_use]
    pub fn store(sink: M::Sink, chunks: Vec<Bytes>, is_last: bool) -> Job<M> {
        Job::new(Work::Store {
            sink,
            chunks,
            is_last,
        })
    }

    /// Reads a written file back, from start to end, and gives it its name.
    ///
    /// # Errors
    /// When it does not begin as a snapshot does.
    pub fn verify(
        source: M::Source,
        file: String,
        sink: M::Sink,
        expected: Snapshot,
    ) -> Result<Job<M>, JobError> {
        let reader = Reader::new(source, file)?;
        Ok(Job::new(Work::Verify {
            reader,
            sink,
            expected,
        }))
    }

    pub(super) fn load(loading: Loading<M::Source>) -> Job<M> {
        Job::new(Work::Load(loading))
    }

    /// Frees a state that was given up: that takes its time.
    #[must_use]
    pub fn discard(state: Kv) -> Job<M> {
        Job::new(Work::Drop(Some(state)))
    }

    /// Works on. Returns whether there is more to do.
    ///
    /// # Panics
    /// If there was nothing more to do.
    pub fn step(&mut self) -> bool {
        let work = self.work.take().expect("there is more to do");
        match work.step() {
            Ok(Next::Go(work)) => self.work = Some(work),
            Ok(Next::End(done)) => self.result = Some(Ok(done)),
            Err(error) => self.result = Some(Err(error)),
        }
        self.work.is_some()
    }

    /// What became of it.
    ///
    /// # Errors
    /// When it failed. What it wrote has to be discarded.
    ///
    /// # Panics
    /// If there is more to do.
    pub fn finish(self) -> Result<Done<M>, JobError> {
        self.result.expect("nothing more to do")
    }
}

enum Next<M: Media> {
    Go(Work<M>),
    End(Done<M>),
}

impl<M: Media> Work<M> {
    fn step(self) -> Result<Next<M>, JobError> {
        Ok(match self {
            Work::Begin {
                sink,
                header,
                frozen,
            } => Next::Go(Work::Write {
                writer: Writer::new(sink, &header).map_err(JobError::Write)?,
                frozen,
                buffer: Vec::new(),
            }),
            Work::Write {
                writer,
                frozen,
                buffer,
            } => Next::Go(write_chunk(writer, frozen, buffer)?),
            Work::Finish(writer) => {
                let (snapshot, sink) = writer.finish().map_err(JobError::Write)?;
                Next::End(Done::Written { snapshot, sink })
            }
            Work::Store {
                sink,
                chunks,
                is_last,
            } => Next::End(store_chunks(sink, chunks, is_last)?),
            Work::Verify {
                reader,
                sink,
                expected,
            } => Next::Go(verify_chunk(reader, sink, expected)?),
            Work::Publish {
                mut sink,
                snapshot,
                config,
            } => {
                let name = snapshot_name(snapshot.pos);
                sink.publish(&name).map_err(JobError::Publish)?;
                Next::Go(Work::SyncNames {
                    sink,
                    snapshot,
                    config,
                })
            }
            Work::SyncNames {
                mut sink,
                snapshot,
                config,
            } => {
                if !planted!("snapshot_name_not_synced") {
                    sink.sync_directory().map_err(JobError::Publish)?;
                }
                Next::End(Done::Published { snapshot, config })
            }
            Work::Load(mut loading) => match loading.step()? {
                Some(state) => Next::End(Done::Loaded(state)),
                None => Next::Go(Work::Load(loading)),
            },
            Work::Drop(state) => {
                drop(state);
                Next::End(Done::Dropped)
            }
        })
    }
}

fn write_chunk<M: Media>(
    mut writer: Writer<M::Sink>,
    mut frozen: Frozen,
    mut buffer: Vec<u8>,
) -> Result<Work<M>, JobError> {
    buffer.clear();
    if !frozen.encode_some(&mut buffer, CHUNK_BYTES) {
        return Ok(Work::Finish(writer));
    }
    writer.chunk(&buffer).map_err(JobError::Write)?;
    Ok(Work::Write {
        writer,
        frozen,
        buffer,
    })
}

fn store_chunks<M: Media>(
    mut sink: M::Sink,
    chunks: Vec<Bytes>,
    is_last: bool,
) -> Result<Done<M>, JobError> {
    for chunk in chunks {
        sink.append(&chunk).map_err(JobError::Write)?;
    }
    if is_last && !planted!("snapshot_named_before_its_sync") {
        sink.sync().map_err(JobError::Publish)?;
    }
    Ok(Done::Stored { sink })
}

fn verify_chunk<M: Media>(
    mut reader: Reader<M::Source>,
    sink: M::Sink,
    expected: Snapshot,
) -> Result<Work<M>, JobError> {
    Ok(match reader.next_chunk()? {
        Some(_) => Work::Verify {
            reader,
            sink,
            expected,
        },
        None => Work::Publish {
            sink,
            config: reader.header().config.clone(),
            snapshot: verified(reader, expected)?,
        },
    })
}

fn verified<S: Source>(reader: Reader<S>, expected: Snapshot) -> Result<Snapshot, SnapshotError> {
    let file = reader.file().to_owned();
    let (found, _) = reader.finish();
    match found == expected {
        true => Ok(found),
        false => Err(SnapshotError::Damaged {
            file,
            offset: 0,
            what: "it is another snapshot than the one that was written or asked for".to_owned(),
        }),
    }
}
