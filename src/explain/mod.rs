//! The decision about a request, step by step, in words.
//!
//! Pure. `request` reads what is asked, `facts` puts into words what `policy::judge` found, `report` is the answer as data. The
//! decision itself is the gateway's own.

mod facts;
pub mod report;
pub mod request;
