//! Where one message ends and the next begins, to the letter.
//!
//! Pure. The first of all stages: two parsers that cut a stream at different places are how one request becomes two.
//! So of a client only what has one reading passes, and what comes of a host must have one certain end.

pub mod answer;
pub mod chunks;
pub mod frames;
pub mod head;
pub mod hpack;
