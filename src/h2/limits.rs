//! What one connection may cost us. Every bound is checked before memory is taken.

/// Bounds and times of one connection. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams that the peer may have open at once; more are refused with REFUSED_STREAM.
    pub streams_max: u32,
    /// What the peer may send on one stream before we give window back.
    pub stream_window_bytes: u32,
    /// What the peer may send on all streams together before we give window back: the bound on
    /// received bytes that wait for [`Connection::poll`](super::Connection::poll).
    pub connection_window_bytes: u32,
    /// Decoded header list, each field counted with 32 bytes overhead (RFC 9113 §6.5.2).
    pub header_list_bytes: u32,
    /// Encoded header block over HEADERS and all its CONTINUATION frames.
    pub header_block_bytes: usize,
    /// CONTINUATION frames of one header block.
    pub continuations_max: u32,
    /// Encoded bytes that wait for the socket before reading stops.
    pub unsent_bytes: usize,
    /// Answers to PING, SETTINGS and stream errors that wait for the socket before reading stops.
    pub unsent_replies: u32,
    /// Time until the preface and the first SETTINGS must be complete.
    pub preface_ms: u64,
    /// Time from the first byte of a frame or header block to its last one.
    pub frame_ms: u64,
    /// Time from a request's headers to its end, as long as it has got no answer.
    pub request_ms: u64,
    /// Time without a stream and without a byte received until the server says goodbye.
    pub idle_ms: u64,
    /// Time that unsent bytes may wait without progress.
    pub stall_ms: u64,
    /// Resets by the peer per [`Limits::reset_period_ms`], beyond half of the streams it opened
    /// in that time (rapid reset, CVE-2023-44487).
    pub resets_max: u32,
    /// See [`Limits::resets_max`].
    pub reset_period_ms: u64,
    /// Stream errors that the peer provoked, less one per stream that ended well
    /// (CVE-2025-8671).
    pub provoked_resets_max: u32,
    /// Frames that carry no payload of a call (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty
    /// DATA, …) per [`Limits::idle_frames_period_ms`] without HEADERS or DATA of ours between
    /// (CVE-2019-9511 to 9518).
    pub idle_frames_max: u32,
    /// See [`Limits::idle_frames_max`].
    pub idle_frames_period_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams_max: 100,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 4 << 20,
            header_list_bytes: 16 << 10,
            header_block_bytes: 16 << 10,
            continuations_max: 8,
            unsent_bytes: 4 << 20,
            unsent_replies: 64,
            preface_ms: 5_000,
            frame_ms: 10_000,
            request_ms: 30_000,
            idle_ms: 300_000,
            stall_ms: 30_000,
            resets_max: 100,
            reset_period_ms: 30_000,
            provoked_resets_max: 200,
            idle_frames_max: 1_000,
            idle_frames_period_ms: 10_000,
        }
    }
}
