//! What is left of a request's body when its answer is known.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::App;

/// How long is read what nobody wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the rest of a body before its request is answered, for a while: a client that is still sending would see a broken
/// connection instead of the answer. One that waits to be told to send (`Expect: 100-continue`) has sent nothing yet.
pub(crate) async fn read(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let waits = parts.headers.contains_key(header::EXPECT);
    let (back, returned) = oneshot::channel();
    let lent = Lent { body, is_touched: false, back: Some(back) };
    let response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    if let Ok((body, is_touched)) = returned.await
        && (is_touched || !waits)
    {
        // Whether all was read makes no difference.
        let _ = timeout(PATIENCE, discard(body, app.settings.max_bytes.saturating_mul(4))).await;
    }
    response
}

async fn discard(mut body: Body, mut left: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// A body that comes back from whoever has taken it, with whether anything of it was read.
struct Lent {
    body: Body,
    is_touched: bool,
    back: Option<oneshot::Sender<(Body, bool)>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_touched = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody waits for it when the client has gone.
            let _ = back.send((std::mem::take(&mut self.body), self.is_touched));
        }
    }
}
