//! HPACK (RFC 7541): how fields are written in HTTP/2.
//!
//! Pure: bytes in, fields out, and the other way round. What the fields mean is not looked at here.
//!
//! - [`huffman`]: the code texts may be written in; [`table`]: fields that have numbers.
//! - [`decoder`]: blocks to fields; [`encoder`]: fields to blocks.

pub(crate) mod decoder;
pub(crate) mod encoder;
mod huffman;
mod table;
