//! Logs of containers, as the tenant may read them.

use std::{io, pin::pin};

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use kube::api::LogParams;
use lifecycle::{object::ObjectRef, terminal};

use super::{Tenant, built, place};
use crate::cluster::call::{ApiError, read};

/// The maximum size of a log in memory; the last lines of it are kept.
const LOG_LIMIT: i64 = 256 * 1024;

impl Tenant<'_> {
    /// Returns the last lines of a container's log, as a terminal shows them.
    pub(crate) async fn log(
        &self,
        pod: &ObjectRef,
        container: &str,
        previous: bool,
        lines: i32,
    ) -> Result<String, ApiError> {
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(i64::from(lines)),
            limit_bytes: Some(LOG_LIMIT),
            ..LogParams::default()
        };
        let what = format!("read the log of {}", place(pod));
        let request = built(&what, self.request(pod).await?.logs(&pod.name, &params))?;
        read(&self.cluster.metrics, what, || async {
            match self.client.request_text(request.clone()).await {
                // A log may contain any bytes.
                Err(kube::Error::FromUtf8(error)) => Ok(terminal::log(error.as_bytes())),
                other => Ok(terminal::log(other?.as_bytes())),
            }
        })
        .await
    }

    /// Returns the last `most` bytes of a container's log, as it wrote them.
    pub(crate) async fn whole_log(
        &self,
        pod: &ObjectRef,
        container: &str,
        previous: bool,
        most: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let params =
            LogParams { container: Some(container.to_owned()), previous, ..LogParams::default() };
        let what = format!("read the log of {}", place(pod));
        let request = built(&what, self.request(pod).await?.logs(&pod.name, &params))?;
        read(&self.cluster.metrics, what, || async {
            let stream = self.client.request_stream(request.clone()).await?;
            tail(stream, most).await.map_err(|error| kube::Error::Service(error.into()))
        })
        .await
    }
}

/// Returns the last `most` bytes of `stream`, and keeps no more than twice as many in memory.
async fn tail(stream: impl AsyncBufRead, most: usize) -> io::Result<Vec<u8>> {
    let mut stream = pin!(stream);
    let mut tail = Vec::new();
    loop {
        let part = stream.fill_buf().await?;
        if part.is_empty() {
            break;
        }
        // A part is never larger than a frame of the connection.
        tail.extend(part.get(part.len().saturating_sub(most)..).unwrap_or_default());
        let read = part.len();
        stream.consume_unpin(read);
        if tail.len() > most.saturating_mul(2) {
            tail.drain(..tail.len().saturating_sub(most));
        }
    }
    tail.drain(..tail.len().saturating_sub(most));
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, io::Cursor};

    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept() {
        let tail = |text: &str, most| {
            let read = tail(Cursor::new(text.to_owned()), most).now_or_never().unwrap().unwrap();
            String::from_utf8(read).unwrap()
        };
        assert_eq!(tail("", 4), "");
        assert_eq!(tail("abc", 4), "abc");
        assert_eq!(tail("abcdefghij", 4), "ghij");
        assert_eq!(tail("abcdefghij", 0), "");
    }
}
