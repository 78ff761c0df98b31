//! When a certificate expires: the one field that is wanted of it, and that `rustls` does not tell.
//!
//! `der` reads the elements. A parser of whole certificates would bring a dozen dependencies for one date.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

use crate::domain::grant::UnixTime;

/// The end of a certificate's validity (RFC 5280 section 4.1.2.5); `None` where it is no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let whole = AnyRef::from_der(certificate).ok()?;
    let signed: AnyRef<'_> = SliceReader::new(whole.value()).ok()?.decode().ok()?;
    let mut fields = SliceReader::new(signed.value()).ok()?;
    let mut next = || fields.decode::<AnyRef<'_>>().ok();
    // The version is left out in certificates of version 1; then the serial number comes first.
    let first = next()?;
    if first.tag() != Tag::Integer {
        next()?;
    }
    let (_algorithm, _issuer, validity) = (next()?, next()?, next()?);
    let mut validity = SliceReader::new(validity.value()).ok()?;
    let _not_before: AnyRef<'_> = validity.decode().ok()?;
    let not_after: AnyRef<'_> = validity.decode().ok()?;
    let since_1970 = if not_after.tag() == Tag::UtcTime {
        UtcTime::try_from(not_after).ok()?.to_unix_duration()
    } else {
        GeneralizedTime::try_from(not_after).ok()?.to_unix_duration()
    };
    i64::try_from(since_1970.as_secs()).ok().map(UnixTime)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[track_caller]
    fn check(year: i32, want: i64) {
        let mut parameters = CertificateParams::new(vec!["git.example.com".to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 1, 31);
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(not_after(certificate.der()), Some(UnixTime(want)), "{year}");
    }

    #[test]
    fn the_end_of_validity_is_found_in_both_of_its_forms() {
        // Up to 2049 years have two digits.
        check(2027, 1_801_353_600);
        check(2063, 2_937_427_200);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"x", &[0x30, 0x00], &[0x30, 0x82, 0xff, 0xff], &[0x30, 0x02, 0x30, 0x00]] {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
