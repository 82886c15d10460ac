//! Why a call of the client failed, and what that says about the store.

use std::{fmt, time::Duration};

use crate::grpc::Code;

/// Why a call failed. Only [`Error::OutcomeUnknown`] leaves open whether something was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The list of endpoints cannot be used.
    Endpoint {
        /// The one at fault; empty when there is none at all.
        endpoint: String,
    },
    /// Nothing was applied, and nobody could do it in time: repeating is safe.
    Unavailable {
        /// Who was asked last.
        endpoint: String,
        /// What that one said.
        reason: String,
        /// The time that the call had.
        timeout: Duration,
    },
    /// Nothing was applied, and the same request will never be: it breaks a rule.
    Refused {
        /// Who refused.
        endpoint: String,
        /// The kind of rule.
        code: Code,
        /// Which rule.
        message: String,
    },
    /// A backup broke off, or was given up here. What came of it is of no use; nothing else is
    /// changed, and another attempt is safe.
    BackupFailed {
        /// Who sent it.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The write was sent, and what became of it is not known.
    OutcomeUnknown(OutcomeUnknown),
}

/// A write that was sent and got no answer that says what became of it: it may have been applied,
/// may be yet, or never. Reading afterwards shows what is so by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeUnknown {
    /// Where it was sent.
    pub endpoint: String,
    /// What happened instead of an answer.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Endpoint { endpoint } if endpoint.is_empty() => {
                f.write_str("no endpoints; give at least one host:port")
            }
            Error::Endpoint { endpoint } => {
                write!(
                    f,
                    "endpoint {endpoint:?} is not host:port, as in 127.0.0.1:9100"
                )
            }
            Error::Unavailable {
                endpoint,
                reason,
                timeout,
            } => write!(
                f,
                "unavailable: {endpoint}: {reason}; nothing was applied within {timeout:?}, so \
                 repeat it, or check that a majority of the nodes runs and --endpoints names them"
            ),
            Error::Refused {
                endpoint,
                code,
                message,
            } => write!(f, "refused by {endpoint}: {code}: {message}"),
            Error::BackupFailed { endpoint, reason } => {
                write!(
                    f,
                    "the backup of {endpoint} broke off: {reason}; save it again"
                )
            }
            Error::OutcomeUnknown(unknown) => unknown.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for OutcomeUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "outcome unknown: {}: {}; the write may or may not take effect, so read the key \
             before you repeat it",
            self.endpoint, self.reason
        )
    }
}

impl std::error::Error for OutcomeUnknown {}
