//! Requests whose content goes on decompressed.

use http::HeaderMap;
use http::request::Parts;

use super::Upload;
use crate::error::{Error, Reason};
use crate::http::body::Body;
use crate::http::coding::{self, Decompressed, NotUnderstood};
use crate::http::{grpc, grpc_web};
use crate::snapshot::model::{Coding, Route};

/// True when what the fields say of the content will no longer be true.
pub(super) fn is_asked(route: &Route, headers: &HeaderMap) -> bool {
    matches!(applied(route, headers), Ok(Some(_)))
}

/// How the content is coded that the route wants as it is; `None`: nothing is to be done. gRPC compresses its messages, and
/// each by itself.
fn applied(route: &Route, headers: &HeaderMap) -> Result<Option<Coding>, NotUnderstood> {
    match route.decompress.is_none() || grpc::is_grpc(headers) || grpc_web::is_grpc_web(headers) {
        true => Ok(None),
        false => coding::applied(headers),
    }
}

impl Upload {
    /// What comes of it is as the route wants it; nothing has been sent yet. Fails where nobody here understands it.
    pub fn decode(&mut self, route: &Route, parts: &Parts) -> Result<(), Error> {
        let Some(most) = route.decompress else {
            return Ok(());
        };
        let coding = applied(route, &parts.headers).map_err(|NotUnderstood| {
            let words = "`decompress` of the route understands one of zstd, br and gzip.";
            Error::new(Reason::ContentCodingRefused).because(words)
        })?;
        let Some(coding) = coding.filter(|_| !self.is_empty) else {
            return Ok(());
        };
        let body = std::mem::replace(&mut self.pump.body, Body::Empty);
        let decompressed = Decompressed::new(coding, most, body);
        let decompressed = decompressed.map_err(|error| Error::new(Reason::Internal).because(error))?;
        self.pump.body = Body::Decompressed(Box::new(decompressed));
        Ok(())
    }
}
