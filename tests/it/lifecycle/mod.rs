//! The life of a token, by the API, with what each step means to requests.

mod attacks;
mod classic;
mod crash;
mod policies;
mod revocation;
mod rules;
mod walk;
