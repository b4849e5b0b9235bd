//! What etcd's refusals mean. Codes are gRPC's (`google.rpc.Code`).

use crate::store::{Revision, StoreError};
use etcd_client::Error;

const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

pub fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable(reason.into())
}

pub fn refused(reason: impl Into<String>) -> StoreError {
    StoreError::Refused(reason.into())
}

pub fn from_client(error: Error) -> StoreError {
    let status = match error {
        Error::GRpcStatus(status) => status,
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            return refused(error.to_string());
        }
        // The stream that kept a lease ended with the lease.
        Error::LeaseKeepAliveError(_) => return StoreError::LeaseGone,
        other => return unavailable(with_cause(&other.to_string(), &other)),
    };
    let message = status.message().to_owned();
    match i32::from(status.code()) {
        NOT_FOUND if message.contains("lease") => StoreError::LeaseGone,
        // Only a list's later pages ask for a revision: it is begun anew.
        OUT_OF_RANGE if message.contains("compacted") => unavailable(message),
        INVALID_ARGUMENT | PERMISSION_DENIED | FAILED_PRECONDITION | UNAUTHENTICATED | OUT_OF_RANGE => {
            refused(message)
        }
        _ => unavailable(with_cause(&message, &status)),
    }
}

/// A watch that was cancelled at the oldest revision that is kept.
pub fn compacted(oldest: i64) -> StoreError {
    StoreError::Compacted { oldest: Revision(oldest.unsigned_abs()) }
}

/// What an error says, with its first cause: "transport error" alone would help nobody.
fn with_cause(says: &str, error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    match causes.last().map(ToString::to_string) {
        Some(cause) if !says.contains(&cause) => format!("{says}: {cause}"),
        _ => says.to_owned(),
    }
}
