//! What every answer says, whatever the version of HTTP.

use std::cell::RefCell;

use http::StatusCode;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::clock;

/// Whether HTTP leaves out the body of an answer, even to a request that wants one (RFC 9112 section 6.3).
pub fn is_never_sent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Gives `take` the value of `Date`, whose text is made once a second (RFC 9110 section 6.6.1).
pub fn with_date(take: impl FnOnce(&str)) {
    thread_local! {
        static DATE: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = clock::now().0;
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            let moment = jiff::Timestamp::from_second(now).unwrap_or_default();
            *text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).unwrap_or_default();
        }
        take(text);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_of_the_second_and_as_rfc_9110_writes_it() {
        let (before, mut text) = (clock::now(), String::new());
        with_date(|date| text = date.to_owned());
        let read = jiff::fmt::rfc2822::parse(&text).unwrap().timestamp().as_second();
        assert!((before.0..=clock::now().0).contains(&read), "{text}");
        assert!(text.ends_with(" GMT"), "{text}");
    }
}
