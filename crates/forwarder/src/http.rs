//! HTTP/1.1: a strict codec, and the loop that serves a client connection with it.
//!
//! Every forwarded head is written anew from a parsed one; bodies are streamed and their framing checked as they pass.
//! What an awkward message gets is a table in `request/tests.rs`, `response/tests.rs` and `chunked/tests.rs`.
//!
//! - [`head`]: takes a head apart in one go, if nothing about it is odd.
//! - [`scan`]: finds the end of a head, whatever pieces it comes in.
//! - [`fields`]: knows field names, and the list syntax of Connection.
//! - [`request`], [`response`]: heads parsed and written.
//! - [`changes`]: what a rule changes in heads.
//! - [`origin`]: who the client is, behind proxies.
//! - [`routing`]: where a request goes.
//! - [`sticky`]: cookies that keep a client where it is.
//! - [`chunked`], [`body`]: where a body ends, and what of it is passed on.
//! - [`answer`]: answers of our own; [`direct`]: requests that need no more than one.
//! - [`grpc`]: which requests are calls of gRPC, and how they end.
//! - [`exchange`]: one request on one connection to a target.
//! - [`serving`]: one request, on as many attempts as it takes.
//! - [`tunnel`]: what comes after HTTP, such as WebSocket.
//! - [`connection`]: one client, request after request.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod changes;
pub(crate) mod chunked;
pub(crate) mod connection;
mod direct;
pub(crate) mod exchange;
pub(crate) mod fields;
#[cfg(test)]
pub(crate) mod fuzz;
pub(crate) mod grpc;
pub(crate) mod head;
mod origin;
pub(crate) mod request;
pub(crate) mod response;
mod routing;
pub(crate) mod scan;
mod serving;
mod sticky;
mod tunnel;

pub(crate) use sticky::wall_seconds;
